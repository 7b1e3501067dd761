"""The life of a job: the one table of transitions, and a pure function for each verb.

A function takes the job, the facts of the case and `now`, and returns the job as it is afterwards, or a Refusal.
No clock, no randomness, no database in here: what is random (lease tokens, jitter) is an argument, so that a
model can drive these functions without anything else running.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from blobforge.job import Attempt, BeforeRetry, Job, JobStatus, Outcome, ReleaseCause, Result, RetryPolicy
from blobforge.refusals import Refusal, RefusalCode


class Verb(StrEnum):
    """The verbs of the transition table: all that can happen to a job."""

    ARRIVE = "arrive"  # its source is there and verified
    AWAIT_SOURCE = "await_source"  # it has vanished from the store: asked for again
    EXPIRE_UPLOAD = "expire_upload"  # its source never came
    EXPIRE = "expire"  # no worker was given it before the time that its submission said
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"  # the worker gives it back
    LOSE = "lose"  # the lease expired
    DUE = "due"  # the back-off is over, or the time for which the job was kept from those that have failed it
    CANCEL = "cancel"
    RETRY = "retry"
    RETYPE = "retype"  # it gets another type
    UNDO_RETRY = "undo_retry"  # as if it had not been retried: nothing has happened since
    REVOKE = "revoke"  # it was accepted unchecked, and its output turned out not to be there


_S = JobStatus


# (verb, status before) -> the statuses that it may have afterwards. What is not here is refused.
# docs/life-of-a-job.md draws this table; a test holds the two together.
TRANSITIONS: Mapping[tuple[Verb, JobStatus], frozenset[JobStatus]] = {
    (Verb.ARRIVE, _S.UPLOADING): frozenset({_S.PENDING}),
    (Verb.EXPIRE_UPLOAD, _S.UPLOADING): frozenset({_S.DEAD}),
    (Verb.EXPIRE, _S.UPLOADING): frozenset({_S.DEAD}),
    (Verb.EXPIRE, _S.PENDING): frozenset({_S.DEAD}),
    (Verb.AWAIT_SOURCE, _S.PENDING): frozenset({_S.UPLOADING}),
    (Verb.CLAIM, _S.PENDING): frozenset({_S.RUNNING}),
    (Verb.COMPLETE, _S.RUNNING): frozenset({_S.COMPLETED}),
    # Late, and no worker has started the job since: the work is good, take it.
    (Verb.COMPLETE, _S.PENDING): frozenset({_S.COMPLETED}),
    (Verb.COMPLETE, _S.DEAD): frozenset({_S.COMPLETED}),
    # On a worker in quarantine, of a job that had no tries left and was given one by hand: it waits for that again.
    (Verb.FAIL, _S.RUNNING): frozenset({_S.FAILED, _S.DEAD, _S.PENDING}),
    (Verb.RELEASE, _S.RUNNING): frozenset({_S.PENDING, _S.DEAD}),
    (Verb.LOSE, _S.RUNNING): frozenset({_S.PENDING, _S.DEAD}),
    (Verb.DUE, _S.FAILED): frozenset({_S.PENDING}),
    (Verb.DUE, _S.PENDING): frozenset({_S.PENDING}),
    (Verb.CANCEL, _S.UPLOADING): frozenset({_S.CANCELLED}),
    (Verb.CANCEL, _S.PENDING): frozenset({_S.CANCELLED}),
    (Verb.CANCEL, _S.RUNNING): frozenset({_S.CANCELLED}),
    (Verb.CANCEL, _S.FAILED): frozenset({_S.CANCELLED}),
    (Verb.RETRY, _S.FAILED): frozenset({_S.PENDING, _S.UPLOADING}),
    (Verb.RETRY, _S.DEAD): frozenset({_S.PENDING, _S.UPLOADING}),
    (Verb.RETRY, _S.CANCELLED): frozenset({_S.PENDING, _S.UPLOADING}),
    (Verb.RETRY, _S.COMPLETED): frozenset({_S.PENDING, _S.UPLOADING}),
    (Verb.RETYPE, _S.UPLOADING): frozenset({_S.UPLOADING}),
    (Verb.RETYPE, _S.PENDING): frozenset({_S.PENDING}),
    (Verb.RETYPE, _S.FAILED): frozenset({_S.FAILED}),
    (Verb.UNDO_RETRY, _S.PENDING): frozenset({_S.FAILED, _S.DEAD, _S.CANCELLED, _S.COMPLETED}),
    (Verb.UNDO_RETRY, _S.UPLOADING): frozenset({_S.FAILED, _S.DEAD, _S.CANCELLED, _S.COMPLETED}),
    (Verb.REVOKE, _S.COMPLETED): frozenset({_S.PENDING, _S.DEAD}),
}


def allowed(verb: Verb, status: JobStatus) -> bool:
    """Whether the table has a row for this."""
    return (verb, status) in TRANSITIONS


def lease_lost(job: Job) -> Refusal:
    """The answer to a worker that does not hold the job; it names the one that does."""
    if job.attempt == 0:
        return Refusal(RefusalCode.JOB_NOT_RUNNING, f"Job {job.id} is {job.status}; nobody has claimed it yet.")
    if job.status is JobStatus.RUNNING:
        why = f"worker {job.worker_id} holds it now (attempt {job.attempt})"
    else:
        why = f"the job is {job.status}"
    return Refusal(
        RefusalCode.LEASE_LOST,
        f"This attempt no longer holds job {job.id}: {why}. Drop the work and claim anew.",
    )


def holds(job: Job, *, worker_id: str, lease: str | None) -> bool:
    """Whether this worker's attempt is the one that runs. Without a lease token, the worker's id decides."""
    return job.status is JobStatus.RUNNING and job.worker_id == worker_id and (lease is None or lease == job.lease)


def may_come_late(job: Job, last: Attempt | None, *, worker_id: str, lease: str | None) -> bool:
    """Whether this worker's attempt has lost its lease, and no worker has started the job since.

    `last` is the job's latest attempt. A completion is then still accepted.
    """
    return (
        job.status is not JobStatus.RUNNING
        and allowed(Verb.COMPLETE, job.status)
        and job.lease is not None
        and last is not None
        and last.outcome is Outcome.LOST
        and last.worker_id == worker_id
        and (lease is None or lease == job.lease)
    )


def next_attempt(job: Job, *, floor: int = 0) -> int:
    """The number of the attempt that begins with a claim. It lies above `floor`: numbers up to there may have been
    given before a restore."""
    return max(job.attempt, floor) + 1


def claim(
    job: Job,
    *,
    worker_id: str,
    lease: str,
    now: int,
    floor: int = 0,
    upload_key: str | None = None,
    write_once: bool = False,
    converter: str | None = None,
) -> Job:
    """Hand the job to a worker, which works with `converter`, as its `next_attempt`. The caller has picked it among
    the pending ones."""
    if not allowed(Verb.CLAIM, job.status):
        raise ValueError(f"claim of a job that is {job.status}")
    return replace(
        job,
        status=JobStatus.RUNNING,
        attempts=job.attempts + 1,
        attempt=next_attempt(job, floor=floor),
        upload_key=upload_key,
        write_once=write_once,
        worker_id=worker_id,
        lease=lease,
        converter=converter,
        heartbeat_at=now,
        started_at=now,
        completed_at=None,
        not_before=None,
        expires_at=None,
        avoid=(),
        avoid_until=None,
        progress=None,
        progress_at=None,
        updated_at=now,
    )


def complete(
    job: Job,
    *,
    worker_id: str,
    lease: str | None,
    last: Attempt | None,
    output_key: str | None,
    result: str | None,
    result_size: int | None = None,
    output_bytes: int = 0,
    converter: str | None = None,
    compare_for: int = 0,
    now: int,
) -> Job | Refusal:
    """Accept the work. `last` is the job's latest attempt; it decides about late completions. `converter`: the
    attempt's, if it is another than was said with the claim; `compare_for`: how long (ms) a former result is kept
    for a comparison, where one was asked for.

    A late completion (see `may_come_late`) is still this attempt's.
    """
    if not holds(job, worker_id=worker_id, lease=lease):
        if not may_come_late(job, last, worker_id=worker_id, lease=lease):
            return lease_lost(job)
        # The worker was not lost after all: the charge moves back to where a completion's stands.
        charged = last is not None and last.given_back is None
        job = replace(job, attempts=job.attempts + 1, losses=job.losses - charged)
    made_by = converter or job.converter
    return replace(
        job,
        status=JobStatus.COMPLETED,
        worker_id=worker_id,
        output_key=output_key,
        result=result,
        result_size=result_size,
        output_bytes=_weighed(job, output_bytes),
        converter=made_by,
        made_by=made_by,
        kept_attempt=None,
        replaced=_encoded(job),
        compare_until=now + compare_for if job.compare and job.kept_attempt is not None else None,
        completed_at=now,
        not_before=None,
        avoid=(),
        avoid_until=None,
        releases=0,
        last_error=None,
        failure=None,
        updated_at=now,
    )


def _encoded(job: Job) -> str | None:
    """The result that the job has kept from an earlier attempt."""
    if job.kept_attempt is None:
        return None
    former = Result(job.kept_attempt, job.output_key, job.result, job.result_size, job.output_bytes or 0, job.made_by)
    return msgspec.json.encode(former).decode()


def former_result(job: Job) -> Result | None:
    """The result that the job's own took the place of, while that is kept."""
    return msgspec.json.decode(job.replaced, type=Result) if job.replaced is not None else None


