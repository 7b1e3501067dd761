"""Python handlers, in a process of their own and in the worker's: what they may do to it, and what not."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import AsyncClient
from blobforge.runner import Handler, Job, RunEnd, Worker, WorkerTrouble
from tests.runner import handlers
from tests.runner.coordinator import OK, Coordinator
from tests.runner.scripted import Answer, Request, Scripted, eventually
from tests.runner.test_process import alive


@pytest.fixture
def coordinator(scripted: Scripted) -> Coordinator:
    return Coordinator(scripted)


async def run(
    coordinator: Coordinator,
    handler: Handler,
    tmp_path: Path,
    *,
    jobs: int = 1,
    until: Callable[[Worker], Any] | None = None,
    **options: Any,
) -> Counter[RunEnd]:
    """Run a worker for so many jobs, or until `until` returns."""
    coordinator.waiting = jobs
    async with AsyncClient(coordinator.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id="w", max_jobs=jobs, workdir=tmp_path, min_free=0, poll_wait=1)
        worker.handler("pdf", **options)(handler)
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                assert until is not None
                await until(worker)
                worker.stop()

            if until is not None:
                nursery.start_soon(stop)
            tally = await worker.run_async()
            nursery.cancel_scope.cancel()
    return tally


async def pids(tmp_path: Path) -> tuple[int, int]:
    await eventually((tmp_path / "pids").exists)
    handler, child = (tmp_path / "pids").read_text().split()
    return int(handler), int(child)


@pytest.mark.parametrize("handler", [handlers.upper, handlers.upper_async], ids=["plain", "async"])
@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_a_handler_runs_wherever_it_is_put(
    coordinator: Coordinator, tmp_path: Path, handler: Handler, isolation: str
) -> None:
    assert await run(coordinator, handler, tmp_path, isolation=isolation) == {RunEnd.COMPLETED: 1}
    assert coordinator.outputs == {"/output/1": b"THE SOURCE"}
    (complete,) = coordinator.posted("/api/jobs/1/complete")
    assert complete["result"].get("filename") == ("upper.txt" if handler is handlers.upper else None)
    assert list(tmp_path.iterdir()) == []


async def test_its_process_is_kept_for_the_next_job(coordinator: Coordinator, tmp_path: Path) -> None:
    assert await run(coordinator, handlers.pid, tmp_path, jobs=3) == {RunEnd.COMPLETED: 3}
    assert len(set(coordinator.outputs.values())) == 1


async def test_its_process_is_replaced_after_so_many_jobs(coordinator: Coordinator, tmp_path: Path) -> None:
    assert await run(coordinator, handlers.pid, tmp_path, jobs=4, recycle_after=2) == {RunEnd.COMPLETED: 4}
    assert len(set(coordinator.outputs.values())) == 2


async def test_a_process_that_has_grown_is_replaced(coordinator: Coordinator, tmp_path: Path) -> None:
    options = {"jobs": 3, "max_memory": 400_000_000}
    assert await run(coordinator, handlers.grows, tmp_path, **options) == {RunEnd.COMPLETED: 3}
    assert len(set(coordinator.outputs.values())) == 3


async def test_a_process_has_no_more_memory_than_its_limit(coordinator: Coordinator, tmp_path: Path) -> None:
    assert await run(coordinator, handlers.grows, tmp_path, max_memory=250_000_000) == {RunEnd.FAILED: 1}
    assert coordinator.posted("/api/jobs/1/fail")[0]["kind"] == "MemoryError"


async def test_a_daemon_of_a_handler_ends_with_its_job(coordinator: Coordinator, tmp_path: Path) -> None:
    """Its environment is clean, and it has left group, session and parent; the handler's process lives on."""
    assert await run(coordinator, handlers.leaves_a_daemon, tmp_path, jobs=2) == {RunEnd.COMPLETED: 2}
    for pid in coordinator.outputs.values():
        assert not alive(int(pid))


@pytest.mark.parametrize(
    ("handler", "kind", "error"),
    [
        (handlers.broken, "ZeroDivisionError", "no pages"),
        (handlers.segfault, "Signal", "killed by SIGSEGV: last words"),
        (handlers.exits, "SystemExit", "enough"),
    ],
    ids=["exception", "crash", "exit"],
)
async def test_what_ends_a_handler_costs_one_attempt(
    coordinator: Coordinator, tmp_path: Path, handler: Handler, kind: str, error: str
) -> None:
    assert await run(coordinator, handler, tmp_path, jobs=2) == {RunEnd.FAILED: 2}
    for number in (1, 2):  # the second one has a fresh process where the first has died
        (fail,) = coordinator.posted(f"/api/jobs/{number}/fail")
        assert (fail["kind"], fail["error"]) == (kind, error)


