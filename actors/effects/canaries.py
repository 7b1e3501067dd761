"""Canaries: how one is begun, which workers get its jobs, how it ends, and how it goes for good.

Its jobs are jobs like others, under types of their own (`blobforge/canary.py`). What is different about them is said
here, and where `is_comparison` is asked.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from actors.effects import jobs as on_jobs
from actors.effects.requirements import groups_for, lane_for
from actors.effects.retention import remove
from actors.effects.transaction import Transaction
from actors.messages import BeginCanary, CanaryBegun, CanaryEnded, Cancel, CancelCanary, Claim
from blobforge.canary import (
    MOST_OPEN,
    Canary,
    CanaryPlan,
    counted,
    either,
    no_such_canary,
    nothing_to_compare,
    ordinary,
    type_for,
)
from blobforge.events import ComparisonsBegun
from blobforge.job import Job, JobStatus
from blobforge.jobtype import NOTHING_SET, TypeRoom, TypeSettings
from blobforge.objects.keys import source_key
from blobforge.options import LineGroup
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.canaries import Pair
from blobforge.worker import Worker

# --- how one is begun


def begin(tx: Transaction, message: BeginCanary) -> CanaryBegun | Refusal:
    plan = message.plan
    open_ = tx.store.canaries.count_open()
    ended = _ended(tx) if open_ >= MOST_OPEN else []  # of late: the house is kept once a minute
    if open_ - len(ended) >= MOST_OPEN:
        return Refusal(
            RefusalCode.SLOW_DOWN,
            f"{MOST_OPEN} canaries have not ended yet. Wait for one, or cancel one that is not needed.",
            retry_after=60,
        )
    workers = tx.store.canaries.workers(plan.made_by, plan.types)
    if plan.need_worker and not workers:
        return Refusal(
            RefusalCode.NO_WORKER_OF_VERSION,
            f"No worker of {plan.made_by} is online for {either(plan.types)}. Start one (`blobforge work "
            f"--converter '{plan.made_by}'`), or let the canary wait for it.",
        )
    originals = [job for job in map(tx.store.job, message.jobs) if job is not None and _can_be_taken(tx, job, plan)]
    if not originals:
        return nothing_to_compare(plan)
    for each in ended:
        _close(tx, each)
    canary = Canary(
        0, plan.types, plan.made_by, plan.against, plan.sample, 0, plan.slower, plan.priority, message.by,
        message.name, tx.now,
    )  # fmt: skip
    canary = replace(canary, id=tx.store.canaries.add(canary))
    pairs = [pair for job in originals if (pair := _made(tx, canary, job)) is not None]
    tx.store.canaries.add_jobs(canary.id, pairs)
    tx.store.canaries.save(replace(canary, taken=len(pairs)))
    for type_ in plan.types:
        tx.store.types.save(type_for(type_, canary.id), TypeSettings(made_by=plan.made_by))
    tx.facts.append(ComparisonsBegun(plan.types))
    return CanaryBegun(canary.id, len(pairs), workers)


def _can_be_taken(tx: Transaction, job: Job, plan: CanaryPlan) -> bool:
    """Whether it is completed, and its source is there."""
    if job.status is not JobStatus.COMPLETED or job.type not in plan.types:
        return False
    if job.chain is not None and (job.chain.source is not None or job.chain.joins):
        return False  # its source is an output, which is lent to that job alone, or it joins some
    source = tx.store.file(source_key(job.source_hash))
    return source is not None and source.serves(job.source_size)


def _made(tx: Transaction, canary: Canary, job: Job) -> Pair | None:
    """A job that converts the same document once; None where no lane is left for what it requires."""
    type_ = type_for(job.type, canary.id)
    lane = lane_for(tx, type_, job.requires, job.options, None)
    if isinstance(lane, Refusal):
        return None
    new = Job(
        id=0,
        type=type_,
        status=JobStatus.PENDING,
        priority=canary.priority,
        source_hash=job.source_hash,
        created_at=tx.now,
        updated_at=tx.now,
        max_attempts=1,
        source_path=job.source_path,
        source_size=job.source_size,
        metadata=job.metadata,
        submitter=canary.subject,
        options=job.options,
        requires=job.requires,
        lane=lane,
    )
    # Each by itself: a set of requirements that no job has yet may be forgotten for the next one.
    (stored,) = tx.store.insert_jobs([new])
    return Pair(stored.id, job.id, job.attempt)  # a completed job's result is its latest attempt's


# --- which workers get its jobs


def comparisons_for(tx: Transaction, message: Claim, worker: Worker) -> Claim | None:
    """The same claim of the comparisons that this worker may have, besides; None: of none. It costs nothing where
    there is no canary of the worker's converter."""
    if worker.converter is None or worker.quarantine is not None:
        return None
    types = tx.store.types.all().comparisons.get(worker.converter, ())
    types = tuple(type_ for type_ in types if ordinary(type_) in message.types)
    return replace(message, types=types) if types else None


