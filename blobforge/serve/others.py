"""What the actors of a server ask of the others that share its database."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from actors.sequencer import Sequencer
from web.presence import Presence
from web.shared import Shared


class OtherServers:
    def __init__(self, presence: Presence, shared: Shared, sequencer: Sequencer) -> None:
        self._presence = presence
        self._shared = shared
        self._sequencer = sequencer

    def is_mine(self, source_hash: str) -> bool:
        return self._presence.is_mine(int(source_hash[:8], 16))

    def alone(self, name: str, seconds: float) -> AbstractAsyncContextManager[None]:
        return self._shared.held(name, seconds)

    async def catch_up(self) -> None:
        await self._sequencer.fill()
