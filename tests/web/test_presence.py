"""Which of several servers one is, as the others are heard of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blobforge.store.commons import ServerState
from web.presence import Presence
from web.shared import Shared


class Heard(Shared):
    """What the database says of the servers."""

    alone = False

    def __init__(self) -> None:
        self.states: list[ServerState] = []

    async def ask(self, call: Callable[[Any], Any]) -> Any:
        return self.states


def state(id_: str, **more: Any) -> ServerState:
    return ServerState(id=id_, name=id_, version="1", objects="there", **more)


async def test_the_rank_is_known_without_looking_at_the_server() -> None:
    """It is asked for with each transaction of another server."""
    described = 0

    def describe() -> ServerState:
        nonlocal described
        described += 1
        return state("b")

    heard = Heard()
    presence = Presence(heard, describe)
    assert presence.rank() == 0
    heard.states = [state("a", started_at=1), state("b", started_at=2), state("c", started_at=3)]
    await presence.tell()
    before = described
    assert presence.rank() == 1
    assert described == before
    heard.states = [state("a", started_at=1, silent=1e9), state("b", started_at=2), state("c", started_at=2)]
    await presence.tell()
    assert presence.rank() == 0
