"""When all workers fail a type the same way: it is paused, what that has cost is given back, and now and then one job
is let through, by which the type comes back by itself.

A row of failures is kept when one is written. What is completed is counted in any case, and costs nothing more.
"""

from __future__ import annotations

from actors.effects import quarantine, refunds
from actors.effects.transaction import Transaction
from blobforge import breaker, jobtype
from blobforge.breaker import SERVER, RowOfFailures
from blobforge.canary import is_comparison
from blobforge.events import TypePaused, TypeResumed, TypeSet
from blobforge.job import Job
from blobforge.jobtype import TypeChanges, TypeRoom, TypeSettings
from blobforge.people import AuditEntry
from blobforge.quarantine import EndedAttempt
from blobforge.refusals import Refusal
from blobforge.webhook import type_paused, type_resumed

COMPLETED = "a job was completed"


# --- how attempts end


def is_free(tx: Transaction, job: Job) -> bool:
    """Whether a failure costs the job nothing: its type is paused by its breaker."""
    return not is_comparison(job.type) and breaker.is_open(tx.store.type_settings(job.type))


def has_failed(tx: Transaction, job: Job, *, cause: int | None, free: bool) -> None:
    """An attempt has failed of a cause (its number); `job` is as it was while it ran. `free`: it cost nothing, for
    its worker's sake or its type's."""
    if is_comparison(job.type):
        return
    settings = tx.store.type_settings(job.type)
    if breaker.is_open(settings):
        _tried(tx, job)
        return
    most = breaker.limit(settings, tx.rules.breaker)
    if not most or free or settings.paused or cause is None:
        return
    before, completed = tx.store.in_a_row(job.type)
    row = breaker.after_failure(before, job, cause=cause, completed=completed, most=most, now=tx.now)
    if row is before:
        return
    if breaker.may_trip(row, most=most):
        online = len(tx.store.sound_workers(job.type, most))
        if breaker.trips(row, most=most, online=online):
            _trip(tx, job.type, row)
            return
    tx.store.save_in_a_row(job.type, row)


def has_completed(tx: Transaction, job: Job) -> None:
    """A job was completed: where its type is paused by its breaker, that is over. A comparison says nothing of it."""
    if breaker.is_open(tx.store.type_settings(job.type)) and not is_comparison(job.type):
        _set(tx, job.type, paused=False, reason=None)
        tx.store.save_in_a_row(job.type, None)
        tx.events.append(TypeResumed(SERVER, job.type))
        tx.tell_webhooks(type_resumed(job.type, by=SERVER))
        _record(tx, job.type, "type.resume", COMPLETED)


def _trip(tx: Transaction, type_: str, row: RowOfFailures) -> None:
    why = breaker.reason(row, tx.store.past.cause(str(row.cause)))
    _set(tx, type_, paused=True, reason=why)
    tx.store.save_in_a_row(type_, breaker.tripped(row, now=tx.now))
    tx.events.append(TypePaused(SERVER, type_, why))
    tx.tell_webhooks(type_paused(type_, by=SERVER, reason=why))
    _record(tx, type_, "type.pause", why)
    refunds.give_back(tx, [EndedAttempt(each.job_id, attempt=each.attempt) for each in row.failures])
    quarantine.readmit_since(tx, type_, row.since)


def _tried(tx: Transaction, job: Job) -> None:
    row, _ = tx.store.in_a_row(job.type)
    if row is not None and row.probe == (job.id, job.attempt):
        tx.store.save_in_a_row(job.type, breaker.after_probe(row, now=tx.now))


def _set(tx: Transaction, type_: str, *, paused: bool, reason: str | None) -> None:
    before = tx.store.type_settings(type_)
    after = jobtype.changed(before, TypeChanges(paused=paused, reason=reason), by=SERVER, now=tx.now)
    assert not isinstance(after, Refusal)
    tx.store.types.save(type_, after)
    tx.facts.append(TypeSet(type_, tx.store.types.pending(type_)))


def _record(tx: Transaction, type_: str, action: str, detail: str) -> None:
    tx.audit(AuditEntry(0, tx.now, SERVER, SERVER, "", action, type_, detail))


# --- what is let through


def room(tx: Transaction, type_: str) -> TypeRoom:
    """How many jobs may be given now of a type that its breaker has paused: one, once its time has come and the last
    one that was has ended."""
    row, _ = tx.store.in_a_row(type_)
    wait = breaker.probe_in(row, now=tx.now) if row is not None else None
    if row is None or wait is None:
        return TypeRoom(type_, 0)
    if wait:
        return TypeRoom(type_, 0, wait / 1000)
    if row.probe is not None:
        job = tx.store.job(row.probe[0])
        if job is not None and job.worker_id is not None and job.attempt == row.probe[1]:
            return TypeRoom(type_, 0, breaker.FIRST_PAUSE_MS / 1000)
    return TypeRoom(type_, 1)


def started(tx: Transaction, job: Job) -> None:
    """A job of a type that its breaker has paused was let through."""
    row, _ = tx.store.in_a_row(job.type)
    if row is not None:
        tx.store.save_in_a_row(job.type, breaker.let_through(row, job, now=tx.now))


# --- by hand


def overruled(tx: Transaction, type_: str, before: TypeSettings, after: TypeSettings) -> None:
    """What is set for a type was changed by hand. A pause that its breaker had made is a person's now, or over; then
    the same cause pauses the type no more, until a job was completed."""
    if not breaker.is_open(before) or breaker.is_open(after):
        return
    row, completed = tx.store.in_a_row(type_)
    over = row is not None and not after.paused
    tx.store.save_in_a_row(type_, breaker.overruled(row, completed, now=tx.now) if row and over else None)
