"""Operations: how they are begun, how far they are, and how they are cancelled and taken back."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from actors.messages import BeginOperation, EndOperation, OperationBegun, OperationPlan, UndoOperation
from actors.works import scope_of
from blobforge.operation import IRREVERSIBLE, Operation, no_such_operation
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import NEWEST
from web.api import encode, wire_bulk
from web.decode import query
from web.routing import Access, Call, Route


async def begin(
    call: Call, plan: OperationPlan, said: dict[str, object]
) -> tuple[int, wire_bulk.OperationBegun] | Refusal:
    """Have it done without the client. `said` is what was asked for, for the audit log."""
    detail = msgspec.json.encode(said).decode()[:1000]
    audit = replace(call.audit, detail=f"{detail}: an operation") if call.audit is not None else None
    begun = await call.tell(BeginOperation(plan, call.caller), call.repeat, audit)
    return begun if isinstance(begun, Refusal) else _begun(begun)


def _begun(begun: OperationBegun) -> tuple[int, wire_bulk.OperationBegun]:
    return 202, wire_bulk.OperationBegun(begun.operation_id)


async def listed(call: Call) -> wire_bulk.OperationsWire | Refusal:
    wanted = query(call.request.args, wire_bulk.OperationsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    before = wanted.cursor if wanted.cursor is not None else NEWEST
    found = await call.services.reads.run(lambda reader: reader.operations(before=before, limit=wanted.limit + 1))
    now = call.services.now()
    shown = found[: wanted.limit]
    return wire_bulk.OperationsWire(
        operations=[operation_wire(each, now=now) for each in shown],
        next_cursor=shown[-1].id if len(found) > len(shown) else None,
    )


async def shown(call: Call) -> wire_bulk.OperationWire | Refusal:
    operation = await find(call)
    return operation if isinstance(operation, Refusal) else operation_wire(operation, now=call.services.now())


async def find(call: Call) -> Operation | Refusal:
    number = call.params["operation_id"]
    return await call.services.reads.run(lambda reader: reader.operation(number)) or no_such_operation(number)


async def cancel(call: Call) -> wire_bulk.OperationWire | Refusal:
    if (refusal := await _allowed(call)) is not None:
        return refusal
    stands = await call.ask(EndOperation(call.params["operation_id"]))
    if isinstance(stands, Refusal):
        return stands
    return operation_wire(stands.operation, now=call.services.now())


async def undo(call: Call) -> tuple[int, wire_bulk.OperationBegun] | Refusal:
    if (refusal := await _allowed(call)) is not None:
        return refusal
    begun = await call.ask(UndoOperation(call.params["operation_id"], call.caller))
    return begun if isinstance(begun, Refusal) else _begun(begun)


async def _allowed(call: Call) -> Refusal | None:
    """What needs more rights to be asked for needs them to be stopped, too."""
    operation = await find(call)
    if isinstance(operation, Refusal):
        return operation
    scope = scope_of(operation.verb)
    if call.caller.may(scope):
        return None
    detail = f"Operation {operation.id} ({operation.verb}) needs the scope {scope}, which your credential has not."
    return Refusal(RefusalCode.SCOPE_MISSING, detail)


def operation_wire(operation: Operation, *, now: int) -> wire_bulk.OperationWire:
    possible = operation.can_be_undone(now)
    undo = wire_bulk.OperationUndo(
        possible=possible,
        until=encode.time_or_none(operation.undo_until) if possible else None,
        undone_by=operation.undone_by,
        note=IRREVERSIBLE.get(operation.verb) or (_RETRY_NOTE if operation.verb == "retry" else None),
    )
    return wire_bulk.OperationWire(
        id=operation.id,
        verb=operation.verb,
        state=operation.state,
        asked=msgspec.Raw(operation.work.encode()),
        by=operation.name or operation.subject,
        created_at=encode.rfc3339(operation.created_at),
        updated_at=encode.rfc3339(operation.updated_at),
        ended_at=encode.time_or_none(operation.ended_at),
        matched=operation.matched,
        total=operation.total,
        done=operation.done,
        changed=operation.changed,
        refused=operation.refused,
        percent=_percent(operation),
        reason=operation.reason,
        undo_of=operation.undo_of,
        undo=undo,
    )


_RETRY_NOTE = "A job that was started since it was retried stays as it is."


def _percent(operation: Operation) -> float:
    if operation.state == "completed":
        return 100.0
    return (
        round(100 * operation.done / operation.total, 1)
        if operation.total and operation.state != "selecting"
        else 0.0
    )


ROUTES = [
    Route("GET", "/api/operations", Access.READ, listed, "Operations, newest first", gives=wire_bulk.OperationsWire,
          query=wire_bulk.OperationsQuery),
    Route("GET", "/api/operations/<id:operation_id>", Access.READ, shown,
          "An operation: how far it is, what it has come to, and whether it can be taken back",
          gives=wire_bulk.OperationWire),
    Route("POST", "/api/operations/<id:operation_id>/cancel", Access.SUBMIT, cancel,
          "Stop an operation; what it has changed stays", gives=wire_bulk.OperationWire, audit="operation.cancel"),
    Route("POST", "/api/operations/<id:operation_id>/undo", Access.SUBMIT, undo,
          "Take back what an operation has changed, within a day of its end, by another operation",
          gives=wire_bulk.OperationBegun, status=202, audit="operation.undo"),
]  # fmt: skip
