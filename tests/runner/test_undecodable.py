"""Bytes of file names that are no UTF-8, in all that a handler may say: the attempt ends as it would without them."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from blobforge.runner import Job, JobFailed, RunEnd, Worker
from tests.runner.coordinator import OK, Coordinator
from tests.runner.scripted import Answer, Request, Scripted

NAME = os.fsdecode(b"caf\xe9.txt")


def named(job: Job) -> None:
    (job.outputs / NAME).write_text("x")


def refuses(_job: Job) -> None:
    raise JobFailed(f"cannot read {NAME}", log_tail=NAME)


def reports(job: Job) -> None:
    job.progress(1, 2, message=NAME)
    while not any((folder / "heard").exists() for folder in job.workdir.parents):
        job.raise_if_cancelled()
        time.sleep(0.01)
    job.output.write_text("x")


@pytest.fixture
async def coordinator(scripted: Scripted, tmp_path: Path) -> Coordinator:
    coordinator = Coordinator(scripted)
    coordinator.waiting = 1

    def beat(request: Request) -> Answer:
        if any((held.get("progress") or {}).get("message") == "caf%E9.txt" for held in request.json.get("jobs", ())):
            (tmp_path / "heard").touch()
        return OK

    scripted.scripts["POST", "/api/workers/w/heartbeat"] = beat
    return coordinator


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize(
    ("handler", "outcome"),
    [(named, RunEnd.COMPLETED), (refuses, RunEnd.FAILED), (reports, RunEnd.COMPLETED)],
    ids=["an output's name", "a failure", "progress"],
)
async def test_an_attempt_ends_as_it_would(
    coordinator: Coordinator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    handler: object,
    outcome: RunEnd,
    isolation: str,
) -> None:
    worker = Worker(
        coordinator.url,
        token="bf_t",
        worker_id="w",
        max_jobs=1,
        min_free=0,
        poll_wait=0,
        workdir=tmp_path,
    )
    worker.handler("pdf", isolation=isolation)(handler)  # type: ignore[call-overload]
    assert await worker.run_async() == {outcome: 1}
    assert coordinator.posted("/api/jobs/1/release") == []
    assert all(record.getMessage().isprintable() for record in caplog.records if record.name == "blobforge.runner")
    if handler is named:
        (sent,) = coordinator.posted("/api/jobs/1/complete")
        assert sent["result"]["filename"] == "caf%E9.txt"
        original = base64.b64encode(os.fsencode(NAME)).decode()
        assert sent["result"]["original_names"] == {"caf%E9.txt": original}
    if handler is refuses:
        (sent,) = coordinator.posted("/api/jobs/1/fail")
        assert (sent["error"], sent["log_tail"]) == ("cannot read caf%E9.txt", "caf%E9.txt")
