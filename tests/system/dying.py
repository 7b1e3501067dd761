"""The program, which kills itself (SIGKILL) at the moment that `DIES_AT` names: before a commit, or behind it.

More than three jobs are very many here, of which one is made in a piece, and what a server took to deliver it and did
not is another's after two seconds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, Final

import blobforge.cli
from actors import operator
from actors.courier import Courier
from actors.effects import batches, chains, joining, manystages, webhooks
from actors.intake import Intake
from blobforge.events import Fact, ManifestMade, ProofAwaited
from web import presence

VARIABLE: Final = "DIES_AT"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def when_done(owner: Any, name: str, *, times: int = 1, if_: Callable[..., bool] = lambda *_: True) -> None:
    """Die when this function has returned so many times, in a transaction that is not committed yet. `if_`: only
    calls with such arguments count."""
    original, left = getattr(owner, name), times

    def wrapped(*given: Any, **more: Any) -> Any:
        nonlocal left
        answer = original(*given, **more)
        left -= if_(*given)
        if left == 0:
            die()
        return answer

    setattr(owner, name, wrapped)


def when_told(kind: type[Fact]) -> None:
    """Die when a commit tells of such a fact, before anything is answered or done of it."""
    original = Intake.post

    def post(self: Intake, facts: Sequence[Fact]) -> None:
        if any(isinstance(fact, kind) for fact in facts):
            die()
        original(self, facts)

    Intake.post = post  # type: ignore[method-assign]


def when_delivered() -> None:
    """Die when an endpoint has answered, before that is on record."""
    original = Courier._try

    async def tried(self: Courier, *given: Any) -> Any:
        await original(self, *given)
        die()

    Courier._try = tried  # type: ignore[method-assign]


def when_put_off(name: str) -> None:
    """Die as `when_done`, where no message joins a stage by itself."""
    joining.MOST_WORK = 0
    when_done(manystages, name)


def _starts(_: Any, job: Any, *more: Any) -> bool:
    return bool(job.chain.then)


MOMENTS: Final[dict[str, Callable[[], None]]] = {
    "children made": lambda: when_done(chains, "start", if_=_starts),
    "children committed": lambda: when_told(ProofAwaited),
    "a further piece made": lambda: when_done(chains, "go_on", times=2),
    "a stage joined": lambda: when_done(joining, "_join"),
    "a join committed": lambda: when_told(ManifestMade),
    "a stage put off": lambda: when_put_off("put_on_record"),
    "a stage looked at": lambda: when_put_off("go_on"),
    "the end of a batch in the outbox": lambda: when_done(batches, "_has_ended"),
    "an event delivered": when_delivered,
}


def main() -> None:
    chains.MOST_AT_ONCE, chains.A_PIECE = 3, 1  # type: ignore[misc]
    webhooks.TAKEN_FOR = 2000  # type: ignore[misc]
    operator.LOOK_EACH = presence.BEAT_SECONDS = 0.3  # it is soon known that no other server keeps house
    if moment := os.environ.get(VARIABLE):
        MOMENTS[moment]()
    blobforge.cli.main()
