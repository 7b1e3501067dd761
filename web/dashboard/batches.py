"""The page that lists batches, and the page of one."""

from __future__ import annotations

from quart import Response

from blobforge.batch import no_such_batch
from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from web.api import arrays, wire_batches
from web.api.batches import page_of, read_batch
from web.api.encode import clipped
from web.dashboard.page import framed, page
from web.routing import Access, Call, Route

PAGE = 50
STATES = ("completed", "dead", "cancelled", "failed", "running", "pending", "uploading", "gone")  # as they are shown


async def listed(call: Call) -> Response | Refusal:
    cursor, going = call.request.args.get("cursor") or None, call.request.args.get("going") == "true"
    numbers = arrays.place(cursor, of=1)
    if isinstance(numbers, Refusal):
        return numbers
    before, now = numbers[0] if numbers is not None else NEWEST, call.services.now()
    wanted = wire_batches.BatchesQuery(going=going, limit=PAGE)
    totals, (found, more) = await framed(call, lambda reader: page_of(reader, wanted, before=before, now=now))
    only = "going=true" if going else ""
    return await page(
        call, "batches.html", title="Batches", place="/batches", totals=totals, batches=found, going=going,
        states=STATES, first=f"/batches?{only}".rstrip("?") if cursor is not None else None,
        following=f"/batches?cursor={found[-1].id}{'&' + only if only else ''}" if more else None,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    number, now = call.params["batch_id"], call.services.now()
    totals, found = await framed(call, lambda reader: read_batch(reader, number, now=now))
    if found is None:
        return no_such_batch(number)
    metadata = clipped(bytes(found.metadata).decode(), 4000) if found.metadata is not None else None
    return await page(
        call, "batch.html", title=f"Batch {number}", place="/batches", totals=totals, batch=found, states=STATES,
        metadata=metadata, lifetime=call.services.settings.url_lifetime,
    )  # fmt: skip


ROUTES = [
    Route("GET", "/batches", Access.READ, listed, "The batches page", gives=str, page=True),
    Route("GET", "/batches/<id:batch_id>", Access.READ, shown, "The page of one batch", gives=str, page=True),
]  # fmt: skip
