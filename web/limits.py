"""How many at once, in total and from one address; how many bytes are unread. State owned here: the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import structlog
import trio

log = structlog.get_logger("blobforge.limits")

LOOK_SECONDS = 1.0
QUIET_LOOKS = 10  # in a row without a refusal, and a limit counts as one that refuses no longer

LARGE_BODIES = 16  # larger than BLOBFORGE_MAX_BODY, in memory at once


class Bounded(Protocol):
    """A limit as metrics and logs see it, whatever it counts: how much of it is taken, how much there is, how many
    found no room."""

    total: int
    used: int
    refused: int
    refusing: bool  # of late; see `Watch`


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

    def __init__(self, limits: Mapping[str, Bounded]) -> None:
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


MOST_UNREAD = 256 << 20  # bytes of answers that wait for their clients, in all
MOST_UNREAD_EACH = 16 << 20  # of one caller, and of one address
# A piece of a stream or of a download. One of them never is too much for its owner, for the slow are many; but all of
# an owner's together are, so that one address cannot use up what there is for all.
SMALL = 256 << 10
PIECES = 4  # times what else one owner may leave unread: a thousand stalled downloads

# The receiver of the answer that this task sends: an address, and `Caller.subject`; set where they become known.
asking: ContextVar[tuple[str, ...]] = ContextVar("asking", default=())


def downloads(address: str) -> str:
    """The owner of what is sent from the embedded store to an address: apart from that address's other answers, so
    that many slow downloads behind one address never cost a heartbeat."""
    return f"downloads of {address}"


class Unread:
    """Answers wait here in memory until their clients read them. A client with too many unread gets no more: a new
    request is refused while `full` says so, and a connection whose answer finds no room is closed."""

    def __init__(self, total: int = MOST_UNREAD, each: int = MOST_UNREAD_EACH) -> None:
        self.total = total
        self.each = each
        self._owed: Counter[str] = Counter()
        self.used = 0
        self.refused = 0
        self.refusing = False

    def full(self, *owners: str) -> bool:
        """Whether one of these has left as much unread as it may: its request is refused then, and counted here."""
        for owner in owners:
            if self._owed.get(owner, 0) >= self.each // 2:
                self.refused += 1
                return True
        return False

    @contextmanager
    def held(self, size: int, *owners: str) -> Iterator[bool]:
        """Within the block `size` bytes wait to be read, if there is room for them."""
        most = self.each if size > SMALL else self.each * PIECES
        # The first answer of an owner always has room: what is larger than all the room could never be read.
        over = any(owner in self._owed and self._owed[owner] + size > most for owner in owners)
        if over or self.used + size > self.total:
            self.refused += 1
            yield False
            return
        self._count(size, owners)
        try:
            yield True
        finally:
            self._count(-size, owners)

    def _count(self, size: int, owners: tuple[str, ...]) -> None:
        self.used += size
        for owner in owners:
            self._owed[owner] += size
            if not self._owed[owner]:
                del self._owed[owner]
