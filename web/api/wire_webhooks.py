"""The shapes of webhooks and of their deliveries."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from blobforge.outward.addresses import LONGEST_URL
from blobforge.webhook import DeliveryState, WebhookEvent
from web.api.wire_common import ArrayQuery, BatchId, Group, JobType, Moment, Tag

WebhookUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LONGEST_URL,
        pattern=r"^[\x21-\x7e]+\Z",
        description="https, to a public address, or what BLOBFORGE_WEBHOOK_ALLOW names",
        examples=["https://example.com/hooks/blobforge"],
    ),
]
WantedEvents = Annotated[list[WebhookEvent], Meta(min_length=1, max_length=50)]
WantedTypes = Annotated[list[JobType], Meta(max_length=50)]
WantedTags = Annotated[list[Tag], Meta(max_length=50)]
DeliveryId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class WebhooksQuery(ArrayQuery, frozen=True):
    """As every array, page by page."""


class WebhookBody(msgspec.Struct, frozen=True):
    """An endpoint is sent these `events`, where they are about one of these types, one of these tags, this group and
    this batch, as far as those are given. `results`: what it is sent of a completed job has URLs to download its
    outputs, good for as long as any."""

    url: WebhookUrl
    events: WantedEvents
    types: WantedTypes | None = None
    tags: WantedTags | None = None
    group: Group | None = None
    batch: BatchId | None = None
    results: bool = False


class WebhookPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is; null takes a filter away. `enabled`: whether it is sent anything; what has
    waited is sent when it is enabled again."""

    url: WebhookUrl | UnsetType = UNSET
    events: WantedEvents | UnsetType = UNSET
    types: WantedTypes | UnsetType | None = UNSET
    tags: WantedTags | UnsetType | None = UNSET
    group: Group | UnsetType | None = UNSET
    batch: BatchId | UnsetType | None = UNSET
    results: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class WebhookMade(msgspec.Struct, frozen=True):
    """The only time that the secret is shown. `former_until`: up to then deliveries are signed with the former one,
    too."""

    id: int
    secret: str
    former_until: str | UnsetType = UNSET


class WebhookWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`waiting` deliveries are still to be made (1,000 stands for any more), of what has happened since
    `waiting_since`. `failing_since`: since then none has succeeded. `disabled_why`: it is sent nothing, for that
    reason. `callbacks_of`: it stands for the callbacks of batches to this host, each of which has a URL of its
    own."""

    id: int
    url: str
    events: list[str]
    enabled: bool
    waiting: int
    created_at: str
    updated_at: str
    types: list[str] = []
    tags: list[str] = []
    group: str | None = None
    batch: int | None = None
    results: bool = False
    waiting_since: str | None = None
    failing_since: str | None = None
    disabled_at: str | None = None
    disabled_why: str | None = None
    former_until: str | None = None
    callbacks_of: str | None = None


class RotateBody(msgspec.Struct, frozen=True):
    """For `overlap` seconds deliveries are signed with the former secret, too."""

    overlap: Annotated[float, Meta(ge=0, le=2_592_000, description="seconds")] = 86_400.0


class DeliveriesQuery(msgspec.Struct, frozen=True):
    """`state`: those alone that wait, were delivered or given up."""

    state: DeliveryState | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: DeliveryId | None = None


class DeliveryWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`webhook_id` is what the receiver knows it by, the same for each try. `state`: `waiting` (for `due_at`, where
    it is not being sent), `delivered` or `failed`: given up. Of the latest try: `tried_at`, the `status` and the
    beginning of the answer, or the `error`."""

    id: int
    webhook_id: str
    event: str
    at: str
    state: str
    tries: int
    data: msgspec.Raw
    due_at: str | None = None
    tried_at: str | None = None
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    ended_at: str | None = None


class DeliveriesPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest first. Go on with `cursor` = `next_cursor`, until there is none: of a `state` a page may have fewer
    than `limit`, or none, and there are more behind it."""

    deliveries: list[DeliveryWire]
    next_cursor: int | None = None


class DeliveryBegun(msgspec.Struct, frozen=True):
    """It is sent at once; the list of deliveries has what came of it."""

    delivery: int


class RangeBody(msgspec.Struct, frozen=True):
    """Deliveries of what happened from `since` on and before `until`: those that were given up, or, with `all`, those
    that were delivered, too."""

    since: Moment
    until: Moment
    all: bool = False
    cursor: DeliveryId | None = None


class RangeDone(msgspec.Struct, frozen=True, omit_defaults=True):
    """So many are sent again. Where there is `next_cursor`, ask again with it."""

    redelivered: int
    next_cursor: int | None = None
