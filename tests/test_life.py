"""The life of a job: the table of transitions against the functions, and what holds along every path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from blobforge import life
from blobforge.job import Attempt, Job, JobStatus, Outcome, ReleaseCause, RetryPolicy, tries
from blobforge.life import TRANSITIONS, Verb
from blobforge.refusals import Refusal, RefusalCode

POLICY = RetryPolicy()
ENDED = {JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.CANCELLED}


def job_that_is(status: JobStatus) -> Job:
    """A plausible job in that status, whose latest attempt (the second) was worker w's, with the lease L."""
    running = status is JobStatus.RUNNING
    return Job(
        id=7, type="pdf", status=status, priority=3, source_hash="a" * 64, created_at=0, updated_at=0,
        max_attempts=3, attempts=1, losses=1, attempt=2,
        worker_id="w" if running else None,
        lease="L" if running else None,
        not_before=5 if status is JobStatus.FAILED else None,
        completed_at=5 if status in ENDED else None,
    )  # fmt: skip


def ended(outcome: Outcome | None, *, worker_id: str = "w", lease: str = "L") -> Attempt:
    return Attempt(7, 2, worker_id, lease, 0, 1, outcome)


def complete(
    job: Job, *, worker_id: str = "w", lease: str | None = "L", last: Attempt | None = None
) -> Job | Refusal:
    return life.complete(
        job, worker_id=worker_id, lease=lease, last=last, output_key="k", result='{"pages":1}', now=9
    )


def fail(job: Job, *, retryable: bool = True, policy: RetryPolicy = POLICY, free: bool = False) -> Job | Refusal:
    return life.fail(
        job, worker_id="w", lease="L", error="boom", retryable=retryable, policy=policy, dice=0.5, now=9, free=free
    )


def retry(job: Job, *, reset: bool = False, ready: bool = True, priority: int | None = None) -> Job | Refusal:
    return life.retry(
        job, reset_attempts=reset, priority=priority, source_ready=ready, avoid=(), policy=POLICY, now=9
    )


def release(job: Job, *, lease: str = "L", cause: ReleaseCause = ReleaseCause.SHUTDOWN) -> Job | Refusal:
    return life.release(
        job, worker_id="w", lease=lease, cause=cause, reason="no space", policy=POLICY, dice=0.5, now=9
    )


def due(job: Job, *, avoid: tuple[str, ...] = ()) -> Job | None:
    return life.due(job, until=job.waits_until or 0, avoid=avoid, policy=POLICY, now=9)


def undo_retry(job: Job, was: JobStatus) -> Job | None:
    return life.undo_retry(job, life.before_retry(job_that_is(was)), retried_at=job.updated_at, now=9)


# Each verb with facts under which it succeeds wherever the table lets it: what then decides is the status alone.
APPLY: dict[Verb, Callable[[Job], Job | Refusal | None]] = {
    Verb.ARRIVE: lambda job: life.arrive(job, size=3, avoid=("w9",), policy=POLICY, now=9),
    Verb.AWAIT_SOURCE: lambda job: life.await_source(replace(job, lease=None), now=9),
    Verb.EXPIRE_UPLOAD: lambda job: life.expire_upload(job, reason="late", now=9),
    Verb.EXPIRE: lambda job: life.expire(replace(job, expires_at=5), reason="expired", now=9),
    Verb.CLAIM: lambda job: life.claim(job, worker_id="w", lease="L", now=9),
    Verb.COMPLETE: lambda job: complete(replace(job, lease="L"), last=ended(Outcome.LOST)),
    Verb.FAIL: fail,
    Verb.RELEASE: release,
    Verb.LOSE: lambda job: life.lose(job, policy=POLICY, now=9),
    Verb.DUE: lambda job: due(replace(job, not_before=5)),
    Verb.CANCEL: lambda job: life.cancel(job, now=9),
    Verb.RETRY: retry,
    Verb.RETYPE: lambda job: life.retype(job, "ocr", now=9),
    Verb.UNDO_RETRY: lambda job: undo_retry(job, JobStatus.DEAD),
    Verb.REVOKE: lambda job: life.revoke(job, attempt=2, policy=POLICY, now=9),
}


