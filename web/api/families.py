"""A job is cancelled, alone or with all that came of it by its chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from actors.messages import Cancel
from blobforge.chain import FIRST_PLACE, FamilyPlace
from blobforge.job import Job, no_such_job
from blobforge.life import Verb, allowed
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from web.api import wire_jobs
from web.api.secrets import new_undo
from web.routing import Call

MOST_BELOW: Final = 2_000  # jobs that are looked at to say how many would be cancelled


async def cancel(call: Call, body: wire_jobs.CancelBody) -> wire_jobs.Cancelled | Refusal:
    job_id = call.params["job_id"]
    if body.dry_run:
        return await _what_cancel_would_do(call, job_id, children=body.children)
    undo = new_undo(call) if body.undo else ""
    outcome = await call.ask(Cancel(job_id, undo, body.reason, body.children))
    if isinstance(outcome, Refusal):
        return outcome
    cancelled = wire_jobs.Cancelled(outcome.status, undo=outcome.undo or msgspec.UNSET)
    if not body.children:
        return cancelled
    operation = outcome.operation if outcome.operation is not None else msgspec.UNSET
    return replace(cancelled, children=outcome.children, operation=operation)


async def _what_cancel_would_do(call: Call, job_id: int, *, children: bool) -> wire_jobs.Cancelled | Refusal:
    def read(reader: Reader) -> wire_jobs.Cancelled | None:
        job = reader.job_in_short(job_id)
        if job is None:
            return None
        found, more = open_below(reader, job, most=MOST_BELOW) if children else (0, False)
        said = wire_jobs.Cancelled(job.status, dry_run=True)
        return replace(said, children=found, more=more or msgspec.UNSET) if children else said

    return await call.services.reads.moment(read) or no_such_job(job_id)


class Below(msgspec.Struct, frozen=True):
    """So many `children` have not ended that came of `parents` jobs; `more`: at least."""

    parents: int
    children: int
    more: bool


def open_below(reader: Reader, job: Job, *, most: int) -> tuple[int, bool]:
    """How many of the jobs that came of this one have not ended, of so many that are looked at, and whether there are
    more than these."""
    found, _, more = _walked(reader, job, most)
    return len(found), more


def open_below_all(parents: Sequence[Job], reader: Reader) -> Below:
    """The same of many jobs, each child once; MOST_BELOW are looked at."""
    seen: set[int] = set()
    having, left = 0, MOST_BELOW
    for at, job in enumerate(parents):
        found, looked_at, more = _walked(reader, job, left)
        having += bool(found)
        seen |= found
        left -= looked_at + 1
        if more or (left <= 0 and at + 1 < len(parents)):
            return Below(having, len(seen), more=True)
    return Below(having, len(seen), more=False)


def _walked(reader: Reader, job: Job, most: int) -> tuple[set[int], int, bool]:
    """The jobs that came of this one and have not ended, at how many was looked, and whether there are more."""
    found: set[int] = set()
    looked_at = 0
    path: list[FamilyPlace] = [(job.id, *FIRST_PLACE)] if job.chain is not None else []
    while path:
        if looked_at >= most:
            return found, looked_at, True
        parent, attempt, step, name = path[-1]
        kins = reader.kin.of(parent, after=(attempt, step, name), limit=most - looked_at)
        if not kins:
            path.pop()
        for kin in kins:
            looked_at += 1
            path[-1] = (parent, kin.attempt, kin.step, kin.name)
            child = reader.job_in_short(kin.job_id)
            if child is None or child.chain is None or child.chain.parent != parent:
                continue
            if allowed(Verb.CANCEL, child.status):
                found.add(child.id)
            if child.chain.then:
                path.append((child.id, *FIRST_PLACE))
                break
    return found, looked_at, False
