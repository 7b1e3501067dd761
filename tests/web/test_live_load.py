"""How busy a worker's machine is: told with its heartbeats, kept in memory, shown, and gone with the worker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from blobforge.worker import Worker, WorkerStatus
from tests.fixtures.local import LocalServer
from tests.web.calls import raw, state
from web.liveloads import KEPT_MS, MOST_POINTS, MOST_WORKERS, POINT_MS, LiveLoads, WorkerLoad

GIB = 1 << 30
LOAD = {"cpu": 0.42, "cpus": 8, "memory": 3 * GIB, "memory_total": 8 * GIB}
FULL = {"cpu": 0.1, "memory": 15 * GIB, "memory_total": 16 * GIB,
        "gpus": [{"utilization": 0.97, "memory": 10, "memory_total": 40}, {"utilization": 0.5}]}  # fmt: skip


async def beat(local: LocalServer, worker: str = "w1", **fields: Any) -> None:
    status, answer = await local.call("POST", f"/api/workers/{worker}/heartbeat", fields)
    assert status == 200, answer


async def load(local: LocalServer, worker: str = "w1") -> Any:
    status, shown = await local.call("GET", f"/api/workers/{worker}")
    assert status == 200, shown
    return shown.get("load")


async def page(local: LocalServer, path: str) -> str:
    answer = await raw(local, "GET", path)
    assert answer.status_code == 200
    return str(await answer.get_data(as_text=True))


async def test_what_a_heartbeat_tells_is_shown_and_never_written(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await beat(local)
    assert await load(local) is None
    assert "Load: <a" not in await page(local, "/workers")
    assert "It has not told how busy" in await page(local, "/workers/w1")
    writes = [local.parts.writer.writes]
    for told in ({}, {"load": LOAD}):
        await beat(local, **told)
        writes.append(local.parts.writer.writes)
    assert writes[2] - writes[1] == writes[1] - writes[0], "it costs no write of its own"
    seen = await load(local)
    assert {name: seen[name] for name in LOAD} == LOAD
    assert seen["at"].startswith("2026-")
    (listed,) = (await local.call("GET", "/api/workers"))[1]
    assert listed["load"] == seen
    assert '"cpus"' not in state(local)
    shown = await page(local, "/workers/w1")
    assert "42 %" in shown
    assert "3.0 GiB of 8.0 GiB" in shown
    assert 'aria-label="CPU: 42 %"' in shown


@pytest.mark.parametrize(
    "told",
    [
        *(0.5, "busy", [], {"cpu": 1.5}, {"cpu": -0.1}, {"memory": -1}, {"memory": 1 << 70}, {"gpus": [{}] * 65}),
        *({"cpu": "much"}, {"gpus": {"utilization": 1}}, {"cpus": 0}),
    ],
)
async def test_what_is_no_load_is_left_out_and_costs_no_heartbeat(
    local: LocalServer, autojump_clock: Any, told: Any
) -> None:
    await local.register()
    await beat(local, load=LOAD)
    await trio.sleep(1)
    before = (await local.call("GET", "/api/workers/w1"))[1]
    await beat(local, load=told)
    after = (await local.call("GET", "/api/workers/w1"))[1]
    assert after["last_heartbeat"] > before["last_heartbeat"]
    assert after["load"] == before["load"]


async def test_a_load_that_is_null_or_has_nulls_is_absent(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await beat(local, load=None)
    assert await load(local) is None
    await beat(local, load={"cpu": None, "memory": 5, "gpus": None, "disk": "unknown"})
    assert {**await load(local), "at": ""} == {"at": "", "memory": 5}
    assert "is known here" in await page(local, "/workers/w1"), "a part of an unknown whole is no share"


async def test_a_heartbeat_that_is_refused_tells_nothing(local: LocalServer, autojump_clock: Any) -> None:
    status, _ = await local.call("POST", "/api/workers/stranger/heartbeat", {"load": LOAD})
    assert status == 404
    assert len(local.parts.services.live_loads) == 0


async def test_workers_are_sorted_by_load_and_full_ones_are_marked(local: LocalServer, autojump_clock: Any) -> None:
    for name, told in (("quiet", LOAD), ("full", FULL), ("silent", None)):
        await local.register(name)
        await beat(local, name, **({"load": told} if told else {}))
    everything = await page(local, "/workers")
    assert all(f'id="worker-{name}"' in everything for name in ("quiet", "full", "silent"))
    for order, names in (("cpu", ["quiet", "full"]), ("memory", ["full", "quiet"]), ("gpu", ["full"])):
        shown = await page(local, f"/workers?sort={order}")
        places = {name: shown.find(f'id="worker-{name}"') for name in ("quiet", "full", "silent")}
        assert [name for name in sorted(places, key=lambda name: places[name]) if places[name] > 0] == names
    assert everything.count(" % full<") == 1
    one = await page(local, "/workers/full")
    assert "of the busiest of 2" in one
    assert "97 %, 50 %" in one
    assert (await raw(local, "GET", "/workers?sort=disk")).status_code == 422


async def test_what_is_told_goes_with_silence_and_with_the_worker(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await beat(local, load=LOAD)
    await trio.sleep(60)
    await beat(local)
    assert (await load(local))["cpu"] == 0.42, "one without a load takes nothing back"
    await local.call("DELETE", "/api/workers/w1")
    await trio.sleep(1)
    await local.register()
    assert await load(local) is None, "that was another machine"
    await beat(local, load=LOAD)
    await local.call("POST", "/api/workers/w1/unregister")
    assert await load(local) is None
    assert "It is offline." in await page(local, "/workers/w1")


def told(cpu: float) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"cpu": cpu}))


def known(loads: LiveLoads, worker_id: str, now: int) -> WorkerLoad | None:
    return loads.of(Worker(worker_id, "pdf", WorkerStatus.ONLINE, created_at=0, updated_at=0), now=now)


def test_a_line_has_so_many_points_however_often_it_is_told() -> None:
    loads = LiveLoads()
    for second in range(3600):
        loads.add("w", told(second % 10 / 10), at=second * 1000)
    line = known(loads, "w", 3_600_000)
    assert line is not None
    assert len(line.points) == MOST_POINTS
    assert (line.at, line.now.cpu) == (3_599_000, 0.9)
    gaps = {after.at - before.at for before, after in zip(line.points, list(line.points)[1:], strict=False)}
    assert max(gaps) <= POINT_MS
    assert line.points[-1].at - line.points[0].at > (MOST_POINTS - 3) * 13_000
    loads.add("w", told(0.5), at=1000)  # the clock was set back
    assert known(loads, "w", 1000) is line
    assert line.now.cpu == 0.5
    later = Worker("w", "pdf", WorkerStatus.ONLINE, created_at=3_599_000, updated_at=0)  # by the clock as it was
    assert loads.of(later, now=1000) is line


def test_no_more_workers_are_known_than_there_is_room_for() -> None:
    loads = LiveLoads()
    for number in range(MOST_WORKERS + 5):
        loads.add(f"w{number}", told(0.5), at=number)
    assert len(loads) == MOST_WORKERS
    assert known(loads, "w4", MOST_WORKERS) is None
    assert known(loads, "w5", MOST_WORKERS) is not None
    loads.add("w5", told(0.5), at=KEPT_MS + MOST_WORKERS + 5)
    assert len(loads) == 1, "those that tell nothing any more are forgotten"
    assert loads.points(now=2 * KEPT_MS + MOST_WORKERS + 6) == {}
