"""Machines that stand out by their failures get no jobs but trials: when one is judged, and how it comes back.

What counts is read from the attempts, when one has failed, or a job that has failed before is completed. First
attempts that succeed cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from actors.effects import refunds
from actors.effects.avoidance import LOOKED_AT as FAILERS_LOOKED_AT
from actors.effects.transaction import Transaction
from actors.messages import Claim, QuarantineWorker, ReadmitWorker, WorkerChanged
from blobforge import quarantine
from blobforge.breaker import SERVER, is_left_to_others, is_open
from blobforge.canary import is_comparison
from blobforge.events import WorkerQuarantined, WorkerReadmitted, WorkerRetried
from blobforge.job import Job, JobStatus, Outcome
from blobforge.people import AuditEntry
from blobforge.quarantine import (
    LOOKED_AT,
    LOOKED_AT_OF_OTHERS,
    OTHERS_LOOKED_AT,
    EndedAttempt,
    Quarantine,
    Suspicion,
)
from blobforge.refusals import Refusal
from blobforge.webhook import worker_quarantined
from blobforge.worker import Worker, no_such_worker

FEWEST_SOUND = 2  # that are online for the type beside the worker: the work has to go on
SOUND_LOOKED_AT = 256
NOT_SAID = "put there by hand"


# --- how attempts end


def is_free(tx: Transaction, job: Job, worker_id: str | None) -> bool:
    """Whether what this worker fails costs the job nothing: it is in quarantine."""
    worker = tx.store.worker(worker_id) if worker_id is not None and job.status is JobStatus.RUNNING else None
    return worker is not None and worker.quarantine is not None


def has_failed(tx: Transaction, worker_id: str, job: Job, *, lost: bool = False) -> None:
    """An attempt of this worker has come to nothing; `job` is as it was while it ran. A comparison says nothing of
    the machine: the converter is on trial."""
    if is_comparison(job.type):
        return
    worker = tx.store.worker(worker_id)
    if worker is None:
        return
    if worker.quarantine is None:
        ended = EndedAttempt(job.id, "", started_at=job.started_at or 0, ended_at=tx.now, lost=lost)
        tx.failed.setdefault((worker_id, job.type), []).insert(0, ended)
        _judge(tx, worker, job.type)
    else:
        tried(tx, worker, job, passed=False)


def gave_back(tx: Transaction, worker_id: str, job: Job) -> None:
    """The worker has given the job back for trouble of its own: as a trial, it has failed."""
    worker = tx.store.worker(worker_id)
    held = worker is not None and worker.quarantine is not None
    if (job.failure is None and not held) or is_comparison(job.type):
        return
    if worker is not None and held:
        tried(tx, worker, job, passed=False)


def has_completed(tx: Transaction, worker_id: str, job: Job) -> None:
    """An attempt of this worker was accepted; `job` is as it was while it ran. Others that failed it are judged."""
    if is_comparison(job.type):
        return
    worker = tx.store.worker(worker_id)
    if worker is not None and worker.quarantine is not None:
        tried(tx, worker, job, passed=True)
    if job.failure is None or not _is_judged(tx, job.type):
        return
    for other in tx.store.failed_by(job.id, among=FAILERS_LOOKED_AT):
        failer = tx.store.worker(other) if other != worker_id else None
        if failer is not None and failer.quarantine is None:
            _judge(tx, failer, job.type)


def tried(tx: Transaction, worker: Worker, job: Job, *, passed: bool) -> None:
    """A worker in quarantine has done with a job, which may be a trial."""
    held = worker.quarantine
    if held is None or job.started_at is None:
        return
    if not quarantine.is_trial(held, started_at=job.started_at, now=tx.now):
        return
    after = quarantine.after_trial(held, passed=passed, now=tx.now)
    if after is None:
        _readmit(tx, worker, SERVER)
        return
    tx.store.save_worker(worker, replace(worker, quarantine=after, updated_at=tx.now))
    tx.facts.append(WorkerRetried(worker.id))


# --- the judgement


def _judge(tx: Transaction, worker: Worker, type_: str) -> None:
    since = worker.readmitted_at or 0
    if since > tx.now:  # by a clock that has been set back: what it has failed before counts, too
        since = 0
    if not _is_judged(tx, type_) or (worker.id, type_) in tx.judged or not _may_stand_out(tx, worker, type_, since):
        return
    tx.judged.add((worker.id, type_))
    found = _finding(tx, worker, type_, since)
    if found is None:
        return
    finding, failed = found
    finding = replace(finding, cause=tx.store.past.cause(finding.cause))
    held = quarantine.quarantined(finding, now=tx.now, type_=type_)
    _put(tx, worker, held, SERVER)
    detail = held.evidence
    tx.audit(AuditEntry(0, tx.now, SERVER, SERVER, "", "worker.quarantined", worker.id, detail))
    refunds.give_back(tx, failed)


def _is_judged(tx: Transaction, type_: str) -> bool:
    """Whether machines are quarantined for what they fail of this type."""
    own = tx.store.type_settings(type_).quarantine
    return tx.rules.quarantine if own is None else own


def _may_stand_out(tx: Transaction, worker: Worker, type_: str, since: int) -> bool:
    """By what is cheap to know: how its attempts ended before this transaction, and which have failed in it."""
    before = [
        EndedAttempt(
            each.job_id, None if each.outcome == Outcome.COMPLETED else "", started_at=each.started_at,
            ended_at=each.ended_at, lost=each.outcome == Outcome.LOST,
        )
        for each in tx.store.latest_ends(worker.id)
        if each.type == type_ and each.started_at >= since
    ]  # fmt: skip
    latest = [*tx.failed.get((worker.id, type_), ()), *before]
    return quarantine.suspicious(quarantine.one_a_silence(latest))


def _finding(tx: Transaction, worker: Worker, type_: str, since: int) -> tuple[Suspicion, list[EndedAttempt]] | None:
    """With what it has cost."""
    online = [each for each in tx.store.sound_workers(type_, SOUND_LOOKED_AT) if each != worker.id]
    if len(online) < FEWEST_SOUND:
        return None
    latest = tx.store.past.of([worker.id], type_, since=since, most=LOOKED_AT)[worker.id]
    co_failers = {each for ended in latest for each in ended.failed_by}
    after = [each for each in online if each > worker.id]
    beside = [*after, *(each for each in online if each < worker.id)][:OTHERS_LOOKED_AT]
    others = _others(tx, co_failers | set(beside), type_)
    finding = quarantine.judge(quarantine.one_a_silence(latest), others, held=tx.store.past.held(type_))
    return (finding, quarantine.cost(finding, latest, others)) if finding is not None else None


def _others(tx: Transaction, workers: Iterable[str], type_: str) -> Mapping[str, list[EndedAttempt]]:
    """Those of them that are in no quarantine themselves, with how their attempts have ended."""
    sound = [each for each in workers if (found := tx.store.worker(each)) is None or found.quarantine is None]
    past = tx.store.past.of(sound, type_, since=0, most=LOOKED_AT_OF_OTHERS)
    return {worker_id: quarantine.one_a_silence(latest) for worker_id, latest in past.items()}


def readmit_since(tx: Transaction, type_: str, since: int) -> None:
    """The type is broken, and not the machines that the server has put into quarantine for it since then (ms)."""
    for worker in tx.store.past.quarantined(type_):
        held = worker.quarantine
        if held is not None and held.by is None and held.type == type_ and held.since >= since:
            _readmit(tx, worker, SERVER, why="all fail this type")


def _put(tx: Transaction, worker: Worker, held: Quarantine, by: str) -> None:
    tx.store.save_worker(worker, replace(worker, quarantine=held, updated_at=tx.now))
    tx.events.append(WorkerQuarantined(by, worker.id, worker.type, held.evidence))
    tx.tell_webhooks(worker_quarantined(worker.id, worker.type, by=by, evidence=held.evidence))


def _readmit(tx: Transaction, worker: Worker, by: str, *, why: str = "its trials succeeded") -> Worker:
    free = replace(worker, quarantine=None, readmitted_at=tx.now, updated_at=tx.now)
    tx.store.save_worker(worker, free)
    tx.events.append(WorkerReadmitted(by, worker.id, worker.type))
    tx.facts.append(WorkerRetried(worker.id))
    if by == SERVER:
        tx.audit(AuditEntry(0, tx.now, SERVER, SERVER, "", "worker.readmitted", worker.id, why))
    return free


# --- what it may be given


def trial(tx: Transaction, worker: Worker, message: Claim) -> Claim | None:
    """For what a worker in quarantine may ask now, instead of what it asked for. None: for nothing."""
    held = worker.quarantine
    assert held is not None
    running = len(tx.store.jobs_of_worker(worker.id))
    if not quarantine.may_try(held, running=running, now=tx.now):
        return None
    asked = quarantine.trial_types(held, message.types)
    types = tuple(type_ for type_ in asked if not _is_anothers_to_try(tx, type_))
    return replace(message, types=types, limit=1) if types else None


def _is_anothers_to_try(tx: Transaction, type_: str) -> bool:
    """Whether the type is paused by its breaker, and another worker is to have what is let through. Where there is no
    sound one, any machine tries."""
    if not is_open(tx.store.type_settings(type_)):
        return False
    row, _ = tx.store.in_a_row(type_)
    return row is not None and is_left_to_others(row, now=tx.now) and bool(tx.store.sound_workers(type_, 1))


def trial_in(tx: Transaction, worker: Worker) -> float | None:
    """In how many seconds the worker may have a trial; None: not before something else happens."""
    wait = quarantine.trial_in(worker.quarantine, now=tx.now) if worker.quarantine is not None else 0
    return wait / 1000 if wait else None


# --- by hand


def put(tx: Transaction, message: QuarantineWorker) -> WorkerChanged | Refusal:
    """No new jobs, and no trials either, until it is readmitted; what it runs, it may end."""
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        return no_such_worker(message.worker_id)
    evidence = message.reason or NOT_SAID
    held = worker.quarantine
    if held is None or (held.by, held.evidence) != (message.by, evidence):
        _put(tx, worker, Quarantine(tx.now, evidence, by=message.by), message.by)
    return WorkerChanged(worker.id, worker.status, worker.type, worker.name)


def readmit(tx: Transaction, message: ReadmitWorker) -> WorkerChanged | Refusal:
    """It gets jobs again, and what it has failed so far does not count any more, in a quarantine or not."""
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        return no_such_worker(message.worker_id)
    if worker.quarantine is not None:
        _readmit(tx, worker, message.by)
    else:
        tx.store.save_worker(worker, replace(worker, readmitted_at=tx.now, updated_at=tx.now))
    return WorkerChanged(worker.id, worker.status, worker.type, worker.name)
