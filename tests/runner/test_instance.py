"""Which process a worker is: kept on disk under a lock, said in each request, and the end when another took over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import AsyncClient
from blobforge.runner import RunEnd, Worker, WorkerReplaced
from blobforge.runner.handlers import InWorker
from blobforge.runner.instance import InstanceFile, state_folder
from tests.runner.coordinator import Coordinator
from tests.runner.scripted import Answer, Request, Scripted

ALIVE = {"type": "urn:blobforge:problem:instance-alive", "detail": "Another process is worker 'w'."}
REPLACED = {"type": "urn:blobforge:problem:instance-replaced", "detail": "Another process has taken over."}


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def coordinator(scripted: Scripted) -> Coordinator:
    return Coordinator(scripted)


def copy(job: Any) -> None:
    job.output.write_bytes(job.source.read_bytes())


async def run(coordinator: Coordinator, handler: Any = copy, worker_id: str | None = "w", **options: Any) -> Worker:
    async with AsyncClient(coordinator.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id=worker_id, min_free=0, **options)
        worker.add(["pdf"], InWorker(handler))
        await worker.run_async()
        return worker


async def test_every_request_says_which_process_makes_it(coordinator: Coordinator) -> None:
    coordinator.waiting = 1
    await run(coordinator, max_jobs=1)
    (register,) = coordinator.posted("/api/workers/register")
    assert "replaces" not in register
    paths = ["/api/jobs/claim", "/api/jobs/1/complete", "/api/workers/w/unregister"]
    (own,) = coordinator.instances("/api/workers/register")
    assert {path: set(coordinator.instances(path)) for path in paths} == {path: {own} for path in paths}


async def test_the_next_process_under_the_id_says_which_one_it_replaces(coordinator: Coordinator) -> None:
    for _ in range(2):
        await run(coordinator, once=True, poll_wait=0)
    first, second = coordinator.instances("/api/workers/register")
    assert first != second
    assert coordinator.posted("/api/workers/register")[1]["replaces"] == first
    (file,) = state_folder().iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_an_id_that_was_made_up_leaves_nothing_on_disk(coordinator: Coordinator, monkeypatch: Any) -> None:
    monkeypatch.setattr("blobforge.runner.worker.default_worker_id", lambda: "w")
    await run(coordinator, worker_id=None, once=True, poll_wait=0)
    assert not state_folder().exists()


async def test_two_processes_on_one_machine_do_not_replace_each_other() -> None:
    """The second one has no lock, and so says nothing of the first: it would end its work, and so on in turns."""
    first, second = InstanceFile(), InstanceFile()
    with first.open("http://server", "w"):
        first.keep()
        with second.open("http://server", "w"):
            assert second.replaces is None
            second.keep()
        other = InstanceFile()
        with other.open("http://another-server", "w"):
            assert other.replaces is None
    third = InstanceFile()
    with third.open("http://server", "w"):
        assert third.replaces == first.name


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that nobody can make: below a file, whoever asks")
async def test_a_state_folder_that_cannot_be_had_costs_nothing_but_the_quick_restart(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    coordinator.waiting = 1
    worker = await run(coordinator, max_jobs=1)
    assert worker.tally == {RunEnd.COMPLETED: 1}


async def test_while_another_process_is_the_worker_it_waits(coordinator: Coordinator) -> None:
    answers = [Answer(ALIVE, 409, {"Retry-After": "0"}), Answer(ALIVE, 409, {"Retry-After": "0"})]
    healthy = coordinator.scripted.scripts["POST", "/api/workers/register"]

    def register(request: Request) -> Any:
        return answers.pop() if answers else healthy(request)

    coordinator.scripted.scripts["POST", "/api/workers/register"] = register
    monkey = pytest.MonkeyPatch()
    monkey.setattr("blobforge.runner.shift._ASK_AGAIN", 0.01)
    coordinator.waiting = 1
    worker = await run(coordinator, max_jobs=1)
    monkey.undo()
    assert worker.tally == {RunEnd.COMPLETED: 1}
    assert len(set(coordinator.instances("/api/workers/register"))) == 1


@pytest.mark.parametrize("where", ["/api/workers/w/heartbeat", "/api/jobs/claim"])
async def test_a_process_that_was_replaced_ends_and_does_not_register_again(
    coordinator: Coordinator, where: str
) -> None:
    async def slowly(job: Any) -> None:
        await trio.sleep(60 if where.endswith("heartbeat") else 0)
        job.output.write_bytes(b"x")

    if where.endswith("heartbeat"):
        coordinator.waiting = 1
    coordinator.scripted.scripts["POST", where] = lambda _: Answer(REPLACED, 409)
    with trio.fail_after(30), pytest.raises(WorkerReplaced):
        await run(coordinator, slowly)
    assert len(coordinator.posted("/api/workers/register")) == 1
    assert coordinator.posted("/api/workers/w/unregister") == []
    assert coordinator.posted("/api/jobs/1/release") == []
