"""The endpoints of webhooks: what other systems are told of, and the log of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from blobforge.client.connection import ClientConnection, without_none
from blobforge.client.types import (
    Deliveries,
    DeliveryBegun,
    Redelivered,
    StatusAnswer,
    WebhookInfo,
    WebhookSecret,
)

ALL = "/api/admin/webhooks"


class WebhookEndpoints(ClientConnection):
    """For administrators."""

    async def list_webhooks(self) -> list[WebhookInfo]:
        """All webhooks, without their secrets."""
        return await self._every_page(ALL, WebhookInfo)

    async def get_webhook(self, webhook_id: int) -> WebhookInfo:
        """One webhook."""
        return await self._call("GET", f"{ALL}/{webhook_id}", WebhookInfo)

    async def create_webhook(
        self,
        url: str,
        events: Sequence[str],
        *,
        types: Sequence[str] = (),
        tags: Sequence[str] = (),
        group: str | None = None,
        batch: int | None = None,
        results: bool = False,
    ) -> WebhookSecret:
        """Have an endpoint be told of these events, where they are about one of these types, one of these tags, this
        group and this batch, as far as those are given. `results`: with URLs to download what a job came to."""
        filters = without_none(types=list(types) or None, tags=list(tags) or None, group=group, batch=batch)
        body = {"url": url, "events": list(events), "results": results} | filters
        return await self._post(ALL, WebhookSecret, body, once_only=True)

    async def change_webhook(
        self,
        webhook_id: int,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        group: str | None = None,
        batch: int | None = None,
        results: bool | None = None,
        enabled: bool | None = None,
        unset: Sequence[str] = (),
    ) -> WebhookInfo:
        """Change what it is sent, disable or enable it. `unset` names the filters that it is to have no longer."""
        body = without_none(
            url=url, events=events, types=types, tags=tags, group=group, batch=batch, results=results, enabled=enabled
        )
        body |= dict.fromkeys(unset)
        return await self._call("PATCH", f"{ALL}/{webhook_id}", WebhookInfo, body=body)

    async def delete_webhook(self, webhook_id: int) -> StatusAnswer:
        """Tell an endpoint nothing more."""
        return await self._call("DELETE", f"{ALL}/{webhook_id}", StatusAnswer)

    async def rotate_webhook_secret(self, webhook_id: int, *, overlap: float | None = None) -> WebhookSecret:
        """Give it another secret, and sign with both for `overlap` seconds (a day, if absent)."""
        return await self._post(
            f"{ALL}/{webhook_id}/rotate", WebhookSecret, without_none(overlap=overlap), once_only=True
        )

    async def test_webhook(self, webhook_id: int) -> DeliveryBegun:
        """Send it something, to try it; `webhook_deliveries` has what came of it."""
        return await self._post(f"{ALL}/{webhook_id}/test", DeliveryBegun)

    async def webhook_deliveries(
        self, webhook_id: int, *, state: str | None = None, limit: int | None = None, cursor: int | None = None
    ) -> Deliveries:
        """A page of what it was sent, the newest first. `state`: only what waits (`waiting`), was `delivered` or was
        given up (`failed`); such a page may have fewer than `limit`, or none, and more behind its `next_cursor`."""
        params = without_none(state=state, limit=limit, cursor=cursor)
        return await self._call("GET", f"{ALL}/{webhook_id}/deliveries", Deliveries, params=params)

    async def redeliver(self, webhook_id: int, delivery_id: int) -> DeliveryBegun:
        """Send something once more, with the id that it had."""
        return await self._post(f"{ALL}/{webhook_id}/deliveries/{delivery_id}/redeliver", DeliveryBegun)

    async def redeliver_range(
        self, webhook_id: int, *, since: datetime, until: datetime, all: bool = False, cursor: int | None = None
    ) -> Redelivered:
        """Send once more what happened within this time and was given up; with `all`, what was delivered, too. Where
        the answer has a `next_cursor`, there is more."""
        times = {"since": since.isoformat(), "until": until.isoformat(), "all": all}
        return await self._post(f"{ALL}/{webhook_id}/redeliver", Redelivered, times | without_none(cursor=cursor))
