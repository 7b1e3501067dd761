"""What is set for types of jobs in a play, and the rules by which each commit is judged.

Owns: what is left of each rate, reckoned from what was started, and since when each type has had room.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import trio

from blobforge.spans import SET_BACK_MS


class TypeSet(NamedTuple):
    """What is set for a type, as it stands in the database."""

    paused_at: int | None = None
    max_running: int | None = None
    rate_count: int | None = None
    rate_ms: int | None = None
    paused_by: str | None = None
    urgent_after: int | None = None  # ms
    worker_timeout: int | None = None  # ms
    retry_backoff: int | None = None  # ms
    max_attempts: int | None = None

    def wait(self, times: int, general: float, longest: float) -> float:
        """For how long (s) a job waits that has failed so many times, where all types have these."""
        first = self.retry_backoff / 1000 if self.retry_backoff is not None else general
        return min(first * float(2 ** (times - 1)), max(longest, first))

    @property
    def by_breaker(self) -> bool:
        return self.paused_by == "server"

    @property
    def rate(self) -> tuple[int, int] | None:
        return (self.rate_count, self.rate_ms) if self.rate_count is not None and self.rate_ms is not None else None


PROBES_EVERY = 60_000  # ms at least, that a type is paused by its breaker before a job is let through, and another


class Begun(NamedTuple):
    """An attempt that a commit has begun: of a job of which type, and when (ms, as the server has the time)."""

    name: str
    type: str
    at: int


class TypeRules:
    """Nothing is started of a paused type, nothing beyond a limit; and nobody waits for what there is room for."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[int, int]] = {}  # of each rate: what is owed, in jobs times ms, and since when
        self._open_since: dict[str, float] = {}
        self._free_at: dict[str, float] = {}  # when its rate gives one more at the latest
        self._running: Mapping[str, int] = {}
        self.urgent_since: dict[str, float] = {}  # since when the ageing of each type is as it is
        self._patience: dict[str, list[tuple[float, float]]] = {}  # the time-outs (s) that each had, and since when
        self._probed: dict[
            str, int
        ] = {}  # when (ms) a job was let through last of a type that its breaker has paused

    def committed(
        self,
        was: Mapping[str, TypeSet],
        now: Mapping[str, TypeSet],
        began: Iterable[Begun],
        running: Mapping[str, int],
    ) -> list[str]:
        """What of it is against the rules. `running`: how many run of each type now."""
        found: list[str] = []
        started = list(began)
        of_type = Counter(each.type for each in started)
        for type_ in sorted({*was, *now}):
            before, after = was.get(type_, TypeSet()), now.get(type_, TypeSet())
            if before.paused_at is not None and before.paused_at == after.paused_at and after.by_breaker:
                found += self._let_through(type_, after, [each for each in started if each.type == type_])
            elif of_type[type_]:
                found += self._beyond(type_, before, after, running.get(type_, 0))
            found += self._rated(type_, before, after, [each for each in started if each.type == type_])
            changed = before != after
            if before.urgent_after != after.urgent_after:
                self.urgent_since[type_] = trio.current_time()
            if before.worker_timeout != after.worker_timeout:
                self._patience.setdefault(type_, [(0.0, 0.0)]).append(
                    (trio.current_time(), (after.worker_timeout or 0) / 1000)
                )
            if changed or running.get(type_, 0) != self._running.get(type_, 0) or of_type[type_]:
                self._open_since[type_] = trio.current_time()
        self._running = dict(running)
        return found

    @staticmethod
    def settings(types: Mapping[str, TypeSet], type_: str) -> TypeSet:
        return types.get(type_, TypeSet())

    def patience(self, type_: str, heard: float, general: float) -> float:
        """For how long (s) a lease lasts at least that was renewed then: no less than leases of all types do, and as
        long as was set for its own ever since."""
        known = self._patience.get(type_, [(0.0, 0.0)])
        until = [at for at, _ in known[1:]] + [math.inf]
        return max(general, min(lasts for (_, lasts), end in zip(known, until, strict=True) if end >= heard))

    def longest(self, type_: str, general: float) -> float:
        """The longest that leases of it have ever lasted."""
        return max(general, *(lasts for _, lasts in self._patience.get(type_, [(0.0, 0.0)])))

    def _let_through(self, type_: str, settings: TypeSet, started: Sequence[Begun]) -> list[str]:
        for each in started:
            since = max(settings.paused_at or 0, self._probed.get(type_, 0))
            self._probed[type_] = each.at
            # What lies ahead was written by a clock that has been set back.
            if len(started) > 1 or 0 <= each.at - since < PROBES_EVERY:
                return [f"{each.name} of {type_} was let through after {each.at - since} ms"]
        return []

    def _beyond(self, type_: str, before: TypeSet, after: TypeSet, running: int) -> list[str]:
        if before.paused_at is not None and before.paused_at == after.paused_at:
            return [f"a job of {type_} was started, which is paused"]
        # One commit may hold both, and the change: then the larger limit counts.
        limits = (before.max_running, after.max_running)
        most = max((limit for limit in limits if limit is not None), default=0) if None not in limits else running
        return [f"{running} jobs of {type_} run, and {most} may"] if running > most else []

    def _rated(self, type_: str, before: TypeSet, after: TypeSet, started: Sequence[Begun]) -> list[str]:
        if after.rate is None or before.rate != after.rate:
            self._left.pop(type_, None)  # another rate begins with a full bucket
            self._free_at[type_] = trio.current_time()
            return []
        count, ms = after.rate
        owed, since = self._left.get(type_, (0, started[0].at if started else 0))
        for each in started:
            if since - each.at > SET_BACK_MS:
                owed = min(owed, (count - 1) * ms)
            owed = max(0, owed - count * max(0, each.at - since)) + ms
            since = each.at
            if owed > count * ms:
                return [f"{each.name} was started beyond {count} jobs of {type_} in {ms} ms"]
        if started:
            self._left[type_] = owed, since
            self._free_at[type_] = trio.current_time() + ms / count / 1000
        return []

    def room_since(self, type_: str, settings: TypeSet, now: float, *, sure: bool) -> float | None:
        """Since when another job of the type might have been started; None: none may, or that is not known. `sure`:
        whether the server's clock was never set."""
        if settings == TypeSet():
            return self._open_since.get(type_, 0.0)
        if settings.paused_at is not None:
            return None
        if settings.max_running is not None and self._running.get(type_, 0) >= settings.max_running:
            return None
        since = self._open_since.get(type_, 0.0)
        if settings.rate is not None:
            if not sure or self._free_at.get(type_, 0.0) > now:
                return None
            since = max(since, self._free_at.get(type_, 0.0))
        return since
