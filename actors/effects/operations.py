"""What operations do to the database: they select their jobs, treat them page by page, end, and are undone.

Each turn moves the operation on in the transaction of its effects, and only from where its record says that it is: a
turn that is asked for twice, by a server that was restarted or by two of them, is made once.
"""

from __future__ import annotations

from functools import partial

import msgspec
from msgspec.structs import replace

from actors.effects import chains, families, fleet, manystages, retention, returns, wide
from actors.effects import jobs as on_jobs
from actors.effects.batches import close_for, leave
from actors.effects.beginning import put_on_record, tell
from actors.effects.descent import cancels
from actors.effects.requiring import required
from actors.effects.retyping import retyped
from actors.effects.transaction import Transaction
from actors.messages import (
    AdvanceOperation,
    BeginOperation,
    Cancel,
    CancelChildren,
    CancelFamilies,
    CancelJobs,
    ChangeTags,
    DeleteBatch,
    DeleteJob,
    EndOperation,
    JoinStages,
    LeaveBatch,
    OperationBegun,
    OperationPlan,
    OperationStands,
    PruneOperations,
    Purged,
    RemoveWorker,
    RemoveWorkers,
    Retry,
    RetryJobs,
    Retype,
    SelectJobs,
    SetPriority,
    SetRequirements,
    StartChildren,
    TakeBackJobs,
    UndoJobs,
    UndoOperation,
    Work,
)
from actors.works import JobItem, chosen_workers, item, ran_then, scope_of, still_chosen
from blobforge import operation as life
from blobforge.job import Job, JobStatus
from blobforge.life import Verb, allowed
from blobforge.operation import (
    DELETE_BATCH,
    JOIN_STAGES,
    START_CHILDREN,
    TOLD_EACH_MS,
    KeptChange,
    Operation,
    OperationState,
    no_such_operation,
)
from blobforge.refusals import Refusal, RefusalCode

_decode_plan = msgspec.json.Decoder(OperationPlan).decode


def begin(tx: Transaction, message: BeginOperation) -> OperationBegun | Refusal:
    if message.closes is not None and (refusal := close_for(tx, message.closes, message.plan)) is not None:
        return refusal
    if message.closes is not None and isinstance(message.plan.work, CancelJobs):
        tx.cancelling.add(message.closes)
        for operation_id in tx.store.operations.starting_for(message.closes):
            wide.cancel(tx, operation_id, f"batch {message.closes} was cancelled")
        manystages.cancel_batch(tx, message.closes)
    return put_on_record(tx, message.plan, message.caller)


def select(tx: Transaction, message: SelectJobs) -> OperationStands | Refusal:
    operation = tx.store.operations.get(message.operation_id)
    if operation is None:
        return no_such_operation(message.operation_id)
    if operation.state is not OperationState.SELECTING or operation.pages != message.after:
        return OperationStands(operation)
    if (refused := _rights(tx, operation)) is not None:
        return _end(tx, operation, refused)
    tx.store.operations.add_pages(operation.id, message.after, message.pages)
    chosen = sum(map(len, message.pages))
    found = life.selected(
        operation, matched=message.matched, chosen=chosen, pages=len(message.pages), cursor=message.cursor, now=tx.now
    )
    return _save(tx, operation, found)


def advance(tx: Transaction, message: AdvanceOperation) -> OperationStands | Refusal:
    operation = tx.store.operations.get(message.operation_id)
    if operation is None:
        return no_such_operation(message.operation_id)
    if operation.state is not OperationState.RUNNING or operation.page != message.page:
        return OperationStands(operation)
    if (refused := _rights(tx, operation)) is not None:
        return _end(tx, operation, refused)
    plan = _decode_plan(operation.work)
    if isinstance(plan.work, RemoveWorkers):
        return _remove_workers(tx, operation, plan.work)
    if isinstance(plan.work, TakeBackJobs):
        return _take_back(tx, operation, plan.work)
    if (further := _of_families(tx, operation, plan.work)) is not None:
        return _save(tx, operation, further)
    if (batch := cancels(plan)) is not None:
        tx.cancelling.add(batch)
    ids, before = tx.store.operations.page(operation.undo_of or operation.id, operation.page)
    changes: list[KeptChange] = []
    refusals: list[Refusal] = []
    if isinstance(plan.work, UndoJobs):
        back = [change for change in before if change.became != families.MET]
        ids = [change.job_id for change in back]
        changed = tx.each(back, on_jobs.put_back)
        # All that came of these is back, and what of it had ended before may be joined.
        manystages.join_again(tx, [change.job_id for change in before if change.became == families.MET])
    else:
        treat = partial(_treat, plan=plan, asked_at=operation.created_at, changes=changes, refusals=refusals)
        changed = tx.each([_item(plan.work, job_id) for job_id in ids], treat)
    # Behind the jobs: what was written at once could not be undone alone.
    if changes or operation.undo_of is not None:
        tx.store.operations.keep_changes(operation.undo_of or operation.id, operation.page, changes)
    refused = refusals[0].detail if refusals else None
    further = life.advanced(operation, treated=len(ids), changed=changed, now=tx.now, refused=refused)
    if isinstance(plan.work, CancelFamilies):
        further = families.go_below(further, now=tx.now)
    return _save(tx, operation, further)


