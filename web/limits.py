"""How many at once: in total, and from one address. State owned here: the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Limit:
    """Room for `total` at once, and for `each` from one address."""

    def __init__(self, total: int, each: int | None = None) -> None:
        self.total = total
        self._each = each if each is not None else total
        self._used: Counter[str] = Counter()
        self.used = 0
        self.refused = 0

    @contextmanager
    def room(self, address: str = "") -> Iterator[bool]:
        """Whether there was room; it is held until the block ends."""
        if self.used >= self.total or self._used[address] >= self._each:
            self.refused += 1
            yield False
            return
        self._take(address, 1)
        try:
            yield True
        finally:
            self._take(address, -1)

    def _take(self, address: str, n: int) -> None:
        self.used += n
        self._used[address] += n
        if not self._used[address]:
            del self._used[address]
