"""The decision on a claim: which worker gets which jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import accumulate, chain

from msgspec.structs import replace

from actors.effects import quarantine
from actors.effects.acting import acting
from actors.effects.canaries import comparisons_for, with_comparisons
from actors.effects.converters import one_too_many
from actors.effects.fleet import renewed, show_life
from actors.effects.jobtypes import pick_within, rooms, started
from actors.effects.requirements import groups_for
from actors.effects.transaction import Transaction
from actors.effects.turns import turns_taken, with_groups
from actors.messages import Claim, Granted
from blobforge import life
from blobforge.canary import ONLY_COMPARISONS
from blobforge.events import JobTaken, JobUpdated
from blobforge.job import Job
from blobforge.jobtype import Patience
from blobforge.objects.keys import output_key
from blobforge.options import LineGroup
from blobforge.refusals import Refusal
from blobforge.worker import Worker, WorkerStatus, bound_to_another, gets_work, not_registered

# Of an answer. It waits in memory until its client reads it, and one of 500 jobs with large metadata had 32 MiB.
ANSWER_BYTES = 2 << 20
AROUND_JOB = 2_000  # bytes of a job in an answer beside what its submitter chose: URLs, times, tags
LIFE_MS = 5_000  # a claim is a sign of life; written when the last one is older than this


def claim(tx: Transaction, message: Claim, *, after: str | None = None) -> Granted | Refusal:
    """Hand out the next jobs in claim order, each as a new attempt with a lease of its own.

    A claim that is repeated with its key gets what it was given before, as far as it still holds it. `after` is the
    lease of the completion that the claim came with, see `lease_after`.
    """
    worker = acting(tx, message)
    if isinstance(worker, Refusal):
        return worker
    if not worker.registered:
        return not_registered(worker.id)
    if refusal := bound_to_another(worker, message.types):
        return refusal
    if refusal := one_too_many(tx, message.converter, known=worker.converter):
        return refusal
    if worker.status is WorkerStatus.OFFLINE or not 0 <= tx.now - (worker.last_heartbeat or 0) < LIFE_MS:
        worker = show_life(tx, worker)
    worker = _with_said(tx, worker, message)
    if message.claim_key is not None and (again := _given_before(tx, message, worker)):
        return Granted(tuple(again), patience=patience_with(tx, again, worker))
    if not gets_work(worker):
        return Granted(idle=True)
    if message.types != (worker.type,):
        # Only what the queue knows: these are kept, and a worker may ask for anything.
        tx.store.note_types(worker, tuple(filter(tx.store.knows_type, message.types)))
    if worker.quarantine is not None:
        return _trial(tx, message, after, worker)
    return _next(tx, message, after, worker)


def _trial(tx: Transaction, message: Claim, after: str | None, worker: Worker) -> Granted:
    """One job where the worker may be tried now, else none; of what it was not looked for there may be some."""
    trial = quarantine.trial(tx, worker, message)
    if trial is None:
        return Granted(idle=True, again=quarantine.trial_in(tx, worker))
    granted = _next(tx, trial, after, worker)
    others = tuple(line for line in message.lines if line.type not in trial.types)
    return replace(granted, withheld_lines=(*granted.withheld_lines, *others)) if others else granted


def _next(tx: Transaction, message: Claim, after: str | None, worker: Worker) -> Granted:
    limited, (group, in_turn) = rooms(tx, message.types), groups_for(tx, message, worker)
    if ONLY_COMPARISONS in message.accepts:
        group, in_turn = (), ()
    picked, withheld = pick_within(tx, message, limited, group)
    if in_turn:
        picked, more = with_groups(tx, message, picked, in_turn, limited)
        withheld = tuple(sorted((*withheld, *more)))
    looked: LineGroup = ()
    if (beside := comparisons_for(tx, message, worker)) is not None:
        picked, looked, shut = with_comparisons(tx, beside, picked, limited, worker)
        withheld = tuple(sorted((*withheld, *shut)))
    picked = _fitting(picked)
    if in_turn:
        turns_taken(tx, picked, in_turn)
    granted = [_grant(tx, job, message, after, worker) for job in picked]
    if granted and message.claim_key is not None:
        tx.store.remember_claim(message.worker_id, message.claim_key, granted, now=tx.now)
    if granted and limited:
        started(tx, granted)
        limited = rooms(tx, message.types)
    # A claim that waits no longer has no use for them.
    group = () if granted else (*group, *chain.from_iterable(in_turn), *looked)
    return Granted(
        tuple(granted),
        withheld_lines=withheld,
        rooms=tuple(limited.values()),
        patience=patience_with(tx, granted, worker),
        group=group,
        labels=worker.labels,
    )


def patience_with(tx: Transaction, jobs: Iterable[Job], worker: Worker) -> dict[str, Patience]:
    """With the worker's leases for these jobs, by type, where it is not the one of all types."""
    if not tx.store.types.all():
        return {}
    found = {type_: tx.patience(type_, worker) for type_ in {job.type for job in jobs}}
    return {type_: patience for type_, patience in found.items() if patience is not None}


