"""The servers of the database: this one says regularly how it is, and hears of the others. State owned here: what was
heard last."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio
from msgspec.structs import replace

from blobforge.store.commons import ServerState
from blobforge.store.errors import DatabaseError
from web.shared import Shared

BEAT_SECONDS = 5.0
log = structlog.get_logger("blobforge.presence")


class Presence:
    """`state` describes this server as it is now."""

    def __init__(self, shared: Shared, state: Callable[[], ServerState]) -> None:
        self._shared = shared
        self._state = state
        self._unheard = False
        self._heard: list[ServerState] = []

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

    async def run(self) -> None:
        while not self._shared.alone:
            await trio.sleep(BEAT_SECONDS)
            try:
                await self.tell()
                self._unheard = False
            except DatabaseError as error:
                if not self._unheard:
                    log.warning("the other servers do not hear from this one", reason=str(error))
                self._unheard = True

    async def tell(self) -> list[ServerState]:
        """Say how this server is. Returns the others that are there. Raises DatabaseError."""
        state = self._state()
        self._heard = await self._shared.ask(lambda commons: commons.present(state))
        return [each for each in self._heard if each.is_live and each.id != state.id]

    async def leave(self) -> None:
        """The server ends: the others forget it at once."""
        id_ = self._state().id
        try:
            await self._shared.ask(lambda commons: commons.leave(id_))
        except DatabaseError as error:
            log.info("the other servers will notice by themselves that this one has ended", reason=str(error))
