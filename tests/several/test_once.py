"""What has to be done is done by one of several servers, and counted: sources are read once and looked for by one,
the store is swept by one, outputs are kept by one, orphans searched by one."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import Any

import msgspec
import pytest
import trio

from actors.follower import LOOK_SECONDS
from actors.intake import LONGEST_LOOK
from actors.orphans import TAKE_UP_EACH
from actors.sweeper import FIRST_SWEEP, LOOK_EACH, SWEEP_EVERY
from blobforge.machinery.hop import in_place
from blobforge.objects import ListedPage, Missed, ObjectInfo, ObjectStoreError
from blobforge.objects.keys import accepted_key, source_key
from blobforge.objects.local import LocalStore
from blobforge.search import ABANDONED_MS
from blobforge.serve.server import IN_HAND_SECONDS
from tests.fixtures.local import LocalServer
from tests.several.house import House
from tests.web.calls import finish
from tests.web.test_chains import claimed
from tests.web.test_files import put
from tests.web.test_outputs import brought, completed
from web.presence import BEAT_SECONDS

READING = 3.0  # seconds that it takes to read a source
COPYING = 12.0  # seconds that it takes to copy an output


class Shelf(LocalStore):
    """One store for all of them, which vouches for no checksum; `asked` counts what it is asked."""

    def __init__(self, house: House) -> None:
        super().__init__(house.folder / "shelf", b"a secret of sixteen", hop=in_place)
        self.asked: Counter[str] = Counter()
        self.searched_slowly = False
        self.reads_nothing = self.takes_nothing = self.is_away = False

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        if self.is_away:
            raise ObjectStoreError("it is away")
        self.asked[f"head {key}"] += 1
        found = await super().head(key, version=version)
        return None if found is None else msgspec.structs.replace(found, sha256=None)

    async def digest(self, key: str, *, version: str | None = None) -> str | None:
        self.asked[f"digest {key}"] += 1
        await trio.sleep(READING)
        if self.reads_nothing:
            raise ObjectStoreError("it reads nothing now")
        return await super().digest(key, version=version)

    async def list_page(self, prefix: str, *, cursor: str = "", limit: int = 1000) -> ListedPage:
        if self.searched_slowly:
            self.asked[f"list {prefix}"] += 1
            await trio.sleep(READING)
        return await super().list_page(prefix, cursor=cursor, limit=limit)

    async def copy(self, key: str, to: str, *, like: ObjectInfo | None) -> ObjectInfo | Missed:
        if self.is_away:
            raise ObjectStoreError("it is away")
        self.asked[f"copy {key}"] += 1
        await trio.sleep(COPYING)
        return await super().copy(key, to, like=like)

    async def put_own(self, key: str, body: bytes) -> None:
        if self.takes_nothing:
            raise ObjectStoreError("it takes nothing now")
        await super().put_own(key, body)

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        self.asked["clear"] += 1
        return await super().clear_unfinished(before=before, dry_run=dry_run)


@pytest.fixture
def shelf(house: House) -> Shelf:
    made = house.objects = Shelf(house)
    return made


async def announced(server: LocalServer, content: bytes, **fields: Any) -> tuple[int, str]:
    """A job whose source is still to come, and the key of that."""
    digest = hashlib.sha256(content).hexdigest()
    status, answer = await server.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest} | fields)
    assert (status, answer["status"]) == (201, "uploading")
    return int(answer["job_id"]), f"sources/{digest}"


async def test_a_source_that_three_are_told_of_is_read_once(house: House, shelf: Shelf, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b, house.server("c") as c:
        await trio.sleep(BEAT_SECONDS * 2)
        job_id, key = await announced(a, b"large")
        await a.source(b"large")
        told = []

        async def uploaded(server: LocalServer) -> None:
            told.append(await server.call("POST", f"/api/jobs/{job_id}/uploaded"))

        async with trio.open_nursery() as nursery:
            for server in (a, b, c, a, b, c):
                nursery.start_soon(uploaded, server)
        assert told == [(200, {"status": "pending"})] * 6
        assert shelf.asked[f"digest {key}"] == 1


async def test_a_source_with_the_wrong_bytes_is_read_by_the_next_one(
    house: House, shelf: Shelf, autojump_clock: Any
) -> None:
    """What one has found settles nothing here: it is asked again, and the right bytes may be there by now."""
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(BEAT_SECONDS * 2)
        job_id, key = await announced(a, b"right")
        wrong = await a.source(b"wrong")
        shelf._path(key).parent.mkdir(parents=True, exist_ok=True)
        shelf._path(f"sources/{wrong}").rename(shelf._path(key))
        status, answer = await a.call("POST", f"/api/jobs/{job_id}/uploaded")
        assert (status, answer["type"].rpartition(":")[2]) == (409, "source-missing"), answer
        await a.source(b"right")
        assert await b.call("POST", f"/api/jobs/{job_id}/uploaded") == (200, {"status": "pending"})
        assert shelf.asked[f"digest {key}"] == 2


async def test_each_source_is_looked_for_by_one_and_the_store_swept_by_one(
    house: House, shelf: Shelf, autojump_clock: Any
) -> None:
    async with house.server("b") as b, house.server("c") as c:
        async with house.server("a") as a:
            await trio.sleep(BEAT_SECONDS * 2)
            jobs = [await announced((a, b, c)[number % 3], b"%d" % number) for number in range(9)]
            await trio.sleep(FIRST_SWEEP - 20)
            shelf.asked.clear()
            async with house.server("d"):
                await trio.sleep(60)
                looks = [shelf.asked[f"head {key}"] for _, key in jobs]
                assert max(looks) <= 3, "now and then by one, and once more where one has come"
                assert sum(looks) >= len(jobs)
            assert shelf.asked["clear"] == 1
        assert {server.parts.intake.awaited for server in (b, c)} == {len(jobs)}
        for number in range(9):
            await b.source(b"%d" % number)
        await trio.sleep(LONGEST_LOOK)
        for job_id, key in jobs:
            assert (await c.job(job_id))["status"] == "pending"
            assert shelf.asked[f"digest {key}"] == 1


async def test_an_output_in_the_hand_of_one_is_not_kept_by_another_too(
    house: House, shelf: Shelf, autojump_clock: Any
) -> None:
    """A server comes meanwhile: it might be what was killed. What is left in nobody's hand is kept a little later."""
    async with house.server("a") as a, house.server("c"):
        async with house.server("b") as b:
            await trio.sleep(BEAT_SECONDS * 2)
            assert [server.parts.presence.rank() for server in (a, b)] == [0, 2]
            await b.register("w1")
            for content in (b"first", b"second"):
                job_id, _ = await announced(b, content)
                await b.source(content)
                assert await b.call("POST", f"/api/jobs/{job_id}/uploaded") == (200, {"status": "pending"})
            first = (await finish(b))["output_key"]
            async with house.server("d"):
                await trio.sleep(COPYING * 2)
            assert (shelf.asked[f"copy {first}"], await is_kept(a, first)) == (1, True)
            second = (await finish(b))["output_key"]
            await trio.sleep(COPYING / 2)
        assert (shelf.asked[f"copy {second}"], await is_kept(a, second)) == (1, False)
        await trio.sleep(BEAT_SECONDS * 2 + IN_HAND_SECONDS + COPYING)
        assert (shelf.asked[f"copy {second}"], await is_kept(a, second)) == (2, True)
        assert shelf.asked[f"copy {first}"] == 1