def _with_said(tx: Transaction, worker: Worker, message: Claim) -> Worker:
    """The worker with what the claim says of it, which is written where it has changed."""
    said = message.converter or worker.converter
    if worker.accepts == message.accepts and worker.converter == said:
        return worker
    now = tx.store.worker(worker.id)  # its sign of life may have been written just before
    assert now is not None
    changed = replace(now, accepts=message.accepts, converter=said)
    tx.store.save_worker(now, changed)
    return changed


def _fitting(picked: list[Job]) -> list[Job]:
    """The first ones of them, as many as one answer holds: one at least, and the others stay where they are."""
    if len(picked) <= 1:
        return picked
    sizes = accumulate(map(_written, picked))
    return [job for at, (job, size) in enumerate(zip(picked, sizes, strict=True)) if at == 0 or size <= ANSWER_BYTES]


def _written(job: Job) -> int:
    texts = (job.metadata, job.options, job.requires)
    return AROUND_JOB + sum(len(text) for text in texts if text) + 3 * len(job.source_path or "")


def lease_after(lease: str, job_id: int, attempt: int) -> str:
    """The lease of the attempt that is claimed with a completion, derived from the completion's own: a worker that
    repeats that finds the job that it was given, with nothing to be remembered for it.

    It is as unguessable as the lease that it comes from, which only its holder knows; and it is of this attempt
    alone.
    """
    return hashlib.sha256(f"after {lease}: {job_id}/{attempt}".encode()).hexdigest()[:32]


def _grant(tx: Transaction, job: Job, message: Claim, after: str | None, worker: Worker) -> Job:
    store, worker_id, floor = tx.store, message.worker_id, tx.store.attempt_floor
    attempt = life.next_attempt(job, floor=floor)
    running = life.claim(
        job,
        worker_id=worker_id,
        lease=tx.new_lease() if after is None else lease_after(after, job.id, attempt),
        now=tx.now,
        floor=floor,
        upload_key=output_key(store.installation, job.id, attempt),
        write_once=message.write_once,
        converter=worker.converter,
    )
    store.save_job(job, running)
    store.start_attempt(running)
    tx.events.append(JobUpdated(running.id, running.type, running.status, worker_id=worker_id))
    taken = JobTaken(running.type, worker_id, message.claim_key, running.lane)
    tx.facts += (taken, renewed(tx, running, worker))
    return running


def _given_before(tx: Transaction, message: Claim, worker: Worker) -> list[Job]:
    """What an earlier claim with this key was given and still holds; its leases run from now on."""
    assert message.claim_key is not None
    held: list[Job] = []
    for job_id, attempt in tx.store.claimed_with(message.worker_id, message.claim_key):
        if len(held) == message.limit:
            break  # by the limit the writer knows how much one transaction gives
        job = tx.store.job(job_id)
        if job is not None and job.attempt == attempt and life.holds(job, worker_id=message.worker_id, lease=None):
            tx.store.beat_job(job, progress=None, now=tx.now)
            tx.facts.append(renewed(tx, job, worker))
            held.append(replace(job, heartbeat_at=tx.now))
    return held