def test_every_verb_is_tried() -> None:
    assert set(APPLY) == set(Verb)


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("verb", Verb)
def test_functions_do_what_the_table_says(verb: Verb, status: JobStatus) -> None:
    job = job_that_is(status)
    try:
        after = APPLY[verb](job)
    except ValueError:
        assert verb is Verb.CLAIM  # its caller has picked the job: asking for another is a bug, not a no
        after = None
    targets = TRANSITIONS.get((verb, status))
    assert life.allowed(verb, status) is (targets is not None)
    if targets is None:
        assert not isinstance(after, Job)
    else:
        assert isinstance(after, Job)
        assert after.status in targets
        assert after.updated_at == 9


def test_every_target_of_the_table_is_reached() -> None:
    """A status that the table allows and no function ever gives would be a lie in the documentation's picture."""
    tight = RetryPolicy(max_losses=2)
    running = job_that_is(JobStatus.RUNNING)
    failed = {_status(fail(running)), _status(fail(running, retryable=False))}
    by_hand = replace(running, attempts=running.max_attempts + 1)
    failed.add(_status(fail(by_hand, free=True)))
    reached = {(Verb.FAIL, JobStatus.RUNNING): failed}
    lost = {_status(life.lose(running, policy=policy, now=9)) for policy in (POLICY, tight)}
    reached[Verb.LOSE, JobStatus.RUNNING] = lost
    reached[Verb.RELEASE, JobStatus.RUNNING] = {
        _status(release(replace(running, releases=9, losses=losses), cause=ReleaseCause.TROUBLE)) for losses in (0, 2)
    }
    done = job_that_is(JobStatus.COMPLETED)
    reached[Verb.REVOKE, JobStatus.COMPLETED] = {
        _status(life.revoke(done, attempt=2, policy=policy, now=9)) for policy in (POLICY, tight)
    }
    for (verb, status), targets in TRANSITIONS.items():
        if verb is Verb.RETRY:
            reached[verb, status] = {_status(retry(job_that_is(status), ready=ready)) for ready in (True, False)}
        elif verb is Verb.UNDO_RETRY:
            retried = {was for retry_, was in TRANSITIONS if retry_ is Verb.RETRY}
            reached[verb, status] = {_status(undo_retry(job_that_is(status), was)) for was in retried}
        elif (verb, status) not in reached:
            reached[verb, status] = {_status(APPLY[verb](job_that_is(status)))}
        assert reached[verb, status] == targets


def _status(job: Job | Refusal | None) -> JobStatus:
    assert isinstance(job, Job)
    return job.status


# ------------------------------------------------------------------ leases


@pytest.mark.parametrize("verb", [Verb.COMPLETE, Verb.FAIL, Verb.RELEASE])
@pytest.mark.parametrize(("holder", "lease"), [("w", "another"), ("v", "L")])
def test_another_attempt_is_refused(verb: Verb, holder: str, lease: str) -> None:
    job = replace(job_that_is(JobStatus.RUNNING), worker_id=holder, lease=lease)
    refusal = APPLY[verb](job) if verb is not Verb.COMPLETE else complete(job, last=ended(None))
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.LEASE_LOST
    assert holder in refusal.detail  # it says who holds it


def test_without_a_lease_token_the_worker_id_decides() -> None:
    job = job_that_is(JobStatus.RUNNING)
    assert isinstance(complete(job, lease=None), Job)
    assert isinstance(complete(job, lease=None, worker_id="v"), Refusal)


def lost_job(policy: RetryPolicy = POLICY) -> Job:
    lost = life.lose(job_that_is(JobStatus.RUNNING), policy=policy, now=9)
    assert isinstance(lost, Job)
    return lost


