"""Chains: what an accepted result starts, and how the source of a job that came of it is proven.

All of it is in the transaction that accepts the result: the jobs, what they came of (`kin`), and how many the
family has. A job whose source is not proven waits as `uploading`, under a hash that is none; the intake reads the
object, and the transaction that hears of it gives the job its hash, or finds that it is there already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from actors.effects import wide
from actors.effects.avoidance import kept_from
from actors.effects.causes import UPLOAD_CAUSE, blamed
from actors.effects.descent import cancelled_with, descend
from actors.effects.joining import join_ended, stop
from actors.effects.times import ready_or_waits
from actors.effects.transaction import Transaction
from actors.messages import ChildSourceRead, Complete, ObjectSeen, Seen, SourceSettledFor, StartChildren
from blobforge import life
from blobforge import operation as operations
from blobforge.chain import (
    A_PIECE,
    MOST_AT_ONCE,
    MOST_IN_FAMILY,
    MOST_STEPS,
    ChainPlace,
    Kin,
    LinkedOutput,
    Rest,
    Step,
    matching,
    source_path,
    too_many,
    unproven_hash,
    whence,
)
from blobforge.events import (
    JobFailed,
    JobRemoved,
    JobUpdated,
    ProofAwaited,
    SourceSettled,
)
from blobforge.job import MOST_BATCHES, Job, JobStatus, tagged
from blobforge.objects.keys import named_output_key, output_of, prefix_of
from blobforge.oneoutput import name_of
from blobforge.operation import Operation, OperationState
from blobforge.outputs import MOST as MOST_OUTPUTS
from blobforge.outputs import Output
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.turns import with_turn

COME_AGAIN_SECONDS = 5
LOOKED_AT = 500  # outputs in one question, where what they start is made in pieces
MOST_LOOKS = 4  # in one turn


def start(tx: Transaction, job: Job, message: Complete, *, settled: bool) -> None:
    """The result of this job was accepted: make what follows it. `settled`: nothing will be written over its one
    output, nor will it be served from a copy."""
    place = job.chain
    if place is None or not place.then:
        return
    several = message.several is not None
    links = _several(tx, job) if several else _single(job, message, settled=settled)
    planned = [(number, step, link) for number, step in enumerate(place.then) for link in matching(step, links)]
    if place.said is not None or place.rest is not None:  # of a former result
        job = wide.anew(tx, job)
    if planned and (batch := cancelled_with(tx, job)) is not None:
        stop(tx, job, too_many(len(planned), f"batch {batch} was cancelled"))
        return
    if len(planned) > MOST_AT_ONCE:
        first = _start(tx, job, job.attempt, planned[:A_PIECE], wide.unjoined(planned), several=several)
        wide.begin(tx, job, planned, first)
        return
    piece = _start(tx, job, job.attempt, planned, several=several)
    if piece.why is not None:
        stop(tx, job, too_many(len(planned) - piece.treated, piece.why))
    if any(step.join is not None for step in place.then):  # they may all have been there, and have ended
        join_ended(
            tx, [(job.id, job.attempt, number) for number in dict.fromkeys(number for number, _, _ in planned)]
        )


def go_on(tx: Transaction, operation: Operation, work: StartChildren) -> Operation:
    """Make the next piece of what the result of the job starts; how far the operation is then."""
    found = wide.rest_of(tx, operation, work)
    if found is None:
        gone = "the job was deleted, or has another result by now"
        return operations.ended(operation, OperationState.COMPLETED, reason=gone, now=tx.now)
    parent, rest = found
    planned, step, after = _next(tx, parent, work.attempt, rest)
    piece = _start(tx, parent, work.attempt, planned, rest.unjoined, several=True)
    left = rest.left - piece.treated
    wide.save_rest(tx, parent, replace(rest, step=step, after=after, left=left))
    further = operations.moved_on(operation, treated=piece.treated, changed=piece.made, now=tx.now)
    if piece.why is not None:
        return operations.ended(further, OperationState.FAILED, reason=piece.why, now=tx.now)
    return operations.ended(further, OperationState.COMPLETED, now=tx.now) if left == 0 else further


def _next(tx: Transaction, parent: Job, attempt: int, rest: Rest) -> tuple[list[wide.Planned], int, str]:
    """The next outputs that start something, and behind which step and output the others are. The outputs of an
    accepted attempt are what they were."""
    assert parent.chain is not None
    assert parent.output_key is not None
    then, prefix = parent.chain.then, prefix_of(parent.output_key)
    found: list[wide.Planned] = []
    step, after = rest.step, rest.after
    for _ in range(MOST_LOOKS):
        page = tx.store.outputs.chosen_of(parent.id, attempt, after=after, limit=LOOKED_AT)
        for link in matching(then[step], _links(prefix, page)):
            found.append((step, then[step], link))
            if len(found) == min(A_PIECE, rest.left):
                return found, step, link.name
        step, after = (step, page[-1].name) if len(page) == LOOKED_AT else (step + 1, "")
    return found, step, after


def _start(
    tx: Transaction,
    parent: Job,
    attempt: int,
    planned: Sequence[wide.Planned],
    unjoined: Collection[int] = (),
    *,
    several: bool,
) -> wide.Piece:
    """Make what these outputs of that attempt start, as far as the bounds let. `unjoined`: stages of which no job is
    waited for."""
    assert parent.chain is not None
    root = parent.chain.family or parent.id
    left = MOST_IN_FAMILY - 1 - tx.store.kin.made_of(root)
    made, treated, why = 0, 0, None
    for number, step, link in planned:
        if made >= left:
            why = f"its family has {MOST_IN_FAMILY:,} jobs"
            break
        kin = Kin(parent.id, attempt, number, link.name, 0, True)
        joined = step.join is not None and number not in unjoined
        done = _start_one(tx, parent, root, kin, step, link, joined=joined, several=several)
        if isinstance(done, Refusal):
            why = done.detail
            break
        made += done
        treated += 1
    if made:
        tx.store.count_family(root, made)
    return wide.Piece(made, treated, why)


def _single(job: Job, message: Complete, *, settled: bool) -> list[LinkedOutput]:
    """The one output, if there is one, by the name that the worker gave it."""
    if message.output_key is None:
        return []
    seen = message.output
    proven = settled and seen.seen in {Seen.VERIFIED, Seen.PRESENT}
    return [LinkedOutput(
        name_of(message.result), message.output_key, seen.size, seen.sha256 if proven else None, seen.version
    )]  # fmt: skip


def _several(tx: Transaction, job: Job) -> list[LinkedOutput]:
    assert job.output_key is not None
    return _links(prefix_of(job.output_key), tx.store.outputs.chosen_of(job.id, job.attempt, limit=MOST_OUTPUTS))


def _links(prefix: str, outputs: Sequence[Output]) -> list[LinkedOutput]:
    return [LinkedOutput(each.name, named_output_key(prefix, each.name), each.size) for each in outputs]


def _start_one(
    tx: Transaction, parent: Job, root: int, kin: Kin, step: Step, link: LinkedOutput, *, joined: bool, several: bool
) -> bool | Refusal:
    """Whether a job was made: none is where the same job is there already. `kin`: what is on record of it, but for
    the job."""
    if link.sha256 is not None:
        same = tx.store.same_job(link.sha256, step.type, step.options)
        if same is not None:
            lent = _adopt(tx, parent, same, link, joined=joined)
            tx.store.add_kin(replace(kin, job_id=same.id, lent=lent))
            return False
    proven = link.sha256 is not None
    depth = parent.chain.depth + 1 if parent.chain is not None else 1
    then = step.then or ()
    place = ChainPlace(then, parent.id, root, depth, link.key, link.version, proven, joined=joined)
    child = descend(
        tx,
        parent,
        type_=step.type,
        options=step.options,
        status=JobStatus.PENDING if proven else JobStatus.UPLOADING,
        source_hash=link.sha256 or unproven_hash(kin.parent, kin.attempt, kin.step, link.name),
        source_path=source_path(parent.source_path, link.name, several=several),
        source_size=link.size,
        place=place,
    )
    if isinstance(child, Refusal):
        return child
    tx.store.add_kin(replace(kin, job_id=child.id))
    if proven:
        ready_or_waits(tx, child)
    else:
        tx.facts.append(ProofAwaited(child.id, link.key, link.version))
    return True


def _adopt(tx: Transaction, parent: Job, same: Job, link: LinkedOutput, *, joined: bool) -> bool:
    """The job that is there already comes to the parent's batches and tags. Where it waits for its source, or did in
    vain, it is given this one: whether it was."""
    known = same.chain or ChainPlace(adopted=True)
    if joined and not known.joined:
        known = replace(known, joined=True)
    batches = (*same.batches, *(each for each in parent.batches if each not in same.batches))[:MOST_BATCHES]
    tags, _ = tagged(same.tags, parent.tags, ())
    after = replace(same, chain=known, batches=batches if batches != same.batches else same.batches, tags=tags)
    given = _given_its_source(tx, after, size=link.size)
    if given is not None:
        lent = replace(known, source=link.key, version=link.version, proven=True)
        after = replace(given, chain=lent)
        if after.status is JobStatus.PENDING:
            after = with_turn(tx.store, after)
    if after == same:
        return False
    tx.store.save_job(same, replace(after, updated_at=tx.now))
    tx.events.append(JobUpdated(same.id, same.type, after.status, worker_id=same.worker_id))
    if same.status is JobStatus.UPLOADING:
        tx.facts.append(SourceSettled(same.id, same.source_hash))
    if given is not None and after.status is JobStatus.PENDING:
        ready_or_waits(tx, after)
    return given is not None


def _given_its_source(tx: Transaction, job: Job, *, size: int | None) -> Job | None:
    """Its source is there: one that waits goes on, one that was given up for it is brought back as by a submission,
    and one that was cancelled stays so until it is retried. None where none of these is so."""
    policy = tx.retry_policy(job.type)
    if job.status is JobStatus.UPLOADING:
        return life.arrive(job, size=size, avoid=kept_from(tx, job), policy=policy, now=tx.now)
    if not job.sourceless or job.status not in (JobStatus.DEAD, JobStatus.CANCELLED):
        return None
    job = replace(job, source_size=size if size is not None else job.source_size)
    if job.status is JobStatus.CANCELLED:
        return job
    avoid = kept_from(tx, job)
    back = life.retry(
        job, reset_attempts=True, priority=None, source_ready=True, avoid=avoid, policy=policy, now=tx.now
    )
    assert isinstance(back, Job)
    return back


# --- how the source is proven


def source_read(tx: Transaction, message: ChildSourceRead) -> SourceSettledFor | Refusal:
    """The intake has read the output that is the source of a job: it may be given out, or is there already."""
    job = tx.store.job(message.job_id)
    if job is None or job.status is not JobStatus.UPLOADING or job.chain is None or not job.waits_for_proof:
        return SourceSettledFor(0)
    if job.chain.source != message.key:
        return SourceSettledFor(0)  # it is served from a copy now, which is read, too
    record = tx.store.file(message.key)
    if record is not None and (record.checked_at is None or record.keeping):
        said = f"{message.key!r} may still be written over. Look again later."
        return Refusal(RefusalCode.UNAVAILABLE, said, retry_after=COME_AGAIN_SECONDS)
    found = message.output
    if found.seen is Seen.ABSENT:
        _source_is_lost(tx, job)
        return SourceSettledFor(1)
    assert found.sha256 is not None
    tx.facts.append(SourceSettled(job.id, job.source_hash))
    same = tx.store.same_job(found.sha256, job.type, job.options)
    if same is not None:
        _is_there_already(tx, job, same, found)
        return SourceSettledFor(1)
    avoid = kept_from(tx, job)
    policy = tx.retry_policy(job.type)
    arrived = life.arrive(job, size=found.size, avoid=avoid, policy=policy, now=tx.now)
    assert arrived is not None
    place = replace(job.chain, proven=True)
    arrived = with_turn(tx.store, replace(arrived, source_hash=found.sha256, chain=place))
    tx.store.save_job(job, arrived)
    tx.events.append(JobUpdated(job.id, job.type, arrived.status))
    ready_or_waits(tx, arrived)
    return SourceSettledFor(1)


def _is_there_already(tx: Transaction, job: Job, same: Job, found: ObjectSeen) -> None:
    """The job that was made for this source is one that is there: that one takes its place."""
    assert job.chain is not None
    assert job.chain.source is not None
    parent_id, attempt, step, name = whence(job.source_hash)
    link = LinkedOutput(name, job.chain.source, found.size, found.sha256, job.chain.version)
    lent = _adopt(tx, job, same, link, joined=job.chain.joined)
    tx.store.kin.replace(parent_id, attempt, step, name, job_id=same.id, lent=lent)
    tx.store.delete_job(job, replaced=True)
    if job.chain.joined:
        join_ended(tx, [(parent_id, attempt, step)])
    tx.events.append(JobRemoved(job.id, job.type))


def _source_is_lost(tx: Transaction, job: Job) -> None:
    reason = "its source, an output of the job that it came of, is not in the object store"
    lost = life.expire_upload(job, reason=reason, now=tx.now)
    assert lost is not None
    lost = blamed(tx, lost, UPLOAD_CAUSE)
    tx.store.save_job(job, lost)
    tx.events.append(JobFailed(job.id, job.type, lost.status, error=reason))
    tx.facts.append(SourceSettled(job.id, job.source_hash))


def output_kept(tx: Transaction, parent: Job | None, key: str, to: str) -> None:
    """The output is served from a copy now, which nothing can write over: that one is the source of its children."""
    if parent is None or parent.chain is None or not parent.chain.then:
        return
    for kin in tx.store.kin.of_attempt(parent.id, output_of(key).attempt, limit=2 * MOST_STEPS):
        child = tx.store.job(kin.job_id)
        if child is not None and child.chain is not None and child.chain.source == key:
            tx.store.save_job(child, replace(child, chain=replace(child.chain, source=to)))
            if child.waits_for_proof and child.status is JobStatus.UPLOADING:
                tx.facts.append(ProofAwaited(child.id, to, None))


def result_is_back(tx: Transaction, parent: Job, attempt: int) -> None:
    """The result of this former attempt is the job's again: what was said of the other one is so no longer, and
    stages that have ended meanwhile, when there was nothing to join them for, are joined."""
    if parent.chain is None or not parent.chain.then:
        return
    if parent.chain.said is not None or parent.chain.rest is not None:
        wide.anew(tx, parent)
    numbers = [number for number, step in enumerate(parent.chain.then) if step.join is not None]
    stages = [(parent.id, attempt, number) for number in numbers]
    join_ended(tx, [stage for stage in stages if tx.store.kin.of_stage(*stage, limit=1)])


def output_revoked(tx: Transaction, parent: Job, attempt: int) -> None:
    """The output is not there, and the job is done once more: what came of it and was not begun is cancelled."""
    if parent.chain is None or not parent.chain.then:
        return
    for kin in tx.store.kin.of_attempt(parent.id, attempt, limit=2 * MOST_STEPS):
        child = tx.store.job(kin.job_id)
        if child is None or child.status is not JobStatus.UPLOADING or not child.waits_for_proof:
            continue
        reason = f"the output of job {parent.id} that was its source is not in the object store"
        ended = life.cancel(child, reason=reason, now=tx.now)
        assert isinstance(ended, Job)
        tx.store.save_job(child, ended)
        tx.events.append(JobUpdated(child.id, child.type, ended.status))
        tx.facts.append(SourceSettled(child.id, child.source_hash))