async def test_a_failure_brings_its_traceback_and_what_was_printed(coordinator: Coordinator, tmp_path: Path) -> None:
    await run(coordinator, handlers.broken, tmp_path)
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert "raise ZeroDivisionError" in fail["traceback"]
    assert fail["log_tail"] == "--- stderr ---\na warning\n--- stdout ---\nabout to divide\n"


async def test_a_failure_may_say_that_it_is_final(coordinator: Coordinator, tmp_path: Path) -> None:
    await run(coordinator, handlers.encrypted, tmp_path)
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert (fail["kind"], fail["log_tail"], fail["retryable"]) == ("Encrypted", "the log", False)


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize("handler", [handlers.disk_full, handlers.gpu_lost], ids=["disk-full", "trouble"])
async def test_trouble_of_the_machine_gives_the_job_back(
    coordinator: Coordinator, tmp_path: Path, handler: Handler, isolation: str
) -> None:
    assert await run(coordinator, handler, tmp_path, isolation=isolation) == {RunEnd.RELEASED: 1}
    (release,) = coordinator.posted("/api/jobs/1/release")
    assert release["reason"].startswith(("the disk is full", "the GPU is gone"))


async def test_neither_a_release_nor_progress_tells_a_secret(coordinator: Coordinator, tmp_path: Path) -> None:
    beats: list[Any] = []

    def beat(request: Request) -> Answer:
        beats.extend(job["progress"].get("message") for job in request.json.get("jobs", []))
        return OK

    coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    assert await run(coordinator, handlers.tells_a_secret, tmp_path) == {RunEnd.RELEASED: 1}
    (release,) = coordinator.posted("/api/jobs/1/release")
    assert release["reason"] == "PUT https://user:[redacted]@nas/x failed"
    assert set(beats) - {None} == {"GET https://user:[redacted]@nas/x"}


async def test_a_handler_that_holds_the_gil_does_not_hold_up_heartbeats(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """One and a half seconds in C, the GIL held: thirty heartbeats are due meanwhile, and the worker makes them."""
    beats: list[Any] = []

    def beat(request: Request) -> Answer:
        if any(job["progress"].get("stage") == "converting" for job in request.json.get("jobs", [])):
            beats.append(request.json)
        return OK

    coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    assert await run(coordinator, handlers.holds_the_gil, tmp_path) == {RunEnd.COMPLETED: 1}
    assert len(beats) >= 5


@pytest.mark.parametrize("limit", ["timeout", "stall_timeout"])
async def test_a_limit_kills_the_handler_and_what_it_started(
    coordinator: Coordinator, tmp_path: Path, limit: str
) -> None:
    assert await run(coordinator, handlers.hangs, tmp_path, kill_after=0.2, **{limit: 1.0}) == {RunEnd.FAILED: 1}
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert fail["kind"] == {"timeout": "Timeout", "stall_timeout": "Stalled"}[limit]
    handler, child = await pids(tmp_path)
    await eventually(lambda: not alive(handler) and not alive(child))


async def test_what_a_handler_leaves_running_is_killed(coordinator: Coordinator, tmp_path: Path) -> None:
    assert await run(coordinator, handlers.leaks, tmp_path, jobs=2) == {RunEnd.COMPLETED: 2}
    assert list(coordinator.outputs.values()) == [b"none", b"Z"], (
        "killed with its job, not with the handler's process"
    )
    _handler, child = await pids(tmp_path)
    await eventually(lambda: not alive(child))


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_the_cancel_signal_reaches_the_handler(
    coordinator: Coordinator, tmp_path: Path, isolation: str
) -> None:
    async def until(_: Worker) -> None:
        await pids(tmp_path)

    tally = await run(coordinator, handlers.stops_when_told, tmp_path, until=until, isolation=isolation)
    assert tally == {RunEnd.RELEASED: 1}


async def test_a_handler_that_cannot_be_loaded_is_told_before_any_job_is_taken(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLOADABLE", "1")
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerTrouble, match="ImportError: no such model")):
        await run(coordinator, handlers.upper, tmp_path)
    assert coordinator.waiting == 1
    assert coordinator.posted("/api/workers/register") == []


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize(
    ("of_worker", "of_type", "said"),
    [
        (None, None, "Marker 1.3.2rc1"),
        ("m 1", None, "m 1"),
        ("m 1", "m 2.0", "m 2.0"),
        (None, "m 2.0", "m 2.0"),
    ],
)
async def test_what_makes_the_results_is_said_by_the_handler_its_type_or_its_worker(
    coordinator: Coordinator,
    tmp_path: Path,
    isolation: str,
    of_worker: str | None,
    of_type: str | None,
    said: str,
) -> None:
    coordinator.waiting = 1
    async with AsyncClient(coordinator.url, token="bf_x") as client:
        worker = Worker(
            client=client, worker_id="w", max_jobs=1, workdir=tmp_path, min_free=0, poll_wait=1, converter=of_worker
        )
        worker.handler("pdf", isolation=isolation, converter=of_type)(handlers.says_what_it_is)  # type: ignore[arg-type]
        assert await worker.run_async() == {RunEnd.COMPLETED: 1}
    (registered,) = coordinator.posted("/api/workers/register")
    (complete,) = coordinator.posted("/api/jobs/1/complete")
    assert (registered["converter"], complete["converter"]) == (said, said)


