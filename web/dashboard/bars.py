"""Attempts as bars on a line of time: where each begins, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from blobforge.job import Attempt

LENGTH = 1000  # of the line
SHORTEST = 4  # what was over at once is still seen


class Bar(msgspec.Struct, frozen=True):
    """An attempt: where it begins on the line, its length, and how many seconds it took."""

    attempt: Attempt
    begin: float
    length: float
    seconds: float


class Bars(msgspec.Struct, frozen=True):
    """The oldest attempt first. `begin` is in ms since the epoch, `length` and `seconds` are those of the line."""

    bars: list[Bar]
    begin: int
    length: float
    seconds: float


def bars_of(attempts: Sequence[Attempt], now: int) -> Bars | None:
    """None where there are fewer than two: their words say the same."""
    if len(attempts) < 2:
        return None
    begin = min(each.started_at for each in attempts)
    whole = max(1, *((each.ended_at or now) - begin for each in attempts))

    def bar(each: Attempt) -> Bar:
        took = max(0, (each.ended_at or now) - each.started_at)
        length = max(LENGTH * took / whole, SHORTEST)
        return Bar(each, round(LENGTH * (each.started_at - begin) / whole, 1), round(length, 1), took / 1000)

    in_order = sorted(attempts, key=lambda each: each.attempt)
    return Bars([bar(each) for each in in_order], begin, LENGTH + SHORTEST, whole / 1000)
