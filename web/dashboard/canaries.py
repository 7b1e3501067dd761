"""The page that lists canaries, and the page of one: what it has come to, and the comparisons to look at."""

from __future__ import annotations

from quart import Response

from blobforge.canary import MOST_JOBS, WORST, Canary
from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from blobforge.store.reading import Reader
from web.api import arrays
from web.api.canaries import canary_wire, job_wire, made_report
from web.api.wire_canaries import CanaryWire
from web.dashboard.page import framed, page
from web.routing import Access, Call, Route

PAGE = 50
OFFERED = 200  # converters


async def listed(call: Call) -> Response | Refusal:
    cursor = call.request.args.get("cursor") or None
    numbers = arrays.place(cursor, of=1)
    if isinstance(numbers, Refusal):
        return numbers
    before = numbers[0] if numbers is not None else NEWEST

    def look(reader: Reader) -> tuple[list[tuple[Canary, CanaryWire]], list[str], list[str]]:
        found = reader.canaries.page(before=before, limit=PAGE + 1)
        shown = [(each, canary_wire(reader, each)) for each in found]
        if not call.caller.is_admin:  # there is no form
            return shown, [], []
        return shown, reader.canaries.types(), reader.canaries.converters(limit=OFFERED)

    totals, (found, types, converters) = await framed(call, look)
    shown = [wire for _, wire in found[:PAGE]]
    return await page(
        call, "canaries.html", title="Canaries", place="/operations", totals=totals, canaries=shown,
        types=types, converters=converters, type=call.request.args.get("type", ""), most_jobs=MOST_JOBS,
        first="/canaries" if cursor is not None else None,
        following=f"/canaries?cursor={shown[-1].id}" if len(found) > PAGE else None,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    number = call.params["canary_id"]
    made = await made_report(call, number, worst=WORST)
    if isinstance(made, Refusal):
        return made
    canary, found = made
    totals, _ = await framed(call, lambda _: None)
    return await page(
        call, "canary.html", title=f"Canary {number}", place="/operations", totals=totals, canary=canary, found=found,
        outcomes=[(name, n) for name, n in found.outcomes.items() if n],
        worst=[job_wire(each, canary.slower) for each in found.worst],
    )  # fmt: skip


ROUTES = [
    Route("GET", "/canaries", Access.READ, listed, "The page of canaries", gives=str, page=True),
    Route("GET", "/canaries/<id:canary_id>", Access.READ, shown, "The page of one canary", gives=str, page=True),
]  # fmt: skip
