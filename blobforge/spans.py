"""Spans of time as people write them: `90s`, `10m`, `2h`, `1d`."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "": 1}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)", re.ASCII)


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
