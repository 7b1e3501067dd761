"""Servers that share a database know of each other, and which of them may not be there."""

from __future__ import annotations

import random
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
import trio

from blobforge.config import Settings
from blobforge.machinery.datadir import StartError
from blobforge.requirements import LONGEST, LONGEST_SET
from blobforge.serve.joining import place_of_objects
from blobforge.store.commons import GONE_SECONDS, LIVE_SECONDS
from blobforge.store.postgres import commons_sql
from tests.fixtures.local import LocalServer, open_local
from tests.several.house import House
from tests.web.calls import token
from web.presence import BEAT_SECONDS


async def listed(server: LocalServer) -> dict[str, Any]:
    status, answer = await server.call("GET", "/api/servers")
    assert status == 200
    return {each["name"]: each for each in answer["servers"]}


async def test_each_server_shows_all_of_them(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a:
        async with house.server("b") as b:
            await trio.sleep(BEAT_SECONDS * 2)
            for server, name in ((a, "a"), (b, "b")):
                found = await listed(server)
                assert set(found) == {"a", "b"}
                assert [each["name"] for each in found.values() if each["this"]] == [name]
                assert {each["status"] for each in found.values()} == {"online"}
                _, page = await server.call("GET", "/admin/servers")
                assert b"(this one)" in page
            reader = await token(a, "read")
            assert (await a.call("GET", "/api/servers", token=reader))[0] == 200
        assert set(await listed(a)) == {"a", "b"}, "heard of a moment ago"
        await trio.sleep(BEAT_SECONDS * 2)
        assert set(await listed(a)) == {"a"}, "it said that it ends"


async def test_a_server_that_was_killed_is_silent_and_then_forgotten(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a:
        async with house.server("b"):
            await trio.sleep(BEAT_SECONDS * 2)
            [(id_,)] = house.execute("SELECT id FROM presences WHERE name = 'b'")
            row = house.execute(f"SELECT * FROM presences WHERE id = '{id_}'")
        house.execute(
            "INSERT INTO presences SELECT 'killed', name, version, objects, admin, url, started_at, "
            f"seen_at - {round(LIVE_SECONDS + 1) * 1000}, turn, turn_at, read, clock, long_polls, streams "
            "FROM presences"
        )
        assert row
        await trio.sleep(BEAT_SECONDS * 2)
        _, answer = await a.call("GET", "/api/servers")
        assert sorted(each["status"] for each in answer["servers"]) == ["online", "silent"]
        house.execute("UPDATE presences SET seen_at = seen_at - 600000 WHERE id = 'killed'")
        await trio.sleep(BEAT_SECONDS * 2)
        assert set(await listed(a)) == {"a"}


async def test_the_share_of_a_killed_server_is_taken_over_as_soon_as_its_connection_has_ended(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may also have been cut: until the server has been silent for long, revocations wait for it."""
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(BEAT_SECONDS * 2)
        for one, other in ((a, b), (b, a)):
            heard = {each.name: each for each in one.parts.presence.servers()}
            own, name = other.parts.presence.name, one.parts.presence.name
            assert heard[own or ""].connected, f"{name} sees the connection of {own}"
        presence = a.parts.presence

        async def killed(silent: float, *, connected: bool) -> tuple[int, list[bool]]:
            """The rank of a server beside one that was, and which of the sources 0, 1 and 2 are its own."""
            house.execute(
                "INSERT INTO presences SELECT 'killed', 'k', version, objects, admin, url, 0, "
                f"seen_at - {silent * 1000}, turn, turn_at, read, clock, long_polls, streams "
                "FROM presences WHERE name = 'a'"
            )
            with psycopg.connect(house.url, application_name="blobforge killed" if connected else "another"):
                there = await presence.tell()
                assert "killed" in {each.id for each in there}, "a revocation waits for what it may believe"
            house.execute("DELETE FROM presences WHERE id = 'killed'")
            return presence.rank(), [presence.is_mine(number) for number in range(3)]

        beside, alone = (1, [False, True, False]), (0, [True, False, True])
        assert await killed(GONE_SECONDS / 2, connected=True) == beside
        assert await killed(GONE_SECONDS / 2, connected=False) == beside, "it may be connecting anew"
        assert await killed(GONE_SECONDS + 1, connected=True) == beside
        assert await killed(GONE_SECONDS + 1, connected=False) == alone
        # Where connections cannot be told apart, only silence counts.
        with monkeypatch.context() as patched:
            patched.setattr(commons_sql, "SIGN", commons_sql.SIGN.replace("blobforge", "pooled"))
            assert await killed(GONE_SECONDS + 1, connected=False) == beside


async def test_the_rows_of_writers_go_with_their_servers(house: House, autojump_clock: Any) -> None:
    """Each run has a row of its own: after a year of restarts there are as many as there are servers."""

    def writers() -> set[str]:
        return {str(id_) for (id_,) in house.execute("SELECT id FROM servers")}

    async with house.server("a") as a:
        own = a.parts.writer.sequencer.server
        async with house.server("b") as b:
            assert writers() == {own, b.parts.writer.sequencer.server}
        assert writers() == {own}, "it has ended in order"
        minutes = {"young": 9, "old": 11, "in use": 11}
        for id_, age in minutes.items():
            house.execute(
                f"INSERT INTO servers SELECT '{id_}', incarnation - {age * 60_000} FROM servers WHERE id = '{own}'"
            )
        with psycopg.connect(house.url) as other:
            other.execute("SELECT 1 FROM servers WHERE id = 'in use' FOR NO KEY UPDATE")
            await trio.sleep(BEAT_SECONDS * 2)
            assert writers() == {own, "young", "in use"}
        house.execute("UPDATE servers SET incarnation = incarnation - 3600000")
        await trio.sleep(BEAT_SECONDS * 2)
        assert writers() == {own}, "what a server says that it is there keeps its own"
        await a.submit()


async def test_metrics_say_of_which_server_they_are(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(BEAT_SECONDS * 2)
        for server, name in ((a, "a"), (b, "b")):
            _, text = await server.call("GET", "/metrics")
            samples = [line for line in text.decode().splitlines() if not line.startswith("#")]
            assert samples
            assert [line for line in samples if f'server="{name}"' not in line] == []
            assert f'blobforge_servers{{server="{name}",status="online"}} 2.0' in samples
            assert re.search(r'blobforge_database_live_rows\{server="\w",table="jobs"\}', text.decode())


# ------------------------------------------------------------------ objects in one place


async def test_an_embedded_store_is_refused_beside_another_server(house: House, autojump_clock: Any) -> None:
    async with house.server("a"):
        with pytest.raises(StartError) as raised:
            async with open_local(house.folder / "b", database_url=house.url, server_name="b"):
                pass
        for words in ("server a uses this database", "its own data folder", "BLOBFORGE_S3_*", "one server alone"):
            assert words in str(raised.value)
    # Alone it may; and the one that was refused is not there any more.
    async with open_local(house.folder / "b", database_url=house.url, server_name="b") as b:
        await b.submit()
        assert set(await listed(b)) == {"b"}


async def test_a_server_that_was_killed_may_start_again_beside_its_own_remains(
    house: House, autojump_clock: Any
) -> None:
    folder = house.folder / "b"
    async with open_local(folder, database_url=house.url, server_name="b") as b:
        await b.submit()
        await trio.sleep(BEAT_SECONDS * 2)
        kept = house.execute("SELECT count(*) FROM presences")
        house.execute("UPDATE presences SET id = 'killed'")  # as one that could not say goodbye
    assert kept == house.execute("SELECT count(*) FROM presences")
    async with open_local(folder, database_url=house.url, server_name="b"):
        pass


def test_places_of_objects_are_told_apart(tmp_path: Path) -> None:
    def s3(**fields: str) -> str:
        given = {"s3_endpoint": "http://s3/", "s3_bucket": "b", "s3_access_key": "k", "s3_secret_key": "s"} | fields
        return place_of_objects(Settings(**given))  # type: ignore[arg-type]

    assert s3() == s3(s3_endpoint="http://s3", s3_access_key="another")
    assert len({s3(), s3(s3_bucket="c"), s3(s3_prefix="p"), s3(s3_endpoint="http://t")}) == 4
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    places = [place_of_objects(Settings(data_dir=str(folder))) for folder in folders * 2]
    assert places[:2] == places[2:]
    assert places[0] != places[1]


async def test_a_server_whose_objects_are_elsewhere_is_told_of_loudly(house: House, autojump_clock: Any) -> None:
    """After a crash of PostgreSQL no server was seen for a moment, and one could start that may not be there."""
    async with house.server("a"), house.server("b"):
        with structlog.testing.capture_logs() as said:
            await trio.sleep(BEAT_SECONDS * 2)
            assert [each for each in said if each["log_level"] == "error"] == []
            house.execute("UPDATE presences SET objects = 'embedded elsewhere' WHERE name = 'b'")
            await trio.sleep(BEAT_SECONDS * 3)
        [told] = [each for each in said if each["log_level"] == "error"]
        assert told["servers"] == ["b"], "once"


def test_a_database_that_goes_away_during_a_start_is_no_bug(house: House) -> None:
    program = (
        "import sys\n"
        "from blobforge.config import Settings\n"
        "from blobforge.serve.server import run\n"
        "from blobforge.store.errors import StoreUnavailable\n"
        "from blobforge.store.postgres.engine import PostgresEngine\n"
        "def away(self): raise StoreUnavailable('the database is away')\n"
        "PostgresEngine.follow = away\n"
        "sys.exit(run(Settings(data_dir=sys.argv[1], database_url=sys.argv[2], port=0)))\n"
    )
    command = [sys.executable, "-c", program, str(house.folder), house.url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "cannot start" in said
    assert "the database is away" in said
    assert "Traceback" not in said


async def test_the_longest_type_and_requirements_are_taken(house: House, autojump_clock: Any) -> None:
    """They are the key of an index, and PostgreSQL takes no longer one than 2,704 bytes. These do not compress."""
    dice = random.Random(1)
    type_ = "".join(chr(dice.randrange(0x20000, 0x2A000)) for _ in range(100))
    left = LONGEST_SET - len("[]")
    requires = []
    while left > 8:
        length = min(LONGEST, left - len('"",'))
        requires.append("l=" + "".join(dice.choices(string.ascii_letters + string.digits, k=length - 2)))
        left -= length + len('"",')
    async with house.server("a") as a:
        job_id = await a.submit(b"a document", type=type_, requires=requires, group="g")
        assert (await a.job(job_id))["requires"] == sorted(requires)
