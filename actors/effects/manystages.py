"""Stages that may have ended at once, and are too many for one message: of a page that very many documents have, or
of very many jobs that are cancelled. An operation goes through them, as much at a turn as one message does.

Until then no batch of their parents ends. What is cancelled meanwhile, with its batch or as what came of a job, is
not joined.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from actors.effects import beginning, joining
from actors.effects.joining import StageKey
from actors.effects.transaction import Transaction
from actors.messages import JoinStages, OperationPlan
from blobforge import operation as operations
from blobforge.events import ManifestMade
from blobforge.operation import Operation, OperationState

BUG = "the server met a bug"
A_PAGE = joining.MOST_WORK // joining.TO_ASK  # at whose stages a turn can look, where none of them has ended
_decode_plan = msgspec.json.Decoder(OperationPlan).decode


def put_on_record(tx: Transaction) -> None:
    """What the message has put off; of what it cancels, nothing is joined behind it, either: that is said then."""
    stages = list(dict.fromkeys(tx.put_off))
    tx.put_off.clear()
    cut_off = tx.cut.intersection(parent for parent, *_ in stages)
    plan = OperationPlan(JoinStages(cancelled=tuple(sorted(tx.cancelling)), cut=tuple(sorted(cut_off))))
    pages = [stages[at : at + A_PAGE] for at in range(0, len(stages), A_PAGE)]
    beginning.put_on_record(tx, plan, beginning.SERVER, cursor="0", total=len(stages), pages=pages)


def go_on(tx: Transaction, operation: Operation, work: JoinStages) -> Operation:
    """Look at the next stages; how far the operation is then."""
    tx.cut |= set(work.cut)
    tx.cancelling |= set(work.cancelled)
    page = tx.store.operations.stages(operation.id, operation.page)
    tx.store.read_ahead([parent for parent, _, _ in page])
    first, treated = len(tx.facts), 0

    def within_bounds() -> Iterator[StageKey]:
        nonlocal treated
        for stage in page:
            if treated and tx.stage_work >= joining.MOST_WORK:
                return
            treated += 1
            yield stage

    looked_at: set[StageKey] = set()

    def join(tx: Transaction, stage: StageKey) -> bool:
        made = joining.join_if_ended(tx, stage)
        looked_at.add(stage)
        return made

    tx.each(within_bounds(), join)
    for stage in page[:treated]:
        if stage not in looked_at:
            joining.say_unjoined(tx, stage, BUG)
    _judge_batches_of(tx, page[:treated])
    made = sum(isinstance(fact, ManifestMade) for fact in tx.facts[first:])
    further = operations.moved_on(operation, treated=treated, changed=made, now=tx.now)
    if left := page[treated:]:
        tx.store.operations.add_pages(operation.id, operation.pages, [left])
        return replace(further, pages=further.pages + 1)
    if further.page < further.pages:
        return further
    return operations.ended(further, OperationState.COMPLETED, now=tx.now)


def is_broken_off(tx: Transaction, operation: Operation) -> None:
    """The operation has met a bug: what it has left is joined when it ends anew, and waited for no longer."""
    for page in range(operation.page, operation.pages):
        stages = tx.store.operations.stages(operation.id, page)
        tx.store.read_ahead([parent for parent, _, _ in stages])
        for stage in stages:
            joining.say_unjoined(tx, stage, operation.reason or BUG)
        _judge_batches_of(tx, stages)


def _judge_batches_of(tx: Transaction, stages: Sequence[StageKey]) -> None:
    tx.store.read_ahead([parent for parent, _, _ in stages])
    for parent_id in dict.fromkeys(parent for parent, _, _ in stages):
        parent = tx.store.job(parent_id)
        for batch_id in parent.batches if parent is not None else ():
            tx.store.batch_changed(batch_id)


def waited_for(tx: Transaction, batches: Collection[int]) -> set[int]:
    """Of which of the batches a stage of a job is still to be looked at."""
    found = tx.store.operations.joining_for(batches)
    if found:
        tx.store.ensure()  # its job may be deleted in this transaction
        found = tx.store.operations.joining_for(batches)
    works = {operation_id: _work(text) for _, operation_id, text in found}
    return {batch_id for batch_id, operation_id, _ in found if batch_id not in works[operation_id].cancelled}


def cancel_batch(tx: Transaction, batch_id: int) -> None:
    """No stage of the batch is joined that is still to be looked at."""
    for _, operation_id, text in tx.store.operations.joining_for([batch_id]):
        work = _work(text)
        _save(tx, operation_id, replace(work, cancelled=(*work.cancelled, batch_id)))
        tx.store.batch_changed(batch_id)


def cut(tx: Transaction, parents: Collection[int]) -> None:
    """No stage of these is joined that is still to be looked at."""
    found: dict[int, tuple[str, list[int]]] = {}
    for operation_id, text, parent in tx.store.operations.joining_of(parents):
        found.setdefault(operation_id, (text, []))[1].append(parent)
    for operation_id, (text, of) in found.items():
        work = _work(text)
        _save(tx, operation_id, replace(work, cut=tuple(sorted({*work.cut, *of}))))


def join_again(tx: Transaction, parents: Sequence[int]) -> None:
    """The cancellation of what came of these is taken back: stages of theirs that had ended before it are joined."""
    for operation_id, _, put_off in tx.store.operations.joining_of(parents) if parents else ():
        operation = tx.store.operations.get(operation_id)
        assert operation is not None
        work = _work(operation.work)
        _save(tx, operation_id, replace(work, cut=tuple(each for each in work.cut if each != put_off)))
    tx.store.read_ahead(parents)
    for parent_id in parents:
        parent = tx.store.job(parent_id)
        if parent is None or parent.chain is None or parent.result_attempt is None:
            continue
        left = [each.step for each in parent.chain.unjoined if each.cut]
        joining.join_ended(tx, [(parent_id, parent.result_attempt, step) for step in left])


def _work(text: str) -> JoinStages:
    work = _decode_plan(text).work
    assert isinstance(work, JoinStages)
    return work


def _save(tx: Transaction, operation_id: int, work: JoinStages) -> None:
    operation = tx.store.operations.get(operation_id)
    assert operation is not None
    text = msgspec.json.encode(OperationPlan(work)).decode()
    tx.store.operations.save(replace(operation, work=text))
