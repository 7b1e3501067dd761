"""Every frame on one page: what a front process and the one with the actors say to each other.

Frames are msgpack behind their length, over a socket pair. What a front asks is numbered, and each question ends in
exactly one `Answered`, `Broke` or `LetGo`. The messages inside are those of `actors/messages.py`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from actors.broadcaster import Frame as Event
from actors.messages import Asked, Audit, Done, Message, Outcome, Repeatable, Told
from blobforge.access import Caller
from blobforge.config import Settings
from blobforge.tracing import Trace
from web.metrics.share import Cost, Share
from web.upkeep import BackupState


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all frames."""


# ------------------------------------------------------------------ what can be asked besides the actors


class LetIn(Outcome, frozen=True):
    caller: Caller


class UseFirstLink(Message[LetIn], frozen=True):
    code: str


class HowSearch(Message[Outcome], frozen=True):
    """Answered by an OrphanSearch."""


class HowBackup(Message[BackupState], frozen=True):
    """Answered by Done where nothing is backed up."""


class TakeTurn(Message[Done], frozen=True):
    """Answered when nobody else has a turn by this name, in any process. It lasts until `PassTurn`."""

    name: str


class Exposed(Outcome, frozen=True):
    text: bytes


class Expose(Message[Exposed], frozen=True):
    """The metrics of all processes together."""


Question = UseFirstLink | HowSearch | HowBackup | TakeTurn | Expose
Anything = Told | LetIn | BackupState | Exposed


class To(StrEnum):
    """Whose mailbox a message goes to."""

    WRITER = "w"
    SCHEDULER = "s"
    INTAKE = "i"
    JANITOR = "j"
    REPLICATOR = "r"
    HUB = "h"


# ------------------------------------------------------------------ from a front


class Ask(Frame, frozen=True):
    number: int
    to: To
    message: Asked | Question
    repeat: Repeatable | None = None
    audit: Audit | None = None
    trace: Trace | None = None


class GaveUp(Frame, frozen=True):
    """Nobody waits for this answer any more. Answered by `LetGo`, unless the answer was on its way."""

    number: int


class PassTurn(Frame, frozen=True):
    """The turn that this question got is over."""

    number: int


class Forgot(Frame, frozen=True):
    """See Forget."""

    change: int


class Counted(Frame, frozen=True):
    """See Count."""

    number: int
    share: Share
    cost: Cost


class Here(Frame, frozen=True):
    """See AreYouThere. Also the first word of all, of a front that is ready to serve: see Begin."""


class Opened(Frame, frozen=True):
    """This front serves now."""


# ------------------------------------------------------------------ to a front


class Hello(Frame, frozen=True):
    """The first frame of all: what the front is, and where it takes up the events."""

    settings: Settings
    front: int
    url: str
    run_id: str
    event: int
    deletions: int


class Begin(Frame, frozen=True):
    """You have been heard, and are told from now on whom to forget: let people in. Until then a front knows nobody,
    and no change of rights waits for it."""


class Answered(Frame, frozen=True):
    number: int
    outcome: Anything


class Broke(Frame, frozen=True):
    """The message met a bug; the log of the other process has it."""

    number: int
    error: str


class LetGo(Frame, frozen=True):
    """The question that was given up will not be answered."""

    number: int


class Happened(Frame, frozen=True):
    """Events, in their order; first of all those that can still be replayed."""

    events: tuple[Event, ...]


class Forget(Frame, frozen=True):
    """Somebody's rights have changed: forget whoever is known. The change is answered when all fronts have."""

    change: int


class Deletions(Frame, frozen=True):
    """Rounds of deletions that have ended."""

    rounds: int


class Count(Frame, frozen=True):
    """Say what you have counted."""

    number: int


class AreYouThere(Frame, frozen=True):
    pass


class Stop(Frame, frozen=True):
    """End the streams, let open requests end, and then end yourself."""


# ------------------------------------------------------------------ both ways


class Use(Frame, frozen=True):
    """What has changed. To the hub: room that this front has taken of each limit, by address, and who failed to
    authenticate how often. To a front: the same of all others together."""

    rooms: dict[str, dict[str, int]]
    failed: dict[str, int]


FromFront = Ask | GaveUp | PassTurn | Forgot | Counted | Here | Opened | Use
ToFront = Hello | Begin | Answered | Broke | LetGo | Happened | Forget | Deletions | Count | AreYouThere | Stop | Use