def with_former(job: Job) -> Job | None:
    """The job with its former result in the place of its own, as long as that is kept to be compared."""
    former = former_result(job) if job.compare_until is not None else None
    return _with(job, former) if former is not None else None


def _with(job: Job, former: Result | None) -> Job:
    """As it is while it is tried again: with this result of an earlier attempt, or without any."""
    return replace(_keeping(job, former), status=JobStatus.PENDING, compare_until=None)


def _keeping(job: Job, former: Result | None) -> Job:
    return replace(
        job,
        output_key=former.output_key if former is not None else None,
        result=former.result if former is not None else None,
        result_size=former.size if former is not None else None,
        made_by=former.made_by if former is not None else None,
        kept_attempt=former.attempt if former is not None else None,
        output_bytes=_weighed(job, former.output_bytes if former is not None else 0),
        replaced=None,
    )


def weighed(job: Job, attempt: int, output_key: str, size: int | None) -> Job | None:
    """The job once it is known how many bytes this output of an attempt has: of its result, or of the former one that
    it would come back to. None where it is of neither."""
    if job.result_attempt == attempt and job.output_key == output_key:
        known = job.output_bytes is not None and size is not None
        return replace(job, output_bytes=size) if known else job
    former = former_result(job)
    if former is None or (former.attempt, former.output_key) != (attempt, output_key):
        return None
    former = replace(former, output_bytes=size if size is not None else former.output_bytes)
    return replace(job, replaced=msgspec.json.encode(former).decode())


