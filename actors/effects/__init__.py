"""What each message does to the database, inside the writer's transaction: one function a message.

An effect reads what it needs, applies the domain's pure rules, writes guarded updates, and notes what has
happened. It neither waits nor sends a message. `apply` is the one place that knows which message does what.
"""

from __future__ import annotations

from typing import assert_never

from actors.effects import (
    access,
    attempts,
    backfill,
    claims,
    fleet,
    jobs,
    operations,
    outputs,
    people,
    periodic,
    recovery,
    retention,
    submission,
)
from actors.effects.transaction import Transaction
from actors.messages import (
    AddSigningKey,
    AdvanceOperation,
    Answer,
    Backfill,
    Batch,
    BatchDone,
    BeginOperation,
    Cancel,
    ChangeTags,
    ChooseOutputs,
    Claim,
    Command,
    Complete,
    CreateToken,
    CreateWorker,
    DeleteJob,
    DeleteToken,
    DeletionsTried,
    DisableWorker,
    Done,
    Drain,
    EnableWorker,
    EndOperation,
    EndSession,
    EndSessions,
    EnsureAdminToken,
    ExpireLeases,
    ExpireUploads,
    ExpireWorkers,
    Fail,
    FindUnneeded,
    FreePages,
    Heartbeat,
    Item,
    ItemOutcome,
    LeaveCheckpoints,
    Note,
    OutputChecked,
    OutputsKept,
    Ping,
    Prune,
    PruneOperations,
    Purge,
    RecordBulk,
    RecordDrill,
    Recount,
    Register,
    Release,
    RemoveWorker,
    RenewSession,
    ReplaceSecret,
    Retry,
    Sample,
    SelectJobs,
    SetPriority,
    SettleFork,
    SignIn,
    SourceArrived,
    SourceRejected,
    Submit,
    TakeDoomed,
    TellOutputs,
    TellSearch,
    TouchSession,
    TouchTokens,
    Undo,
    UndoOperation,
    Unregister,
    WakeJobs,
)
from blobforge.job import JobStatus
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import Drill


def perform(step: Transaction, message: Command, place: int = 0) -> Answer:
    """Apply one message, the one with this place in what the step has to do: refused or broken, it leaves nothing
    behind."""
    return step.whole(place, apply, message)


