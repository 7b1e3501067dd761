"""How many at once: in total, and from one address. State owned here: the counts.

Where several processes serve HTTP, each counts its own and is told what the others have (`web/fronts/sharing.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Limit:
    """Room for `total` at once, and for `each` from one address.

    `tell` hears of every address whose use has changed.
    """

    def __init__(self, total: int, each: int | None = None) -> None:
        self.total = total
        self._each = each if each is not None else total
        self._used: Counter[str] = Counter()
        self._elsewhere: Counter[str] = Counter()
        self.used = 0
        self.elsewhere = 0
        self.refused = 0
        self.tell: Callable[[str], None] | None = None

    @contextmanager
    def room(self, address: str = "") -> Iterator[bool]:
        """Whether there was room; it is held until the block ends."""
        fits = (
            self.used + self.elsewhere < self.total
            and self._used[address] + self._elsewhere[address] < self._each
        )  # fmt: skip
        if not fits:
            self.refused += 1
            yield False
            return
        self._take(address, 1)
        try:
            yield True
        finally:
            self._take(address, -1)

    def used_from(self, address: str) -> int:
        return self._used[address]

    def heard(self, address: str, used: int) -> None:
        """So much room is taken from this address elsewhere."""
        self.elsewhere += used - self._elsewhere[address]
        self._elsewhere[address] = used
        if not used:
            del self._elsewhere[address]

    def _take(self, address: str, n: int) -> None:
        self.used += n
        self._used[address] += n
        if not self._used[address]:
            del self._used[address]
        if self.tell is not None:
            self.tell(address)