def _weighed(job: Job, output_bytes: int) -> int | None:
    """What its result has, in a job whose bytes are counted."""
    return output_bytes if job.output_bytes is not None else None


def completed_already(job: Job, *, worker_id: str, lease: str | None, output_key: str | None) -> bool:
    """Whether this is the repetition of an accepted completion whose answer was lost.

    Only the lease token proves that it is the same attempt; a worker that sends none is told `lease-lost`.
    """
    return (
        job.status is JobStatus.COMPLETED
        and lease is not None
        and job.lease == lease
        and job.worker_id == worker_id
        and job.output_key == output_key
    )


def fail(
    job: Job,
    *,
    worker_id: str,
    lease: str | None,
    error: str,
    retryable: bool,
    policy: RetryPolicy,
    dice: float,
    now: int,
    free: bool = False,
) -> Job | Refusal:
    """End the attempt with the document's or converter's error: back-off, or dead when the budget is spent.

    `free`: it is the machine's fault, so nothing is charged, and the job is tried again in any case.
    """
    if not holds(job, worker_id=worker_id, lease=lease):
        return lease_lost(job)
    ended = replace(job, lease=None, worker_id=None, last_error=error, releases=0, updated_at=now)
    if not free and (not retryable or job.attempts >= job.max_attempts):
        return replace(ended, status=JobStatus.DEAD, completed_at=now)
    again = now + round(policy.delay(job.attempts, dice) * 1000)
    if not free:
        return replace(ended, status=JobStatus.FAILED, not_before=again)
    uncharged = replace(ended, attempts=job.attempts - 1, not_before=again)
    if job.attempts <= job.max_attempts:
        return replace(uncharged, status=JobStatus.FAILED)
    # It has no tries left, and was given this one by hand: it waits for it as one that was given back.
    return replace(uncharged, status=JobStatus.PENDING, releases=1)


