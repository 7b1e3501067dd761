"""What an older database has not kept is made of what it has: causes of failures, counts of attempts, bytes, and
results that were replaced.

A migration says what is missing; this fills it in, some jobs at a time, between the messages of others. Each step is
one transaction with the place where it ended, so that nothing is counted twice, whatever stops the server.
"""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from actors.effects.causes import EXPIRED_CAUSE, LOST_CAUSE, REVOKED_CAUSE, UPLOAD_CAUSE, count
from actors.effects.transaction import Transaction
from actors.messages import Backfill, Backfilled
from blobforge import failures, life
from blobforge.failures import Cause
from blobforge.job import Attempt, Job, JobStatus, Outcome, ReleaseCause
from blobforge.objects.keys import shared_source
from blobforge.store.files import SupersededResult

log = structlog.get_logger("blobforge.writer")

ATTEMPTS_LOOKED_AT = 50  # of each job, the latest ones
_FAILING = frozenset({JobStatus.FAILED, JobStatus.DEAD})


def begin(tx: Transaction) -> None:
    """At a start: what ends from now on is counted as it ends."""
    tx.store.rollups.begin_backfill(until=tx.now)


def backfill(tx: Transaction, message: Backfill) -> Backfilled:
    """The next jobs. `more`: there are further ones."""
    state = tx.store.rollups.backfill()
    if state is None:
        return _weigh(tx, message.limit)
    jobs = tx.store.jobs_between(state.next_job, state.last_job, limit=message.limit)
    until = state.until if state.until is not None else tx.now
    for job in jobs:
        attempts = tx.store.attempts(job.id, limit=ATTEMPTS_LOOKED_AT)
        if job.failure is None and job.status is not JobStatus.COMPLETED:
            _blame(tx, job, attempts)
        if state.counts:
            for attempt in attempts:
                if attempt.ended_at is not None and attempt.ended_at <= until:
                    tx.store.count_old_attempt(job.type, attempt, now=tx.now)
    more = len(jobs) == message.limit
    tx.store.rollups.backfilled(next_job=jobs[-1].id + 1 if more else None)
    return Backfilled(more=True)


def _weigh(tx: Transaction, limit: int) -> Backfilled:
    """Count the bytes of the next jobs that were made before such were counted."""
    span = tx.store.rollups.weighing()
    if span is None:
        return _find_superseded(tx, limit)
    jobs = tx.store.jobs_between(*span, limit=limit)
    for job in jobs:
        if job.output_bytes is None:
            tx.store.save_job(job, replace(job, output_bytes=bytes_of_result(tx, job)))
    more = len(jobs) == limit
    tx.store.rollups.weighed(next_job=jobs[-1].id + 1 if more else None)
    return Backfilled(more=True)


def bytes_of_result(tx: Transaction, job: Job) -> int:
    """What the outputs of its result have together."""
    attempt = job.result_attempt
    several, size = tx.store.outputs.chosen(job.id, attempt) if attempt is not None else (0, 0)
    if several:
        return size
    output = tx.store.file(job.output_key) if job.output_key is not None else None
    return (output.size if output is not None else 0) or 0


def _find_superseded(tx: Transaction, limit: int) -> Backfilled:
    """Note the results of the next jobs that were replaced before such were noted."""
    span = tx.store.superseded.to_find()
    if span is None:
        return Backfilled(more=False)
    jobs = tx.store.jobs_between(*span, limit=limit)
    for job in jobs:
        newest_first = sorted(tx.store.attempts(job.id, limit=ATTEMPTS_LOOKED_AT), key=lambda each: -each.attempt)
        done = [each for each in newest_first if each.outcome is Outcome.COMPLETED]
        replaced_at, newer = job.updated_at, 0
        for attempt in done:
            key = attempt.output_key
            record = tx.store.file(key)
            brought = record is not None or attempt.attempt in tx.store.outputs.attempts(job.id)
            if brought and attempt.attempt != job.result_attempt and shared_source(key) is None:
                former = SupersededResult(job.id, attempt.attempt, key, record.size if record is not None else None)
                tx.store.superseded.add_old(former, at=replaced_at, newer=newer)
                newer += 1
            replaced_at = attempt.ended_at or replaced_at
    more = len(jobs) == limit
    tx.store.superseded.found(next_job=jobs[-1].id + 1 if more else None)
    return Backfilled(more)


def _blame(tx: Transaction, job: Job, attempts: list[Attempt]) -> None:
    """Count each failure of a job that was never counted, and let the job show the latest."""
    failure: int | None = None
    for attempt in attempts:
        if (cause := _cause(attempt)) is not None:
            error = attempt.error or job.last_error or ""
            failure = count(tx, cause, error, now=attempt.ended_at or attempt.started_at)
    if failure is None and job.status in _FAILING:
        cause = failures.cause(None, job.last_error, None)
        if not attempts:
            cause = EXPIRED_CAUSE if life.has_expired(job) else UPLOAD_CAUSE
        failure = count(tx, cause, job.last_error or "", now=job.updated_at)
    if failure is not None:
        tx.store.save_job(job, replace(job, failure=failure))


def _cause(attempt: Attempt) -> Cause | None:
    match attempt.outcome:
        case Outcome.FAILED:
            return failures.cause(attempt.kind, attempt.error, attempt.traceback)
        case Outcome.LOST:
            return LOST_CAUSE
        case Outcome.REVOKED:
            return REVOKED_CAUSE
        case Outcome.RELEASED if attempt.kind == ReleaseCause.TROUBLE:
            return failures.cause(failures.GIVEN_BACK, attempt.error, None)
        case _:
            return None
