"""What is told of a source to all jobs that wait for it: as many at a turn of the writer as it has room for."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import SourceArrived, SourceRejected, SourceSettledFor
from blobforge.refusals import Refusal


async def tell_waiting(
    writer: Mailbox[Envelope[Any]], message: SourceArrived | SourceRejected
) -> SourceSettledFor | Refusal:
    """Returns how many stopped waiting, all together."""
    jobs = 0
    while True:
        told = await ask(writer, message)
        if isinstance(told, Refusal):
            return told
        jobs += told.jobs
        if told.following is None:
            return SourceSettledFor(jobs)
        message = replace(message, after=told.following)