def release(
    job: Job,
    *,
    worker_id: str,
    lease: str | None,
    cause: ReleaseCause,
    reason: str,
    policy: RetryPolicy,
    dice: float,
    now: int,
    free: bool = False,
) -> Job | Refusal:
    """The worker gives the job back: no attempt is charged.

    For trouble, the job waits out a back-off, so that the others go first; and when that has happened more than
    `max_releases` times in a row, each further time is charged to `losses`: what no worker can do must end. Not
    where it is `free`: then it is the machine's fault.
    """
    if not holds(job, worker_id=worker_id, lease=lease):
        return lease_lost(job)
    returned = _give_back(job, now=now)
    if cause.free:
        return returned
    releases = max(1, job.releases + (not free))
    error = f"attempt {job.attempt} was given back by worker {worker_id}: {reason}"
    wait = policy.delay(releases, dice)
    waiting = replace(returned, releases=releases, last_error=error, not_before=now + round(wait * 1000))
    return _once_more(job, waiting, policy=policy, now=now, free=free)


def left_behind(job: Job, *, policy: RetryPolicy, now: int, free: bool = False) -> Job | Refusal:
    """The process of its worker has ended without a word, and the worker's next one is there: the job is ready again
    at once. As with trouble, that is free `max_releases` times in a row: what ends its worker's process must end.
    """
    if not allowed(Verb.RELEASE, job.status):
        return lease_lost(job)
    error = f"attempt {job.attempt} ended with its process: another one has taken over as worker {job.worker_id}"
    returned = replace(_give_back(job, now=now), releases=max(1, job.releases + (not free)), last_error=error)
    return _once_more(job, returned, policy=policy, now=now, free=free)


def _once_more(job: Job, returned: Job, *, policy: RetryPolicy, now: int, free: bool) -> Job:
    """The job as it has returned, with the charge for that where it was too often in a row."""
    if free or returned.releases <= policy.max_releases:
        return returned
    losses = job.losses + 1
    error = (
        f"{returned.last_error}; given back {returned.releases} times in a row, which counts as a lost worker beyond "
        f"{policy.max_releases}"
    )
    if losses < policy.max_losses:
        return replace(returned, losses=losses, last_error=error)
    return replace(
        returned,
        status=JobStatus.DEAD,
        losses=losses,
        last_error=f"{error}; {losses} such losses are the most that is allowed",
        not_before=None,
        started_at=job.started_at,
        completed_at=now,
    )


def take_back(job: Job, *, now: int) -> Job | Refusal:
    """Take a running job from a worker that is removed, disabled or gone by its own word: nothing is charged."""
    if not allowed(Verb.RELEASE, job.status):
        return lease_lost(job)
    return _give_back(job, now=now)


def _give_back(job: Job, *, now: int) -> Job:
    return replace(
        job,
        status=JobStatus.PENDING,
        attempts=job.attempts - 1,
        worker_id=None,
        lease=None,
        started_at=None,
        heartbeat_at=None,
        progress=None,
        queued_at=now,
        updated_at=now,
    )


def never_beat(job: Job) -> bool:
    """Whether the running attempt has had no heartbeat since its claim: some existing workers send none while they
    convert, and what they bring after the lease comes too late."""
    return job.heartbeat_at == job.started_at


