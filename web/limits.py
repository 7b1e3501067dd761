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
        if not self.take(address):
            yield False
            return
        try:
            yield True
        finally:
            self.give(address)

    def take(self, address: str = "") -> bool:
        """Take room, if there is some; `give` it back."""
        if self.used >= self.total or self._used.get(address, 0) >= self._each:
            self.refused += 1
            return False
        self.used += 1
        self._used[address] += 1
        return True

    def give(self, address: str = "") -> None:
        self.used -= 1
        self._used[address] -= 1
        if not self._used[address]:
            del self._used[address]
