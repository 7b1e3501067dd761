"""Faults that a second review found, in what keeps house and in what the pages show. Each has a test here that fails
when it comes back."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from actors.effects.retention import LONGEST_PAUSE_MS
from actors.janitor import GRACE
from actors.mailbox import ask
from actors.messages import (
    Batch,
    Cancel,
    Claim,
    DeleteJob,
    ExpireLeases,
    ExpireWorkers,
    FindOrphans,
    Purge,
    Register,
    Sample,
    SetPriority,
    Silent,
    SilentWorker,
    TakeDoomed,
)
from blobforge.failures import cause
from blobforge.job import JobStatus
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.reader import Reader
from blobforge.store.sqlite.rollups import UNDO_MS, UNDOS_AT_ONCE
from tests.actors.test_retention import keeping
from tests.fixtures.house import House, open_house, virtual_now
from tests.store.making import ADMIN, T0, Book, hash_of, submission
from web.preview import MOST_BYTES, preview


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "book.db")


@pytest.mark.parametrize(
    "progress",
    [b'{"percent": %s}' % (b"9" * 400), b'{"done": %s, "total": 1}' % (b"9" * 400)],
    ids=["percent", "done"],
)
async def test_progress_beyond_any_float_breaks_no_list(house: House, autojump_clock: Any, progress: bytes) -> None:
    """One heartbeat of one worker, and nobody saw the list of jobs, the overview or the job any more."""
    job_id = await house.submit()
    await house.register()
    await house.claim()
    await trio.sleep(5)
    body = b'{"jobs": [{"job_id": %d, "progress": %s}]}' % (job_id, progress)
    assert (await house.call("POST", "/api/workers/w1/heartbeat", body))[0] == 200
    await trio.sleep(5)
    for path in ("/api/jobs", f"/api/jobs/{job_id}", "/api/stats/attention", "/"):
        assert (await house.call("GET", path))[0] == 200, path


# ------------------------------------------------------------------ deleting


async def _deleted_and_submitted_again(house: House, content: bytes) -> Any:
    """The answer to a submission after the source was deleted: it is to be uploaded."""
    job_id = await house.submit(content)
    assert (await house.call("DELETE", f"/api/jobs/{job_id}"))[0] == 204
    await trio.sleep(5)
    body = {"type": "pdf", "source_hash": hashlib.sha256(content).hexdigest()}
    _, answer = await house.call("POST", "/api/jobs", body)
    assert answer["status"] == "uploading"
    return answer


async def test_what_is_uploaded_again_after_its_deletion_is_believed(house: House, autojump_clock: Any) -> None:
    """For ten minutes an upload was not believed, and the job waited for the intake to look by itself."""
    content = b"a document"
    answer = await _deleted_and_submitted_again(house, content)
    url = urlsplit(answer["upload_url"])
    sent = await house.http.put(f"{url.path}?{url.query}", data=content, headers=answer["upload_headers"])
    assert sent.status_code == 200
    assert (await house.job(answer["job_id"]))["status"] == "pending"


async def test_a_bundle_after_a_deletion_says_what_is_true(house: House, autojump_clock: Any) -> None:
    """It said "stored", and the job still waited for its source."""
    content = b"a document"
    answer = await _deleted_and_submitted_again(house, content)
    digest = hashlib.sha256(content).hexdigest()
    bundle = {"sources": [{"source_hash": digest, "data": base64.b64encode(content).decode()}]}
    _, stored = await house.call("POST", "/api/files/sources", bundle)
    assert stored["items"] == [{"source_hash": digest, "status": "stored"}]
    assert (await house.job(answer["job_id"]))["status"] == "pending"


async def test_types_without_jobs_make_room_for_others(tmp_path: Path, autojump_clock: Any) -> None:
    """Who had once used up the types could never have another one, whatever was deleted."""
    async with open_house(tmp_path / "data", max_types=2) as house:
        first = await house.submit(b"1", type="a")
        await house.submit(b"2", type="b")
        assert (await house.call("POST", "/api/jobs", {"type": "c", "source_hash": "0" * 64}))[0] == 422
        assert (await house.call("DELETE", f"/api/jobs/{first}"))[0] == 204
        assert await house.submit(b"3", type="c") == 3
        assert (await house.call("POST", "/api/jobs", {"type": "a", "source_hash": "0" * 64}))[0] == 422
        await trio.sleep(3700)  # and the metrics know no more types than there may be
        _, text = await house.call("GET", "/metrics")
        assert b'blobforge_jobs{priority="3",status="pending",type="c"} 1.0' in text
        assert b'type="a",' not in text.split(b"# HELP blobforge_jobs ")[1].split(b"# HELP")[0]
        assert b'status="pending",type="a"' not in text


def test_a_type_comes_and_goes_in_one_transaction(book: Book) -> None:
    assert isinstance(book.do(submission(1, type_="a"), DeleteJob(1))[1], object)
    assert not book.store.knows_type("a")
    book.do(DeleteJob(1), submission(2, type_="b"))
    assert book.store.knows_type("b")
    book.do(DeleteJob(2), submission(3, type_="b"), Purge(1.0))
    assert (book.store.knows_type("b"), book.store.count_types()) == (True, 1)
    book.counts_are_right()


@pytest.mark.parametrize("item", [Cancel(1), SetPriority(1, 1), DeleteJob(1)], ids=["cancel", "priority", "delete"])
def test_a_job_that_was_chosen_for_its_status_may_have_moved_on(book: Book, item: Any) -> None:
    """ "Cancel all that wait" took jobs from the workers that had claimed them while the others were cancelled."""
    book.register("w")
    book.do(submission(1), submission(2))
    book.do(Cancel(2)) if isinstance(item, DeleteJob) else book.do(Claim(ADMIN, "w", ("pdf",)))
    chosen = JobStatus.CANCELLED if isinstance(item, DeleteJob) else JobStatus.PENDING
    before = book.rows("SELECT * FROM jobs")
    (refused,) = book.do(Batch((item,), chosen)).items
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.JOB_MOVED_ON
    assert book.rows("SELECT * FROM jobs") == before
    (done,) = book.do(Batch((item,))).items
    assert not isinstance(done, Refusal)


def test_undos_are_forgotten_a_few_at_a_time(book: Book) -> None:
    """A million of them at once kept the writer for three seconds."""
    book.db.execute("BEGIN")
    book.db.executemany(sql.SAVE_UNDO, (("ab", number, "3", "1", T0) for number in range(UNDOS_AT_ONCE + 10)))
    book.db.execute("COMMIT")
    book.do(Purge(1.0), Sample())
    left = "SELECT count(*) FROM undos"
    assert book.rows(left) == [(UNDOS_AT_ONCE + 10,)]
    book.now += UNDO_MS
    book.do(Sample())
    assert book.rows(left) == [(10,)]
    book.do(Sample())
    assert book.rows(left) == [(0,)]
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {sql.PURGE_UNDOS}", (1, 1))]
    assert not [line for line in plan if "SCAN" in line or "TEMP B-TREE" in line], plan


def test_a_clock_set_back_keeps_no_deletion_waiting(book: Book) -> None:
    """What was in deletion then was refused to everybody until the clock had caught up."""
    book.do(submission(1))
    book.do(DeleteJob(1))
    assert len(book.do(TakeDoomed(10)).keys) == 1  # and the server ends here
    book.now -= 86_400_000
    taken = book.do(TakeDoomed(10))
    assert taken.next_at is not None
    assert taken.next_at <= book.now + LONGEST_PAUSE_MS
    book.now += LONGEST_PAUSE_MS
    assert len(book.do(TakeDoomed(10)).keys) == 1


async def test_a_clock_set_forward_makes_no_orphans(tmp_path: Path, autojump_clock: Any) -> None:
    """Everything in the store seemed to be older than a day."""
    offset = 0
    async with keeping(tmp_path, now=lambda: virtual_now() + offset) as kept:
        await trio.sleep(1)
        kept.shelf.put(f"sources/{hash_of('just uploaded')}", age=GRACE / 2)
        offset = 3 * 86_400_000
        await ask(kept.janitor.mailbox, FindOrphans(delete=True))
        await trio.sleep(10)
        assert (kept.janitor.search.state, kept.janitor.search.orphans) == ("done", 0)


async def test_a_source_that_is_awaited_anew_has_its_whole_time(tmp_path: Path, autojump_clock: Any) -> None:
    """After a restart, the time of a job that was brought back counted from its first submission."""
    async with open_house(tmp_path / "data", upload_timeout=3600.0) as house:
        await house.ask(submission("late", ready=False))
        await trio.sleep(3700)
        assert (await house.job(1))["status"] == "dead"
        await trio.sleep(3600)
        await house.ask(submission("late", ready=False))
        assert (await house.job(1))["status"] == "uploading"
    async with open_house(tmp_path / "data", upload_timeout=3600.0) as house:
        await trio.sleep(3000)
        assert (await house.job(1))["status"] == "uploading"


# ------------------------------------------------------------------ what is shown


def test_a_long_address_is_not_written_out_ten_thousand_times() -> None:
    """256 KiB of Markdown became gigabytes of HTML."""
    head = "[a]: http://example.org/" + "u" * 20_000 + "\n\n"
    text = head + "[a] " * ((MOST_BYTES - len(head)) // 4)
    found = preview(text.encode(), size=len(text), content_type="text/markdown", filename="x.md")
    assert found.html is None
    assert found.reason is not None
    assert "links" in found.reason


def test_an_error_of_opening_quotes_costs_little() -> None:
    """Twenty milliseconds each on the writer's thread, and a batch has a thousand."""
    began = time.process_time()
    for _ in range(200):
        cause("E", "“" * 8192, None)
    assert time.process_time() - began < 0.5


