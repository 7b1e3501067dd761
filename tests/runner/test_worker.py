"""The worker against a coordinator that misbehaves: it takes jobs back, goes away, loses answers, drains."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import ApiError, AsyncClient
from blobforge.runner import Command, Handler, Job, JobFailed, RunEnd, Worker, WorkerTrouble
from blobforge.runner.handlers import InWorker
from tests.runner.coordinator import LEASE_LOST, OK, SOURCE, Coordinator
from tests.runner.scripted import LOSE, Answer, Request, Scripted, eventually


@pytest.fixture
def coordinator(scripted: Scripted) -> Coordinator:
    return Coordinator(scripted)


def copy(job: Job) -> None:
    job.output.write_bytes(job.source.read_bytes().upper())


async def run(
    coordinator: Coordinator,
    handler: Handler,
    until: Callable[[Worker], Any] | None = None,
    **options: Any,
) -> Counter[RunEnd]:
    """Run a worker until `until` returns, or (without it) for one job."""
    async with AsyncClient(coordinator.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id="w", once=until is None, min_free=0, **options)
        worker.add(["pdf"], handler if isinstance(handler, Command) else InWorker(handler))
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                assert until is not None
                await until(worker)
                worker.stop()

            if until is not None:
                nursery.start_soon(stop)
            return await worker.run_async()


async def test_a_job_from_claim_to_completion(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.waiting = 1
    tally = await run(coordinator, copy, output_suffix=".txt", workdir=tmp_path)
    assert tally == {RunEnd.COMPLETED: 1}
    assert coordinator.outputs == {"/output/1": b"THE SOURCE"}
    (complete,) = coordinator.posted("/api/jobs/1/complete")
    assert complete["result"].pop("seconds") >= 0
    assert complete == {
        "worker_id": "w",
        "lease": "lease-1",
        "output_key": "outputs/1/1/output",
        "checksum": hashlib.sha256(b"THE SOURCE").hexdigest(),
        "result": {"size": 10, "filename": "a.txt", "content_type": "text/plain"},
    }
    assert len(coordinator.posted("/api/workers/register")) == 1
    assert len(coordinator.scripted.to("POST", "/api/workers/w/unregister")) == 1
    assert list(tmp_path.iterdir()) == []


async def test_once_with_no_job_ends(coordinator: Coordinator) -> None:
    assert await run(coordinator, copy, poll_wait=0) == {}


async def test_an_exception_fails_the_job_with_its_traceback(coordinator: Coordinator) -> None:
    def handler(_: Job) -> None:
        raise ZeroDivisionError("no pages")

    coordinator.waiting = 1
    assert await run(coordinator, handler) == {RunEnd.FAILED: 1}
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert (fail["error"], fail["kind"], fail["lease"]) == ("no pages", "ZeroDivisionError", "lease-1")
    assert "raise ZeroDivisionError" in fail["traceback"]


async def test_a_failure_may_say_that_it_is_final(coordinator: Coordinator) -> None:
    async def handler(_: Job) -> None:
        raise JobFailed("encrypted", kind="Encrypted", log_tail="the log", retryable=False)

    coordinator.waiting = 1
    await run(coordinator, handler)
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert fail == {
        "worker_id": "w",
        "lease": "lease-1",
        "error": "encrypted",
        "kind": "Encrypted",
        "log_tail": "the log",
        "retryable": False,
    }


async def test_a_damaged_source_is_never_converted(coordinator: Coordinator) -> None:
    def handler(_: Job) -> None:
        pytest.fail("it was given a damaged source")

    coordinator.scripted.on("GET", "/source", Answer(b"something else"))
    coordinator.waiting = 1
    assert await run(coordinator, handler) == {RunEnd.FAILED: 1}
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert fail["kind"] == "ChecksumMismatch"


async def test_trouble_of_the_machine_costs_the_job_nothing(coordinator: Coordinator) -> None:
    def handler(_: Job) -> None:
        raise WorkerTrouble("disk full")

    coordinator.waiting = 1
    assert await run(coordinator, handler) == {RunEnd.RELEASED: 1}
    assert coordinator.posted("/api/jobs/1/release") == [
        {"worker_id": "w", "lease": "lease-1", "reason": "disk full", "cause": "trouble"}
    ]


async def test_a_job_without_room_goes_back_and_others_are_taken_at_once(coordinator: Coordinator) -> None:
    claimed = coordinator.claimed

    def first_too_large() -> dict[str, Any]:
        claim = claimed()
        if claim["job"]["id"] == 1:
            claim["job"]["source_size"] = 1 << 60
        return claim

    coordinator.claimed = first_too_large  # type: ignore[method-assign]
    coordinator.waiting = 3

    async def others_are_done(_: Worker) -> None:
        await coordinator.seen("/api/jobs/3/complete")

    tally = await run(coordinator, copy, others_are_done)
    assert tally == {RunEnd.COMPLETED: 2, RunEnd.RELEASED: 1}
    (release,) = coordinator.posted("/api/jobs/1/release")
    assert "this job takes" in release["reason"]
    assert release["cause"] == "trouble"


async def test_an_expired_upload_url_is_replaced(coordinator: Coordinator) -> None:
    coordinator.scripted.on("PUT", "/output/1", Answer(b"expired", 403))
    coordinator.scripted.on(
        "POST", "/api/files/upload-url", Answer({"url": f"{coordinator.url}/output/2", "key": "outputs/1/1/output"})
    )
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.COMPLETED: 1}
    assert coordinator.posted("/api/files/upload-url") == [{"job_id": 1, "lease": "lease-1", "write_once": True}]
    assert coordinator.outputs == {"/output/2": b"THE SOURCE"}


async def test_an_expired_source_url_is_replaced(coordinator: Coordinator) -> None:
    coordinator.scripted.on("GET", "/source", Answer(b"<Error><Code>AccessDenied</Code></Error>", 403))
    coordinator.scripted.on("GET", "/fresh", Answer(SOURCE))
    coordinator.scripted.on("POST", "/api/files/source-url", Answer({"url": f"{coordinator.url}/fresh"}))
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.COMPLETED: 1}
    assert coordinator.posted("/api/files/source-url") == [{"job_id": 1, "lease": "lease-1"}]
    assert coordinator.outputs == {"/output/1": b"THE SOURCE"}


async def test_a_source_whose_fresh_urls_are_refused_goes_back(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose clock is wrong, or that refuses the server's own key."""
    monkeypatch.setattr("blobforge.runner.fetch._FRESH_URLS", 2)
    coordinator.scripted.on("GET", "/source", Answer(b"<Error><Code>AccessDenied</Code></Error>", 403))
    coordinator.scripted.on("POST", "/api/files/source-url", Answer({"url": f"{coordinator.url}/source"}))
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.RELEASED: 1}
    assert len(coordinator.posted("/api/files/source-url")) == 2
    (release,) = coordinator.posted("/api/jobs/1/release")
    assert "the source cannot be downloaded" in release["reason"]