def lose(job: Job, *, policy: RetryPolicy, now: int, free: bool = False) -> Job | Refusal:
    """The lease expired: the worker is silent. Charged to `losses`, unless it is the machine's fault, and `free`; a
    job that kills its workers ends dead.

    The lease token stays: until a worker starts the job again, the lost attempt may still complete it.
    """
    if not allowed(Verb.LOSE, job.status):
        return lease_lost(job)
    losses = job.losses + (not free)
    why = "silent while it worked; raise BLOBFORGE_WORKER_TIMEOUT" if never_beat(job) else "silent past its lease"
    error = f"worker {job.worker_id} was lost during attempt {job.attempt} ({why})"
    lost = replace(
        job,
        attempts=job.attempts - 1,
        losses=losses,
        releases=0,
        worker_id=None,
        last_error=error,
        progress=None,
        updated_at=now,
    )
    if losses >= policy.max_losses and not free:
        reason = f"{error}; {losses} workers were lost with this job, the most that is allowed"
        return replace(lost, status=JobStatus.DEAD, last_error=reason, completed_at=now)
    return replace(lost, status=JobStatus.PENDING, started_at=None, queued_at=now)


def due(job: Job, *, until: int, avoid: tuple[str, ...], policy: RetryPolicy, now: int) -> Job | None:
    """The time `until` which the job has waited is over: pending, and ready. None when it has moved on meanwhile.

    After a back-off it is kept from the workers in `avoid` for a while; after that time any worker may have it.
    """
    if not allowed(Verb.DUE, job.status) or job.waits_until != until:
        return None
    if job.not_before is None:
        avoid = ()
    return replace(
        job,
        status=JobStatus.PENDING,
        not_before=None,
        avoid=avoid,
        avoid_until=now + round(policy.avoid * 1000) if avoid else None,
        queued_at=now if job.not_before is not None else job.queued_at,
        updated_at=now if job.not_before is not None else job.updated_at,
    )


_CANCELLED = "cancelled: "


def cancelled_for(job: Job) -> str | None:
    """Why it was cancelled, where that was said."""
    said = job.last_error if job.status is JobStatus.CANCELLED else None
    return said.removeprefix(_CANCELLED) if said is not None and said.startswith(_CANCELLED) else None


def cancel(job: Job, *, reason: str | None = None, now: int) -> Job | Refusal:
    """Stop the job at once; a running attempt's lease is void."""
    if not allowed(Verb.CANCEL, job.status):
        return Refusal(RefusalCode.JOB_ENDED, f"Job {job.id} is {job.status} already; there is nothing to cancel.")
    return replace(
        job,
        status=JobStatus.CANCELLED,
        sourceless=job.status is JobStatus.UPLOADING,
        last_error=f"{_CANCELLED}{reason}" if reason else job.last_error,
        lease=None,
        worker_id=None,
        not_before=None,
        avoid=(),
        avoid_until=None,
        releases=0,
        completed_at=now,
        updated_at=now,
    )


def retry(
    job: Job,
    *,
    reset_attempts: bool,
    priority: int | None,
    source_ready: bool,
    avoid: tuple[str, ...],
    policy: RetryPolicy,
    now: int,
    compare: bool = False,
) -> Job | Refusal:
    """Bring an ended or waiting job back. Without `reset_attempts` a dead job gets exactly one more try.

    It is kept from the workers in `avoid` for a while.
    A result stays until another completion is accepted, and for good if none is; with `compare`, for a while longer,
    also where it was said of an earlier retry, and nothing was accepted since. So does the one that it took the place
    of: it may still be found that the output is not there.
    """
    if not allowed(Verb.RETRY, job.status):
        return Refusal(
            RefusalCode.JOB_NOT_RETRYABLE,
            f"Job {job.id} is {job.status}; only failed, dead, cancelled and completed jobs can be retried.",
        )
    brought = job.output_key is not None or job.result is not None or job.result_size is not None
    return replace(
        job,
        status=JobStatus.PENDING if source_ready else JobStatus.UPLOADING,
        priority=priority if priority is not None else job.priority,
        attempts=0 if reset_attempts else job.attempts,
        losses=0 if reset_attempts else job.losses,
        releases=0 if reset_attempts else job.releases,
        avoid=avoid if source_ready else (),
        avoid_until=now + round(policy.avoid * 1000) if avoid and source_ready else None,
        worker_id=None,
        lease=None,
        started_at=None,
        completed_at=None,
        not_before=None,
        progress=None,
        last_error=None if cancelled_for(job) is not None else job.last_error,
        kept_attempt=job.result_attempt if brought else None,
        made_by=job.made_by if brought else None,
        replaced=job.replaced if brought else None,
        compare=brought and (compare or (job.compare and job.kept_attempt is not None)),
        compare_until=None,
        sourceless=False,
        expires_at=None,
        queued_at=now,
        updated_at=now,
    )