@pytest.mark.parametrize("lease", ["L", None])
@pytest.mark.parametrize("policy", [POLICY, RetryPolicy(max_losses=1)])
def test_late_completion_is_taken_while_nobody_has_started_since(lease: str | None, policy: RetryPolicy) -> None:
    late = complete(lost_job(policy), lease=lease, last=ended(Outcome.LOST))
    assert isinstance(late, Job)
    assert (late.status, late.worker_id, late.last_error) == (JobStatus.COMPLETED, "w", None)


@pytest.mark.parametrize(
    ("job", "last"),
    [
        (lost_job(), ended(Outcome.LOST, worker_id="v")),  # another worker's loss
        (lost_job(), ended(Outcome.RELEASED)),
        (lost_job(), None),
        (replace(lost_job(), lease="newer"), ended(Outcome.LOST)),
        (replace(lost_job(), lease=None), ended(Outcome.LOST)),  # cancelled or retried in between
    ],
)
def test_late_completion_of_anything_else_is_refused(job: Job, last: Attempt | None) -> None:
    assert isinstance(complete(job, last=last), Refusal)


def test_a_person_who_retries_or_cancels_ends_the_right_to_complete_late() -> None:
    dead = lost_job(RetryPolicy(max_losses=1))
    again, stopped = retry(dead), life.cancel(lost_job(), now=9)
    assert isinstance(again, Job)
    assert isinstance(stopped, Job)
    assert isinstance(complete(again, last=ended(Outcome.LOST)), Refusal)
    assert isinstance(complete(stopped, last=ended(Outcome.LOST)), Refusal)


def test_a_late_completion_that_is_revoked_charges_the_loss_budget_once() -> None:
    """The loss was no loss after all; the missing output is one. What is given back was charged before."""
    first = life.claim(replace(job_that_is(JobStatus.PENDING), attempts=0, losses=0), worker_id="w", lease="L", now=1)
    lost = life.lose(first, policy=POLICY, now=2)
    assert isinstance(lost, Job)
    late = complete(lost, last=ended(Outcome.LOST))
    assert isinstance(late, Job)
    assert (late.attempts, late.losses) == (1, 0)
    revoked = life.revoke(late, attempt=late.attempt, policy=POLICY, now=4)
    assert revoked is not None
    assert (revoked.attempts, revoked.losses, revoked.status) == (0, 1, JobStatus.PENDING)


def test_only_the_same_completion_counts_as_a_repetition() -> None:
    done = complete(job_that_is(JobStatus.RUNNING))
    assert isinstance(done, Job)
    assert life.completed_already(done, worker_id="w", lease="L", output_key="k")
    assert not life.completed_already(done, worker_id="w", lease=None, output_key="k")
    assert not life.completed_already(done, worker_id="w", lease="M", output_key="k")
    assert not life.completed_already(done, worker_id="v", lease="L", output_key="k")
    assert not life.completed_already(done, worker_id="w", lease="L", output_key="other")
    running = job_that_is(JobStatus.RUNNING)
    assert not life.completed_already(running, worker_id="w", lease="L", output_key=None)


def test_only_the_attempt_that_was_accepted_is_revoked() -> None:
    done = complete(job_that_is(JobStatus.RUNNING))
    assert isinstance(done, Job)
    assert life.revoke(done, attempt=1, policy=POLICY, now=9) is None
    revoked = life.revoke(done, attempt=2, policy=POLICY, now=9)
    assert revoked is not None
    assert (revoked.output_key, revoked.result, revoked.completed_at) == (None, None, None)
    assert "attempt 2" in (revoked.last_error or "")


# ------------------------------------------------------------------ back-off and budgets


def test_back_off_doubles_up_to_its_cap() -> None:
    policy = RetryPolicy(backoff=30, backoff_max=3600, jitter=0)
    delays = [policy.delay(attempts, 0.5) for attempts in range(1, 12)]
    assert delays[:4] == [30, 60, 120, 240]
    assert delays == sorted(delays)
    assert delays[-1] == 3600
    assert policy.delay(10**9, 0.999) == 3600  # no overflow, whatever the count


