"""What came of a job is cancelled with it: all of its family below it, as far as it has not ended.

A walk through the tree, depth first, a piece at a turn: the job before what came of it, so that what a job starts
until it is met is met, too. A job that was there before, and took the place of one of these, is another's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from actors.effects import jobs, joining, manystages, wide
from actors.effects.beginning import SERVER, put_on_record, too_many_open
from actors.effects.transaction import Transaction
from actors.messages import Cancel, CancelChildren, JobChanged, OperationBegun, OperationPlan
from actors.works import A_TURN, starts_jobs
from blobforge import operation as operations
from blobforge.chain import FIRST_PLACE, FamilyPlace
from blobforge.job import Job, no_such_job
from blobforge.life import Verb, allowed
from blobforge.operation import KeptChange, Operation, OperationState
from blobforge.refusals import Refusal

MET = "met"  # what became of a job with stages that are joined, when all that came of it was met


class Walk(msgspec.Struct, frozen=True):
    """Where it stands. While an operation is at it, a job that it has not met yet may end as the last of its stage,
    and that be joined: a job where the walk was. So it goes through all of it `again`."""

    path: list[FamilyPlace]
    again: bool = True


_decode = msgspec.json.Decoder(Walk).decode


def cancel(tx: Transaction, message: Cancel) -> JobChanged | Refusal:
    """The job, where it has not ended, and all that came of it."""
    job = tx.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    undo = ""
    if allowed(Verb.CANCEL, job.status):
        done = jobs.cancel(tx, replace(message, children=False))
        if isinstance(done, Refusal):
            return done
        undo = done.undo
    _start_no_more(tx, job)
    cancelled, _, left, _ = _piece(tx, [_top(job.id)], message.reason)
    operation = None
    if left:
        if (refusal := too_many_open(tx)) is not None:
            return refusal  # and nothing is cancelled
        plan = OperationPlan(CancelChildren(job.id, message.reason))
        begun = put_on_record(tx, plan, SERVER, cursor=msgspec.json.encode(Walk(left)).decode())
        assert isinstance(begun, OperationBegun)
        operation = begun.operation_id
    now = tx.store.job(job.id)
    assert now is not None
    return JobChanged(job.id, now.status, undo, children=len(cancelled), operation=operation)


def go_on(tx: Transaction, operation: Operation, work: CancelChildren) -> Operation:
    """The next piece; how far the operation is then."""
    assert operation.cursor is not None
    walk = _decode(operation.cursor)
    cancelled, looked_at, left, _ = _piece(tx, walk.path, work.reason)
    walk = Walk(left, walk.again) if left or not walk.again else Walk([_top(work.parent)], again=False)
    seen = operation.matched + looked_at
    further = operations.moved_on(operation, treated=looked_at, changed=len(cancelled), now=tx.now)
    further = replace(further, matched=seen, total=seen, cursor=msgspec.json.encode(walk).decode())
    return further if walk.path else operations.ended(further, OperationState.COMPLETED, now=tx.now)


class BelowPlace(msgspec.Struct, frozen=True):
    """How far an operation is that has cancelled the jobs it was asked for, and now cancels what came of them: of the
    `pages` of those, at `page`."""

    pages: int
    page: int = 0
    walk: Walk | None = None


_decode_below = msgspec.json.Decoder(BelowPlace).decode


def go_below(operation: Operation, *, now: int) -> Operation:
    """The jobs that it was asked for have been treated: what came of them is next."""
    if operation.state is not OperationState.COMPLETED:
        return operation
    cursor = msgspec.json.encode(BelowPlace(operation.page)).decode()
    return replace(operation, state=OperationState.RUNNING, cursor=cursor, ended_at=None, undo_until=None)


def go_on_below(tx: Transaction, operation: Operation, reason: str | None) -> Operation:
    """The next piece of what came of them. What it changes is kept as that of a further page, for an undo, and so is
    of which jobs all that came was met by then."""
    assert operation.cursor is not None
    below = _decode_below(operation.cursor)
    walk = below.walk or Walk(_tops(tx, operation, below.page))
    changes, _, left, met = _piece(tx, walk.path, reason)
    kept = [*changes, *(KeptChange(job_id, "", MET, tx.now) for job_id in ([] if walk.again else met))]
    if kept:
        tx.store.operations.add_pages(operation.id, operation.page, [[each.job_id for each in changes]])
        tx.store.operations.keep_changes(operation.id, operation.page, kept)
    further = operations.moved_on(operation, treated=len(changes), changed=len(changes), now=tx.now)
    n = len(changes)
    further = replace(further, matched=further.matched + n, total=further.total + n, pages=further.page)
    if left:
        following = BelowPlace(below.pages, below.page, Walk(left, walk.again))
    elif walk.again and walk.path:
        following = BelowPlace(below.pages, below.page, Walk(_tops(tx, operation, below.page), again=False))
    else:
        following = BelowPlace(below.pages, below.page + 1)
    if following.page == following.pages:
        return operations.ended(further, OperationState.COMPLETED, now=tx.now)
    return replace(further, cursor=msgspec.json.encode(following).decode())


def _tops(tx: Transaction, operation: Operation, page: int) -> list[FamilyPlace]:
    """Where the walk begins: at those of a page of which jobs may have come."""
    ids, _ = tx.store.operations.page(operation.id, page)
    tx.store.read_ahead(ids)
    parents = [job for job_id in ids if (job := tx.store.job(job_id)) is not None and starts_jobs(job)]
    for job in parents:
        _start_no_more(tx, job)
    return [_top(job.id) for job in reversed(parents)]


def _top(job_id: int) -> FamilyPlace:
    return (job_id, *FIRST_PLACE)


def _piece(
    tx: Transaction, at: Sequence[FamilyPlace], reason: str | None
) -> tuple[list[KeptChange], int, list[FamilyPlace], list[int]]:
    """The next jobs that were cancelled, at how many was looked, where the walk goes on, and of which jobs with
    stages that are joined all was met."""
    path, looked_at = list(at), 0
    cancelled: list[KeptChange] = []
    met: list[int] = []
    tx.cut |= {parent for parent, *_ in path}
    while path and looked_at < A_TURN:
        parent, attempt, step, name = path[-1]
        found = tx.store.kin.of(parent, after=(attempt, step, name), limit=A_TURN - looked_at)
        if not found:
            path.pop()
            if _joins(tx.store.job(parent)):
                met.append(parent)
        tx.store.read_ahead([kin.job_id for kin in found])
        for kin in found:
            looked_at += 1
            path[-1] = (parent, kin.attempt, kin.step, kin.name)
            job = tx.store.job(kin.job_id)
            if job is None or job.chain is None or job.chain.parent != parent:
                continue
            if allowed(Verb.CANCEL, job.status):
                done = jobs.cancelled(tx, Cancel(job.id, reason=reason))
                cancelled += [] if isinstance(done, Refusal) else [done]
            _start_no_more(tx, job)
            if job.chain.then:
                path.append(_top(job.id))
                break
    manystages.cut(tx, tx.cut)
    return cancelled, looked_at, path, met


def _joins(job: Job | None) -> bool:
    return job is not None and job.chain is not None and any(step.join is not None for step in job.chain.then)


def _start_no_more(tx: Transaction, job: Job) -> None:
    """Nothing more is made of its result, and no stage of that is joined by this message."""
    tx.cut.add(job.id)
    if job.chain is not None and job.chain.rest is not None:
        wide.cancel(tx, job.chain.rest.operation, joining.cut_off(job.id))