def may_be_retyped(job: Job) -> bool:
    """Whether the job waits, and has no result of its present type."""
    return allowed(Verb.RETYPE, job.status) and job.kept_attempt is None


def retype(job: Job, type_: str, *, now: int) -> Job | Refusal:
    """The job as one of another type. What it has had of tries stays; no worker of the former type is of account any
    more: neither one that has failed it, nor one that was lost with it and may still come."""
    instead = f"Submit its source as type {type_!r} instead"
    if not allowed(Verb.RETYPE, job.status):
        what = "Cancel and retry it first" if job.status is JobStatus.RUNNING else "Retry it first"
        if job.status is JobStatus.COMPLETED or job.kept_attempt is not None:
            what = instead  # it would have its result after a retry, too
        return Refusal(
            RefusalCode.JOB_NOT_WAITING,
            f"Job {job.id} is {job.status}; only jobs that wait get another type. {what}.",
        )
    if job.kept_attempt is not None:
        return Refusal(
            RefusalCode.JOB_NOT_WAITING,
            f"Job {job.id} is converted again, and has a result as type {job.type!r} that is kept until then."
            f" {instead}.",
        )
    return replace(job, type=type_, lease=None, avoid=(), avoid_until=None, updated_at=now)


def before_retry(job: Job) -> BeforeRetry:
    """The fields of the job that a retry changes, to undo it with."""
    names = (name for name in BeforeRetry.__struct_fields__ if name != "had_error")
    before = BeforeRetry(**{name: getattr(job, name) for name in names})
    if cancelled_for(job) is not None:
        return before
    return replace(before, last_error=None, had_error=job.last_error is not None)


def undo_retry(job: Job, before: BeforeRetry, *, retried_at: int, now: int) -> Job | None:
    """Put back what a retry changed. None when anything has happened to the job since."""
    if not allowed(Verb.UNDO_RETRY, job.status) or (job.attempt, job.updated_at) != (before.attempt, retried_at):
        return None
    was = msgspec.structs.asdict(before)
    del was["had_error"]
    if before.had_error and job.last_error is None:
        return None  # cancelled and brought back, in the very millisecond of the retry
    if before.had_error or (before.last_error is None and before.status in (JobStatus.FAILED, JobStatus.DEAD)):
        del was["last_error"]  # the retry has left it; those two have one in any case
    del was["replaced"]  # the job has it still, if it is still there
    if before.compare_until is not None and job.replaced is None:
        was |= {"compare": False, "compare_until": None}
    return replace(job, **was, avoid=(), avoid_until=None, updated_at=now)


def later(start: int | None, *, now: int) -> int | None:
    """The time (ms) before which a job is not to be started, where that is still to come."""
    return start if start is not None and start > now else None


def timed(job: Job, *, not_before: int | None, expires_at: int | None, now: int) -> Job:
    """The job, which is pending or awaits its source, with times that a submission said (ms)."""
    start = later(not_before, now=now)
    job = replace(job, expires_at=expires_at)
    return job if start is None else replace(job, not_before=start, avoid=(), avoid_until=None)


def arrive(job: Job, *, size: int | None, avoid: tuple[str, ...], policy: RetryPolicy, now: int) -> Job | None:
    """The source is there and verified. None when the job does not wait for it.

    It is kept from the workers in `avoid` for a while: it may have been tried before its source was lost. A time
    before which it is not to be started goes on.
    """
    if not allowed(Verb.ARRIVE, job.status):
        return None
    start = later(job.not_before, now=now)
    if start is not None:
        avoid = ()
    return replace(
        job,
        status=JobStatus.PENDING,
        source_size=size if size is not None else job.source_size,
        avoid=avoid,
        avoid_until=now + round(policy.avoid * 1000) if avoid else None,
        not_before=start,
        last_error=None,
        failure=None,
        queued_at=now,
        updated_at=now,
    )