def with_comparisons(
    tx: Transaction, beside: Claim, picked: list[Job], limited: Mapping[str, TypeRoom], worker: Worker
) -> tuple[list[Job], LineGroup, LineGroup]:
    """What was picked of ordinary jobs, and comparisons behind those of the same priority, as many together as were
    asked for and as the limits of their types leave; the lines that were looked through, and those of them that were
    shut."""
    group, _ = groups_for(tx, beside, worker)
    asked = (*beside.lines_of_all, *group)
    shut = tuple(line for line in asked if _is_shut(tx, line.type, limited))
    lines, group = (tuple(line for line in each if line not in shut) for each in (beside.lines_of_all, group))
    found = tx.store.pick_ready(lines, beside.limit, group)
    room = Counter({type_: each.room for type_, each in limited.items()})
    taken: list[Job] = []
    for job in heapq.merge(picked, found, key=lambda job: job.priority):
        type_ = ordinary(job.type)
        if type_ in limited:
            if not room[type_]:
                continue
            room[type_] -= 1
        taken.append(job)
    return taken[: beside.limit], asked, shut


def _is_shut(tx: Transaction, type_: str, limited: Mapping[str, TypeRoom]) -> bool:
    """What a breaker lets through of a type that it has paused is no comparison."""
    room = limited.get(ordinary(type_))
    return room is not None and (not room.room or tx.store.type_settings(type_).paused)


# --- how it ends


def cancel(tx: Transaction, message: CancelCanary) -> CanaryEnded | Refusal:
    canary = tx.store.canaries.get(message.canary_id)
    if canary is None:
        return no_such_canary(message.canary_id)
    _, left = counted(tx.store.canaries.counts(canary))
    if canary.cancelled_at is not None or not left:
        what = "was cancelled" if canary.cancelled_at is not None else "has ended"
        detail = f"Canary {canary.id} {what} already; there is nothing to cancel."
        return Refusal(RefusalCode.CANARY_ENDED, detail)
    stop = partial(_stop, reason=f"canary {canary.id} was cancelled")
    cancelled = tx.each(tx.store.canaries.jobs(canary.id, limit=canary.taken), stop)
    _close(tx, replace(canary, cancelled_at=tx.now))
    return CanaryEnded(canary.id, cancelled)


def _stop(tx: Transaction, job_id: int, *, reason: str) -> bool:
    job = tx.store.job(job_id)
    if job is None or job.status in (JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.CANCELLED):
        return False
    return not isinstance(on_jobs.cancelled(tx, Cancel(job_id, reason=reason)), Refusal)


def _ended(tx: Transaction) -> list[Canary]:
    """Those that are to be closed: each of their jobs has ended."""
    found = tx.store.canaries.open(limit=MOST_OPEN)
    return [canary for canary in found if not counted(tx.store.canaries.counts(canary))[1]]


def _close(tx: Transaction, canary: Canary) -> None:
    """Its jobs are given to no worker any more, and claims look for them no longer."""
    if canary.closed_at is not None:
        return
    for type_ in canary.types:
        tx.store.types.save(type_for(type_, canary.id), NOTHING_SET)
    tx.store.canaries.save(replace(canary, closed_at=tx.now))


# --- how it goes


def keep_house(tx: Transaction, before: int, *, limit: int) -> bool:
    """Close the canaries of which each job has ended. Of those that were begun before that time (ms) remove some jobs
    with all that they have, and then the canary. Whether there may be more."""
    for canary in _ended(tx):
        _close(tx, canary)
    removed = 0
    for canary in tx.store.canaries.made_before(before, limit=1):
        found = tx.store.canaries.jobs(canary.id, limit=limit)
        removed = tx.each(found, partial(_forget, canary_id=canary.id))
        if len(found) < limit:
            _close(tx, canary)
            tx.store.canaries.forget(canary.id)
            return True  # there may be another one
    return removed == limit


def _forget(tx: Transaction, job_id: int, *, canary_id: int) -> bool:
    _stop(tx, job_id, reason=f"canary {canary_id} is kept no longer")
    job = tx.store.job(job_id)
    if job is not None:
        remove(tx, job, objects=True)
    tx.store.canaries.forget_job(canary_id, job_id)
    return True