@given(
    st.integers(min_value=0, max_value=10**12),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.floats(min_value=0, max_value=1),
)
def test_jitter_stays_in_its_bounds(attempts: int, dice: float, jitter: float) -> None:
    policy = RetryPolicy(jitter=jitter)
    base = RetryPolicy(jitter=0).delay(attempts, dice)
    delay = policy.delay(attempts, dice)
    assert delay >= 0
    assert base * (1 - jitter) - 1e-6 <= delay <= base * (1 + jitter) + 1e-6


def test_fail_waits_and_then_is_dead() -> None:
    job = job_that_is(JobStatus.RUNNING)
    waiting = fail(job)
    assert isinstance(waiting, Job)
    assert (waiting.status, waiting.not_before, waiting.lease) == (JobStatus.FAILED, 9 + 30_000, None)
    spent = fail(replace(job, attempts=3))
    assert isinstance(spent, Job)
    assert (spent.status, spent.not_before, spent.completed_at) == (JobStatus.DEAD, None, 9)


def test_what_cannot_be_retried_is_dead_at_once() -> None:
    dead = fail(job_that_is(JobStatus.RUNNING), retryable=False)
    assert isinstance(dead, Job)
    assert (dead.status, dead.last_error, dead.not_before) == (JobStatus.DEAD, "boom", None)


@given(st.integers(min_value=1, max_value=30))
def test_a_job_that_kills_its_workers_ends_dead(max_losses: int) -> None:
    job = replace(job_that_is(JobStatus.PENDING), attempts=0, losses=0)
    for n in range(1, max_losses + 1):
        assert job.status is JobStatus.PENDING
        lost = life.lose(
            life.claim(job, worker_id="w", lease=f"L{n}", now=n),
            policy=RetryPolicy(max_losses=max_losses),
            now=n,
        )
        assert isinstance(lost, Job)
        assert lost.attempts == 0  # not the document's fault
        job = lost
    assert (job.status, job.losses) == (JobStatus.DEAD, max_losses)
    assert "lost" in (job.last_error or "")


@pytest.mark.parametrize("cause", [ReleaseCause.SHUTDOWN, ReleaseCause.PREEMPTED, ReleaseCause.UNDELIVERED])
def test_a_release_at_the_end_of_a_worker_is_free_and_at_once(cause: ReleaseCause) -> None:
    job = replace(job_that_is(JobStatus.RUNNING), releases=5)
    back = release(job, cause=cause)
    assert isinstance(back, Job)
    charged = (back.losses, back.attempts)
    assert (back.status, back.not_before, *charged) == (JobStatus.PENDING, None, job.losses, job.attempts - 1)
    assert back.releases == 5  # says nothing about the job, one way or the other


def test_releases_for_trouble_wait_longer_each_time_and_then_count_as_losses() -> None:
    job = replace(job_that_is(JobStatus.PENDING), attempts=0, losses=0, releases=0)
    waits = []
    for n in range(1, 9):
        back = release(life.claim(job, worker_id="w", lease="L", now=9), cause=ReleaseCause.TROUBLE)
        assert isinstance(back, Job)
        assert back.attempts == 0
        assert back.losses == max(0, n - POLICY.max_releases)
        assert "no space" in (back.last_error or "")
        if back.status is JobStatus.DEAD:
            break
        assert back.not_before is not None
        waits.append((back.not_before - 9) / 1000)
        assert life.due(back, until=back.not_before - 1, avoid=(), policy=POLICY, now=10) is None  # a stale timer
        job = _pending(due(back) or back)
        assert job.not_before is None
    assert waits == [30, 60, 120, 240, 480, 960, 1920]
    assert (n, back.status, back.started_at, back.releases) == (8, JobStatus.DEAD, 9, 8)
    assert "8 times in a row" in (back.last_error or "")