@pytest.mark.parametrize("what", ["proofs", "manifest"])
async def test_what_jobs_wait_for_is_taken_up_where_its_server_is_gone_and_others_are_there(
    house: House, shelf: Shelf, autojump_clock: Any, what: str
) -> None:
    """Several outputs are final where they are: nothing of them is to be checked or kept."""
    join = {"join": {"type": "book"}} if what == "manifest" else {}
    async with house.server("b") as b, house.server("c") as c:
        async with house.server("a") as a:
            await trio.sleep(BEAT_SECONDS * 2)
            await a.register("w1")
            job_id, _ = await announced(a, b"a document", then=[{"type": "ocr", **join}])
            await a.source(b"a document")
            assert await a.call("POST", f"/api/jobs/{job_id}/uploaded") == (200, {"status": "pending"})
            await brought(a, grant := await claimed(a, "pdf"), "1", "2")
            shelf.reads_nothing = what == "proofs"
            assert (await completed(a, grant, "all"))[0] == 200
            if what == "manifest":
                await trio.sleep(READING * 4)
                shelf.takes_nothing = True
                for _ in range(2):
                    await brought(a, grant := await claimed(a, "ocr"), "text")
                    assert (await completed(a, grant, "all"))[0] == 200
                await trio.sleep(READING * 2)
        shelf.reads_nothing = shelf.takes_nothing = False
        children = [2, 3] if what == "proofs" else [4]
        assert [(await b.job(job_id))["status"] for job_id in children] == ["uploading"] * len(children)
        await trio.sleep(BEAT_SECONDS * 2 + IN_HAND_SECONDS + READING * 4)
        assert [(await c.job(job_id))["status"] for job_id in children] == ["pending"] * len(children)


