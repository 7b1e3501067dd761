"""What each message needs of the database, named before its transaction begins.

Only what makes of many questions a few: an effect that reads more asks for it by itself, and what is named and not
read costs little. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actors.effects.avoidance import KEPT_LOOKED_AT, LOOKED_AT
from actors.effects.causes import LOST_CAUSE, SILENT_CAUSE
from actors.messages import (
    AdvanceOperation,
    Batch,
    BeginCanary,
    Cancel,
    CancelCanary,
    ChangeTags,
    ChooseOutputs,
    Claim,
    CloseBatch,
    Complete,
    DeleteJob,
    Drain,
    EnableWorker,
    ExpireLeases,
    ExpireUploads,
    ExpireWorkers,
    Fail,
    Heartbeat,
    Message,
    OutputChecked,
    QuarantineWorker,
    ReadmitWorker,
    Register,
    Release,
    RemoveWorker,
    Repeatable,
    Retry,
    Retype,
    SetPriority,
    SetRequirements,
    SourceArrived,
    SourceRejected,
    Submit,
    TellOutputs,
    Unregister,
    WakeJobs,
)
from blobforge.failures import cause
from blobforge.objects.keys import is_sha256, source_key
from blobforge.options import lanes
from blobforge.store.needs import Claimant, GroupPlace, Needs


def needs_of(messages: Iterable[tuple[Message[Any], Repeatable | None]]) -> Needs:
    """What these messages need, all together; some of them may be repeated."""
    needs = Needs()
    for message, repeat in messages:
        if repeat is not None:
            needs.repeated.add((repeat.subject, repeat.key))
        if isinstance(message, Batch):
            for item in message.items:
                _add(needs, item)
        else:
            _add(needs, message)
    if needs.ready or needs.ready_for or needs.next_of:
        needs.kept = KEPT_LOOKED_AT
    if needs.failed:
        needs.among = LOOKED_AT
    return needs


def _add(needs: Needs, message: Message[Any]) -> None:  # noqa: PLR0912, PLR0915 - one row a message
    match message:
        case CloseBatch():
            needs.batches.add(message.batch_id)
        case Claim():
            needs.workers.add(message.worker_id)
            needs.claimants.append(
                Claimant(
                    message.worker_id, message.types, lanes(message.accepts), message.limit, key=message.claim_key
                )
            )
            if message.claim_key is not None:
                key = (message.worker_id, message.claim_key)
                needs.claim_keys.add(key)
                needs.ready_for[key] = dict.fromkeys(message.lines, message.limit)
            else:
                for line in message.lines:
                    needs.ready[line] = needs.ready.get(line, 0) + message.limit
        case TellOutputs() | ChooseOutputs():
            needs.workers.add(message.worker_id)
            needs.jobs.add(message.job_id)
        case Complete() | Fail() | Release():
            needs.workers.add(message.worker_id)
            needs.jobs.add(message.job_id)
            needs.ending.add(message.job_id)
            if isinstance(message, Complete) and message.claim_next:
                accepted = lanes(message.accepts)
                needs.next_of.update((message.job_id, lane) for lane in accepted)
                needs.claimants.append(Claimant(message.worker_id, (), accepted, after=message.job_id))
            elif isinstance(message, Fail):
                needs.latest.add(message.worker_id)
                needs.in_a_row_of.add(message.job_id)
                needs.causes.add(cause(message.kind, message.error, message.traceback).fingerprint)
        case Heartbeat():
            needs.workers.add(message.worker_id)
            needs.jobs.update(beat.job_id for beat in message.jobs)
        case Submit():
            needs.new_jobs += 1
            if message.job.batch is not None:
                needs.batches.add(message.job.batch)
            if message.job.group is not None and _is_writable(message.job.group):
                needs.clocks.add(message.job.type)
                needs.turns.add(GroupPlace(message.job.type, message.job.priority, message.job.group))
            _source(needs, message.job.source_hash)
            if message.job.source_path and _is_writable(message.job.source_path):
                needs.paths.add((message.job.source_hash, message.job.source_path))
        case SourceArrived() | SourceRejected():
            _source(needs, message.source_hash)
        case Retry():
            needs.jobs.add(message.job_id)
            needs.ending.add(message.job_id)
            needs.failed.add(message.job_id)
            needs.sources_of.add(message.job_id)
        case Retype():
            needs.jobs.add(message.job_id)
            needs.beside.add(message.job_id)
        case Cancel() | DeleteJob():
            needs.jobs.add(message.job_id)
            needs.ending.add(message.job_id)
        case SetPriority() | SetRequirements() | ChangeTags():
            needs.jobs.add(message.job_id)
        case BeginCanary():
            needs.jobs.update(message.jobs)
            needs.sources_of.update(message.jobs)
            needs.new_jobs += len(message.jobs)
        case CancelCanary():
            needs.jobs.update(message.jobs)
        case AdvanceOperation():
            needs.jobs.update(message.jobs)
            needs.ending.update(message.jobs)
            needs.workers.update(message.workers)
            if message.verb in ("retype", "undo"):
                needs.beside.update(message.jobs)
            if message.verb in ("retry", "undo"):
                needs.failed.update(message.jobs)
                needs.sources_of.update(message.jobs)
        case ExpireLeases():
            needs.jobs.update(silent.job_id for silent in message.leases)
            needs.ending.update(silent.job_id for silent in message.leases)
            needs.causes |= {LOST_CAUSE.fingerprint, SILENT_CAUSE.fingerprint}
        case WakeJobs():
            needs.jobs.update(timer.job_id for timer in message.due)
            needs.failed.update(timer.job_id for timer in message.due)
        case ExpireUploads():
            needs.jobs.update(upload.job_id for upload in message.uploads)
            needs.ending.update(upload.job_id for upload in message.uploads)
        case OutputChecked():
            needs.jobs.add(message.job_id)
            needs.ending.add(message.job_id)
            needs.files.add(message.key)
        case (
            Register()
            | Unregister()
            | RemoveWorker()
            | Drain()
            | EnableWorker()
            | QuarantineWorker()
            | ReadmitWorker()
        ):
            needs.workers.add(message.worker_id)
        case ExpireWorkers():
            needs.workers.update(silent.worker_id for silent in message.workers)
        case _:
            pass  # asks for itself


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False  # its own effect is told so, and no other
    return True


def _source(needs: Needs, source_hash: str) -> None:
    if is_sha256(source_hash):
        needs.sources.add(source_hash)
        needs.files.add(source_key(source_hash))
        needs.dooms.add(source_key(source_hash))
