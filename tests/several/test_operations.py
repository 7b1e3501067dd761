"""An operation outlives the server that carries it out: another one goes on with it, and no job is treated twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from blobforge.events import JobUpdated
from blobforge.store.following import Entry
from tests.fixtures.seaweed import Seaweed
from tests.several.streams import LogReader
from tests.several.three import Asking, Three, asking, hash_of, three_servers

JOBS = 2000  # ten turns: the server that makes the first one is killed before the last


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Three]:
    with three_servers(tmp_path_factory.mktemp("operations"), seaweed) as running:
        yield running


async def begun(ask: Asking, server: int, path: str, body: Any = None) -> int:
    answer = await ask.call(server, "POST", path, body)
    assert answer.status_code == 202, answer.text
    return int(answer.json()["operation"])


async def ids_of(ask: Asking) -> dict[str, int]:
    """Which server has which id."""
    found = {}
    for server in range(3):
        listed = await ask.done(server, "GET", "/api/servers")
        found |= {each["id"]: server for each in listed["servers"] if each["this"]}
    return found


async def first_turn(log: LogReader, after: int) -> str:
    """The id of the server that has made the first turn behind this place of the log."""
    while True:
        await trio.to_thread.run_sync(log.read)
        for entry in log.entries:
            if entry.n > after and changed_in(entry):
                return entry.server
        await trio.sleep(0.002)


def changed_in(entry: Entry) -> list[int]:
    return [event.job_id for event in entry.events if isinstance(event, JobUpdated)]


async def ended(ask: Asking, server: int, operation: int) -> Any:
    while True:
        stands = await ask.done(server, "GET", f"/api/operations/{operation}")
        if stands["state"] not in ("selecting", "running"):
            return stands
        await trio.sleep(0.1)


async def treated(log: LogReader, after: int) -> tuple[Counter[int], Counter[str]]:
    """How often each job was changed behind that turn, and how many changes each server has made."""
    await trio.to_thread.run_sync(log.read)
    jobs: Counter[int] = Counter()
    servers: Counter[str] = Counter()
    for entry in log.entries:
        changed = changed_in(entry) if entry.n > after else []
        jobs.update(changed)
        servers.update({entry.server: len(changed)} if changed else {})
    return jobs, servers


async def test_a_server_that_is_killed_leaves_its_operation_to_another(three: Three) -> None:
    """A change, and then what takes it back: of each the server that carries it out is killed in the middle."""
    log = LogReader(three.database_url)
    async with asking(three) as ask:
        for start in range(0, JOBS, 1000):
            some = [{"type": "op", "source_hash": hash_of(b"%d" % number)} for number in range(start, start + 1000)]
            await ask.done(start // 1000 % 3, "POST", "/api/jobs/batch", {"jobs": some})
        asked = {"type": "op", "priority": 5, "background": True}
        at, path, body = 0, "/api/jobs/priority", asked
        for priority in (5, 3):
            ids = await ids_of(ask)
            await trio.to_thread.run_sync(log.read)
            before = log.entries[-1].n
            operation = await begun(ask, at, path, body)
            killed = ids[await first_turn(log, before)]
            three.servers[killed].kill()
            at = (killed + 1) % 3
            stands = await ask.done(at, "GET", f"/api/operations/{operation}")
            assert 0 < stands["done"] < JOBS
            done = await ended(ask, at, operation)
            assert (done["state"], done["done"], done["changed"]) == ("completed", JOBS, JOBS)
            found = await ask.done(at, "GET", f"/api/jobs?type=op&priority={priority}&limit=1")
            assert found["total"] == JOBS
            jobs, servers = await treated(log, before)
            assert set(jobs.values()) == {1}
            assert len(jobs) == JOBS
            assert len(servers) == 2, "one began, and another went on"
            await trio.to_thread.run_sync(three.servers[killed].start)
            path, body = f"/api/operations/{operation}/undo", None
    log.close()