async def test_a_server_without_fresh_urls_of_sources_gets_the_job_back(coordinator: Coordinator) -> None:
    """An older release, which has no such route: the store's own words are the reason."""
    coordinator.scripted.on("GET", "/source", Answer(b"<Error><Code>AccessDenied</Code></Error>", 403))
    unknown = {"type": "urn:blobforge:problem:no-such-route", "detail": "There is no such route."}
    coordinator.scripted.on("POST", "/api/files/source-url", Answer(unknown, 404))
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.RELEASED: 1}
    (release,) = coordinator.posted("/api/jobs/1/release")
    assert "AccessDenied" in release["reason"]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_source_that_is_not_there_fails_the_job(coordinator: Coordinator, status: int) -> None:
    coordinator.scripted.on("GET", "/source", Answer(b"<Error><Code>NoSuchKey</Code></Error>", status))
    coordinator.scripted.on("POST", "/api/files/source-url", Answer({"url": f"{coordinator.url}/source"}))
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.FAILED: 1}
    assert len(coordinator.posted("/api/files/source-url")) == (status == 410)
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert fail["kind"] == "SourceMissing"


async def test_a_job_that_was_lost_before_its_source_came_is_dropped(coordinator: Coordinator) -> None:
    coordinator.scripted.on("GET", "/source", Answer(b"<Error><Code>AccessDenied</Code></Error>", 403))
    coordinator.scripted.on("POST", "/api/files/source-url", LEASE_LOST)
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.DROPPED: 1}
    assert coordinator.posted("/api/jobs/1/release") == []


