"""Which operations the operator takes up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from structlog.testing import capture_logs

from actors.mailbox import Envelope, Mailbox
from actors.operator import LOOK_EACH, SIDE_BY_SIDE, Operator
from blobforge.job import Job
from blobforge.operation import Operation, OperationState


class Open:
    """These operations are open, and none of their jobs is there any more."""

    def __init__(self, *operations: Operation) -> None:
        self.operations = operations

    async def open_operations(self) -> list[Operation]:
        return list(self.operations)

    async def operation_jobs(self, operation_id: int, page: int) -> list[int]:
        return []

    async def jobs(self, ids: Sequence[int]) -> list[Job]:
        return []

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was read")


def begun(id_: int, verb: str) -> Operation:
    work = f'{{"work":{{"verb":"{verb}"}},"ids":[1]}}'
    return Operation(id_, verb, work, OperationState.SELECTING, "token:1", "ann", 1, None, 0, 0, 0)


async def test_verbs_of_a_newer_release_are_left_to_its_servers(autojump_clock: Any) -> None:
    writer: Mailbox[Envelope[Any]] = Mailbox(8)
    unknown = [begun(number, "transmute") for number in range(1, SIDE_BY_SIDE + 2)]
    operator = Operator(writer, Open(*unknown, begun(99, "cancel")))
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operator.run)
            await trio.sleep(3 * LOOK_EACH)
            assert operator.running == {99}
            nursery.cancel_scope.cancel()
    assert [(line["operation"], line["verb"]) for line in logs] == [(each.id, "transmute") for each in unknown]
