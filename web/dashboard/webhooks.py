"""The page that lists webhooks and makes one, and the page of one with what it was sent."""

from __future__ import annotations

from quart import Response

from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from blobforge.store.reading import Reader
from blobforge.webhook import Delivery, WebhookEvent, no_such_webhook
from web.api import arrays, wire_webhooks
from web.api.webhooks import delivery_wire, webhook_wire
from web.dashboard.admin import tab_page
from web.dashboard.page import page
from web.routing import Access, Call, Route

PAGE = 50  # deliveries


async def listed(call: Call) -> Response:
    def read(reader: Reader) -> list[wire_webhooks.WebhookWire]:
        return [webhook_wire(reader, each) for each in reader.webhooks.all()]

    found = await call.services.reads.moment(read)
    return await tab_page(call, "admin_webhooks.html", "/admin/webhooks", webhooks=found, events=list(WebhookEvent))


async def shown(call: Call) -> Response | Refusal:
    number = call.params["webhook_id"]
    cursor = call.request.args.get("cursor") or None
    numbers = arrays.place(cursor, of=1)
    if isinstance(numbers, Refusal):
        return numbers
    before = numbers[0] if numbers is not None else NEWEST

    def read(reader: Reader) -> tuple[wire_webhooks.WebhookWire, list[Delivery]] | None:
        found = reader.webhooks.get(number)
        if found is None:
            return None
        return webhook_wire(reader, found), reader.webhooks.deliveries(number, before=before, limit=PAGE + 1)

    found = await call.services.reads.moment(read)
    if found is None:
        return no_such_webhook(number)
    webhook, deliveries = found
    address = f"/admin/webhooks/{number}"
    return await page(
        call, "webhook.html", title=f"Webhook {number}", place="/admin", webhook=webhook,
        deliveries=[delivery_wire(call, each) for each in deliveries[:PAGE]],
        first=address if cursor is not None else None,
        following=f"{address}?cursor={deliveries[PAGE - 1].id}" if len(deliveries) > PAGE else None,
    )  # fmt: skip


ROUTES = [
    Route("GET", "/admin/webhooks", Access.ADMIN, listed, "Webhooks", gives=str, page=True),
    Route("GET", "/admin/webhooks/<id:webhook_id>", Access.ADMIN, shown, "One webhook and its deliveries", gives=str,
          page=True),
]  # fmt: skip
