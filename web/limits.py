"""How many at once: in total, and from one address. State owned here: the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
import trio

log = structlog.get_logger("blobforge.limits")

LOOK_SECONDS = 1.0
QUIET_LOOKS = 10  # in a row without a refusal, and a limit counts as one that refuses no longer


class Limit:
    """Room for `total` at once, and for `each` from one address."""

    def __init__(self, total: int, each: int | None = None) -> None:
        self.total = total
        self._each = each if each is not None else total
        self._used: Counter[str] = Counter()
        self.used = 0
        self.refused = 0
        self.refusing = False  # of late; see `Watch`

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


class Watch:
    """Notices when a limit begins to refuse, and when that has ended: one line of the log each, and no more."""

    def __init__(self, limits: Mapping[str, Limit]) -> None:
        self._limits = limits
        self._refused = dict.fromkeys(limits, 0)  # until the last look
        self._quiet = dict.fromkeys(limits, 0)  # looks without a refusal
        self._before = dict.fromkeys(limits, 0)  # refused before this time

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        for name, limit in self._limits.items():
            new = limit.refused > self._refused[name]
            if new and not limit.refusing:
                limit.refusing = True
                self._before[name] = self._refused[name]
                log.warning("a limit begins to refuse", limit=name, used=limit.used, total=limit.total)
            self._refused[name] = limit.refused
            self._quiet[name] = 0 if new else self._quiet[name] + 1
            if limit.refusing and self._quiet[name] >= QUIET_LOOKS:
                limit.refusing = False
                log.info("a limit refuses no longer", limit=name, refused=limit.refused - self._before[name])