def apply(step: Transaction, message: Command) -> Answer:  # noqa: PLR0912, PLR0915 - one row a message
    match message:
        case Claim():
            return claims.claim(step, message)
        case Heartbeat():
            return fleet.heartbeat(step, message)
        case (
            Complete()
            | Fail()
            | Submit()
            | Retry()
            | Cancel()
            | SetPriority()
            | ChangeTags()
            | DeleteJob()
            | RemoveWorker()
        ):
            return _apply_item(step, message)
        case Batch():
            return _batch(step, message)
        case Release():
            return attempts.release(step, message)
        case ExpireLeases():
            return attempts.expire_leases(step, message)
        case TellOutputs():
            return outputs.tell_outputs(step, message)
        case ChooseOutputs():
            return outputs.choose_outputs(step, message)
        case OutputChecked():
            return attempts.output_checked(step, message)
        case OutputsKept():
            return attempts.outputs_kept(step, message)
        case SourceArrived():
            return submission.source_arrived(step, message)
        case SourceRejected():
            return submission.source_rejected(step, message)
        case ExpireUploads():
            return submission.expire_uploads(step, message)
        case Register():
            return fleet.register(step, message)
        case Unregister():
            return fleet.unregister(step, message)
        case Drain():
            return fleet.drain(step, message)
        case CreateWorker():
            return fleet.create(step, message)
        case ReplaceSecret():
            return fleet.replace_secret(step, message)
        case EnableWorker():
            return fleet.enable(step, message)
        case DisableWorker():
            return fleet.disable(step, message)
        case ExpireWorkers():
            return fleet.expire_workers(step, message)
        case WakeJobs():
            return jobs.wake(step, message)
        case Undo():
            return jobs.undo(step, message)
        case BeginOperation():
            return operations.begin(step, message)
        case SelectJobs():
            return operations.select(step, message)
        case AdvanceOperation():
            return operations.advance(step, message)
        case EndOperation():
            return operations.end(step, message)
        case UndoOperation():
            return operations.take_back(step, message)
        case PruneOperations():
            return operations.prune(step, message)
        case SettleFork():
            return recovery.settle_fork(step)
        case Sample():
            return periodic.sample(step)
        case CreateToken():
            return access.create_token(step, message)
        case EnsureAdminToken():
            return access.ensure_admin_token(step, message)
        case DeleteToken():
            return access.delete_token(step, message)
        case TouchTokens():
            return access.touch_tokens(step, message)
        case AddSigningKey():
            return access.add_signing_key(step, message)
        case Purge():
            return periodic.purge(step, message)
        case RecordBulk():
            return message.done
        case SignIn():
            return people.sign_in(step, message)
        case RenewSession():
            return people.renew_session(step, message)
        case TouchSession():
            return people.touch_session(step, message)
        case EndSession():
            return people.end_session(step, message)
        case EndSessions():
            return people.end_sessions(step, message)
        case Prune():
            return retention.prune(step, message)
        case TakeDoomed():
            return retention.take_doomed(step, message)
        case DeletionsTried():
            return retention.deletions_tried(step, message)
        case FindUnneeded():
            return retention.find_unneeded(step, message)
        case TellSearch():
            return retention.tell_search(step, message)
        case Recount():
            return backfill.recount(step, message)
        case Backfill():
            return backfill.backfill(step, message)
        case FreePages():
            return retention.free_pages(step, message)
        case Ping():
            step.store.pulse(now=step.now)
            return Done()
        case LeaveCheckpoints():
            if step.store.database_file is not None:
                step.store.database_file.leave_checkpoints(to_litestream=message.to_litestream)
            return Done()
        case RecordDrill():
            step.store.recovery.record_drill(
                Drill(message.started_at, message.ended_at, message.ok, message.proven_until, message.detail),
                kept=recovery.DRILLS_KEPT,
            )
            return Done()
        case Note():
            return Done()
        case _:
            assert_never(message)


def _apply_item(step: Transaction, message: Item) -> ItemOutcome:
    match message:
        case Complete():
            return attempts.complete(step, message)
        case Fail():
            return attempts.fail(step, message)
        case Submit():
            return submission.submit(step, message)
        case SourceArrived():
            return submission.source_arrived(step, message)
        case Retry():
            return jobs.retry(step, message)
        case Cancel():
            return jobs.cancel(step, message)
        case SetPriority():
            return jobs.set_priority(step, message)
        case ChangeTags():
            return jobs.change_tags(step, message)
        case DeleteJob():
            return retention.delete_job(step, message)
        case RemoveWorker():
            return fleet.remove(step, message)
        case _:
            assert_never(message)


def _batch(step: Transaction, message: Batch) -> BatchDone:
    return BatchDone(tuple(_item(step, item, place, message.only) for place, item in enumerate(message.items)))


def _moved_on(step: Transaction, item: Item, only: JobStatus | None) -> Refusal | None:
    """Whether what is to be done to the job was meant for it in another state."""
    if only is None or not isinstance(item, Retry | Cancel | SetPriority | ChangeTags | DeleteJob):
        return None
    job = step.store.job(item.job_id)
    if job is None or job.status is only:
        return None
    return Refusal(RefusalCode.JOB_MOVED_ON, f"Job {job.id} was {only} when it was chosen, and is {job.status} now.")


def _item(step: Transaction, item: Item, place: int, only: JobStatus | None) -> ItemOutcome:
    return _moved_on(step, item, only) or step.whole(place, _apply_item, item)
