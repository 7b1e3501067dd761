"""The page that lists webhooks and makes one, and the page of one with what it was sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from quart import Response

from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from blobforge.store.reading import Reader
from blobforge.webhook import Delivery, DeliveryState, WebhookEvent, no_such_webhook
from web.api import wire_webhooks
from web.api.webhooks import MOST_COUNTED, delivery_wire, webhook_wire
from web.dashboard.admin import tab_page
from web.dashboard.page import framed, page
from web.decode import query
from web.routing import Access, Call, Route

PAGE = 50
ADDRESS = "/admin/webhooks"
STATES = {"waiting": "waiting", "delivered": "delivered", "failed": "given up"}
# How long a former secret may sign beside its successor, in seconds.
OVERLAPS = ((0, "no time: at once"), (3600, "an hour"), (86_400, "a day"), (7 * 86_400, "a week"))


async def listed(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_webhooks.WebhooksQuery)
    if isinstance(wanted, Refusal):
        return wanted

    def read(reader: Reader) -> tuple[list[tuple[wire_webhooks.WebhookWire, Delivery | None]], bool]:
        """Each with what it was sent last."""
        found = [each for each in reader.webhooks.all() if each.id > wanted.cursor]
        last = {each.id: reader.webhooks.deliveries(each.id, before=NEWEST, limit=1)[0] for each in found[:PAGE]}
        shown = [(webhook_wire(reader, each), next(iter(last[each.id]), None)) for each in found[:PAGE]]
        return shown, len(found) > PAGE

    found, more = await call.services.reads.moment(read)
    return await tab_page(
        call, "admin_webhooks.html", ADDRESS, webhooks=found, events=list(WebhookEvent), most=MOST_COUNTED,
        first=ADDRESS if wanted.cursor else None,
        following=f"{ADDRESS}?cursor={found[-1][0].id}" if more else None,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    number = call.params["webhook_id"]
    wanted = query(call.request.args, wire_webhooks.DeliveriesQuery)
    if isinstance(wanted, Refusal):
        return wanted
    before = wanted.cursor if wanted.cursor is not None else NEWEST

    def read(reader: Reader) -> tuple[wire_webhooks.WebhookWire, list[Delivery], int | None] | None:
        found = reader.webhooks.get(number)
        if found is None:
            return None
        page = reader.webhooks.deliveries(number, before=before, limit=PAGE, state=wanted.state)
        return webhook_wire(reader, found), *page

    totals, found = await framed(call, read)
    if found is None:
        return no_such_webhook(number)
    webhook, deliveries, following = found
    given = {"state": wanted.state.value} if wanted.state is not None else {}
    address = f"{ADDRESS}/{number}"
    return await page(
        call, "webhook.html", title=f"Webhook {number}", place="/admin", totals=totals, webhook=webhook,
        deliveries=[(delivery_wire(call, each), _about(each)) for each in deliveries],
        fresh=webhook.enabled and any(each.state is DeliveryState.WAITING and not each.tries for each in deliveries),
        wanted=wanted.state or "", states=STATES.items(), events=list(WebhookEvent), overlaps=OVERLAPS,
        most=MOST_COUNTED,
        first=f"{address}?{urlencode(given)}".rstrip("?") if wanted.cursor is not None else None,
        following=f"{address}?{urlencode(given | {'cursor': following})}" if following is not None else None,
    )  # fmt: skip


def _about(delivery: Delivery) -> tuple[str, str | None] | None:
    """What a delivery tells of, in words, and the page of that."""
    data: dict[str, Any] = msgspec.json.decode(delivery.data)
    for name, words, address in (
        ("job_id", "job {}", "/jobs/{}"),
        ("batch", "batch {}", "/batches/{}"),
        ("worker_id", "{}", "/workers/{}"),
        ("type", "type {}", "/types/{}"),
    ):
        if (value := data.get(name)) is not None:
            return words.format(value), address.format(quote(str(value), safe=""))
    return None


ROUTES = [
    Route("GET", "/admin/webhooks", Access.ADMIN, listed, "Webhooks", gives=str, page=True,
          query=wire_webhooks.WebhooksQuery),
    Route("GET", "/admin/webhooks/<id:webhook_id>", Access.ADMIN, shown, "One webhook and its deliveries", gives=str,
          page=True, query=wire_webhooks.DeliveriesQuery),
]  # fmt: skip
