"""Charts: what happened in a range of time, how long it took, and why attempts failed.

The `read_*` functions are for the pages, too: a page shows what the API answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal, Protocol, TypeVar

import msgspec

from blobforge import distribution
from blobforge.people import AuditEntry
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import KEPT, SPLITS_KEPT
from blobforge.store.reading import Reader
from blobforge.timerange import SHORTEST_MS, WINDOWS, Slots, TimeRange, of_window, slots_of
from web.api import encode, wire_charts
from web.decode import query
from web.routing import Access, Call, Route

MOST_CAUSES: Final = 5  # that have a series of their own
SHARES: Final = (0.5, 0.9, 0.99)
MOST_BARS: Final = 16
DAYS_KEPT: Final = max(KEPT.values()) // 86_400
Split = Mapping[int, int]  # a bucket or a cause: how many
MOST_MARKS: Final = 50
MOST_LOOKED_AT: Final = 500  # records of types: most that were set were no pause
T_co = TypeVar("T_co", covariant=True)


class _PauseSet(msgspec.Struct, frozen=True):
    """What a record of settings may say of a pause."""

    paused: bool | msgspec.UnsetType | None = msgspec.UNSET
    reason: str | None = None


class ReadChart(Protocol[T_co]):
    def __call__(self, reader: Reader, wanted: TimeRange, type_: str | None, *, now: int) -> T_co: ...


def time_range(asked: wire_charts.ChartQuery, *, now: int) -> TimeRange | Refusal:
    since, until = encode.ms_or_none(asked.since), encode.ms_or_none(asked.until)
    if since is None:
        if until is not None:
            return _unfit("since", "say it too where there is an `until`.")
        return of_window(asked.window or next(iter(WINDOWS)), now=now)
    if asked.window is not None:
        return _unfit("window", "say either a window, or since (and until).")
    end = until if until is not None else now
    if since >= now:
        return _unfit("since", f"it is still to come; the server's clock says {encode.rfc3339(now)}.")
    if end - since < SHORTEST_MS:
        return _unfit("until", "a range ends a minute after it begins, or later.")
    if end <= now - DAYS_KEPT * 86_400_000:
        oldest = encode.rfc3339(now - DAYS_KEPT * 86_400_000)
        return _unfit(
            "until", f"nothing is left of it: figures are kept for {DAYS_KEPT} days. Ask for after {oldest}."
        )
    return TimeRange(since, min(end, now))


def _unfit(field: str, reason: str) -> Refusal:
    return Refusal(RefusalCode.INVALID, f"{field}: {reason}", field=field)


def _head(wanted: TimeRange, slots: Slots) -> tuple[str | None, str, str, int]:
    since = max(wanted.since, slots.first * slots.step * 1000)
    return wanted.window, encode.rfc3339(since), encode.rfc3339(wanted.until), slots.step


def read_history(reader: Reader, wanted: TimeRange, type_: str | None, *, now: int) -> wire_charts.HistoryWire:
    slots = slots_of(wanted, KEPT, now=now)
    found = reader.insights.history(slots, now=now, type_=type_)
    return wire_charts.HistoryWire(*_head(wanted, slots), type_, found.at, found.flows, found.levels, found.workers)


def read_times(reader: Reader, wanted: TimeRange, type_: str | None, *, now: int) -> wire_charts.TimesWire:
    slots = slots_of(wanted, SPLITS_KEPT, now=now)
    found = reader.insights.times_history(slots, type_=type_)
    return wire_charts.TimesWire(
        *_head(wanted, slots), type_, slots.beginnings, _kept_since(found.since),
        _times(slots, found.queued, found.since), _times(slots, found.ran, found.since),
    )  # fmt: skip


def read_causes(reader: Reader, wanted: TimeRange, type_: str | None, *, now: int) -> wire_charts.CausesWire:
    slots = slots_of(wanted, SPLITS_KEPT, now=now)
    found = reader.insights.causes_history(slots, type_=type_)
    counted = _sum(found.n)
    known = sorted(
        ((part, n) for part, n in counted.items() if part in found.causes), key=lambda each: (-each[1], each[0])
    )
    shown = [
        wire_charts.CauseSeriesWire(
            part, found.causes[part].kind, found.causes[part].place, n,
            _each(slots, {slot: each.get(part, 0) for slot, each in found.n.items()}, found.since),
        )
        for part, n in known[:MOST_CAUSES]
    ]  # fmt: skip
    own = {each.id for each in shown}
    rest = {slot: sum(n for part, n in each.items() if part not in own) for slot, each in found.n.items()}
    return wire_charts.CausesWire(
        *_head(wanted, slots), type_, slots.beginnings, _kept_since(found.since), counted.total(), shown,
        _each(slots, rest, found.since),
    )  # fmt: skip


def _times(slots: Slots, found: Mapping[int, Split], since: int | None) -> wire_charts.TimesOfWire:
    overall = _sum(found)
    p50, p90, p99 = ([_quantile(found.get(slot, {}), share) for slot in slots.numbers] for share in SHARES)
    bars = distribution.histogram(overall, most=MOST_BARS)
    return wire_charts.TimesOfWire(
        _each(slots, {slot: sum(each.values()) for slot, each in found.items()}, since), p50, p90, p99,
        overall.total(),
        wire_charts.QuantilesWire(*(_quantile(overall, share) for share in SHARES)),
        [wire_charts.BarWire(round(bar.least / 1000, 3), round(bar.below / 1000, 3), bar.n) for bar in bars],
    )  # fmt: skip


def _each(slots: Slots, n: Mapping[int, int], since: int | None) -> list[int | None]:
    """One value for each slot; None where such was not kept yet."""
    kept = since // slots.step if since is not None else slots.last + 1
    return [n.get(slot, 0) if slot >= kept else None for slot in slots.numbers]


def _sum(found: Mapping[int, Split]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for each in found.values():
        counted.update(each)
    return counted


def _quantile(counts: Split, share: float) -> float | None:
    found = distribution.quantile(counts, share)
    return round(found / 1000, 3) if found is not None else None


def _kept_since(since: int | None) -> str | None:
    return encode.time_or_none(since * 1000 if since is not None else None)


async def _answer(call: Call, read: ReadChart[T_co]) -> T_co | Refusal:
    wanted = query(call.request.args, wire_charts.ChartQuery)
    if isinstance(wanted, Refusal):
        return wanted
    now = call.services.now()
    of = time_range(wanted, now=now)
    if isinstance(of, Refusal):
        return of
    return await call.services.reads.run(lambda reader: read(reader, of, wanted.type, now=now))


def read_marks(reader: Reader, wanted: TimeRange, type_: str | None, *, now: int) -> wire_charts.MarksWire:
    """By the audit log, as far back as it is kept."""
    since = max(wanted.since, now - DAYS_KEPT * 86_400_000)
    found = reader.insights.marks(since, wanted.until, type_=type_, limit=MOST_LOOKED_AT)
    marks = [mark for mark in map(_mark, found) if mark is not None]
    more = len(marks) > MOST_MARKS or len(found) == MOST_LOOKED_AT
    said = (wanted.window, encode.rfc3339(since), encode.rfc3339(wanted.until), type_)
    return wire_charts.MarksWire(*said, marks[:MOST_MARKS], more)


def _mark(entry: AuditEntry) -> wire_charts.MarkWire | None:
    """What it says of a pause, or of a server; None: of something else that was set."""
    at, by = encode.rfc3339(entry.at), entry.name or entry.actor
    if entry.action in ("server.started", "server.stopped"):
        what: Literal["started", "stopped"] = "started" if entry.action == "server.started" else "stopped"
        return wire_charts.MarkWire(at, what, by, server=entry.subject, version=entry.detail)
    paused, reason = entry.action == "type.pause", entry.detail
    if entry.action == "type.set":
        try:
            said = msgspec.json.decode(entry.detail or "{}", type=_PauseSet)
        except msgspec.DecodeError:  # cut off, as it was long
            return None
        if said.paused is msgspec.UNSET:
            return None
        paused, reason = bool(said.paused), said.reason
    kind: Literal["paused", "resumed"] = "paused" if paused else "resumed"
    return wire_charts.MarkWire(at, kind, by, entry.subject, reason if paused else None)


async def marks(call: Call) -> wire_charts.MarksWire | Refusal:
    return await _answer(call, read_marks)


async def history(call: Call) -> wire_charts.HistoryWire | Refusal:
    return await _answer(call, read_history)


async def times(call: Call) -> wire_charts.TimesWire | Refusal:
    return await _answer(call, read_times)


async def causes(call: Call) -> wire_charts.CausesWire | Refusal:
    return await _answer(call, read_causes)


ROUTES = [
    Route("GET", "/api/stats/history", Access.READ, history,
          "What happened in a range of time, as series for a chart",
          gives=wire_charts.HistoryWire, query=wire_charts.ChartQuery),
    Route("GET", "/api/stats/times", Access.READ, times,
          "How long jobs stood in the queue and ran: quantiles over time, and histograms",
          gives=wire_charts.TimesWire, query=wire_charts.ChartQuery),
    Route("GET", "/api/stats/causes", Access.READ, causes, "Why attempts failed, over time",
          gives=wire_charts.CausesWire, query=wire_charts.ChartQuery),
    Route("GET", "/api/stats/marks", Access.READ, marks,
          "Marks for charts: types that were paused and resumed, servers that started and stopped",
          gives=wire_charts.MarksWire, query=wire_charts.ChartQuery),
]  # fmt: skip