@pytest.mark.parametrize("end", ["fail", "complete", "lose"])
def test_releases_count_in_a_row(end: str) -> None:
    job = replace(job_that_is(JobStatus.RUNNING), releases=4)
    ended_: Job | Refusal = {
        "fail": fail,
        "complete": complete,
        "lose": lambda one: life.lose(one, policy=POLICY, now=9),
    }[end](job)  # type: ignore[operator]
    assert isinstance(ended_, Job)
    assert ended_.releases == 0


def test_a_retry_is_kept_from_those_that_failed_it_for_a_while() -> None:
    failed = fail(job_that_is(JobStatus.RUNNING))
    assert isinstance(failed, Job)
    kept = due(failed, avoid=("w", "v"))
    assert kept is not None
    assert (kept.status, kept.avoid, kept.avoid_until) == (JobStatus.PENDING, ("w", "v"), 9 + 180_000)
    free = due(kept, avoid=("w", "v"))
    assert free is not None
    assert (free.avoid, free.avoid_until) == ((), None)
    running = life.claim(kept, worker_id="u", lease="L", now=10)
    assert (running.avoid, running.avoid_until) == ((), None)


@given(st.integers(min_value=1, max_value=30))
def test_a_job_that_always_fails_ends_dead(max_attempts: int) -> None:
    job = replace(job_that_is(JobStatus.PENDING), attempts=0, max_attempts=max_attempts)
    for n in range(1, max_attempts + 1):
        failed = fail(life.claim(job, worker_id="w", lease="L", now=n))
        assert isinstance(failed, Job)
        if n < max_attempts:
            again = due(failed)
            assert again is not None
            job = again
    assert (failed.status, failed.attempts) == (JobStatus.DEAD, max_attempts)


@pytest.mark.parametrize(("reset", "most"), [(False, 1), (True, 3)])
def test_retry_gives_one_more_try_or_the_whole_budget(reset: bool, most: int) -> None:
    job = replace(job_that_is(JobStatus.DEAD), attempts=3, losses=3, last_error="boom")
    again = retry(job, reset=reset, priority=1)
    assert isinstance(again, Job)
    assert again.priority == 1
    assert again.attempt == job.attempt  # outputs of the next attempt get a name of their own
    count = 0
    while again.status is JobStatus.PENDING:
        failed = fail(life.claim(again, worker_id="w", lease="L", now=1))
        assert isinstance(failed, Job)
        count += 1
        again = due(failed) or failed
    assert count == most
    lost = life.lose(life.claim(_pending(retry(job)), worker_id="w", lease="L", now=1), policy=POLICY, now=1)
    assert isinstance(lost, Job)
    assert lost.status is JobStatus.DEAD  # the budget for lost workers, too, allows one more


def _pending(job: Job | Refusal) -> Job:
    assert isinstance(job, Job)
    return job


def test_the_undo_of_a_retry_takes_no_reason_away() -> None:
    """The retry, a cancellation with a reason, and the undo of that, all in one millisecond."""
    dead = replace(job_that_is(JobStatus.DEAD), last_error="boom")
    before = life.before_retry(dead)
    retried = life.retry(dead, reset_attempts=True, priority=None, source_ready=True, avoid=(), policy=POLICY, now=9)
    assert isinstance(retried, Job)
    undone = life.undo_retry(retried, before, retried_at=9, now=9)
    assert undone is not None
    assert undone.last_error == "boom"
    assert life.undo_retry(replace(retried, last_error=None), before, retried_at=9, now=9) is None


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.CANCELLED])
def test_the_undo_of_a_retry_leaves_no_reason_that_came_since(status: JobStatus) -> None:
    """Its source came with the wrong bytes in the very millisecond of the retry: a completed job was told of that."""
    ended = replace(job_that_is(status), last_error=None)
    before = life.before_retry(ended)
    waiting = life.retry(ended, reset_attempts=True, priority=9, source_ready=False, avoid=(), policy=POLICY, now=9)
    assert isinstance(waiting, Job)
    told = life.reject_source(waiting, reason="other bytes", now=9)
    assert told is not None
    undone = life.undo_retry(told, before, retried_at=9, now=9)
    assert undone is not None
    assert (undone.status, undone.last_error) == (status, None)


