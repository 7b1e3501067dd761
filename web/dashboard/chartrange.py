"""The range of time that a page's charts are about: from its address, with the links that lead to others.

Times in the address are UTC, as `datetime-local` fields send them (`2026-11-30T08:15`), or RFC 3339 with a zone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

import msgspec

from blobforge.refusals import Refusal
from blobforge.timerange import SHORTEST_MS, TimeRange, of_window
from web.api.charts import DAYS_KEPT, time_range
from web.api.encode import rfc3339
from web.api.wire_charts import ChartQuery
from web.dashboard.words import time_field

WINDOWS: Final = {"1h": "hour", "24h": "day", "7d": "week", "30d": "30 days"}
TABLES: Final = "tables"
CLOSEST_MS: Final = 10 * 60_000
_MINUTE: Final = 60_000


class ChartRange(msgspec.Struct, frozen=True):
    """`window`: the name of the range, None where it is one of its own. `problem`: why what was asked for is none.
    `address` is the range as the API takes it; `links` lead to other ranges, by what they do, and `windows` to those
    with a name. `tables`: figures are shown as tables, and `as_tables` leads to the other way. `over`: nothing of it
    is still to come."""

    wanted: TimeRange
    window: str | None
    address: str
    links: dict[str, str]
    windows: dict[str, tuple[str, str]]
    tables: bool
    as_tables: str
    over: bool
    problem: str | None = None

    @property
    def since_field(self) -> str:
        return time_field(self.wanted.since)

    @property
    def until_field(self) -> str:
        return time_field(self.wanted.until)

    def chart(self, kind: str, type_: str | None = None) -> str:
        """The address of a chart's figures."""
        of = f"&{urlencode({'type': type_})}" if type_ is not None else ""
        return f"/api/stats/{kind}?{self.address}{of}"


def chart_range(args: Mapping[str, str], path: str, *, usual: str, now: int) -> ChartRange:
    """What a page is asked for; what cannot be is said, and the usual window shown instead."""
    found, problem = _asked(args, usual, now=now)
    tables = args.get("figures") == TABLES
    own = found.window is None
    address = {"since": rfc3339(found.since), "until": rfc3339(found.until)} if own else {"window": found.window}

    def page(query: Mapping[str, str | None], *, as_tables: bool = tables) -> str:
        return f"{path}?{urlencode({**query, **({'figures': TABLES} if as_tables else {})})}#charts"

    def ranged(since: int, until: int) -> str:
        """Whole minutes; nothing that is still to come."""
        if until >= now:
            since, until = since - (until - now), now
        return page({"since": time_field(since), "until": time_field(until)})

    return ChartRange(
        found,
        found.window,
        urlencode(address),
        _links(found, ranged, now=now) | ({"reset": page({"window": usual})} if own else {}),
        {name: (word, page({"window": name})) for name, word in WINDOWS.items()},
        tables,
        page(
            {"since": time_field(found.since), "until": time_field(found.until)} if own else {"window": found.window},
            as_tables=not tables,
        ),
        over=own and found.until < now - _MINUTE,
        problem=problem,
    )


def _asked(args: Mapping[str, str], usual: str, *, now: int) -> tuple[TimeRange, str | None]:
    since, until = args.get("since", ""), args.get("until", "")
    if not since and not until:
        window = args.get("window", "")
        return of_window(window if window in WINDOWS else usual, now=now), None
    try:
        asked = ChartQuery(since=_moment(since), until=_moment(until))
    except ValueError:
        return of_window(usual, now=now), "Times of a range are as 2026-11-30T08:15, in UTC."
    found = time_range(asked, now=now)
    if isinstance(found, Refusal):
        return of_window(usual, now=now), f"The charts show the usual range: {found.detail}"
    # What is before all that is kept may be of a year that has no name.
    return TimeRange(max(found.since, now - DAYS_KEPT * 86_400_000), found.until, found.window), None


def _moment(text: str) -> datetime | None:
    found = datetime.fromisoformat(text) if text else None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _links(found: TimeRange, ranged: Callable[[int, int], str], *, now: int) -> dict[str, str]:
    """Half a range earlier and later, twice as wide, half as wide: where there is anything."""
    wide = max(found.until - found.since, SHORTEST_MS)
    oldest = now - DAYS_KEPT * 86_400_000
    links = {}
    if found.since > oldest:
        links["earlier"] = ranged(found.since - wide // 2, found.until - wide // 2)
    if found.until < now - _MINUTE:
        links["later"] = ranged(found.since + wide // 2, found.until + wide // 2)
    if wide > CLOSEST_MS:
        links["closer"] = ranged(found.since + wide // 4, found.until - wide // 4)
    if found.since > oldest:
        links["wider"] = ranged(max(oldest, found.since - wide // 2), found.until + wide // 2)
    return links
