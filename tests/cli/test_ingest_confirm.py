"""Uploads that the server was not told of at once: it is asked for each later; what is not there failed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from blobforge.cli.common import CliSession
from blobforge.cli.ingest import uploads
from blobforge.cli.ingest.batches import AwaitedUpload, Batches, JobOptions
from blobforge.cli.ingest.cache import Content, HashCache
from blobforge.cli.ingest.find import Candidate
from blobforge.cli.ingest.hashing import Hashed
from blobforge.cli.ingest.report import Report
from blobforge.cli.ingest.uploads import Uploads
from blobforge.client import ApiError, AsyncClient, BatchItem

MISSING = ApiError(409, "source-missing", "The source is not there.")


class Answers:
    """The server's side of the end of a run."""

    def __init__(self, refused: dict[int, ApiError]) -> None:
        self.refused = refused
        self.asked: Counter[int] = Counter()
        self.deleted: list[int] = []

    def with_patience(self, seconds: float) -> Answers:
        return self

    async def source_uploaded(self, job_id: int) -> None:
        self.asked[job_id] += 1
        if job_id in self.refused:
            raise self.refused[job_id]

    async def delete_job(self, job_id: int) -> None:
        self.deleted.append(job_id)


class Run:
    """Uploads that have ended, with what the server answers to each."""

    def __init__(self, folder: Path, refused: dict[int, ApiError]) -> None:
        self.folder = folder
        self.server = Answers(refused)
        client = cast(AsyncClient, self.server)
        self.report = Report(CliSession(quiet=True))
        self.batches = Batches(client, JobOptions(), self.report)
        self.uploads = Uploads(client, self.batches, self.report, HashCache(None))

    async def uploaded(self, *jobs: tuple[int, bool], digest: str) -> None:
        """Files of the same bytes, whose jobs (id, known already) wait for them, have been sent."""
        waiting = []
        for number, existing in jobs:
            file = Candidate(str(self.folder / f"{number}.pdf"), "pdf", (), 1, 0, 0, 0)
            item = BatchItem(job_id=number, existing=existing, status="uploading", upload_url="")
            waiting.append(AwaitedUpload(Hashed(file, Content(digest, 1, pointer=False)), item))
        self.report.discovered(len(waiting), len(waiting))
        self.batches._awaited[digest] = waiting
        await self.uploads._alone(waiting[0], tell=False, status="uploading")

    async def end(self) -> None:
        await self.uploads.confirm()
        await self.batches.take_back()


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(*_: Any) -> None:
        """The store has taken the bytes."""

    monkeypatch.setattr(Uploads, "_send", send)


async def test_a_source_that_is_not_there_after_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, {2: MISSING})
    await run.uploaded((1, False), digest="a" * 64)
    await run.uploaded((2, False), digest="b" * 64)
    await run.end()
    assert run.report.summary() == "2 files: 1 new, 1 failed; 2 uploaded (2 Bytes)"
    assert run.report.code == 5
    assert run.server.deleted == [2], "the job that would wait for ever"
    assert capsys.readouterr().err == f"{tmp_path}/2.pdf: The source is not there.\n"


async def test_all_files_with_these_bytes_are_taken_back(tmp_path: Path) -> None:
    run = Run(tmp_path, {1: MISSING})
    await run.uploaded((1, False), (2, False), (3, True), digest="a" * 64)
    await run.end()
    assert run.report.summary().startswith("3 files: 0 new, 3 failed")
    assert run.server.asked == {1: 1}
    assert run.server.deleted == [1, 2], "those that this run made"


async def test_of_very_many_the_first_ones_do_not_wait_for_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was kept until then, with 2 KB and a task: 7 GB for a million. And no worker had it until then."""
    monkeypatch.setattr(uploads, "MOST_UNCONFIRMED", 10)
    run = Run(tmp_path, {5: MISSING})
    for number in range(1, 31):
        await run.uploaded((number, False), digest=f"{number:064x}")
    assert list(run.server.asked) == list(range(1, 21)), "the oldest ones"
    assert run.report.failed == 1
    await run.end()
    assert run.server.asked == dict.fromkeys(range(1, 31), 1)
    assert run.report.summary().startswith("30 files: 29 new, 1 failed")


async def test_a_server_that_fails_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, {1: ApiError(401, "unauthorised", "Who are you?")})
    await run.uploaded((1, False), digest="a" * 64)
    with pytest.RaisesGroup(pytest.RaisesExc(ApiError, match="Who are you")):
        await run.end()
    assert run.server.deleted == []