def _of_families(tx: Transaction, operation: Operation, work: Work) -> Operation | None:
    """How far the operation is that goes through what comes of jobs, and not through pages of jobs."""
    match work:
        case StartChildren():
            return chains.go_on(tx, operation, work)
        case CancelChildren():
            return families.go_on(tx, operation, work)
        case JoinStages():
            return manystages.go_on(tx, operation, work)
        case CancelFamilies() if operation.cursor is not None:
            return families.go_on_below(tx, operation, work.reason)
        case _:
            return None


def _item(work: Work, job_id: int) -> JobItem | LeaveBatch:
    return LeaveBatch(job_id, work.batch_id, work.results) if isinstance(work, DeleteBatch) else item(work, job_id)


def _remove_workers(tx: Transaction, operation: Operation, work: RemoveWorkers) -> OperationStands:
    """One page of workers. One that was made since the operation was asked for is another worker of that name."""
    only = chosen_workers(work)
    ids = tx.store.operations.workers(operation.id, operation.page)

    def treat(tx: Transaction, worker_id: str) -> bool:
        worker = tx.store.worker(worker_id)
        if worker is None or worker.created_at > operation.created_at:
            return False
        return not isinstance(fleet.remove(tx, RemoveWorker(worker_id, only)), Refusal)

    changed = tx.each(ids, treat)
    return _save(tx, operation, life.advanced(operation, treated=len(ids), changed=changed, now=tx.now))


def _take_back(tx: Transaction, operation: Operation, work: TakeBackJobs) -> OperationStands:
    """One page of what workers ran that have left. What one of them was given since, it runs anew."""
    ids, _ = tx.store.operations.page(operation.id, operation.page)

    def treat(tx: Transaction, job_id: int) -> bool:
        job = tx.store.job(job_id)
        if job is None or not ran_then(work, job, operation.created_at):
            return False
        returns.take_back(tx, job, work.reason, died=work.died)
        return True

    changed = tx.each(ids, treat)
    return _save(tx, operation, life.advanced(operation, treated=len(ids), changed=changed, now=tx.now))


def _treat(
    tx: Transaction,
    asked: JobItem | LeaveBatch,
    *,
    plan: OperationPlan,
    asked_at: int,
    changes: list[KeptChange],
    refusals: list[Refusal],
) -> bool:
    """One job; whether it was changed. One that has moved on since it was selected is left alone, and one that has
    ended since the operation was asked for is not tried again: of two that were asked for, the second would convert
    anew what the first one has brought about."""
    job = tx.store.job(asked.job_id)
    if job is None or not still_chosen(job, plan.filter):
        return False
    if isinstance(asked, Retry) and _comes_back_by_itself(job, plan.work, asked_at=asked_at, now=tx.now):
        return False
    if isinstance(asked, DeleteJob | LeaveBatch):
        return _removed(tx, job, asked, refusals)
    if isinstance(plan.work, CancelFamilies) and not allowed(Verb.CANCEL, job.status):
        return False  # it is chosen for what came of it
    done: KeptChange | Refusal | None
    match asked:
        case Retry():
            done = on_jobs.retried(tx, asked)
        case Cancel():
            done = on_jobs.cancelled(tx, asked)
        case SetPriority():
            done = on_jobs.prioritised(tx, asked)
        case Retype():
            done = retyped(tx, asked)
        case SetRequirements():
            done = required(tx, asked.job_id, asked.requires)
        case ChangeTags():
            done = on_jobs.retagged(tx, asked)
    if isinstance(done, Refusal):
        refusals.append(done)
        return False
    if done is None:
        return False
    changes.append(done)
    return True


def _comes_back_by_itself(job: Job, work: object, *, asked_at: int, now: int) -> bool:
    """Whether the job has been tried since it was asked for, or waits out its back-off where only what has ended is
    meant."""
    if job.completed_at is not None and asked_at < job.completed_at <= now:
        return True
    return isinstance(work, RetryJobs) and work.ended_only and job.status is JobStatus.FAILED


