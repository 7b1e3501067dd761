"""Operations as rows: what they have come to, and the jobs of each, a page a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from msgspec.structs import astuple

from blobforge.operation import KeptChange, Operation, OperationState
from blobforge.store.sql import sql
from blobforge.store.sql.running import Row, Statements

_decode_ids = msgspec.json.Decoder(list[int]).decode
_decode_workers = msgspec.json.Decoder(list[str]).decode
_decode_stages = msgspec.json.Decoder(list[tuple[int, int, int]]).decode
_decode_changes = msgspec.json.Decoder(list[KeptChange]).decode


def operation(row: Row) -> Operation:
    id_, verb, work, state, *rest = row
    return Operation(id_, verb, work, OperationState(state), *rest)


class Operations:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements) -> None:
        self._do = statements

    def get(self, operation_id: int) -> Operation | None:
        row = self._do.row(sql.OPERATION, (operation_id,))
        return operation(row) if row else None

    def starting_for(self, batch_id: int) -> list[int]:
        return [row[0] for row in self._do.rows(sql.STARTING_FOR, (batch_id,))]

    def cancelling(self, batch_id: int) -> list[str]:
        return [row[0] for row in self._do.rows(sql.CANCELLING, (f'%"batch":{batch_id}}}}}',))]

    def count_open(self) -> int:
        return self._do.number(sql.COUNT_OPEN_OPERATIONS)

    def add(self, operation: Operation) -> int:
        return self._do.insert(sql.INSERT_OPERATION, astuple(operation)[1:])

    def save(self, operation: Operation) -> None:
        id_, *values = astuple(operation)
        self._do.rows(sql.SAVE_OPERATION, (*values, id_))

    def joining_for(self, batches: Collection[int]) -> list[tuple[int, int, str]]:
        asked = msgspec.json.encode(sorted(batches)).decode()
        return [(row[0], row[1], row[2]) for row in self._do.rows(sql.JOINING_FOR, (asked,))]

    def joining_of(self, parents: Collection[int]) -> list[tuple[int, str, int]]:
        asked = msgspec.json.encode(sorted(parents)).decode()
        return [(row[0], row[1], row[2]) for row in self._do.rows(sql.JOINING_OF, (asked,))]

    def stages(self, operation_id: int, page: int) -> list[tuple[int, int, int]]:
        row = self._do.row(sql.OPERATION_PAGE, (operation_id, page))
        return _decode_stages(row[0]) if row is not None else []

    def add_pages(self, operation_id: int, first: int, pages: Sequence[Sequence[object]]) -> None:
        for number, ids in enumerate(pages, first):
            self._do.rows(sql.ADD_OPERATION_PAGE, (operation_id, number, msgspec.json.encode(ids).decode()))

    def page(self, operation_id: int, page: int) -> tuple[list[int], list[KeptChange]]:
        row = self._do.row(sql.OPERATION_PAGE, (operation_id, page))
        if row is None:
            return [], []
        return _decode_ids(row[0]), _decode_changes(row[1]) if row[1] is not None else []

    def workers(self, operation_id: int, page: int) -> list[str]:
        row = self._do.row(sql.OPERATION_PAGE, (operation_id, page))
        return _decode_workers(row[0]) if row is not None else []

    def keep_changes(self, operation_id: int, page: int, changes: Sequence[KeptChange]) -> None:
        kept = msgspec.json.encode(changes).decode() if changes else None
        self._do.rows(sql.KEEP_CHANGES, (kept, operation_id, page))

    def prune(self, *, undo_before: int, ended_before: int, limit: int) -> int:
        # The pages first: an operation that can be undone no longer has none.
        for statement in (sql.PRUNE_OPERATION_PAGES, sql.END_UNDO):
            gone = self._do.change(statement, (undo_before, limit))
            if gone == limit:
                return gone
        return self._do.change(sql.PRUNE_OPERATIONS, (ended_before, limit))
