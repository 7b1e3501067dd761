"""The shapes of charts: what is asked of them, and series whose values belong to slots of time."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from web.api.wire_common import Moment


class ChartQuery(msgspec.Struct, frozen=True):
    """A `window` up to now, or a range of one's own: from `since` up to `until` (now, where it is not said). How fine
    the answer is follows from how far back the range goes: figures are kept for 32 days, the finest for hours."""

    window: Annotated[Literal["1h", "24h", "7d", "30d"], Meta(description="1h, unless `since` is said")] | None = None
    since: Moment | None = None
    until: Moment | None = None
    type: Annotated[str, Meta(max_length=100, description="of one job type; absent: of all")] | None = None


class SlotsWire(msgspec.Struct, frozen=True):
    """What all charts have. `window` is null for a range of one's own; `since` and `until` are what the answer is
    about, in slots of `step_seconds`; `at` are the beginnings of the slots (seconds since the epoch)."""

    window: str | None
    since: str
    until: str
    step_seconds: int
    type: str | None
    at: list[int]


class HistoryWire(SlotsWire, frozen=True):
    """Aligned series for a chart: the lists have one value a slot; null where the server did not run. The slot of now
    is still under way.

    `flows` are what happened in a slot (`submitted`, and attempts by outcome), `levels` how many jobs there were, by
    status, at its end, and `workers` how many workers were there (online or draining, of all types).
    """

    flows: dict[str, list[int | None]]
    levels: dict[str, list[int | None]]
    workers: list[int | None]


class QuantilesWire(msgspec.Struct, frozen=True):
    """Seconds that half, nine tenths and 99 of 100 stayed below; a fifth off at most. Null: there are none."""

    p50: float | None
    p90: float | None
    p99: float | None


class BarWire(msgspec.Struct, frozen=True):
    """`n` took from `least_seconds` up to `below_seconds`."""

    least_seconds: float
    below_seconds: float
    n: int


class TimesOfWire(msgspec.Struct, frozen=True):
    """`n` of each slot (null: none were kept then) and their quantiles; of the whole range `total`, its quantiles
    `overall`, and its histogram."""

    n: list[int | None]
    p50: list[float | None]
    p90: list[float | None]
    p99: list[float | None]
    total: int
    overall: QuantilesWire
    histogram: list[BarWire]


class TimesWire(SlotsWire, frozen=True):
    """How long things took, by when the attempt ended. `queued`: how long the jobs of attempts that were completed,
    failed or lost had stood in the queue, from when they came into it last until they were claimed. `ran`: how long
    completed attempts took. `kept_since`: such is kept since then; null: there is nothing yet."""

    kept_since: str | None
    queued: TimesOfWire
    ran: TimesOfWire


class MarkWire(msgspec.Struct, frozen=True):
    """A type was `paused` (for this reason) or `resumed`: at this time, by a person, or by its breaker (`server`). Or
    a server `started`, or `stopped` in good order, with this version; one that is killed says nothing."""

    at: str
    kind: Literal["paused", "resumed", "started", "stopped"]
    by: str
    type: str | None = None
    reason: str | None = None
    server: str | None = None
    version: str | None = None


class MarksWire(msgspec.Struct, frozen=True):
    """What a chart of that range is marked with, the latest first: 50 at most. `more`: there were others before."""

    window: str | None
    since: str
    until: str
    type: str | None
    marks: list[MarkWire]
    more: bool


class CauseSeriesWire(msgspec.Struct, frozen=True):
    """A cause (`GET /api/failures/{id}`), and how many attempts failed so in each slot, and in the whole range."""

    id: int
    kind: str
    place: str
    total: int
    n: list[int | None]


class CausesWire(SlotsWire, frozen=True):
    """Attempts that failed or were lost, by cause: those of the five most frequent causes of the range, and all
    `others`. `total` is how many there were. `kept_since`: such is kept since then; null: there is nothing yet."""

    kept_since: str | None
    total: int
    causes: list[CauseSeriesWire]
    others: list[int | None]
