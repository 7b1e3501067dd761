"""Webhooks: endpoints, and what becomes of their deliveries.

What they are told of is put into the outbox by the effect that it happens in (`Transaction.tell_webhooks`). The
courier (`actors/courier.py`) takes deliveries and says what became of them. What one server has taken no other one
takes before its time is over.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET
from msgspec.structs import replace

from actors.effects.transaction import Transaction
from actors.messages import (
    ChangeWebhook,
    CreateWebhook,
    DeleteWebhook,
    DeliverAgain,
    DeliveriesAgain,
    DeliveriesTaken,
    DeliverRangeAgain,
    DeliveryWaits,
    Done,
    PingWebhook,
    RotateSecret,
    TakeDeliveries,
    WebhookStands,
)
from blobforge.events import DeliveriesWait
from blobforge.people import AuditEntry
from blobforge.refusals import Refusal, RefusalCode
from blobforge.webhook import (
    GONE,
    MOST_CALLBACKS,
    MOST_WEBHOOKS,
    TAKEN_FOR,
    CallbackAddress,
    Delivery,
    DeliveryState,
    Tried,
    Webhook,
    about_ping,
    after_failure,
    is_to_be_disabled,
    no_such_webhook,
    not_failing,
    wait_after,
)

SERVER = "server"


def create(tx: Transaction, message: CreateWebhook) -> WebhookStands | Refusal:
    there = sum(each.deleted_at is None and each.host is None for each in tx.store.webhooks.all())
    if there >= MOST_WEBHOOKS:
        return Refusal(RefusalCode.INVALID, f"There are {there} webhooks already; delete one that is not needed.")
    made = replace(message.webhook, created_at=tx.now, updated_at=tx.now)
    return WebhookStands(replace(made, id=tx.store.webhooks.add(made)), message.salt)


def change(tx: Transaction, message: ChangeWebhook) -> WebhookStands | Refusal:
    webhook = _known(tx, message.webhook_id)
    if isinstance(webhook, Refusal):
        return webhook
    given = message.changes
    names = ("url", "events", "types", "tags", "group", "batch", "results")
    said = {name: value for name in names if (value := getattr(given, name)) is not UNSET}
    if said and webhook.host is not None:
        return _of_callbacks(webhook)
    after = replace(webhook, **said)
    if given.enabled is False and after.disabled_at is None:
        after = replace(not_failing(after), disabled_at=tx.now, disabled_why=f"by {message.by}")
    elif given.enabled is True and after.disabled_at is not None:
        # What has waited since is due; so that it is not disabled again by the first failure, it begins anew.
        after = replace(not_failing(after), disabled_at=None, disabled_why=None)
        tx.facts.append(DeliveriesWait((webhook.id,)))
    if after != webhook:
        after = replace(after, updated_at=tx.now)
        tx.store.webhooks.save(after)
    return WebhookStands(after)


def rotate(tx: Transaction, message: RotateSecret) -> WebhookStands | Refusal:
    webhook = _of_events(tx, message.webhook_id)
    if isinstance(webhook, Refusal):
        return webhook
    former = webhook.sealed if message.overlap else None
    until = tx.now + message.overlap if message.overlap else None
    after = replace(webhook, sealed=message.sealed, former=former, former_until=until, updated_at=tx.now)
    tx.store.webhooks.save(after)
    return WebhookStands(after, message.salt)


def delete(tx: Transaction, message: DeleteWebhook) -> Done | Refusal:
    """It is told nothing more. Its deliveries go a page at a time (`retention.prune`), and then itself."""
    webhook = _of_events(tx, message.webhook_id)
    if isinstance(webhook, Refusal):
        return webhook
    tx.store.webhooks.save(replace(webhook, sealed=b"", former=None, former_until=None, deleted_at=tx.now))
    return Done()


def ping(tx: Transaction, message: PingWebhook) -> DeliveryWaits | Refusal:
    webhook = _of_events(tx, message.webhook_id)
    if isinstance(webhook, Refusal):
        return webhook
    if not webhook.is_enabled:
        return _disabled(webhook)
    number = tx.store.webhooks.told(webhook.id, about_ping(webhook), at=tx.now)
    tx.facts.append(DeliveriesWait((webhook.id,)))
    return DeliveryWaits(number)


def deliver_again(tx: Transaction, message: DeliverAgain) -> DeliveryWaits | Refusal:
    webhook = _known(tx, message.webhook_id)
    if isinstance(webhook, Refusal):
        return webhook
    delivery = tx.store.webhooks.delivery(message.delivery_id)
    if delivery is None or delivery.webhook != webhook.id:
        detail = f"Webhook {webhook.id} has no delivery {message.delivery_id} (any more)."
        return Refusal(RefusalCode.NO_SUCH_DELIVERY, detail)
    if not webhook.is_enabled:
        return _disabled(webhook)
    if delivery.state is DeliveryState.WAITING and (delivery.courier is not None or delivery.due_at <= tx.now):
        detail = f"Delivery {delivery.id} is about to be sent; wait until that has ended."
        return Refusal(RefusalCode.DELIVERY_WAITS, detail)
    _send_again(tx, webhook, [delivery])
    return DeliveryWaits(delivery.id)


def deliver_range_again(tx: Transaction, message: DeliverRangeAgain) -> DeliveriesAgain | Refusal:
    webhook = _known(tx, message.webhook_id)
    if isinstance(webhook, Refusal):
        return webhook
    if not webhook.is_enabled:
        return _disabled(webhook)
    found, following = tx.store.webhooks.between(
        webhook.id, message.since, message.until, after=message.after, limit=message.limit
    )
    meant = [each for each in found if not message.only_failed or each.state is DeliveryState.FAILED]
    _send_again(tx, webhook, meant)
    return DeliveriesAgain(len(meant), following)


def _send_again(tx: Transaction, webhook: Webhook, deliveries: Iterable[Delivery]) -> None:
    for each in deliveries:
        tx.store.webhooks.save_delivery(
            replace(each, state=DeliveryState.WAITING, due_at=tx.now, tries=0, courier=None, ended_at=None)
        )
    tx.facts.append(DeliveriesWait((webhook.id,)))


# --- callbacks of batches


def endpoint_of(tx: Transaction, callback: CallbackAddress) -> int | Refusal:
    """The endpoint that stands for the callbacks to this host; it is made for the first of them."""
    host = callback.host
    found = next((each.id for each in tx.store.webhooks.all() if each.host == host), None)
    if found is None:
        made = Webhook(0, f"https://{host}/", (), created_at=tx.now, updated_at=tx.now, host=host)
        return tx.store.webhooks.add(made)
    if tx.store.webhooks.callbacks(found, most=MOST_CALLBACKS) >= MOST_CALLBACKS:
        detail = (
            f"{MOST_CALLBACKS:,} callbacks to {host} are to come already: of batches that have not ended, and of "
            "some that could not be delivered yet. Make the batch without one, or later."
        )
        return Refusal(RefusalCode.CALLBACKS_FULL, detail, field="callback")
    return found


def _of_callbacks(webhook: Webhook) -> Refusal:
    detail = (
        f"Webhook {webhook.id} stands for the callbacks of batches to {webhook.host}: it can be disabled and enabled "
        "and its deliveries be sent again, and nothing else. BLOBFORGE_CALLBACK_HOSTS says which hosts may be called."
    )
    return Refusal(RefusalCode.INVALID, detail)


# --- the courier's


def take(tx: Transaction, message: TakeDeliveries) -> DeliveriesTaken:
    webhook = next((each for each in tx.store.webhooks.all() if each.id == message.webhook_id), None)
    if webhook is None:
        return DeliveriesTaken()
    for tried in message.tried:
        webhook = _tried(tx, webhook, tried, message.courier)
    if not webhook.is_enabled:
        return DeliveriesTaken()
    taken = [
        replace(each, courier=message.courier, due_at=tx.now + TAKEN_FOR)
        for each in tx.store.webhooks.waiting(webhook.id, limit=message.limit)
        if each.is_due(now=tx.now)
    ]
    for delivery in taken:
        tx.store.webhooks.save_delivery(delivery)
    return DeliveriesTaken(webhook, tuple(taken), tx.store.webhooks.next_due(webhook.id))


def _tried(tx: Transaction, webhook: Webhook, tried: Tried, courier: str) -> Webhook:
    """What became of a delivery; the endpoint as it is then. What another server has taken meanwhile is left to that,
    but where it was delivered."""
    delivery = tx.store.webhooks.delivery(tried.delivery)
    if delivery is None or delivery.state is not DeliveryState.WAITING:
        return webhook
    if delivery.courier != courier and tried.error is not None:
        return webhook
    delivery = replace(
        delivery, tries=delivery.tries + 1, courier=None, tried_at=tried.at, status=tried.status, error=tried.error,
        answer=tried.answer,
    )  # fmt: skip
    if tried.error is None:
        delivery = replace(delivery, state=DeliveryState.DELIVERED, ended_at=tx.now)
    elif webhook.host is not None and tried.status == GONE:  # which speaks for itself alone
        delivery = replace(delivery, state=DeliveryState.FAILED, ended_at=tx.now)
    elif (wait := wait_after(delivery.tries, tx.dice, asked=tried.wait)) is not None:
        delivery = replace(delivery, due_at=tx.now + wait)
    else:
        delivery = replace(delivery, state=DeliveryState.FAILED, ended_at=tx.now)
    tx.store.webhooks.save_delivery(delivery)
    return _heard(tx, webhook, tried)


def _heard(tx: Transaction, webhook: Webhook, tried: Tried) -> Webhook:
    """Whether the endpoint answers; one that has not for days, or that wants nothing more, is disabled."""
    after = webhook
    if tried.error is None:
        after = not_failing(webhook)
    elif webhook.is_enabled:
        after = after_failure(webhook, tried, now=tx.now)
        if (why := is_to_be_disabled(after, tried)) is not None:
            after = replace(after, disabled_at=tx.now, disabled_why=why)
            entry = AuditEntry(0, tx.now, SERVER, SERVER, "", "webhook.disabled", str(webhook.id), why)
            tx.audit(entry)
    if after != webhook:
        tx.store.webhooks.save(after)
    return after


def _known(tx: Transaction, webhook_id: int) -> Webhook | Refusal:
    known = (each for each in tx.store.webhooks.all() if each.id == webhook_id and not each.deleted_at)
    return next(known, None) or no_such_webhook(webhook_id)


def _of_events(tx: Transaction, webhook_id: int) -> Webhook | Refusal:
    """One that people have made, and may change in any way."""
    webhook = _known(tx, webhook_id)
    if isinstance(webhook, Webhook) and webhook.host is not None:
        return _of_callbacks(webhook)
    return webhook


def _disabled(webhook: Webhook) -> Refusal:
    detail = f"Webhook {webhook.id} is disabled: {webhook.disabled_why}. Enable it first."
    return Refusal(RefusalCode.WEBHOOK_DISABLED, detail)