async def test_an_output_that_may_be_written_once_is_there_after_a_lost_answer(coordinator: Coordinator) -> None:
    """The repeated PUT is refused with 412: what is there is what was sent before."""
    claimed = coordinator.claimed

    def once() -> dict[str, Any]:
        return claimed() | {"upload_headers": {"If-None-Match": "*"}}

    coordinator.claimed = once  # type: ignore[method-assign]
    there = Answer(b"<Error><Code>PreconditionFailed</Code></Error>", 412)
    coordinator.scripted.on("PUT", "/output/1", LOSE, there)
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.COMPLETED: 1}
    assert coordinator.posted("/api/jobs/claim")[0]["write_once"] is True
    puts = coordinator.scripted.to("PUT", "/output/1?signature=1")
    assert [put.headers["if-none-match"] for put in puts] == ["*", "*"]
    (done,) = coordinator.posted("/api/jobs/1/complete")
    assert done["checksum"] == hashlib.sha256(b"THE SOURCE").hexdigest()


async def test_a_412_to_what_was_not_asked_for_once_is_a_refusal(coordinator: Coordinator) -> None:
    """As of older servers, which sign no such header."""
    coordinator.scripted.on("PUT", "/output/1", Answer(b"<Error><Code>PreconditionFailed</Code></Error>", 412))
    coordinator.scripted.on(
        "POST", "/api/files/upload-url", Answer({"url": f"{coordinator.url}/output/2", "key": "outputs/1/1/output"})
    )
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.COMPLETED: 1}
    assert coordinator.outputs == {"/output/2": b"THE SOURCE"}


async def test_a_lost_completion_answer_is_repeated_as_the_same_request(coordinator: Coordinator) -> None:
    coordinator.scripted.on("POST", "/api/jobs/1/complete", LOSE, Answer({}, 503), OK)
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.COMPLETED: 1}
    requests = coordinator.scripted.to("POST", "/api/jobs/1/complete")
    assert len({request.headers["idempotency-key"] for request in requests}) == 1


async def test_a_completion_that_is_not_ours_any_more_is_dropped(coordinator: Coordinator) -> None:
    coordinator.scripted.on("POST", "/api/jobs/1/complete", LEASE_LOST)
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.DROPPED: 1}
    assert coordinator.posted("/api/jobs/1/fail") == []
    assert coordinator.posted("/api/jobs/1/release") == []


async def test_a_result_that_the_server_refuses_fails_the_job(coordinator: Coordinator) -> None:
    missing = {"type": "https://blobforge.example/problems/output-missing", "detail": "No such object."}
    coordinator.scripted.on("POST", "/api/jobs/1/complete", Answer(missing, 409))
    coordinator.waiting = 1
    assert await run(coordinator, copy) == {RunEnd.FAILED: 1}
    (fail,) = coordinator.posted("/api/jobs/1/fail")
    assert fail["kind"] == "ResultRefused"


def sleeper(tmp_path: Path) -> Command:
    """A command that says its pid and sleeps."""
    pid = tmp_path / "pid"
    return Command(f"sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 1000'")


async def pid_of(tmp_path: Path) -> int:
    await eventually((tmp_path / "pid").exists)
    return int((tmp_path / "pid").read_text())


