"""Many deadlines that mostly move: a dictionary that is the truth, and a heap that lags behind it.

A heartbeat moves a deadline ten thousand times for every time that one is missed, so moving is a dictionary write;
the heap is put right when the old time comes up, or when most of it is void.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

FEW = 1000
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Deadlines(Generic[K, V]):
    """Keys with a time (seconds, on trio's clock) and a note each. `few`: void entries that are left to come up."""

    def __init__(self, *, few: int = FEW) -> None:
        self._few = few
        self._at: dict[K, tuple[float, V]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._queued: dict[K, float] = {}  # when each comes up in the heap; later entries of it are void
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at: float, note: V) -> None:
        """Put or move a deadline."""
        self._at[key] = (at, note)
        if at < self._queued.get(key, math.inf):
            self._queue(key, at)

    def put_back(self, key: K, at: float, note: V) -> None:
        """As `set`, for a deadline that was taken: it is not set where the key has a new one by now."""
        if key not in self._at:
            self.set(key, at, note)

    def at(self, key: K) -> float | None:
        """When it is, if there is one."""
        found = self._at.get(key)
        return found[0] if found is not None else None

    def drop(self, key: K) -> None:
        self._at.pop(key, None)
        if len(self._heap) > 2 * len(self._at) + self._few:
            self._heap = [(at, next(self._order), key) for key, (at, _) in self._at.items()]
            heapq.heapify(self._heap)
            self._queued = {key: at for key, (at, _) in self._at.items()}

    def postpone_all(self, until: float) -> None:
        """No deadline comes before `until` any more."""
        for key, (at, note) in self._at.items():
            self._at[key] = (max(at, until), note)

    def next(self) -> float:
        """No deadline comes before this time (infinity when there is none)."""
        return self._heap[0][0] if self._heap else math.inf

    def take_due(self, now: float, limit: int) -> list[tuple[K, V]]:
        """Remove and return up to `limit` of those whose time has come."""
        due: list[tuple[K, V]] = []
        while self._heap and self._heap[0][0] <= now and len(due) < limit:
            queued_at, _, key = heapq.heappop(self._heap)
            if self._queued.get(key) != queued_at:
                continue  # it came up earlier
            del self._queued[key]
            current = self._at.get(key)
            if current is None:
                continue
            if current[0] > now:
                self._queue(key, current[0])
            else:
                del self._at[key]
                due.append((key, current[1]))
        return due

    def _queue(self, key: K, at: float) -> None:
        heapq.heappush(self._heap, (at, next(self._order), key))
        self._queued[key] = at
