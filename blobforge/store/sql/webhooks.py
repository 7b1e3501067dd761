"""Webhooks and their deliveries. Rows of `webhooks` and `deliveries`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple

from blobforge.store.bulk import BulkAccess
from blobforge.store.lists import NEWEST
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Row, Statements
from blobforge.store.workingset import WorkingSet
from blobforge.webhook import Delivery, DeliveryState, Occasion, Webhook

LOOKED_AT = 5000  # deliveries at a time, for those of some hours
_names = msgspec.json.Decoder(tuple[str, ...]).decode


def _list(names: Sequence[str]) -> str | None:
    return msgspec.json.encode(names).decode() if names else None


def webhook(row: Row) -> Webhook:
    id_, url, events, types, tags, group, batch, results, sealed, former, *rest = row
    return Webhook(
        id_, url, _names(events), _names(types) if types else (), _names(tags) if tags else (), group, batch,
        bool(results), bytes(sealed), bytes(former) if former is not None else None, *rest,
    )  # fmt: skip


def _values(webhook: Webhook) -> Row:
    _, url, events, types, tags, group, batch, results, *rest = astuple(webhook)
    return (url, _list(events) or "[]", _list(types), _list(tags), group, batch, int(results), *rest)


def delivery(row: Row) -> Delivery:
    id_, webhook_id, event, at, data, state, *rest = row
    return Delivery(id_, webhook_id, event, at, data, DeliveryState(state), *rest)


class Webhooks:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements, bulk: BulkAccess, working: WorkingSet) -> None:
        self._do = statements
        self._bulk = bulk
        self._working = working

    def all(self) -> Sequence[Webhook]:
        return self._bulk.webhooks()

    def add(self, webhook: Webhook) -> int:
        number = self._do.insert(sql.INSERT_WEBHOOK, _values(webhook))
        self._bulk.webhooks_changed()
        return number

    def save(self, webhook: Webhook) -> None:
        self._do.rows(sql.SAVE_WEBHOOK, (*_values(webhook), webhook.id))
        self._bulk.webhooks_changed()

    def tell(self, webhook_id: int, occasion: Occasion, *, at: int, sealed: str | None = None) -> None:
        data = msgspec.json.encode(occasion.data).decode()
        self._working.note_delivery(webhook_id, occasion.event, at, data, sealed)

    def told(self, webhook_id: int, occasion: Occasion, *, at: int) -> int:
        data = msgspec.json.encode(occasion.data).decode()
        return self._do.insert(sql.INSERT_DELIVERY, (webhook_id, occasion.event, at, data, at))

    def delivery(self, delivery_id: int) -> Delivery | None:
        self._working.settle()
        row = self._do.row(sql.DELIVERY, (delivery_id,))
        return delivery(row) if row else None

    def save_delivery(self, delivery: Delivery) -> None:
        id_, _, _, _, _, *changing, _ = astuple(delivery)
        self._do.rows(sql.SAVE_DELIVERY, (*changing, id_))

    def waiting(self, webhook_id: int, *, limit: int) -> list[Delivery]:
        self._working.settle()
        return [delivery(row) for row in self._do.rows(sql.FIRST_DELIVERIES, (webhook_id, limit))]

    def next_due(self, webhook_id: int) -> int | None:
        self._working.settle()
        row = self._do.row(sql.NEXT_DELIVERY, (webhook_id,))
        return int(row[0]) if row else None

    def between(
        self, webhook_id: int, since: int, until: int, *, after: int, limit: int
    ) -> tuple[list[Delivery], int | None]:
        self._working.settle()
        row = self._do.row(sql.DELIVERY_AFTER, (webhook_id, after, LOOKED_AT - 1))
        last = int(row[0]) if row else None
        asked = (webhook_id, after, last or NEWEST, since, until, limit)
        found = [delivery(each) for each in self._do.rows(sql.DELIVERIES_BETWEEN, asked)]
        return found, found[-1].id if len(found) == limit else last

    def callbacks(self, webhook_id: int, *, most: int) -> int:
        self._working.settle()
        row = self._do.row(sql.CALLBACKS_TO, (webhook_id, most))
        return int(row[0]) if row else 0

    def prune(self, before: int, *, limit: int) -> bool:
        self._working.settle()
        gone = self._do.change(sql.PRUNE_DELIVERIES, (before, limit))
        for each in self.all():
            if each.deleted_at is not None and gone < limit:
                gone += self._do.change(sql.DROP_DELIVERIES, (each.id, limit - gone))
                if gone < limit:
                    self._do.rows(sql.DROP_WEBHOOK, (each.id,))
                    self._bulk.webhooks_changed()
        return gone >= limit


class WebhookLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def all(self) -> list[Webhook]:
        found = map(webhook, self._ask.rows(sql.WEBHOOKS))
        return [each for each in found if each.deleted_at is None]

    def get(self, webhook_id: int) -> Webhook | None:
        return next((each for each in self.all() if each.id == webhook_id), None)

    def deliveries(
        self, webhook_id: int, *, before: int, limit: int, state: DeliveryState | None = None
    ) -> tuple[list[Delivery], int | None]:
        if state is None:
            rows, end = self._ask.rows(sql.DELIVERIES, (webhook_id, before, limit + 1)), None
        else:
            ends = self._ask.rows(sql.DELIVERY_BEFORE, (webhook_id, before, LOOKED_AT - 1))
            end = int(ends[0][0]) if ends else None
            rows = self._ask.rows(sql.DELIVERIES_IN_STATE, (webhook_id, before, end or 0, state.value, limit + 1))
        found = [delivery(row) for row in rows]
        return found[:limit], found[limit - 1].id if len(found) > limit else end

    def waiting(self, webhook_id: int, *, most: int) -> tuple[int, int | None]:
        n, oldest = self._ask.rows(sql.WAITING_DELIVERIES, (webhook_id, most))[0]
        return n, oldest
