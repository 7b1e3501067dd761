"""Sources that vanish or were never read: which jobs they serve, and which wait for an upload."""

from __future__ import annotations

from pathlib import Path

from actors.messages import (
    Cancel,
    Claim,
    Complete,
    Due,
    ExpireUploads,
    Fail,
    NewJob,
    ObjectSeen,
    Retry,
    Seen,
    SourceArrived,
    SourceRejected,
    Submit,
    Unsent,
    WakeJobs,
)
from tests.store.making import ADMIN, Book, hash_of, submission


def test_a_source_that_vanished_is_awaited_again_whatever_the_job_has_been_through(tmp_path: Path) -> None:
    """Found by the model: submitting it again revived only a job that nobody had ever claimed."""
    book = Book(tmp_path / "blobforge.db")
    book.do(submission("a"))
    book.register("w1")
    lease = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs[0].lease
    book.do(Complete(ADMIN, "w1", 1, lease))
    book.do(SourceRejected(hash_of("a"), "somebody wrote over it"))
    assert book.do(Retry(1)).status == "uploading"
    book.do(ExpireUploads((Unsent(1),), 60.0))
    again = book.do(submission("a", ready=False))
    assert (again.existing, again.status, again.upload) == (True, "uploading", True)
    book.close()


def test_a_source_that_nobody_read_serves_no_job_that_announced_another_size(tmp_path: Path) -> None:
    """Found by the model: its arrival was refused for the job that waited, and good for the next one."""
    book = Book(tmp_path / "blobforge.db")
    book.do(submission("a", ready=False, source_size=7))
    book.do(SourceArrived(hash_of("a"), 5, verified=False))
    present = ObjectSeen(Seen.PRESENT, size=5)
    assert book.do(Submit(NewJob("ocr", hash_of("a"), source_size=7), present)).status == "uploading"
    book.do(Cancel(1))
    assert book.do(Retry(1)).status == "uploading"
    assert book.do(Submit(NewJob("tiff", hash_of("a"), source_size=5), present)).status == "pending"
    book.close()


def test_one_that_was_tried_and_whose_source_vanished_is_revived_when_that_comes(tmp_path: Path) -> None:
    """Found by the model: it had been started once, and stayed dead."""
    book = Book(tmp_path / "blobforge.db")
    book.do(submission("a"))
    book.register("w1")
    lease = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs[0].lease
    book.do(Fail(ADMIN, "w1", 1, "boom", lease))
    (due,) = book.probe.column("jobs", "not_before")
    book.now = due
    book.do(WakeJobs((Due(1, due),)))
    assert book.do(submission("a", ready=False)).status == "uploading"
    book.do(ExpireUploads((Unsent(1),), 60.0))
    assert book.probe.column("jobs", "status") == ["dead"]
    assert book.do(submission("a")).status == "pending"
    book.close()


def test_a_source_that_is_awaited_anew_is_not_given_up_for_the_time_before(tmp_path: Path) -> None:
    """Found by a play of several servers: one had stood still with this in its hand, while another gave the job up
    and had it submitted again."""
    book = Book(tmp_path / "blobforge.db")
    book.do(submission("a", ready=False))
    (first,) = book.probe.column("jobs", "created_at")
    book.now += 60_000
    book.do(ExpireUploads((Unsent(1, first),), 60.0))
    assert book.probe.column("jobs", "status") == ["dead"]
    assert book.do(submission("a", ready=False)).status == "uploading"
    book.do(ExpireUploads((Unsent(1, first),), 60.0))
    assert book.probe.column("jobs", "status") == ["uploading"]
    (again,) = book.probe.column("jobs", "queued_at")
    book.do(ExpireUploads((Unsent(1, again),), 60.0))
    assert book.probe.column("jobs", "status") == ["dead"]
    book.close()
