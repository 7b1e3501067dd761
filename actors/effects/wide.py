"""Results that start very many jobs: the first of these are made with the completion, the others piece by piece.

What is still to be made stands in the job (`ChainPlace.rest`), and an operation makes it, a piece at a turn, each in
the transaction that moves both on: nothing is left out or made twice, whatever stops the server. Until then a batch
of the job does not end, and none of its stages is joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec
from msgspec.structs import replace

from actors.effects import manystages
from actors.effects.beginning import SERVER, put_on_record, tell
from actors.effects.joining import TOO_WIDE, join_ended, leave, stop
from actors.effects.transaction import Transaction
from actors.messages import OperationBegun, OperationPlan, StartChildren
from blobforge.chain import LinkedOutput, Rest, Step, too_many
from blobforge.events import JobUpdated
from blobforge.job import Job
from blobforge.operation import Operation, OperationState, ended
from blobforge.stage import MOST_INPUTS

_decode_plan = msgspec.json.Decoder(OperationPlan).decode
Planned = tuple[int, Step, LinkedOutput]
"""The number of a step, the step, and the output that becomes the source of a job of it."""


class Piece(msgspec.Struct, frozen=True):
    """What was made of some outputs: `made` jobs of `treated` outputs. `why` the others start nothing."""

    made: int
    treated: int
    why: str | None = None


def unjoined(planned: Sequence[Planned]) -> tuple[int, ...]:
    """The steps of which there will be more jobs than can be joined."""
    jobs = Counter(number for number, step, _ in planned if step.join is not None)
    return tuple(sorted(number for number, n in jobs.items() if n > MOST_INPUTS))


def begin(tx: Transaction, parent: Job, planned: Sequence[Planned], first: Piece) -> None:
    """The first piece is made; all others will be."""
    left = len(planned) - first.treated
    if first.why is not None:
        stop(tx, parent, too_many(left, first.why))
        return
    plan = OperationPlan(StartChildren(parent.id, parent.attempt))
    begun = put_on_record(tx, plan, SERVER, cursor=str(parent.id), total=left)
    assert isinstance(begun, OperationBegun)
    number, _, last = planned[first.treated - 1]
    left_out = unjoined(planned)
    save_rest(tx, parent, Rest(begun.operation_id, number, last.name, left, left_out))
    assert parent.chain is not None
    for step in left_out:
        leave(tx, parent, step, TOO_WIDE)


def save_rest(tx: Transaction, parent: Job, rest: Rest | None) -> Job:
    now = tx.store.job(parent.id)
    assert now is not None
    assert now.chain is not None
    after = replace(now, chain=replace(now.chain, rest=rest))
    tx.store.save_job(now, after)
    return after


def anew(tx: Transaction, parent: Job) -> Job:
    """There is another result: what was said, or still to be made, of the former one is so no longer."""
    assert parent.chain is not None
    after = replace(parent, chain=replace(parent.chain, stopped=None, rest=None, unjoined=()))
    tx.store.save_job(parent, after)
    return after


def rest_of(tx: Transaction, operation: Operation, work: StartChildren) -> tuple[Job, Rest] | None:
    """The job, and what this operation has still to make of it; None: it was deleted, or has another result."""
    parent = tx.store.job(work.parent)
    rest = parent.chain.rest if parent is not None and parent.chain is not None else None
    if parent is None or rest is None or rest.operation != operation.id or parent.result_attempt != work.attempt:
        return None
    return parent, rest


def is_over(tx: Transaction, work: StartChildren, operation: Operation) -> None:
    """The operation has ended: no more is made. What it has left out is said; what waited for it is looked at."""
    parent = tx.store.job(work.parent)
    if parent is None or parent.chain is None:
        return
    for batch_id in parent.batches:
        tx.store.batch_changed(batch_id)
    rest = parent.chain.rest
    if rest is None or rest.operation != operation.id:
        return
    save_rest(tx, parent, None)
    tx.events.append(JobUpdated(parent.id, parent.type, parent.status, worker_id=parent.worker_id))
    if rest.left:
        stop(tx, parent, too_many(rest.left, operation.reason or f"operation {operation.id} was cancelled"))
    numbers = [number for number, step in enumerate(parent.chain.then) if step.join is not None]
    stages = [(work.parent, work.attempt, number) for number in numbers if number not in rest.unjoined]
    join_ended(tx, [stage for stage in stages if tx.store.kin.of_stage(*stage, limit=1)])


def cancel(tx: Transaction, operation_id: int, reason: str) -> None:
    """What the operation has not made yet is not made."""
    operation = tx.store.operations.get(operation_id)
    if operation is None or operation.ended:
        return
    after = ended(operation, OperationState.CANCELLED, reason=reason, now=tx.now)
    tell(tx, after)
    tx.store.operations.save(after)
    work = _decode_plan(after.work).work
    assert isinstance(work, StartChildren)
    is_over(tx, work, after)


def starting_more(tx: Transaction, batches: Collection[int]) -> set[int]:
    """Of which of the batches a result of a job has not yet started all that it will, or a stage is still to be
    looked at."""
    starting = {batch_id for batch_id in batches if tx.store.operations.starting_for(batch_id)}
    left = [batch_id for batch_id in batches if batch_id not in starting]
    return starting | manystages.waited_for(tx, left) if left else starting


def parent_goes(tx: Transaction, parent: Job) -> None:
    """The job is about to be deleted: what its result has not started yet is not made, and no batch waits for it."""
    if parent.chain is None or not parent.chain.then:
        return
    if parent.chain.rest is not None:
        operation = tx.store.operations.get(parent.chain.rest.operation)
        if operation is not None and not operation.ended:
            after = ended(operation, OperationState.CANCELLED, reason=f"job {parent.id} was deleted", now=tx.now)
            tell(tx, after)
            tx.store.operations.save(after)
    for batch_id in parent.batches:
        tx.store.batch_changed(batch_id)
