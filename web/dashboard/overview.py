"""The overview: how many jobs there are, what needs attention, how the queue stands; and the causes of failures."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from quart import Response

from blobforge.job import JobStatus
from blobforge.refusals import Refusal
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from blobforge.store.reading import Reader
from web.api.insights import MOST_SHOWN, read_outlook, reading_attention, reading_failures
from web.api.jobs import expected_ends
from web.api.wire_insights import FailureQuery
from web.dashboard.chartrange import chart_range
from web.dashboard.figuretables import read_figures
from web.dashboard.page import framed, page
from web.dashboard.typerows import busiest, ends, known_types, rows_of
from web.routing import Access, Call, Route

RUNNING_SHOWN = 20  # jobs that the overview lists; the others stand in the list of jobs
TYPES_SHOWN = 12  # those with the most to do
MOST_CAUSES = 100


async def overview(call: Call) -> Response:
    services, now = call.services, call.services.now()
    ranges = chart_range(call.request.args, "/", usual="1h", now=now)
    read_attention = await reading_attention(services)

    def read(reader: Reader) -> dict[str, Any]:
        running = reader.list_jobs(JobFilter(JobStatus.RUNNING), limit=RUNNING_SHOWN, cursor=Cursor())
        durations = reader.insights.durations(now=now)
        outlook, types = read_outlook(reader, now=now, durations=durations), known_types(reader)
        return {
            "attention": read_attention(reader, durations),
            "outlook": outlook,
            "figures": read_figures(reader, ranges, None, now=now),
            "unknown": [type_ for type_, each in outlook.by_type.items() if each.high_seconds is None],
            "types": len(types),
            "rows": rows_of(reader, busiest(types, TYPES_SHOWN), outlook, now=now),
            "running": running,
            "ends": expected_ends(reader, running.jobs, now=now, durations=durations),
        }

    totals, found = await framed(call, read)
    return await page(
        call,
        "overview.html",
        title="Overview",
        place="/",
        ranges=ranges,
        most=MOST_SHOWN,
        until_when=ends,
        totals=totals,
        **found,
    )


async def failures(call: Call) -> Response | Refusal:
    given = {name: value for name in ("all", "q") if (value := call.request.args.get(name, ""))}
    every = given.get("all") == "1"
    asked = FailureQuery(not every, given.get("q"), MOST_CAUSES, call.request.args.get("cursor") or None)
    read = reading_failures(asked)
    if isinstance(read, Refusal):
        return read
    totals, found = await framed(call, read)
    following = urlencode(given | {"cursor": found.next_cursor}) if found.next_cursor is not None else None
    return await page(
        call, "failures.html", title="Failures", place="/failures", totals=totals, found=found, every=every,
        q=given.get("q", ""),
        first=f"/failures?{urlencode(given)}" if asked.cursor is not None else None,
        following=f"/failures?{following}" if following is not None else None,
    )  # fmt: skip


ROUTES = [
    Route("GET", "/", Access.READ, overview, "The overview", gives=str, page=True),
    Route("GET", "/failures", Access.READ, failures, "Failures by their cause", gives=str, page=True),
]  # fmt: skip
