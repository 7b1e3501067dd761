"""The servers of the database: this one says regularly how it is, and hears of the others. State owned here: what was
heard last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import structlog
import trio
from msgspec.structs import replace

from actors.follower import FRESH_SECONDS
from blobforge.events import CredentialsRevoked, Fact
from blobforge.machinery.outage import Outage
from blobforge.store.commons import ServerState
from blobforge.store.errors import DatabaseError
from web.shared import Shared

BEAT_SECONDS = 5.0
ASK_AGAIN_SECONDS = 0.02
TELL = "tell the other servers how this one is"
log = structlog.get_logger("blobforge.presence")


class Presence:
    """`state` describes this server as it is now."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({CredentialsRevoked})

    def __init__(
        self,
        shared: Shared,
        state: Callable[[], ServerState],
        *,
        is_outdated: Callable[[], bool] = lambda: False,
        outage: Outage | None = None,
    ) -> None:
        """`is_outdated`: whether this server can write no more, because the database belongs to a newer release."""
        self._is_outdated = is_outdated
        self.on_change: Callable[[], None] = _nothing  # a server has come, or is there no more
        self._news = trio.Event()
        self._shared = shared
        self._state = state
        self._outage = outage or Outage()
        self._left = False
        self._elsewhere: frozenset[str] = frozenset()
        self._heard: list[ServerState] = []
        self._at_work: list[ServerState] = []  # the others that do their share
        self._rank = 0

    @property
    def alone(self) -> bool:
        """Whether there can be no others."""
        return self._shared.alone

    @property
    def name(self) -> str | None:
        """What this server is called among the others; None where there can be none."""
        return None if self._shared.alone else self._state().name

    def servers(self) -> list[ServerState]:
        """All of them, as they were heard last; this one, as it is, is the first."""
        own, heard = self._state(), {each.id: each for each in self._heard}
        if (told := heard.pop(own.id, None)) is not None:
            own = replace(own, started_at=told.started_at, behind=told.behind, clock=told.clock)
        return [own, *heard.values()]

    def rank(self) -> int:
        """Which one this is of those that are there: of what one of them does, the first does it. A server that has
        left is behind all of them."""
        return 1 + len(self._at_work) if self._left else self._rank

    def is_mine(self, number: int) -> bool:
        """Whether this is the server that has this one of things that are numbered: each has its share."""
        return number % (1 + len(self._at_work)) == self.rank()

    @property
    def has_company(self) -> bool:
        """Whether another server does its share."""
        return bool(self._at_work)

    def post(self, facts: Sequence[Fact]) -> None:
        """This server's own."""

    def post_of_others(self, facts: Sequence[Fact]) -> None:
        """Another server answers a revocation when it hears that this one knows of it."""
        self._news.set()

    async def all_have_read(self, turn: int) -> None:
        """Wait until each of the other servers knows the history up to there; for as long as it would believe what it
        remembers without a word from the database."""
        with trio.move_on_after(FRESH_SECONDS):
            while True:
                try:
                    others = await self.tell()
                except DatabaseError:
                    others = None
                if others is not None and all((each.read or 0) >= turn for each in others):
                    return
                await trio.sleep(ASK_AGAIN_SECONDS)

    async def run(self) -> None:
        while not self._shared.alone:
            with trio.move_on_after(BEAT_SECONDS):
                await self._news.wait()
            self._news = trio.Event()
            if self._is_outdated():
                log.error("the database belongs to a newer release: others do what one server has to do")
                await self.leave()
                return
            if self._left:
                return
            try:
                await self.tell()
                self._outage.over(TELL)
            except DatabaseError as error:
                self._outage.met(TELL, error)

    async def tell(self) -> list[ServerState]:
        """Say how this server is. Returns the others that are there. Raises DatabaseError."""
        state = self._state()
        self._heard = await self._shared.ask(lambda commons: commons.present(state))
        there = [each for each in self._heard if each.is_live and each.id != state.id]
        own = next((each for each in self._heard if each.id == state.id), state)
        # Where its own connection is not seen (another role's, or a pool's), nothing is known of the others' either.
        at_work = [each for each in there if each.is_at_work or not own.connected]
        self._rank = sum((each.started_at, each.id) < (own.started_at, own.id) for each in at_work)
        before, self._at_work = self._at_work, at_work
        if {each.id for each in before} != {each.id for each in at_work}:
            # One that has just come may be what was killed, and was never heard of, started again.
            self.on_change()
        elsewhere = frozenset(each.name for each in there if each.objects != state.objects)
        if elsewhere - self._elsewhere:
            log.error(
                "other servers keep objects in another place: results will be missed", servers=sorted(elsewhere)
            )
        self._elsewhere = elsewhere
        return there

    async def leave(self) -> None:
        """The server ends, or can write no more: the others forget it at once."""
        if self._shared.alone:
            return
        self._left = True
        id_ = self._state().id
        try:
            await self._shared.ask(lambda commons: commons.leave(id_))
        except DatabaseError as error:
            log.info("the other servers will notice by themselves that this one has ended", reason=str(error))


def _nothing() -> None:
    pass
