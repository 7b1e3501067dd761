"""What has to be done is done by one of several servers, and counted: sources are read once and looked for by one,
the store is swept by one."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import msgspec
import pytest
import trio

from actors.intake import LONGEST_LOOK
from actors.sweeper import FIRST_SWEEP
from blobforge.machinery.hop import in_place
from blobforge.objects import ObjectInfo
from blobforge.objects.local import LocalStore
from tests.fixtures.local import LocalServer
from tests.several.house import House
from web.presence import BEAT_SECONDS

READING = 3.0  # seconds that it takes to read a source


class Shelf(LocalStore):
    """One store for all of them, which vouches for no checksum; `asked` counts what it is asked."""

    def __init__(self, house: House) -> None:
        super().__init__(house.folder / "shelf", b"a secret of sixteen", hop=in_place)
        self.asked: Counter[str] = Counter()

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        self.asked[f"head {key}"] += 1
        found = await super().head(key, version=version)
        return None if found is None else msgspec.structs.replace(found, sha256=None)

    async def digest(self, key: str) -> str | None:
        self.asked[f"digest {key}"] += 1
        await trio.sleep(READING)
        return await super().digest(key)

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        self.asked["clear"] += 1
        return await super().clear_unfinished(before=before, dry_run=dry_run)


@pytest.fixture
def shelf(house: House) -> Shelf:
    made = house.objects = Shelf(house)
    return made


async def announced(server: LocalServer, content: bytes) -> tuple[int, str]:
    """A job whose source is still to come, and the key of that."""
    digest = hashlib.sha256(content).hexdigest()
    status, answer = await server.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest})
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
