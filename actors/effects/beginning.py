"""An operation is put on record, and told of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from actors.effects.transaction import Transaction
from actors.messages import OperationBegun, OperationPlan
from blobforge.access import Caller
from blobforge.events import OperationsBegun, OperationUpdated
from blobforge.operation import MOST_OPEN, UNDO_MS, Operation, OperationState
from blobforge.refusals import Refusal, RefusalCode

SERVER = Caller(frozenset(), name="the server")
"""Asks for what follows from something else that was asked for."""
OF_SERVER = "server"


def too_many_open(tx: Transaction) -> Refusal | None:
    """Why no more is begun of what is asked for from outside."""
    if tx.store.operations.count_open() < MOST_OPEN:
        return None
    return Refusal(
        RefusalCode.SLOW_DOWN,
        f"{MOST_OPEN} operations have not ended yet. Wait for one, or cancel one that is not needed.",
        retry_after=60,
    )


def put_on_record(
    tx: Transaction,
    plan: OperationPlan,
    caller: Caller,
    of: Operation | None = None,
    *,
    cursor: str | None = None,
    total: int = 0,
    pages: Sequence[Sequence[tuple[int, int, int]]] = (),
) -> OperationBegun | Refusal:
    """An operation of this plan, or the one that takes another one back. Whatever many there are, the server's own is
    begun. With a `cursor` it selects nothing, and is for so many at least, of which those in `pages` are known."""
    if caller is not SERVER and (refusal := too_many_open(tx)) is not None:
        return refusal
    text = msgspec.json.encode(plan).decode()
    verb = str(msgspec.json.decode(msgspec.json.encode(plan.work))["verb"])
    subject = OF_SERVER if caller is SERVER else caller.subject
    begun = Operation(
        0, verb, text, OperationState.SELECTING, subject, caller.name, caller.token_id, caller.user_id,
        tx.now, tx.now, tx.now,
    )  # fmt: skip
    if of is not None:
        begun = replace(
            begun, state=OperationState.RUNNING, matched=of.changed, total=of.changed, pages=of.page, undo_of=of.id
        )
    if cursor is not None:
        begun = replace(begun, state=OperationState.RUNNING, cursor=cursor, matched=total, total=total)
        begun = replace(begun, pages=len(pages))
    begun = replace(begun, id=tx.store.operations.add(begun))
    tx.store.operations.add_pages(begun.id, 0, pages)
    if of is not None:
        # What it needs is kept as long as an undo may take.
        kept = replace(of, undone_by=begun.id, undo_until=tx.now + UNDO_MS)
        tx.store.operations.save(kept)
    tell(tx, begun)
    tx.facts.append(OperationsBegun())
    return OperationBegun(begun.id)


def tell(tx: Transaction, operation: Operation) -> None:
    tx.events.append(
        OperationUpdated(
            operation.id, operation.verb, operation.state, operation.done, operation.total, operation.changed
        )
    )