async def test_a_worker_with_several_converters_says_which_with_each_result(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.waiting = 1
    async with AsyncClient(coordinator.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id="w", max_jobs=1, workdir=tmp_path, min_free=0, poll_wait=1)
        worker.handler("pdf", isolation="thread")(handlers.says_what_it_is)
        worker.handler("epub", isolation="thread", converter="other 2")(handlers.upper)
        await worker.run_async()
    (registered,) = coordinator.posted("/api/workers/register")
    (complete,) = coordinator.posted("/api/jobs/1/complete")
    assert "converter" not in registered
    assert complete["converter"] == "Marker 1.3.2rc1"


async def test_what_is_no_converter_is_told_before_any_job_is_taken(coordinator: Coordinator, tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerTrouble, match="'marker' is no converter")):
        await run(coordinator, handlers.says_nonsense, tmp_path)
    assert coordinator.posted("/api/workers/register") == []
    with pytest.raises(ValueError, match="is no converter"):
        Worker(worker_id="w", converter="1.3")


def test_a_function_that_nobody_else_can_find_is_refused_at_once() -> None:
    def inner(job: Job) -> None:
        del job

    worker = Worker()
    with pytest.raises(ValueError, match="at the top of a module"):
        worker.handler("pdf")(inner)
    worker.handler("pdf", isolation="thread")(inner)
    with pytest.raises(ValueError, match="two handlers"):
        worker.handler("pdf")(handlers.upper)
    with pytest.raises(ValueError, match="at least one job type"):
        worker.handler()(handlers.upper)
    with pytest.raises(ValueError, match="timeout"):
        worker.handler("txt", timeout=0)


async def test_a_thread_that_goes_on_after_its_timeout_keeps_its_slot(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A thread cannot be killed: the attempt fails in time, and no second conversion starts beside the thread."""
    go_on, running, most = threading.Event(), [0], [0]

    def stubborn(job: Job) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        if job.id == 1:
            go_on.wait(30)
        else:
            job.output.write_text("x")
        running[0] -= 1

    async def until(worker: Worker) -> None:
        await eventually(lambda: worker.tally[RunEnd.FAILED] == 1)
        seen = len(coordinator.scripted.requests)
        await eventually(lambda: len(coordinator.scripted.requests) > seen + 5)  # heartbeats; and no claim
        assert coordinator.waiting == 1
        go_on.set()
        await eventually(lambda: worker.tally[RunEnd.COMPLETED] == 1)

    tally = await run(
        coordinator, stubborn, tmp_path, jobs=2, until=until, isolation="thread", timeout=0.2, kill_after=0.05
    )
    assert tally == {RunEnd.FAILED: 1, RunEnd.COMPLETED: 1}
    assert most == [1]


async def test_a_handler_that_holds_up_the_loop_is_told(
    coordinator: Coordinator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With isolation='thread' this is possible; what must not be is that it happens silently."""

    def told() -> bool:
        return any(getattr(record, "event", "") == "heartbeat-late" for record in caplog.records)

    async def blocking(job: Job) -> None:
        for _ in range(5):  # a heartbeat that was just being sent when the loop stood still was not late
            await trio.sleep(0.1)
            time.sleep(2.5)  # no await: the loop stands still
            await trio.sleep(0.2)
            if told():
                break
        job.output.write_text("x")

    assert await run(coordinator, blocking, tmp_path, isolation="thread") == {RunEnd.COMPLETED: 1}
    assert told()
