"""The page that lists the types of jobs."""

from __future__ import annotations

from urllib.parse import urlencode

from quart import Response

from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from web.api.insights import read_outlook
from web.dashboard.page import framed, page
from web.dashboard.typerows import STATES, TypeRow, ends, known_types, rows_of
from web.routing import Access, Call, Route

PAGE = 100


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
        rows = rows_of(reader, rest[:PAGE], read_outlook(reader, now=now), now=now)
        return rows, len(wanted), len(rest) > PAGE

    stats, (rows, total, more) = await framed(call, read)
    following = urlencode(given | {"cursor": rows[-1].type}) if more else None
    return await page(
        call, "types.html", title="Types", place="/types", stats=stats, rows=rows, total=total, given=given,
        states=STATES, ends=ends,
        first=f"/types?{urlencode(given)}".rstrip("?") if cursor else None,
        following=f"/types?{following}" if following is not None else None,
    )  # fmt: skip


ROUTES = [
    Route("GET", "/types", Access.READ, listed, "The types page", gives=str, page=True),
]  # fmt: skip
