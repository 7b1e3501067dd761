"""The page that lists operations, and the page of one."""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Response

from actors.works import scope_of
from blobforge.operation import REMOVE_WORKERS, no_such_operation
from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from web.api import arrays
from web.api.operations import operation_wire
from web.dashboard.page import framed, page, seen
from web.routing import Access, Call, Route

PAGE = 50


async def listed(call: Call) -> Response | Refusal:
    cursor = call.request.args.get("cursor") or None
    numbers = arrays.place(cursor, of=1)
    if isinstance(numbers, Refusal):
        return numbers
    before, now = numbers[0] if numbers is not None else NEWEST, call.services.now()
    totals, found = await framed(call, lambda reader: reader.operations(before=before, limit=PAGE + 1))
    shown = [operation_wire(each, now=now) for each in found[:PAGE]]
    return await page(
        call, "operations.html", title="Operations", place="/operations", totals=totals, operations=shown,
        first="/operations" if cursor is not None else None,
        following=f"/operations?cursor={shown[-1].id}" if len(found) > PAGE else None,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    number, now = call.params["operation_id"], call.services.now()
    totals, found = await framed(call, lambda reader: reader.operation(number))
    if found is None:
        return no_such_operation(number)
    operation = operation_wire(found, now=now)
    response = await page(
        call, "operation.html", title=f"Operation {number}", place="/operations", totals=totals, operation=operation,
        facts=_facts(operation.asked), ended=found.ended, may_change=call.caller.may(scope_of(found.verb)),
        noun="workers" if found.verb == REMOVE_WORKERS else "jobs",
    )  # fmt: skip
    return seen(call, response, number) if found.ended else response


def _facts(asked: msgspec.Raw) -> list[tuple[str, str]]:
    """What was asked for, as words: what is to be done, and to which jobs."""
    plan: dict[str, Any] = msgspec.json.decode(asked)
    work, ids, wanted = plan["work"], plan.get("ids"), plan.get("filter") or {}
    wanted = work.pop("chosen", wanted)
    workers = work.pop("workers", None)
    facts = [(name, _word(value)) for name, value in work.items() if value not in (None, False, [], "")]
    if ids is not None:
        facts.append(("jobs", f"{len(ids)} by their numbers"))
    if workers is not None:
        facts.append(("workers", f"{len(workers)} by their names"))
    return [*facts, *(("only " + name, _word(value)) for name, value in wanted.items() if value is not None)]


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


ROUTES = [
    Route("GET", "/operations", Access.READ, listed, "The operations page", gives=str, page=True),
    Route("GET", "/operations/<id:operation_id>", Access.READ, shown, "The page of one operation", gives=str,
          page=True),
]  # fmt: skip
