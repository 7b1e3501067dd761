"""The shapes of live logs: what a worker sends of one, and what is shown of it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.livelog import MOST_PIECE
from web.api.wire_common import Instance, Lease, WorkerId

LogPlace = Annotated[int, Meta(ge=0, le=2**53 - 1, description="a place in the log, in characters (code points)")]


class LogBody(msgspec.Struct, frozen=True):
    """A piece of what an attempt prints. `start` is its place in all that was sent of it: what is sent twice counts
    once, and what is missing is said to be."""

    lease: Lease
    start: LogPlace
    text: Annotated[str, Meta(max_length=MOST_PIECE)]
    worker_id: WorkerId | None = None
    instance: Instance | None = None


class LogTaken(msgspec.Struct, frozen=True):
    """`next_seconds`: after how long the next piece is wanted. It is short while the log is looked at."""

    next_seconds: float
    status: str = "ok"


class LogQuery(msgspec.Struct, frozen=True):
    """`start`: from this place on, where `attempt` is the latest one; else from the beginning of what is kept."""

    attempt: Annotated[int, Meta(ge=1, le=2**53 - 1)] | None = None
    start: LogPlace = 0


class LogWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The log of a job's latest attempt. `live`: it runs, and this is what this server has heard of it. Else it is
    the end that was kept with the attempt, if any."""

    job_id: int
    status: str
    text: str
    start: int
    end: int
    live: bool
    attempt: int | None = None