async def test_a_result_that_another_has_found_is_not_revoked_where_the_store_comes_back_later(
    house: House, autojump_clock: Any
) -> None:
    """By then it has been copied, and the original is gone."""
    of_a, of_b = Shelf(house), Shelf(house)
    house.objects = of_a
    async with house.server("a", url_lifetime=60):
        house.objects = of_b
        async with house.server("b", url_lifetime=60) as b:
            await trio.sleep(BEAT_SECONDS * 2)
            await b.register("w1")
            job_id, _ = await announced(b, b"a document")
            await b.source(b"a document")
            assert (await b.call("POST", f"/api/jobs/{job_id}/uploaded"))[0] == 200
            grant = await b.claim()
            assert await put(b, grant["upload_url"], b"text") == 200
            of_a.is_away = of_b.is_away = True
            body = {"worker_id": "w1", "lease": grant["lease"], "output_key": grant["output_key"]}
            assert (await b.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200
            await trio.sleep(400)  # the other one has taken it up, too
            of_b.is_away = False
            await trio.sleep(1200)
            assert await is_kept(b, grant["output_key"])
            assert await of_b.head(grant["output_key"]) is None
            of_a.is_away = False
            await trio.sleep(120)
            assert (await b.job(job_id))["status"] == "completed"


async def is_kept(server: LocalServer, key: str) -> bool:
    """Whether the output is where no URL to upload reaches it."""
    return await server.parts.services.objects.head(accepted_key(server.parts.installation, key)) is not None


async def begin(server: LocalServer, *, delete: bool = False) -> tuple[int, Any]:
    return await server.call("POST", "/api/admin/orphans", {"dry_run": not delete})


async def search(server: LocalServer) -> dict[str, Any]:
    status, answer = await server.call("GET", "/api/admin/orphans")
    assert status == 200
    return dict(answer)


async def ended(server: LocalServer) -> None:
    """The search that is under way has ended, and all have heard of it."""
    with trio.fail_after(300):
        while (await search(server))["state"] == "running":
            await trio.sleep(1)
    await trio.sleep(LOOK_SECONDS * 3)


async def test_orphans_are_searched_by_one_and_each_answers_for_it(
    house: House, shelf: Shelf, autojump_clock: Any
) -> None:
    """Behind a load balancer the search begins at one, and the next question goes to another."""
    async with house.server("a") as a, house.server("b") as b, house.server("c") as c:
        await trio.sleep(BEAT_SECONDS * 2)
        orphan = await a.source(b"nobody's")
        os.utime(shelf._path(source_key(orphan)), (0, 0))
        shelf.searched_slowly = True
        begun = []

        async def begins(server: LocalServer) -> None:
            begun.append(await begin(server))

        async with trio.open_nursery() as nursery:
            for server in (a, b, c, a):
                nursery.start_soon(begins, server)
        assert begun == [(200, {"status": "searching"})] * 4
        await trio.sleep(LOOK_SECONDS)
        states = [await search(server) for server in (a, b, c)]
        assert {(each["state"], each["started_at"]) for each in states} == {("running", states[0]["started_at"])}
        for server in (a, b, c):
            status, refused = await begin(server, delete=True)
            assert (status, refused["type"].rpartition(":")[2]) == (409, "search-running")
        for server in (a, b, c):  # each hears of it in its time
            await ended(server)
        states = [await search(server) for server in (a, b, c)]
        assert states[0] == states[1] == states[2]
        assert (states[0]["state"], states[0]["orphans"]) == ("done", 1)
        assert states[0]["examples"] == [source_key(orphan)]
        assert shelf.asked["list sources/"] == 1
        assert await begin(b, delete=True) == (200, {"status": "searching"})
        for server in (a, b, c):
            await ended(server)
        assert {(each["state"], each["dry_run"]) for each in [await search(each) for each in (a, b, c)]} == {
            ("done", False)
        }


async def test_another_server_goes_on_with_a_search_where_the_one_that_is_gone_was(
    house: House, shelf: Shelf, autojump_clock: Any
) -> None:
    """Also one that was not there when it began. Each folder is listed once."""
    async with house.server("b") as b:
        await trio.sleep(BEAT_SECONDS * 2)
        orphan = await b.source(b"nobody's")
        os.utime(shelf._path(source_key(orphan)), (0, 0))
        shelf.searched_slowly = True
        await begin(b)
        await trio.sleep(READING * 1.5)
        begun = await search(b)
        assert begun["state"] == "running"
    async with house.server("a") as a, house.server("c") as c:
        await trio.sleep(BEAT_SECONDS * 2)
        assert (await search(c))["state"] == "running"
        status, refused = await begin(a, delete=True)
        assert (status, refused["type"].rpartition(":")[2]) == (409, "search-running")
        await trio.sleep(ABANDONED_MS / 1000 + TAKE_UP_EACH + READING * 8)
        found = await search(c)
        assert (found["state"], found["started_at"], found["orphans"]) == ("done", begun["started_at"], 1)
        listed = {key: n for key, n in shelf.asked.items() if key.startswith("list ")}
        assert sum(n - 1 for n in listed.values()) <= 1, "but for the page that it was listing when it ended"


async def test_the_store_is_swept_once_for_all_servers_whoever_comes_and_whatever_is_started_anew(
    house: House, shelf: Shelf, autojump_clock: Any
) -> None:
    """Seen before: each start of all of them swept it again after five minutes, and each server that took over."""
    async with house.server("a"), house.server("b"), house.server("c"):
        await trio.sleep(FIRST_SWEEP + 60)
        assert shelf.asked["clear"] == 1
    async with house.server("a"), house.server("b"):
        await trio.sleep(FIRST_SWEEP + 60)
        async with house.server("d"):
            await trio.sleep(FIRST_SWEEP + 60)
        assert shelf.asked["clear"] == 1, "it is not due yet, and one that came later knows that"
    async with house.server("c"):
        await trio.sleep(SWEEP_EVERY)
        assert shelf.asked["clear"] == 2, "it is due, for whichever server there is"


async def test_a_sweep_that_a_server_left_behind_is_taken_up(house: House, shelf: Shelf, autojump_clock: Any) -> None:
    async with house.server("b"):
        async with house.server("a"):
            await trio.sleep(BEAT_SECONDS * 2)
            house.execute(
                "INSERT INTO searches SELECT 'sweep', 'killed', 'running', 1, now, now, 'incoming/', '', NULL,"
                " 0, 0, 0, 0, 0, NULL FROM (SELECT at AS now FROM turn) AS turn"
            )
        await trio.sleep(FIRST_SWEEP + LOOK_EACH + 60)
        ((searcher, state),) = house.execute("SELECT searcher, state FROM searches WHERE name = 'sweep'")
        assert (searcher != "killed", state, shelf.asked["clear"]) == (True, "done", 1)
