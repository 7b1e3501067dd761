"""Times as the original's database holds them, in several textual forms. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_FORM = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[ T](?P<time>\d\d:\d\d)(?::(?P<seconds>\d\d))?(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?P<zone>[zZ]|[+-]\d\d:?\d\d)?"
)
_SECONDS_UNTIL = 100_000_000_000  # a larger number is milliseconds: as seconds it would be after the year 5000


def moment(value: object) -> int | None:
    """A time in ms since the epoch; None for what is no time, or Go's zero time.

    `2026-01-02 15:04:05` (SQLite's CURRENT_TIMESTAMP, UTC), RFC 3339, and Go's
    `2026-01-02 15:04:05.999999999 -0700 MST` with or without `m=+0.1` behind; Unix
    seconds or milliseconds. What says no offset is UTC.
    """
    match value:
        case bool():
            return None
        case int() | float():
            ms = round(value if abs(value) >= _SECONDS_UNTIL else value * 1000)
            return ms if ms > 0 else None
        case str():
            return _parsed(value.strip())
        case _:
            return None


def _parsed(text: str) -> int | None:
    found = _FORM.match(text)
    if found is None:
        return None
    day = f"{found['day']}T{found['time'] or '00:00'}:{found['seconds'] or '00'}"
    try:
        whole = datetime.fromisoformat(day).replace(tzinfo=_zone(found["zone"]))
        seconds = whole.timestamp()
    except (ValueError, OverflowError):
        return None
    ms = round(seconds) * 1000 + int((found["fraction"] or "0").ljust(3, "0")[:3])
    return ms if ms > 0 else None


def _zone(text: str | None) -> timezone:
    if text is None or text in "zZ":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
