"""The page that lists the types of jobs, and the page of one: how it goes, and all that can be set for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from quart import Response

from blobforge.jobtype import NOTHING_SET, no_such_type
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from web.api.chains import would_start
from web.api.insights import read_outlook
from web.api.job_types import change, in_force
from web.api.wire_chains import ChainCheckBody
from web.api.wire_types import TypeBody
from web.dashboard.chartrange import chart_range
from web.dashboard.figuretables import ChartFigures, read_figures
from web.dashboard.forms import read_form
from web.dashboard.page import Notice, framed, leave, page, refused_notice
from web.dashboard.typeform import changes_of, fields_of, names_in, typed
from web.dashboard.typepage import LOOKED_AT, MOST_WORKERS, WORKERS_SHOWN, TypeFacts, read_facts
from web.dashboard.typerows import STATES, KnownType, TypeRow, ends, known_types, rows_of
from web.routing import Access, Call, Route

PAGE = 100
CHANGE = "PATCH /api/types/<type:type>"  # the API's route for which the form stands


async def listed(call: Call) -> Response | Refusal:
    given = {name: value for name in ("q", "state") if (value := call.request.args.get(name, ""))}
    cursor, now = call.request.args.get("cursor", ""), call.services.now()
    state, text = given.get("state", ""), given.get("q", "").casefold()
    if state not in ("", *STATES):
        return Refusal(RefusalCode.INVALID, f"state: {' or '.join(STATES)}.", field="state")

    def read(reader: Reader) -> tuple[list[TypeRow], int, bool]:
        wanted = [
            each
            for each in known_types(reader)
            if text in each.type.casefold() and (not state or STATES[state](each))
        ]
        rest = [each for each in wanted if each.type > cursor]
        some = rest[:PAGE]
        outlook = read_outlook(reader, now=now, types={each.type for each in some})
        rows = rows_of(reader, some, outlook, now=now)
        return rows, len(wanted), len(rest) > PAGE

    totals, (rows, total, more) = await framed(call, read)
    following = urlencode(given | {"cursor": rows[-1].type}) if more else None
    return await page(
        call, "types.html", title="Types", place="/types", totals=totals, rows=rows, total=total, given=given,
        states=STATES, ends=ends,
        first=f"/types?{urlencode(given)}".rstrip("?") if cursor else None,
        following=f"/types?{following}" if following is not None else None,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    return await _shown(call)


async def _shown(
    call: Call, *, status: int = 200, written: Mapping[str, str] | None = None, unfit: Mapping[str, str] | None = None
) -> Response | Refusal:
    """The page of a type; with what a person has `written` into its form, and what is `unfit` of that."""
    type_, now = call.params["type"], call.services.now()
    at = f"/types/{quote(type_, safe='')}"
    ranges = chart_range(call.request.args, at, usual="24h", now=now)
    most_types = call.services.settings.max_types

    def read(reader: Reader) -> tuple[TypeRow, TypeFacts, ChartFigures, Any] | None:
        found = [each for each in known_types(reader) if each.type == type_]
        if not found and not reader.insights.workers_of_type(type_, limit=1):
            return None
        # A type that only workers have named so far.
        found = found or [KnownType(type_, {}, NOTHING_SET, reader.insights.workers_by_type().get(type_, 0))]
        durations = reader.insights.durations(now=now)
        outlook = read_outlook(reader, now=now, durations=durations, types={type_})
        (row,) = rows_of(reader, found, outlook, now=now)
        asked = ChainCheckBody(type=type_)
        follows = would_start(reader, asked, most_types=most_types) if row.settings.then else None
        figures = read_figures(reader, ranges, type_, now=now)
        return row, read_facts(reader, type_, durations.get(type_), now=now), figures, follows

    totals, found = await framed(call, read)
    if found is None:
        return no_such_type(type_)
    row, facts, figures, follows = found
    return await page(
        call, "type.html", title=f"Type {type_}", place="/types", status=status, totals=totals, row=row, facts=facts,
        fields=fields_of(row.settings, call.services.settings), typed=written or {}, unfit=unfit or {},
        in_force=in_force(row.settings, call.services.settings), until_when=ends, ranges=ranges,
        figures=figures, looked_at=LOOKED_AT, workers_shown=WORKERS_SHOWN,
        most_workers=MOST_WORKERS, would_start=follows,
    )  # fmt: skip


async def set_type(call: Call) -> Response | Refusal:
    """The form as the API's change. What is nothing that can be set is said beside its field."""
    form = read_form(call)
    if isinstance(form, Refusal):
        return form
    names = names_in(form)
    here = f"/types/{quote(call.params['type'], safe='')}"
    changes, unfit = changes_of(form, names)
    if unfit:
        return await _shown(call, status=422, written=typed(form, names), unfit=unfit)
    if not changes:
        return leave(call, here, Notice("Nothing was changed: all of it stands there already."))
    outcome: Any = await change(call, msgspec.convert(changes, TypeBody))
    if isinstance(outcome, Refusal):
        if outcome.field in names:
            return await _shown(call, status=422, written=typed(form, names), unfit={outcome.field: outcome.detail})
        return leave(call, here, refused_notice(outcome))
    some = "1 setting is" if len(changes) == 1 else f"{len(changes)} settings are"
    return leave(call, here, Notice(f"Type {call.params['type']}: {some} changed."))


def type_routes(api: Iterable[Route]) -> list[Route]:
    """The pages, and the form of one."""
    (row,) = (route for route in api if route.name == CHANGE)
    form = replace(
        row, method="POST", path="/do/types/<type:type>", handler=set_type, body=None, gives=str, status=200,
        page=True, hidden=True,
    )  # fmt: skip
    return [
        Route("GET", "/types", Access.READ, listed, "The types page", gives=str, page=True),
        Route("GET", "/types/<type:type>", Access.READ, shown, "The page of one type", gives=str, page=True),
        form,
    ]