def await_source(job: Job, *, now: int) -> Job | None:
    """Its source is not in the store any more: no worker is given the job until it has been sent again.

    None when the job does not wait for a worker, or a lost attempt may still complete it.
    """
    if not allowed(Verb.AWAIT_SOURCE, job.status) or job.lease is not None:
        return None
    return replace(
        job,
        status=JobStatus.UPLOADING,
        not_before=job.start,
        avoid=(),
        avoid_until=None,
        queued_at=now,
        updated_at=now,
    )


def reject_source(job: Job, *, reason: str, now: int) -> Job | None:
    """The uploaded bytes were not the source's: note it, and go on waiting. None when the job does not wait for
    it."""
    if not allowed(Verb.ARRIVE, job.status):
        return None
    return replace(job, last_error=reason, updated_at=now)


def expire_upload(job: Job, *, reason: str, now: int) -> Job | None:
    """The source never came. None when the job does not wait for it any more."""
    return _given_up(job, reason, now) if allowed(Verb.EXPIRE_UPLOAD, job.status) else None


def expire(job: Job, *, reason: str, now: int) -> Job | None:
    """Its time is over, and no worker was given it. None when that is not so."""
    if not allowed(Verb.EXPIRE, job.status) or job.expiry is None or job.expiry > now:
        return None
    return _given_up(job, reason, now)


def _given_up(job: Job, reason: str, now: int) -> Job:
    """Dead, and never started: it waited in vain."""
    return replace(
        job,
        status=JobStatus.DEAD,
        sourceless=job.status is JobStatus.UPLOADING,
        not_before=None,
        avoid=(),
        avoid_until=None,
        last_error=reason,
        completed_at=now,
        updated_at=now,
    )


def has_expired(job: Job) -> bool:
    """Whether it is dead because no worker was given it before its time was over."""
    over = job.expires_at is not None and job.completed_at is not None and job.expires_at <= job.completed_at
    return job.status is JobStatus.DEAD and over


def never_started(job: Job) -> bool:
    """Whether it is dead because its source was not uploaded, or not again, or it has expired: it was not started
    since it was submitted, or retried, or its source had vanished. Submitting it again then brings it back."""
    return job.status is JobStatus.DEAD and (job.started_at is None or job.sourceless)


def forget_result(job: Job, *, attempt: int, now: int) -> Job | None:
    """The output that was kept of this attempt is lost: the job has the result that was there before it, if any. None
    when the job keeps none of it."""
    former = former_result(job)
    if job.kept_attempt == attempt:
        return replace(_keeping(job, former), compare=job.compare and former is not None, updated_at=now)
    if former is not None and former.attempt == attempt:
        return without_former(job, now=now)
    return None


def without_former(job: Job, *, now: int) -> Job:
    """The result that the job's own took the place of is kept no longer."""
    if job.status is not JobStatus.COMPLETED:
        return replace(job, replaced=None)  # its own is what is compared, and an undo may still put it back
    return replace(job, replaced=None, compare=False, compare_until=None, updated_at=now)


def revoke(job: Job, *, attempt: int, policy: RetryPolicy, now: int) -> Job | None:
    """The output of an unchecked completion is not in the store: convert again, charged to `losses`."""
    if not allowed(Verb.REVOKE, job.status) or job.attempt != attempt:
        return None
    error = f"attempt {attempt} reported an output that is not in the object store"
    returned = _give_back(job, now=now)
    losses = job.losses + 1
    dead = losses >= policy.max_losses
    return replace(
        _with(returned, former_result(job)),
        status=JobStatus.DEAD if dead else JobStatus.PENDING,
        losses=losses,
        started_at=job.started_at if dead else None,  # it was tried, and that is how it ended
        completed_at=now if dead else None,
        last_error=error,
    )