def killed(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_heartbeats_renew_the_lease_while_the_command_runs_and_carry_progress(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    beats: list[Any] = []

    def beat(request: Request) -> Answer:
        beats.append(request.json)
        return OK

    async def handler(job: Job) -> None:
        job.progress(3, 9, stage="pages")
        await eventually(lambda: len([beat for beat in beats if beat.get("jobs")]) >= 3)
        job.output.touch()

    coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    coordinator.waiting = 1
    assert await run(coordinator, handler) == {RunEnd.COMPLETED: 1}
    said = {"job_id": 1, "lease": "lease-1", "progress": {"stage": "pages", "done": 3, "total": 9}}
    assert [said] in [beat.get("jobs") for beat in beats]


async def test_a_job_of_a_hasty_type_has_heartbeats_at_its_own_interval(coordinator: Coordinator) -> None:
    """The worker was told an hour, and is in the middle of it when the job comes."""
    hour = Answer({"status": "registered", "heartbeat_interval": 3600.0})
    coordinator.scripted.on("POST", "/api/workers/register", hour)
    hasty = Answer({"status": "ok", "heartbeat_interval": 0.05})
    coordinator.scripted.on("POST", "/api/workers/w/heartbeat", hasty)
    claimed = coordinator.claimed
    coordinator.claimed = lambda: claimed() | {"heartbeat_interval": 0.05}  # type: ignore[method-assign]

    async def handler(job: Job) -> None:
        await eventually(lambda: len(coordinator.posted("/api/workers/w/heartbeat")) >= 3)
        copy(job)

    coordinator.waiting = 1
    assert await run(coordinator, handler) == {RunEnd.COMPLETED: 1}
    assert "heartbeat_interval" in coordinator.posted("/api/jobs/claim")[0]["accepts"]
    beats = coordinator.posted("/api/workers/w/heartbeat")
    assert all(beat["jobs"] for beat in beats), "none beside the job: then the hour counts again"


async def test_abandon_kills_the_command_and_nothing_is_said_of_the_job(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    def beat(request: Request) -> Answer:
        held = request.json.get("jobs", [])
        return Answer({"status": "ok", "abandon": [1] if held and (tmp_path / "pid").exists() else []})

    coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    coordinator.waiting = 1
    tally = await run(coordinator, sleeper(tmp_path), workdir=tmp_path)
    assert tally == {RunEnd.DROPPED: 1}
    assert killed(await pid_of(tmp_path))
    for action in ("complete", "fail", "release"):
        assert coordinator.posted(f"/api/jobs/1/{action}") == []
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]


def given_anew(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """It has one job, which it gives with each claim; the leases so far."""
    leases: list[str] = []
    claimed = coordinator.claimed

    def one() -> dict[str, Any]:
        coordinator.handed_out = 0
        leases.append(f"lease of claim {len(leases)}")
        return claimed() | {"lease": leases[-1]}

    monkeypatch.setattr(coordinator, "claimed", one)
    coordinator.waiting = 1
    return leases


async def test_a_job_that_is_given_anew_is_no_longer_worked_on_by_its_former_lease(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a standstill: the lease has ended, and the worker itself is the next that claims the job."""
    leases = given_anew(coordinator, monkeypatch)

    async def handler(job: Job) -> None:
        if len(leases) == 1:
            coordinator.waiting = 1
            await trio.sleep_forever()
        copy(job)

    async def until(_: Worker) -> None:
        await coordinator.seen("/api/jobs/1/complete")

    tally = await run(coordinator, handler, until, concurrency=2)
    assert tally == {RunEnd.DROPPED: 1, RunEnd.COMPLETED: 1}
    assert [sent["lease"] for sent in coordinator.posted("/api/jobs/1/complete")] == [leases[1]]
    for action in ("fail", "release"):
        assert coordinator.posted(f"/api/jobs/1/{action}") == []


async def test_a_former_lease_is_not_named_while_its_attempt_takes_its_time_to_end(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of the release before would have the job abandoned, which is in hand by its new lease."""
    leases, over = given_anew(coordinator, monkeypatch), trio.Event()

    def beat(request: Request) -> Answer:
        gone = [each["job_id"] for each in request.json.get("jobs", []) if each["lease"] != leases[-1]]
        return Answer({"status": "ok", "abandon": gone})

    async def handler(job: Job) -> None:
        if len(leases) == 1:
            coordinator.waiting = 1
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(10, shield=True):
                    await over.wait()
        beats = len(coordinator.posted("/api/workers/w/heartbeat"))
        try:
            await eventually(lambda: len(coordinator.posted("/api/workers/w/heartbeat")) > beats + 2)
        finally:
            over.set()
        copy(job)

    async def until(worker: Worker) -> None:
        await eventually(lambda: worker.tally.total() == 2)

    coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    assert await run(coordinator, handler, until, concurrency=2) == {RunEnd.DROPPED: 1, RunEnd.COMPLETED: 1}
    assert [sent["lease"] for sent in coordinator.posted("/api/jobs/1/complete")] == [leases[1]]


async def test_stop_kills_the_command_and_gives_the_job_back(coordinator: Coordinator, tmp_path: Path) -> None:
    async def until(_: Worker) -> None:
        await pid_of(tmp_path)

    coordinator.waiting = 1
    tally = await run(coordinator, sleeper(tmp_path), until, workdir=tmp_path)
    assert tally == {RunEnd.RELEASED: 1}
    assert killed(await pid_of(tmp_path))
    (release,) = coordinator.posted("/api/jobs/1/release")
    why = {"reason": "the worker is stopping", "cause": "shutdown"}
    assert release == {"worker_id": "w", "lease": "lease-1"} | why
    paths = [request.path for request in coordinator.scripted.requests]
    assert paths.index("/api/jobs/1/release") < paths.index("/api/workers/w/unregister")


async def test_a_server_that_is_away_costs_nothing(coordinator: Coordinator) -> None:
    """Heartbeats, the upload and the completion find nobody for a while; the job is completed all the same."""
    away = trio.Event()
    coordinator.scripted.on("POST", "/api/jobs/1/complete", LOSE, LOSE, OK)
    coordinator.scripted.on("POST", "/api/workers/w/heartbeat", LOSE, LOSE, LOSE, OK)
    coordinator.scripted.on("PUT", "/output/1", LOSE, Answer({}, 503), Answer(b""))

    async def handler(job: Job) -> None:
        await eventually(lambda: len(coordinator.posted("/api/workers/w/heartbeat")) >= 3)
        away.set()
        copy(job)

    coordinator.waiting = 1
    assert await run(coordinator, handler) == {RunEnd.COMPLETED: 1}
    assert away.is_set()


async def test_several_jobs_side_by_side_in_one_heartbeat(coordinator: Coordinator) -> None:
    together = trio.Event()

    def beat(request: Request) -> Answer:
        if {job["job_id"] for job in request.json.get("jobs", [])} == {1, 2, 3}:
            together.set()
        return OK

    async def handler(job: Job) -> None:
        await together.wait()
        copy(job)

    async def until(worker: Worker) -> None:
        await eventually(lambda: worker.tally[RunEnd.COMPLETED] == 4)

    coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    coordinator.waiting = 4
    assert await run(coordinator, handler, until, concurrency=3) == {RunEnd.COMPLETED: 4}
    assert coordinator.posted("/api/jobs/claim")[0]["limit"] == 3
    assert len({claim["claim_key"] for claim in coordinator.posted("/api/jobs/claim")}) == len(
        coordinator.posted("/api/jobs/claim")
    )


async def test_a_draining_worker_ends_what_it_has_and_takes_no_more(coordinator: Coordinator) -> None:
    draining: list[bool] = []

    def beat(_: Request) -> Answer:
        draining.append(True)
        return Answer({"status": "ok", "drain": True})

    async def handler(job: Job) -> None:
        coordinator.scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
        coordinator.waiting = 1
        await eventually(lambda: len(draining) >= 2)
        copy(job)

    async def until(worker: Worker) -> None:
        await eventually(lambda: worker.tally[RunEnd.COMPLETED] == 1)
        seen = len(draining)
        await eventually(lambda: len(draining) >= seen + 3)  # it lives on, and keeps its hands off

    coordinator.waiting = 1
    assert await run(coordinator, handler, until) == {RunEnd.COMPLETED: 1}
    assert coordinator.waiting == 1


async def test_a_server_that_forgot_the_worker_gets_to_know_it_again(coordinator: Coordinator) -> None:
    forgotten = [Answer({"detail": "no such worker"}, 404)]

    async def claim(request: Request) -> Answer:
        return forgotten.pop() if forgotten else await coordinator.claim(request)

    coordinator.scripted.scripts["POST", "/api/jobs/claim"] = claim

    async def until(worker: Worker) -> None:
        await eventually(lambda: worker.tally[RunEnd.COMPLETED] == 1)

    coordinator.waiting = 1
    assert await run(coordinator, copy, until) == {RunEnd.COMPLETED: 1}
    assert len(coordinator.posted("/api/workers/register")) == 2


async def test_a_credential_that_is_void_ends_the_worker(coordinator: Coordinator) -> None:
    async def until(_: Worker) -> None:
        await trio.sleep_forever()

    coordinator.scripted.on("POST", "/api/jobs/claim", Answer({"detail": "void"}, 401))
    with pytest.RaisesGroup(pytest.RaisesExc(ApiError)):  # the group is the test's own nursery's
        await run(coordinator, copy, until)
