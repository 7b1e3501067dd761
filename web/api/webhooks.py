"""Webhooks: the endpoints that are told of what happens, their secrets, and the log of their deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from quart import Response

from actors.messages import (
    ChangeWebhook,
    CreateWebhook,
    DeleteWebhook,
    DeliverAgain,
    DeliverRangeAgain,
    PingWebhook,
    RotateSecret,
    WebhookChanges,
)
from blobforge.outward import addresses
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import NEWEST
from blobforge.store.reading import Reader
from blobforge.webhook import Delivery, DeliveryState, Webhook, message_id, no_such_webhook
from web import letters
from web.api import arrays, encode, wire_common, wire_webhooks
from web.api.secrets import new_salt
from web.decode import query
from web.routing import Access, Call, Route

MOST_COUNTED = 1000  # deliveries that wait


async def listed(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_webhooks.WebhooksQuery)
    if isinstance(wanted, Refusal):
        return wanted

    def look(reader: Reader) -> tuple[list[wire_webhooks.WebhookWire], bool]:
        with reader.snapshot():
            found = [each for each in reader.webhooks.all() if each.id > wanted.cursor]
            return [webhook_wire(reader, each) for each in found[: wanted.limit]], len(found) > wanted.limit

    page, more = await call.services.reads.run(look)
    return arrays.one_page(call, page, following=page[-1].id if more else None)


async def shown(call: Call) -> wire_webhooks.WebhookWire | Refusal:
    return await _read(call, call.params["webhook_id"])


async def create(call: Call, body: wire_webhooks.WebhookBody) -> wire_webhooks.WebhookMade | Refusal:
    """The secret is shown in this answer and never again."""
    if (wrong := wrong_url(call, body.url)) is not None:
        return wrong
    salt = new_salt()
    sealed = letters.seal(call.services.sealer, letters.secret_of(call.services, salt))
    asked = Webhook(
        0, body.url, _names(body.events), _names(body.types), _names(body.tags), body.group, body.batch, body.results,
        sealed,
    )  # fmt: skip
    outcome = await call.ask(CreateWebhook(asked, salt), about=addresses.host_of(body.url))
    if isinstance(outcome, Refusal):
        return outcome
    secret = letters.shown(letters.secret_of(call.services, outcome.salt))
    return wire_webhooks.WebhookMade(outcome.webhook.id, secret)


async def change(call: Call, body: wire_webhooks.WebhookPatch) -> wire_webhooks.WebhookWire | Refusal:
    if body.url is not UNSET and (wrong := wrong_url(call, body.url)) is not None:
        return wrong
    changes = WebhookChanges(
        url=body.url,
        events=_given(body.events),
        types=_given(body.types),
        tags=_given(body.tags),
        group=body.group,
        batch=body.batch,
        results=body.results,
        enabled=body.enabled,
    )
    outcome = await call.ask(ChangeWebhook(call.params["webhook_id"], changes, call.caller.subject))
    return outcome if isinstance(outcome, Refusal) else await _read(call, outcome.webhook.id)


async def rotate(call: Call, body: wire_webhooks.RotateBody) -> wire_webhooks.WebhookMade | Refusal:
    salt = new_salt()
    sealed = letters.seal(call.services.sealer, letters.secret_of(call.services, salt))
    message = RotateSecret(call.params["webhook_id"], sealed, salt, round(body.overlap * 1000))
    outcome = await call.ask(message)
    if isinstance(outcome, Refusal):
        return outcome
    until = outcome.webhook.former_until
    return wire_webhooks.WebhookMade(
        outcome.webhook.id,
        letters.shown(letters.secret_of(call.services, outcome.salt)),
        encode.rfc3339(until) if until is not None else UNSET,
    )


async def delete(call: Call) -> wire_common.Status | Refusal:
    outcome = await call.ask(DeleteWebhook(call.params["webhook_id"]))
    return outcome if isinstance(outcome, Refusal) else wire_common.Status("deleted")


# --- deliveries


async def deliveries(call: Call) -> wire_webhooks.DeliveriesPage | Refusal:
    wanted = query(call.request.args, wire_webhooks.DeliveriesQuery)
    if isinstance(wanted, Refusal):
        return wanted
    webhook_id: int = call.params["webhook_id"]
    before = wanted.cursor if wanted.cursor is not None else NEWEST

    def look(reader: Reader) -> tuple[list[Delivery], int | None] | None:
        with reader.snapshot():
            if reader.webhooks.get(webhook_id) is None:
                return None
            return reader.webhooks.deliveries(webhook_id, before=before, limit=wanted.limit, state=wanted.state)

    found = await call.services.reads.run(look)
    if found is None:
        return no_such_webhook(webhook_id)
    page, following = found
    return wire_webhooks.DeliveriesPage([delivery_wire(call, each) for each in page], following)


async def redeliver(call: Call) -> wire_webhooks.DeliveryBegun | Refusal:
    outcome = await call.ask(DeliverAgain(call.params["webhook_id"], call.params["delivery_id"]))
    return outcome if isinstance(outcome, Refusal) else wire_webhooks.DeliveryBegun(outcome.delivery_id)


async def redeliver_range(call: Call, body: wire_webhooks.RangeBody) -> wire_webhooks.RangeDone | Refusal:
    message = DeliverRangeAgain(
        call.params["webhook_id"], _ms(body.since), _ms(body.until), only_failed=not body.all, after=body.cursor or 0
    )
    outcome = await call.ask(message)
    if isinstance(outcome, Refusal):
        return outcome
    return wire_webhooks.RangeDone(outcome.count, outcome.following)


async def ping(call: Call) -> wire_webhooks.DeliveryBegun | Refusal:
    outcome = await call.ask(PingWebhook(call.params["webhook_id"]))
    return outcome if isinstance(outcome, Refusal) else wire_webhooks.DeliveryBegun(outcome.delivery_id)


# --- what both are made of


async def _read(call: Call, webhook_id: int) -> wire_webhooks.WebhookWire | Refusal:
    def look(reader: Reader) -> wire_webhooks.WebhookWire | None:
        with reader.snapshot():
            webhook = reader.webhooks.get(webhook_id)
            return webhook_wire(reader, webhook) if webhook is not None else None

    return await call.services.reads.run(look) or no_such_webhook(webhook_id)


def webhook_wire(reader: Reader, webhook: Webhook) -> wire_webhooks.WebhookWire:
    waiting, since = reader.webhooks.waiting(webhook.id, most=MOST_COUNTED)
    return wire_webhooks.WebhookWire(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        enabled=webhook.is_enabled,
        waiting=waiting,
        created_at=encode.rfc3339(webhook.created_at),
        updated_at=encode.rfc3339(webhook.updated_at),
        types=list(webhook.types),
        tags=list(webhook.tags),
        group=webhook.group,
        batch=webhook.batch,
        results=webhook.results,
        waiting_since=encode.time_or_none(since),
        failing_since=encode.time_or_none(webhook.failing_since),
        disabled_at=encode.time_or_none(webhook.disabled_at),
        disabled_why=webhook.disabled_why,
        former_until=encode.time_or_none(webhook.former_until),
        callbacks_of=webhook.host,
    )


def delivery_wire(call: Call, delivery: Delivery) -> wire_webhooks.DeliveryWire:
    waits = delivery.state is DeliveryState.WAITING
    return wire_webhooks.DeliveryWire(
        id=delivery.id,
        webhook_id=message_id(call.services.installation, delivery.id),
        event=delivery.event,
        at=encode.rfc3339(delivery.at),
        state=delivery.state.value,
        tries=delivery.tries,
        data=msgspec.Raw(delivery.data.encode()),
        due_at=encode.rfc3339(delivery.due_at) if waits and delivery.courier is None else None,
        tried_at=encode.time_or_none(delivery.tried_at),
        status=delivery.status,
        error=delivery.error,
        answer=delivery.answer,
        ended_at=encode.time_or_none(delivery.ended_at),
    )


def wrong_url(call: Call, url: str, *, field: str = "url") -> Refusal | None:
    """What can be told of a URL before it is called."""
    to = addresses.target(url)
    if isinstance(to, str):
        return Refusal(RefusalCode.INVALID, f"The URL cannot be called: {to}.", field=field)
    address = addresses.literal(to.host)
    allowed = addresses.allowed(call.services.settings.webhook_allow)
    why = addresses.refused(to, address, allowed) if address is not None else None
    return Refusal(RefusalCode.INVALID, f"The URL is refused: {why}.", field=field) if why is not None else None


def _names(given: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(each) for each in given or ()))


def _given(given: Iterable[str] | UnsetType | None) -> tuple[str, ...] | UnsetType:
    return UNSET if given is UNSET else _names(given)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


_ONE = "/api/admin/webhooks/<id:webhook_id>"
ROUTES = [
    Route("GET", "/api/admin/webhooks", Access.ADMIN, listed, "Webhooks by id, as a JSON array",
          gives=list[wire_webhooks.WebhookWire], query=wire_webhooks.WebhooksQuery),
    Route("POST", "/api/admin/webhooks", Access.ADMIN, create,
          "Have an endpoint be told of what happens; its secret is shown once", body=wire_webhooks.WebhookBody,
          gives=wire_webhooks.WebhookMade, status=201, audit="webhook.create"),
    Route("GET", _ONE, Access.ADMIN, shown, "One webhook", gives=wire_webhooks.WebhookWire),
    Route("PATCH", _ONE, Access.ADMIN, change, "Change what a webhook is sent, disable or enable it",
          body=wire_webhooks.WebhookPatch, gives=wire_webhooks.WebhookWire, audit="webhook.change"),
    Route("DELETE", _ONE, Access.ADMIN, delete, "Tell an endpoint nothing more", gives=wire_common.Status,
          audit="webhook.delete"),
    Route("POST", f"{_ONE}/rotate", Access.ADMIN, rotate,
          "Give a webhook another secret, shown once; for a while both sign", body=wire_webhooks.RotateBody,
          gives=wire_webhooks.WebhookMade, audit="webhook.rotate"),
    Route("POST", f"{_ONE}/test", Access.ADMIN, ping, "Send a webhook something, to try it",
          gives=wire_webhooks.DeliveryBegun, status=202, audit="webhook.test"),
    Route("GET", f"{_ONE}/deliveries", Access.ADMIN, deliveries, "What a webhook was sent, newest first",
          gives=wire_webhooks.DeliveriesPage, query=wire_webhooks.DeliveriesQuery),
    Route("POST", f"{_ONE}/deliveries/<id:delivery_id>/redeliver", Access.ADMIN, redeliver,
          "Send something once more, with the same id", gives=wire_webhooks.DeliveryBegun, status=202,
          audit="webhook.redeliver"),
    Route("POST", f"{_ONE}/redeliver", Access.ADMIN, redeliver_range,
          "Send once more what happened within some time and could not be delivered", body=wire_webhooks.RangeBody,
          gives=wire_webhooks.RangeDone, audit="webhook.redeliver"),
]  # fmt: skip
