"""Comparisons of a canary: which workers get them, what they come to, and that they change nothing else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.messages import (
    BeginCanary,
    CanaryBegun,
    CanaryEnded,
    Cancel,
    CancelCanary,
    ChangeType,
    Claim,
    Complete,
    CreateWebhook,
    DeleteJob,
    ExpireLeases,
    Fail,
    ObjectSeen,
    Prune,
    Register,
    Release,
    Retry,
    Seen,
    SetPriority,
    Silent,
)
from blobforge.canary import (
    KEPT_MS,
    ONLY_COMPARISONS,
    CanaryOutcome,
    CanaryPlan,
    CanaryVerdict,
    Findings,
    report,
    type_for,
)
from blobforge.job import JobStatus
from blobforge.jobtype import TypeChanges
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from blobforge.store.lists import NEWEST, Cursor
from blobforge.waiting import Surroundings, waiting
from blobforge.webhook import Webhook
from tests.store.making import ADMIN, Book, hash_of, submission
from web.api.canaries import looked_at

OLD, NEW = "marker 1.3", "marker 1.4"
PLAN = CanaryPlan(("pdf",), NEW, sample=10)


def convert(book: Book, worker: str, *, output: str = "text", limit: int = 1, **more: Any) -> list[int]:
    """What this worker is given, it completes with this output; the ids."""
    done = []
    for job in book.do(Claim(ADMIN, worker, ("pdf",), limit, **more)).jobs:
        seen = ObjectSeen(Seen.VERIFIED, size=len(output), sha256=hash_of(output))
        book.do(Complete(ADMIN, worker, job.id, job.lease, job.upload_key, seen))
        done.append(job.id)
    return done


@pytest.fixture
def made(book: Book) -> Book:
    """Three documents that the old version has converted, and a worker of the new one."""
    book.do(Register(ADMIN, "old", "pdf", converter=OLD))
    book.do(*(submission(number, source_path=f"{number}.pdf") for number in range(3)))
    assert convert(book, "old", limit=3) == [1, 2, 3]
    book.do(Register(ADMIN, "new", "pdf", converter=NEW))
    return book


def begin(book: Book, plan: CanaryPlan = PLAN, jobs: tuple[int, ...] = (1, 2, 3)) -> Any:
    return book.do(BeginCanary(plan, jobs, "token:1", "admin"))


def ordinary_state(book: Book) -> Any:
    """All that is kept of ordinary jobs, and of workers' and types' figures."""
    with book.reader() as reader:
        known = reader.types.known()
        page = reader.list_jobs(JobFilter(), limit=100, cursor=Cursor())
        stats = reader.stats(now=book.now)
        return (
            page.jobs,
            page.total,
            stats.jobs,
            stats.by_type,
            known,
            reader.insights.failures(),
            reader.census().jobs,
            book.probe.figures(),
            [row for row in sorted(book.probe.rows("attempts", "job_id", "attempt", "outcome")) if row[0] <= 3],
        )


def test_comparisons_go_to_workers_of_that_converter_alone_and_change_nothing(made: Book) -> None:
    before = ordinary_state(made)
    assert begin(made) == CanaryBegun(1, 3, 1)
    assert made.do(Claim(ADMIN, "old", ("pdf",), 5)).jobs == (), "the old version gets none"
    assert made.do(Claim(ADMIN, "new", ("ocr",), 5)).jobs == (), "nor does who takes other types"
    first, second = made.do(Claim(ADMIN, "new", ("pdf",), 2)).jobs
    assert (first.type, first.source_hash, first.source_path) == (type_for("pdf", 1), hash_of(0), "0.pdf")
    seen = ObjectSeen(Seen.VERIFIED, size=4, sha256=hash_of("text"))
    done = made.do(Complete(ADMIN, "new", first.id, first.lease, first.upload_key, seen, claim_next=True))
    (third,) = done.next.jobs
    made.do(Fail(ADMIN, "new", second.id, "broken", second.lease))
    made.do(Release(ADMIN, "new", third.id, third.lease, "not now"))
    assert ordinary_state(made) == before
    made.counts_are_right()
    assert made.database.broken() == []
    with made.reader() as reader:
        canary = reader.canaries.get(1)
        assert canary is not None
        assert dict(reader.canaries.counts(canary)) == {"completed": 1, "dead": 1, "pending": 1}
        again = reader.job(second.id)
        assert again is not None
        assert again.failure is None
        assert again.last_error == "broken"


def test_a_submission_of_the_same_document_finds_the_job_and_not_the_comparison(made: Book) -> None:
    begin(made)
    again = made.do(submission(0))
    assert (again.job_id, again.existing) == (1, True)
    for changed in (Retry(4), SetPriority(4, 1), DeleteJob(4)):
        refused = made.do(changed)
        assert isinstance(refused, Refusal)
        assert refused.code is RefusalCode.JOB_OF_CANARY
    assert made.do(Cancel(4)).status is JobStatus.CANCELLED, "one of them may be stopped"


def test_ordinary_jobs_come_first_at_the_same_priority(made: Book) -> None:
    begin(made)
    made.do(submission("background", priority=5), submission("urgent", priority=1))
    given = made.do(Claim(ADMIN, "new", ("pdf",), 5)).jobs
    assert [job.id for job in given] == [8, 7, 4, 5, 6]


def test_a_worker_that_takes_comparisons_alone_is_given_no_ordinary_job(made: Book) -> None:
    made.do(submission("ordinary", priority=1))
    accepts = (ONLY_COMPARISONS,)
    assert made.do(Claim(ADMIN, "new", ("pdf",), 5, accepts=accepts)).jobs == ()
    begin(made)
    given = made.do(Claim(ADMIN, "new", ("pdf",), 5, accepts=accepts)).jobs
    assert [job.id for job in given] == [5, 6, 7]
    first = given[0]
    done = made.do(Complete(ADMIN, "new", first.id, first.lease, claim_next=True, accepts=accepts))
    assert done.next.jobs == ()


def test_limits_of_the_type_hold_for_both_together(made: Book) -> None:
    begin(made)
    made.do(ChangeType("pdf", "token:1", TypeChanges(max_running=2)))
    made.do(submission("ordinary"))
    given = made.do(Claim(ADMIN, "new", ("pdf",), 5)).jobs
    assert [job.id for job in given] == [7, 4], "one of each"
    made.do(submission("another"))
    assert made.do(Claim(ADMIN, "old", ("pdf",), 5)).jobs == ()
    made.do(Complete(ADMIN, "new", 4, given[1].lease))
    assert [job.id for job in made.do(Claim(ADMIN, "old", ("pdf",), 5)).jobs] == [8]
    made.do(ChangeType("pdf", "token:1", TypeChanges(max_running=None, paused=True)))
    assert made.do(Claim(ADMIN, "new", ("pdf",), 5)).jobs == ()
    made.do(ChangeType("pdf", "token:1", TypeChanges(paused=False)))
    assert [job.id for job in made.do(Claim(ADMIN, "new", ("pdf",), 5)).jobs] == [5, 6]


def test_what_holds_a_comparison_is_named_and_what_it_holds(made: Book) -> None:
    """A limit counts both; so each may be what the other waits for."""

    def why(job_id: int) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
        with made.reader() as reader:
            job = reader.job(job_id)
        assert job is not None
        found = waiting(job, surroundings(made, job_id), source_until=None, now=made.now)
        assert found is not None
        return found.reason.value, found.held_by, found.change

    begin(made)
    assert why(6)[0] == "canary"
    made.do(submission("ordinary"))
    made.do(ChangeType("pdf", "token:1", TypeChanges(max_running=2)))
    assert [job.id for job in made.do(Claim(ADMIN, "new", ("pdf",), 5)).jobs] == [7, 4], "one of each"
    made.do(submission("another"))
    full = (
        "limit",
        (4, 7),
        ("blobforge types set pdf --max-running 3", "blobforge types set pdf --unset max-running"),
    )
    assert [why(6), why(8)] == [full, full]
    made.do(ChangeType("pdf", "token:1", TypeChanges(max_running=None, paused=True)))
    paused = ("paused", (), ("blobforge types resume pdf",))
    assert [why(6), why(8)] == [paused, paused]


def test_so_many_of_both_kinds_are_named_that_hold_a_comparison(made: Book) -> None:
    begin(made)
    made.do(*map(submission, ("a", "b", "c", "d")))
    assert len(made.do(Claim(ADMIN, "new", ("pdf",), 6)).jobs) == 6
    made.do(ChangeType("pdf", "token:1", TypeChanges(max_running=6)))
    around = surroundings(made, 6)
    assert (around.running, around.runners) == (6, (4, 5, 7, 8, 9))


def test_a_comparison_is_held_by_the_rate_and_the_breaker_of_its_type(made: Book) -> None:
    begin(made)
    made.do(ChangeType("pdf", "token:1", TypeChanges(rate=(1, 60_000), breaker=2)))
    made.do(submission("ordinary"), submission("another"))
    assert [job.id for job in made.do(Claim(ADMIN, "new", ("pdf",), 5)).jobs] == [7]
    around = surroundings(made, 6)
    assert around.load.owed > 0
    assert around.load == surroundings(made, 8).load
    made.do(Fail(ADMIN, "new", 7, "broken"), ChangeType("pdf", "token:1", TypeChanges(rate=None)))
    (job,) = made.do(Claim(ADMIN, "old", ("pdf",))).jobs
    made.do(Fail(ADMIN, "old", job.id, "broken", job.lease))
    around = surroundings(made, 6)
    assert around.probe_at is not None
    assert around.probe_at == surroundings(made, 7).probe_at


def surroundings(book: Book, job_id: int) -> Surroundings:
    with book.reader() as reader:
        job = reader.job(job_id)
        assert job is not None
        return reader.insights.surroundings(job)


def test_what_is_set_for_a_type_holds_for_its_comparisons(made: Book) -> None:
    begin(made)
    made.do(ChangeType("pdf", "token:1", TypeChanges(worker_timeout=3_600_000)))
    given = made.do(Claim(ADMIN, "new", ("pdf",)))
    assert {type_: each.lease for type_, each in given.patience.items()} == {type_for("pdf", 1): 3_600_000}
    (job,) = given.jobs
    made.do(ExpireLeases((Silent(job.id, job.attempt, job.heartbeat_at, 180_000),)))
    with made.reader() as reader:
        still = reader.job(job.id)
    assert still is not None
    assert still.status is JobStatus.RUNNING


def test_a_version_that_fails_everything_pauses_no_type(made: Book) -> None:
    """A row of failures of comparisons says nothing of the type; and of a broken type none is let through."""
    made.do(ChangeType("pdf", "token:1", TypeChanges(breaker=2)))
    begin(made)
    for job in made.do(Claim(ADMIN, "new", ("pdf",), 3)).jobs:
        made.do(Fail(ADMIN, "new", job.id, "broken", job.lease))
    with made.reader() as reader:
        assert not reader.types.settings()["pdf"].paused
    begin(made)
    made.do(submission("a"), submission("b"))
    for job in [*made.do(Claim(ADMIN, "old", ("pdf",))).jobs, *made.do(Claim(ADMIN, "new", ("pdf",))).jobs]:
        made.do(Fail(ADMIN, job.worker_id, job.id, "broken", job.lease))
    with made.reader() as reader:
        assert reader.types.settings()["pdf"].paused, "ordinary jobs do"
    made.now += 60_000
    assert [job.type for job in made.do(Claim(ADMIN, "new", ("pdf",), 9)).jobs] in ([], ["pdf"])


def test_webhooks_are_told_of_no_comparison(made: Book) -> None:
    events = ("job.completed", "job.dead", "job.cancelled")
    made.do(CreateWebhook(Webhook(0, "https://x.example/", events, sealed=b"sealed"), "salt"))
    begin(made)
    first, second, third = made.do(Claim(ADMIN, "new", ("pdf",), 3)).jobs
    made.do(Complete(ADMIN, "new", first.id, first.lease), Fail(ADMIN, "new", second.id, "x", second.lease))
    made.do(Cancel(third.id))
    assert made.probe.rows("deliveries", "id") == []
    made.do(submission("ordinary"))
    assert convert(made, "new") == [7]
    assert len(made.probe.rows("deliveries", "id")) == 1


def test_a_lost_comparison_is_tried_again_and_says_nothing_of_the_worker(made: Book) -> None:
    begin(made)
    (job,) = made.do(Claim(ADMIN, "new", ("pdf",))).jobs
    made.do(ExpireLeases((Silent(job.id, job.attempt, job.heartbeat_at),)))
    (again,) = made.do(Claim(ADMIN, "new", ("pdf",))).jobs
    assert (again.id, again.attempt) == (job.id, 2)
    assert made.probe.rows("failures", "id") == []


def test_one_that_is_cancelled_stops_and_is_closed(made: Book) -> None:
    begin(made)
    (job,) = made.do(Claim(ADMIN, "new", ("pdf",))).jobs
    assert made.do(CancelCanary(1, (4, 5, 6))) == CanaryEnded(1, 3)
    refused = made.do(Complete(ADMIN, "new", job.id, job.lease))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.LEASE_LOST
    assert made.probe.rows("type_settings", "type") == []
    refused = made.do(CancelCanary(1, (4, 5, 6)))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.CANARY_ENDED
    assert isinstance(made.do(CancelCanary(2)), Refusal)


def test_one_that_has_ended_is_closed_and_goes_with_all_that_it_has(made: Book) -> None:
    before = ordinary_state(made)
    begin(made)
    house = Prune((), objects=False, canaries_before=0)
    made.do(house)
    assert made.probe.rows("type_settings", "type") == [(type_for("pdf", 1),)], "its jobs wait"
    assert convert(made, "new", limit=3) == [4, 5, 6]
    made.do(house)
    assert made.probe.rows("type_settings", "type") == []
    made.now += KEPT_MS
    made.do(Prune((), canaries_before=made.now - KEPT_MS + 1000, limit=2))
    assert len(made.probe.rows("canary_jobs", "job_id")) == 1, "some at a time"
    made.do(Prune((), canaries_before=made.now, limit=2))
    assert made.probe.rows("canaries", "id") == made.probe.rows("canary_jobs", "job_id") == []
    assert sorted(row[0] for row in made.probe.rows("jobs", "id")) == [1, 2, 3]
    doomed = {key for (key,) in made.probe.rows("doomed_objects", "key")}
    assert doomed == {made.key(4), made.key(5), made.key(6)}, "the outputs go, the sources stay"
    assert ordinary_state(made)[:7] == before[:7]
    made.counts_are_right()


def test_what_cannot_be_begun_is_said_in_words(made: Book) -> None:
    nothing = begin(made, jobs=(99,))
    assert nothing.code is RefusalCode.NOTHING_TO_COMPARE
    assert "No job of type 'pdf'" in nothing.detail
    plan = CanaryPlan(("pdf",), "marker 2.0", need_worker=True)
    refused = begin(made, plan)
    assert refused.code is RefusalCode.NO_WORKER_OF_VERSION
    assert "No worker of marker 2.0" in refused.detail
    assert begin(made, CanaryPlan(("pdf",), "marker 2.0")).workers == 0, "else it waits"
    assert made.probe.rows("canaries", "id", "taken") == [(1, 3)]
    for _ in range(9):
        begin(made)
    assert begin(made).code is RefusalCode.SLOW_DOWN
    (first, *_) = made.probe.column("canary_jobs", "job_id")
    made.do(*(Cancel(first + each) for each in range(3)))
    assert isinstance(begin(made), CanaryBegun), "of ten one has ended, just now"


def test_the_sample_is_from_all_over_a_type_and_of_the_converters_that_are_asked_for(made: Book) -> None:
    dice = random.Random(0)
    with made.reader() as reader:
        every = reader.canaries.candidates("pdf", None, most=100, dice=dice)
        assert sorted(each.job_id for each in every) == [1, 2, 3]
        assert len(reader.canaries.candidates("pdf", "marker<1.4", most=100, dice=dice)) == 3
        assert reader.canaries.candidates("pdf", "marker>=1.4", most=100, dice=dice) == []
        assert reader.canaries.candidates("pdf", "none", most=100, dice=dice) == []
        assert reader.canaries.page(before=NEWEST, limit=5) == []


def compared(book: Book, slower: float = 1.5) -> Findings:
    with book.reader() as reader, reader.snapshot():
        found = reader.canaries.compared(1, after=0, limit=100)
        return report([looked_at(reader, each)[0] for each in found], slower=slower)


def test_a_planted_regression_is_found(made: Book) -> None:
    """Of three documents one fails, one comes out otherwise, and one takes a minute more."""
    begin(made)
    given = made.do(Claim(ADMIN, "new", ("pdf",), 3)).jobs
    assert compared(made).verdict is CanaryVerdict.RUNNING
    made.now += 60_000
    for job, text in zip(given[:2], ("text", "texts"), strict=True):
        seen = ObjectSeen(Seen.VERIFIED, size=len(text), sha256=hash_of(text))
        made.do(Complete(ADMIN, "new", job.id, job.lease, job.upload_key, seen))
    made.do(Fail(ADMIN, "new", given[2].id, "broken", given[2].lease))
    found = compared(made)
    assert {name: n for name, n in found.outcomes.items() if n} == {"failed": 1, "different": 1, "same": 1}
    assert (found.verdict, found.slower) == (CanaryVerdict.FAILED, 2)
    assert [(each.outcome, each.original_id, each.error) for each in found.worst] == [
        (CanaryOutcome.FAILED, 3, "broken"), (CanaryOutcome.DIFFERENT, 2, None), (CanaryOutcome.SAME, 1, None),
    ]  # fmt: skip
    assert found.worst[0].path == "2.pdf"
    assert [each.former_made_by for each in found.worst] == [OLD] * 3


def test_a_result_that_was_replaced_meanwhile_is_what_the_canary_is_held_against_while_it_is_kept(made: Book) -> None:
    begin(made)
    made.do(Retry(1, compare=True), Retry(2))
    assert convert(made, "old", output="changed meanwhile", limit=2) == [1, 2]
    assert convert(made, "new", limit=3) == [4, 5, 6]
    found = compared(made)
    assert {name: n for name, n in found.outcomes.items() if n} == {"same": 2, "gone": 1}
    assert found.verdict is CanaryVerdict.SAME
