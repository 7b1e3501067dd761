"""Jobs that have been ready for longer than their type promises are urgent from then on."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from actors.effects.transaction import Transaction
from actors.messages import Hurried, HurryJobs
from blobforge.events import JobUpdated
from blobforge.job import PRIORITIES, Job
from blobforge.options import PLAIN, WITH_OPTIONS, QueueLine
from blobforge.requirements import lane_beside
from blobforge.store.turns import give_up_turn, with_turn

URGENT = PRIORITIES[0]
LOOKED_AT = 500  # jobs of each line and priority at once: those in front have waited longest, but for changes
MOST_LINES = 100  # at once, in turn where there are more: one minute those, the next minute others
MINUTE_MS = 60_000


def hurry(tx: Transaction, message: HurryJobs) -> Hurried:
    """What has been ready, or was changed last, before the time that its type says is urgent now. A job with a group
    gets another turn, as by any change of its priority."""
    aged = sorted(_aged(tx), key=lambda job: job.id)
    return Hurried(tx.each(aged[: message.limit], _hurry), more=len(aged) > message.limit)


def _aged(tx: Transaction) -> Iterator[Job]:
    patience = {type_: each.urgent_after for type_, each in tx.store.types.all().items()}
    lines = [line for type_, after in sorted(patience.items()) if after is not None for line in _lines(tx, type_)]
    first = tx.now // MINUTE_MS * MOST_LINES % len(lines) if len(lines) > MOST_LINES else 0
    for line in (lines[first:] + lines[:first])[:MOST_LINES]:
        before = tx.now - (patience[line.type] or 0)
        for priority in PRIORITIES[1:]:
            longest = tx.store.ready_longest(line, priority, limit=LOOKED_AT)
            yield from (job for job in longest if job.updated_at < before)


def _lines(tx: Transaction, type_: str) -> list[QueueLine]:
    numbers = [0, *(each.number for each in tx.store.requirements.sets() if each.type == type_)]
    return [QueueLine(type_, lane_beside(number, lane)) for number in numbers for lane in (PLAIN, WITH_OPTIONS)]


def _hurry(tx: Transaction, job: Job) -> bool:
    give_up_turn(tx.store, job)
    urgent = with_turn(tx.store, replace(job, priority=URGENT, updated_at=tx.now))
    tx.store.save_job(job, urgent)
    tx.events.append(JobUpdated(urgent.id, urgent.type, urgent.status))
    return True
