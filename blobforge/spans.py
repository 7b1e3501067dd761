"""Spans of time: as people write them (`90s`, `10m`, `2h`, `1d`), and until something is due."""

from __future__ import annotations

import re
from typing import Final

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "": 1}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)", re.ASCII)


SET_BACK_MS: Final = 1000
"""A time that lies further ahead was written by a clock that has been set back since: servers' clocks, and one clock
that is corrected, differ by less."""


def seconds_of(text: str) -> float | None:
    """`90`, `90s`, `10m`, `2h`, `1d` in seconds; None: it is none of these."""
    found = _SPAN.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2]] if found is not None else None


def written(seconds: float) -> str:
    """The same span, such that `seconds_of` gives just these seconds: `2h`, `90s`, `0.5s`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds) // _UNITS[unit]}{unit}"
    return f"{seconds:.12g}s"


def due_in(at: int, *, now: int, longest: int) -> int:
    """How long (ms) until what is due at `at` is; 0: it is. `longest` is how far ahead that time was set at most:
    what is further ahead was set by a clock that has been set back since, by years perhaps, and is not waited for."""
    wait = at - now
    return wait if 0 < wait <= longest else 0