# ------------------------------------------------------------------ any path


@settings(max_examples=300)
@given(st.lists(st.integers(min_value=0, max_value=59), max_size=60), st.booleans())
def test_invariants_hold_along_every_path(choices: list[int], reset: bool) -> None:
    """Each number chooses among the verbs that the table has for the status: so that no step is wasted."""
    job = replace(job_that_is(JobStatus.UPLOADING), attempts=0, losses=0, attempt=0)
    last: Attempt | None = None
    retried = life.before_retry(job)
    leases = 0
    for choice in choices:
        possible = [verb for verb in Verb if life.allowed(verb, job.status)]
        verb = possible[choice % len(possible)]
        before = job
        if verb is Verb.UNDO_RETRY:
            after: object = life.undo_retry(job, retried, retried_at=job.updated_at, now=1)
        else:
            after = _step(verb, job, last, lease=f"L{leases}", reset=reset)
        if not isinstance(after, Job):
            continue
        job = after
        if verb is Verb.RETRY:
            retried = life.before_retry(before)
        leases += verb is Verb.CLAIM
        if verb is Verb.CLAIM:
            last = Attempt(job.id, job.attempt, "w", job.lease or "", 1)
        elif last is not None and verb in {Verb.LOSE, Verb.COMPLETE, Verb.RELEASE, Verb.FAIL, Verb.REVOKE}:
            outcome = {Verb.LOSE: Outcome.LOST, Verb.COMPLETE: Outcome.COMPLETED}.get(verb, Outcome.RELEASED)
            last = replace(last, outcome=outcome)
        assert job.attempt == before.attempt + (verb is Verb.CLAIM)  # the serial number only ever counts claims
        assert job.attempts >= 0
        assert job.losses >= 0
        assert job.not_before is None or job.status in {JobStatus.FAILED, JobStatus.PENDING}
        assert job.not_before is not None or job.status is not JobStatus.FAILED
        assert (job.avoid_until is not None) == bool(job.avoid)
        assert not job.avoid or (job.status is JobStatus.PENDING and job.not_before is None)
        assert (job.completed_at is not None) == (job.status in ENDED)
        if job.status is JobStatus.RUNNING:
            assert job.worker_id
            assert job.lease
        elif job.status is not JobStatus.COMPLETED:
            assert job.worker_id is None
            # Only a lost attempt keeps its token: it may still come in late.
            lost = last is not None and last.outcome is Outcome.LOST
            assert job.lease is None or (lost and job.status in {JobStatus.PENDING, JobStatus.DEAD})


def _step(verb: Verb, job: Job, last: Attempt | None, *, lease: str, reset: bool) -> Job | Refusal | None:
    held = job.lease or "none"
    match verb:
        case Verb.CLAIM:
            return life.claim(job, worker_id="w", lease=lease, now=1) if job.status is JobStatus.PENDING else None
        case Verb.COMPLETE:
            return complete(job, lease=held, last=last)
        case Verb.FAIL:
            return fail(replace(job, lease="L")) if job.status is JobStatus.RUNNING else fail(job)
        case Verb.RELEASE:
            return release(job, lease=held, cause=ReleaseCause.TROUBLE if reset else ReleaseCause.SHUTDOWN)
        case Verb.DUE:
            return due(job, avoid=("w",) if reset else ())
        case Verb.RETRY:
            return retry(job, reset=reset)
        case Verb.REVOKE:
            return life.revoke(job, attempt=job.attempt, policy=POLICY, now=1)
        case _:
            return APPLY[verb](job)


@pytest.mark.parametrize(("spent", "most", "told"), [(0, 3, "0/3"), (3, 3, "3/3"), (4, 3, "3/3+1"), (6, 3, "3/3+3")])
def test_tries_beyond_the_budget_are_told_apart(spent: int, most: int, told: str) -> None:
    assert tries(spent, most) == told
    assert tries(spent, most, " of ") == told.replace("/", " of ")
