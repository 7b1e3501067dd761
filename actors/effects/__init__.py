"""What each message does to the database, inside the writer's transaction: one function a message.

An effect reads what it needs, applies the domain's pure rules, writes guarded updates, and notes what has
happened. It neither waits nor sends a message. `apply` is the one place that knows which message does what.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from actors.effects import (
    accepted,
    access,
    ageing,
    attempts,
    backfill,
    batches,
    canaries,
    chains,
    claims,
    deletions,
    families,
    fleet,
    jobs,
    jobtypes,
    joining,
    manystages,
    operations,
    outputs,
    people,
    periodic,
    quarantine,
    recounts,
    recovery,
    retention,
    searches,
    submission,
    texts,
    times,
    webhooks,
)
from actors.effects.transaction import Transaction
from actors.messages import (
    AddSigningKey,
    AdvanceOperation,
    AdvanceSearch,
    Answer,
    Backfill,
    Batch,
    BatchDone,
    BeginCanary,
    BeginOperation,
    BeginRecount,
    BeginSearch,
    Cancel,
    CancelCanary,
    ChangeTags,
    ChangeType,
    ChangeWebhook,
    ChildSourceRead,
    ChooseOutputs,
    Claim,
    CloseBatch,
    Command,
    Complete,
    CorrectCounts,
    CreateToken,
    CreateWebhook,
    CreateWorker,
    DeleteJob,
    DeleteToken,
    DeleteWebhook,
    DeletionsTried,
    DeliverAgain,
    DeliverRangeAgain,
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
    FreePages,
    Heartbeat,
    HeedTimes,
    HurryJobs,
    IndexTexts,
    Item,
    ItemOutcome,
    LeaveCheckpoints,
    MakeBatch,
    Note,
    OutputChecked,
    OutputsKept,
    Ping,
    PingWebhook,
    Prune,
    Pruned,
    PruneOperations,
    Purge,
    QuarantineWorker,
    ReadmitWorker,
    RecordBulk,
    RecordDrill,
    Register,
    Release,
    RemoveWorker,
    RenewSession,
    ReplaceSecret,
    Retry,
    Retype,
    RotateSecret,
    Sample,
    SelectJobs,
    SetPriority,
    SetRequirements,
    SettleFork,
    SignIn,
    SourceArrived,
    SourceRejected,
    Submit,
    TakeDeliveries,
    TakeDoomed,
    TakeUpSearch,
    TellOutputs,
    TouchSession,
    TouchTokens,
    Undo,
    UndoOperation,
    Unregister,
    WakeJobs,
)
from actors.works import still_chosen
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import Drill
from blobforge.store.filters import JobFilter
from blobforge.webhook import drill_failed


def perform(tx: Transaction, message: Command, place: int = 0) -> Answer:
    """Apply one message, the one with this place in what the transaction has to do. Refused or broken, it leaves
    nothing behind."""
    return tx.whole(place, apply, message)


def apply(tx: Transaction, message: Command) -> Answer:
    ended = len(tx.store.ended)
    tx.stage_work = 0
    tx.cut.clear()
    tx.restored.clear()
    tx.cancelling.clear()
    answer = _apply(tx, message)
    if not isinstance(answer, Refusal):
        if len(tx.store.ended) > ended:
            joining.settle(tx, ended)
        if tx.put_off:
            manystages.put_on_record(tx)
        if tx.store.has_batches_changed:
            batches.settle(tx)
    return answer


def _apply(tx: Transaction, message: Command) -> Answer:  # noqa: PLR0912, PLR0915 - one row a message
    match message:
        case Claim():
            return claims.claim(tx, message)
        case MakeBatch():
            return batches.make(tx, message)
        case CloseBatch():
            return batches.close(tx, message)
        case Heartbeat():
            return fleet.heartbeat(tx, message)
        case (
            Complete()
            | Fail()
            | Submit()
            | Retry()
            | Cancel()
            | SetPriority()
            | Retype()
            | SetRequirements()
            | ChangeTags()
            | DeleteJob()
            | RemoveWorker()
            | Drain()
            | EnableWorker()
        ):
            return _apply_item(tx, message)
        case Batch():
            return _batch(tx, message)
        case Release():
            return attempts.release(tx, message)
        case ExpireLeases():
            return attempts.expire_leases(tx, message)
        case TellOutputs():
            return outputs.tell_outputs(tx, message)
        case ChooseOutputs():
            return outputs.choose_outputs(tx, message)
        case OutputChecked():
            return accepted.output_checked(tx, message)
        case OutputsKept():
            return accepted.outputs_kept(tx, message)
        case SourceArrived():
            return submission.source_arrived(tx, message)
        case SourceRejected():
            return submission.source_rejected(tx, message)
        case ChildSourceRead():
            return chains.source_read(tx, message)
        case ExpireUploads():
            return submission.expire_uploads(tx, message)
        case Register():
            return fleet.register(tx, message)
        case Unregister():
            return fleet.unregister(tx, message)
        case CreateWorker():
            return fleet.create(tx, message)
        case ReplaceSecret():
            return fleet.replace_secret(tx, message)
        case DisableWorker():
            return fleet.disable(tx, message)
        case QuarantineWorker():
            return quarantine.put(tx, message)
        case ReadmitWorker():
            return quarantine.readmit(tx, message)
        case ChangeType():
            return jobtypes.change(tx, message)
        case ExpireWorkers():
            return fleet.expire_workers(tx, message)
        case WakeJobs():
            return jobs.wake(tx, message)
        case HurryJobs():
            return ageing.hurry(tx, message)
        case HeedTimes():
            return times.heed(tx, message)
        case Undo():
            return jobs.undo(tx, message)
        case BeginCanary():
            return canaries.begin(tx, message)
        case CancelCanary():
            return canaries.cancel(tx, message)
        case BeginOperation():
            return operations.begin(tx, message)
        case SelectJobs():
            return operations.select(tx, message)
        case AdvanceOperation():
            return operations.advance(tx, message)
        case EndOperation():
            return operations.end(tx, message)
        case UndoOperation():
            return operations.undo(tx, message)
        case PruneOperations():
            return operations.prune(tx, message)
        case SettleFork():
            return recovery.settle_fork(tx)
        case Sample():
            return periodic.sample(tx)
        case CreateToken():
            return access.create_token(tx, message)
        case EnsureAdminToken():
            return access.ensure_admin_token(tx, message)
        case DeleteToken():
            return access.delete_token(tx, message)
        case TouchTokens():
            return access.touch_tokens(tx, message)
        case AddSigningKey():
            return access.add_signing_key(tx, message)
        case Purge():
            return periodic.purge(tx, message)
        case RecordBulk():
            return message.done
        case SignIn():
            return people.sign_in(tx, message)
        case RenewSession():
            return people.renew_session(tx, message)
        case TouchSession():
            return people.touch_session(tx, message)
        case EndSession():
            return people.end_session(tx, message)
        case EndSessions():
            return people.end_sessions(tx, message)
        case Prune():
            return _prune(tx, message)
        case TakeDoomed():
            return deletions.take_doomed(tx, message)
        case DeletionsTried():
            return deletions.deletions_tried(tx, message)
        case BeginSearch():
            return searches.begin(tx, message)
        case TakeUpSearch():
            return searches.take_up(tx, message)
        case AdvanceSearch():
            return searches.advance(tx, message)
        case BeginRecount():
            return recounts.begin(tx, message)
        case CorrectCounts():
            return recounts.correct(tx, message)
        case Backfill():
            return backfill.backfill(tx, message)
        case IndexTexts():
            return texts.index(tx, message)
        case FreePages():
            return periodic.free_pages(tx, message)
        case Ping():
            tx.store.pulse(now=tx.now)
            return Done()
        case LeaveCheckpoints():
            if tx.store.database_file is not None:
                tx.store.database_file.leave_checkpoints(to_litestream=message.to_litestream)
            return Done()
        case RecordDrill():
            if not message.ok:
                tx.tell_webhooks(drill_failed(message.detail))
            tx.store.recovery.record_drill(
                Drill(message.started_at, message.ended_at, message.ok, message.proven_until, message.detail),
                kept=recovery.DRILLS_KEPT,
            )
            return Done()
        case CreateWebhook():
            return webhooks.create(tx, message)
        case ChangeWebhook():
            return webhooks.change(tx, message)
        case RotateSecret():
            return webhooks.rotate(tx, message)
        case DeleteWebhook():
            return webhooks.delete(tx, message)
        case PingWebhook():
            return webhooks.ping(tx, message)
        case DeliverAgain():
            return webhooks.deliver_again(tx, message)
        case DeliverRangeAgain():
            return webhooks.deliver_range_again(tx, message)
        case TakeDeliveries():
            return webhooks.take(tx, message)
        case Note():
            return Done()
        case _:
            assert_never(message)


def _prune(tx: Transaction, message: Prune) -> Pruned:
    pruned = retention.prune(tx, message)
    if message.canaries_before is None:
        return pruned
    more = canaries.keep_house(tx, message.canaries_before, limit=message.limit)
    return replace(pruned, more=pruned.more or more)


def _apply_item(tx: Transaction, message: Item) -> ItemOutcome:  # noqa: PLR0912 - one row a message
    match message:
        case Complete():
            return attempts.complete(tx, message)
        case Fail():
            return attempts.fail(tx, message)
        case Submit():
            return submission.submit(tx, message)
        case SourceArrived():
            return submission.source_arrived(tx, message)
        case Retry():
            return jobs.retry(tx, message)
        case Cancel():
            return families.cancel(tx, message) if message.children else jobs.cancel(tx, message)
        case SetPriority():
            return jobs.set_priority(tx, message)
        case Retype():
            return jobs.retype(tx, message)
        case SetRequirements():
            return jobs.set_requirements(tx, message)
        case ChangeTags():
            return jobs.change_tags(tx, message)
        case DeleteJob():
            return retention.delete_job(tx, message)
        case RemoveWorker():
            return fleet.remove(tx, message)
        case Drain():
            return fleet.drain(tx, message)
        case EnableWorker():
            return fleet.enable(tx, message)
        case _:
            assert_never(message)


def _batch(tx: Transaction, message: Batch) -> BatchDone:
    return BatchDone(tuple(_item(tx, item, place, message.only) for place, item in enumerate(message.items)))


def _moved_on(tx: Transaction, item: Item, only: JobFilter | None) -> Refusal | None:
    """Whether what is to be done to the job was meant for it as it was before."""
    chosen = Retry | Cancel | SetPriority | Retype | SetRequirements | ChangeTags | DeleteJob
    if only is None or not isinstance(item, chosen):
        return None
    job = tx.store.job(item.job_id)
    if job is None or still_chosen(job, only):
        return None
    detail = f"Job {job.id} is {job.status} now, and does not match any more what it was chosen by."
    return Refusal(RefusalCode.JOB_MOVED_ON, detail)


def _item(tx: Transaction, item: Item, place: int, only: JobFilter | None) -> ItemOutcome:
    return _moved_on(tx, item, only) or tx.whole(place, _apply_item, item)