def test_workers_that_are_merely_away_hide_none_that_were_lost(book: Book) -> None:
    """The latest hundred that fell silent were looked at, and only then those that had work."""
    book.register("w")
    book.do(submission(1))
    (job,) = book.do(Claim(ADMIN, "w", ("pdf",))).jobs
    book.do(ExpireLeases((Silent(job.id, job.attempt, job.heartbeat_at),)))
    idle = [f"idle{number}" for number in range(150)]
    for worker_id in idle:
        book.do(Register(ADMIN, worker_id, "pdf"))
    silent = [SilentWorker(row[0], row[1]) for row in book.rows("SELECT id, last_heartbeat FROM workers")]
    book.do(ExpireWorkers(tuple(silent)))
    reader = Reader(book.path)
    assert [worker.id for worker in reader.insights.lost_workers(now=book.now)] == ["w"]
    assert reader.insights.lost_workers(now=book.now + 26 * 3_600_000) == []
    reader.close()


def test_a_minute_that_has_just_begun_does_not_lower_the_rate(book: Book) -> None:
    """Ten completions a minute were nine when the minute was young."""
    minute = T0 // 60_000
    rows = [(60, minute - ago, "pdf", "completed", 10) for ago in range(1, 30)]
    book.db.executemany("INSERT INTO happenings VALUES (?, ?, ?, ?, ?)", rows)
    reader = Reader(book.path)
    assert reader.stats(now=minute * 60_000).completed_per_minute == 10
    book.db.execute("INSERT INTO happenings VALUES (60, ?, 'pdf', 'completed', 5)", (minute,))
    assert reader.stats(now=minute * 60_000 + 30_000).completed_per_minute == 10
    reader.close()