def _removed(tx: Transaction, job: Job, asked: DeleteJob | LeaveBatch, refusals: list[Refusal]) -> bool:
    """The job goes, or of a batch that is deleted, it may stay and be in that no longer."""
    if isinstance(asked, LeaveBatch):
        if not asked.results or len(job.batches) > 1:
            leave(tx, job, asked)
            return True
        asked = DeleteJob(job.id)
    deleted = retention.delete_job(tx, asked)
    if isinstance(deleted, Refusal):
        refusals.append(deleted)
    return not isinstance(deleted, Refusal)


def end(tx: Transaction, message: EndOperation) -> OperationStands | Refusal:
    operation = tx.store.operations.get(message.operation_id)
    if operation is None:
        return no_such_operation(message.operation_id)
    if message.reason is not None:
        return OperationStands(operation) if operation.ended else _end(tx, operation, message.reason)
    if operation.ended:
        return Refusal(RefusalCode.OPERATION_ENDED, f"Operation {operation.id} is {operation.state} already.")
    if operation.verb == life.TAKE_BACK:
        return Refusal(
            RefusalCode.OPERATION_RUNNING,
            f"Operation {operation.id} gives back what workers ran that have left, and cannot be cancelled: those "
            "jobs would run nowhere. Wait for it.",
        )
    if operation.verb == life.JOIN_STAGES:
        return Refusal(
            RefusalCode.OPERATION_RUNNING,
            f"Operation {operation.id} joins the stages that have ended, and cannot be cancelled: they would never "
            "be joined. Wait for it.",
        )
    return _save(tx, operation, life.ended(operation, OperationState.CANCELLED, now=tx.now))


def undo(tx: Transaction, message: UndoOperation) -> OperationBegun | Refusal:
    operation = tx.store.operations.get(message.operation_id)
    if operation is None:
        return no_such_operation(message.operation_id)
    if operation.undone_by is not None:
        earlier = tx.store.operations.get(operation.undone_by)
        if earlier is None or (earlier.ended and earlier.state is not OperationState.COMPLETED):
            operation = replace(operation, undone_by=None)  # it was broken off, and is gone on with
    if (refusal := life.why_not_undone(operation, tx.now)) is not None:
        return refusal
    return put_on_record(tx, OperationPlan(UndoJobs(operation.id)), message.caller, operation)


def prune(tx: Transaction, message: PruneOperations) -> Purged:
    """What cannot be undone any more goes page by page, and then operations that ended long ago."""
    gone = tx.store.operations.prune(undo_before=tx.now, ended_before=tx.now - life.KEPT_MS, limit=message.limit)
    return Purged(more=gone == message.limit)


def _rights(tx: Transaction, operation: Operation) -> str | None:
    """Why its asker may do this no longer. A session may end, and the person's operation goes on."""
    scope = scope_of(operation.verb)
    if operation.token_id is not None:
        token = tx.store.token(operation.token_id)
        if token is None:
            return "the API token that it was asked for with was revoked"
        if token.expired(tx.now):
            return "the API token that it was asked for with has expired"
        return None if token.caller().may(scope) else f"its API token has not the scope {scope}"
    if operation.user_id is not None:
        user = tx.store.user(operation.user_id)
        if user is None or not user.caller().may(scope):
            return f"{operation.name or operation.subject} may not do this any more"
    return None


def _end(tx: Transaction, operation: Operation, reason: str) -> OperationStands:
    return _save(tx, operation, life.ended(operation, OperationState.FAILED, reason=reason, now=tx.now))


def _save(tx: Transaction, before: Operation, after: Operation) -> OperationStands:
    if after.state is not before.state or not 0 <= tx.now - before.told_at < TOLD_EACH_MS:
        after = replace(after, told_at=tx.now)
        tell(tx, after)
    tx.store.operations.save(after)
    if after.verb == START_CHILDREN and after.ended:
        work = _decode_plan(after.work).work
        assert isinstance(work, StartChildren)
        wide.is_over(tx, work, after)
    if after.verb == JOIN_STAGES and after.state is OperationState.FAILED:
        manystages.is_broken_off(tx, after)
    if after.verb == DELETE_BATCH and after.state is OperationState.COMPLETED:
        work = _decode_plan(after.work).work
        assert isinstance(work, DeleteBatch)
        tx.store.batches.delete_empty(work.batch_id)
    return OperationStands(after)
