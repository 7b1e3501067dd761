"""What has happened to one job, in order: made of its attempts and of the records of what people did to it.

There is no table of events: what cannot be told from these (a back-off that ended, say) is not told. A page holds the
latest attempts and records below those of the page before, and is in order by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from quart import Response

from blobforge import life
from blobforge.job import Attempt, Job, JobStatus, Outcome, no_such_job
from blobforge.people import AuditEntry
from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from blobforge.store.reading import Reader
from web.api import arrays, encode, wire_jobs
from web.api.wire_insights import EventWire
from web.decode import query
from web.routing import Access, Call, Route

_Timed = tuple[int, EventWire]

_ENDED = {
    Outcome.COMPLETED: "completed",
    Outcome.FAILED: "failed",
    Outcome.LOST: "was lost: its worker fell silent",
    Outcome.RELEASED: "was given back",
    Outcome.CANCELLED: "was cancelled",
    Outcome.REVOKED: "was revoked: its output is not in the store",
}
_DONE = {
    "job.retry": "Somebody brought it back.",
    "job.cancel": "Somebody cancelled it.",
    "job.priority": "Somebody changed its priority.",
}


class Latest(msgspec.Struct, frozen=True):
    """Attempts and records of one page, newest first. `following` is where the next page begins, below the number of
    an attempt and the id of a record; None: the submission is on this one."""

    attempts: list[Attempt]
    records: list[AuditEntry]
    following: tuple[int, int] | None


def latest(attempts: list[Attempt], records: list[AuditEntry], *, below: tuple[int, int], limit: int) -> Latest:
    """The latest `limit` of both, which are newest first. Each keeps its own order: by number, whatever the clock."""
    at = {"attempt": 0, "record": 0}
    while (taken := at["attempt"] + at["record"]) < limit and taken < len(attempts) + len(records):
        attempt = attempts[at["attempt"]].started_at if at["attempt"] < len(attempts) else None
        record = records[at["record"]].at if at["record"] < len(records) else None
        later = attempt is not None and (record is None or attempt > record)
        at["attempt" if later else "record"] += 1
    shown, noted = attempts[: at["attempt"]], records[: at["record"]]
    if taken == len(attempts) + len(records):
        return Latest(shown, noted, None)
    return Latest(shown, noted, (shown[-1].attempt if shown else below[0], noted[-1].id if noted else below[1]))


def timeline(job: Job, page: Latest, *, first: bool) -> list[EventWire]:
    """The events of one page, oldest first; as the job stands now, on the first one. Pure."""
    attempts, records = page.attempts, page.records
    events = [_event(job.created_at, "submitted", "It was submitted.")] if page.following is None else []
    for attempt in reversed(attempts):
        began = f"Attempt {attempt.attempt} began on {attempt.worker_id}."
        events.append(_event(attempt.started_at, "started", began, attempt=attempt))
        if attempt.ended_at is not None and attempt.outcome is not None:
            ended = f"Attempt {attempt.attempt} {_ended(attempt)}"
            events.append(_event(attempt.ended_at, attempt.outcome, ended, attempt=attempt))
        if attempt.given_back is not None:
            free = f"Attempt {attempt.attempt} does not count: its worker was quarantined, or its type was broken."
            events.append(_event(attempt.given_back, "given-back", free, attempt=attempt))
    for record in reversed(records):
        done = _DONE.get(record.action, f"{record.action}.")
        events.append(_event(record.at, record.action, done, by=record.name))
    if first:
        events += _as_it_stands(job, attempts, records)
    return [event for _, event in sorted(events, key=lambda each: each[0])]


def _event(at: int, what: str, text: str, *, attempt: Attempt | None = None, by: str | None = None) -> _Timed:
    number, worker_id = (attempt.attempt, attempt.worker_id) if attempt is not None else (None, None)
    event = EventWire(at=encode.rfc3339(at), what=what, text=text, attempt=number, worker_id=worker_id, by=by)
    return at, event


def _ended(attempt: Attempt) -> str:
    text = _ENDED[attempt.outcome] if attempt.outcome is not None else ""
    if attempt.outcome in (Outcome.FAILED, Outcome.RELEASED) and attempt.error:
        return f"{text}: {_first_line(attempt.error)}"
    return f"{text}."


def _first_line(text: str | None) -> str:
    return next((line for line in (text or "").splitlines() if line.strip()), "")[:500]


def _as_it_stands(job: Job, attempts: list[Attempt], records: list[AuditEntry]) -> list[_Timed]:
    """The entries for the job's present state that no attempt and no record tells."""
    ends = {attempt.ended_at for attempt in attempts}
    expiry = job.expiry
    ahead = [_event(expiry, "expires", "It is given up, unless a worker was given it.")] if expiry is not None else []
    return ahead + _standing(job, ends, records)


def _standing(job: Job, ends: set[int | None], records: list[AuditEntry]) -> list[_Timed]:
    match job.status:
        case JobStatus.PENDING if job.waits_to_start and job.not_before is not None:
            return [_event(job.not_before, "waits", "By its submission it is not to be started before.")]
        case JobStatus.FAILED | JobStatus.PENDING if job.not_before is not None:
            return [_event(job.not_before, "waits", "It will be tried again by itself.")]
        case JobStatus.DEAD if job.completed_at is not None:
            return [
                _event(
                    job.completed_at, "dead", f"It is dead: {_first_line(job.last_error) or 'its budget is spent'}"
                )
            ]
        case JobStatus.CANCELLED if job.completed_at is not None and (reason := life.cancelled_for(job)) is not None:
            return [_event(job.completed_at, "cancelled", f"It was cancelled: {_first_line(reason)}")]
        case JobStatus.CANCELLED if job.completed_at is not None and job.completed_at not in ends:
            if not any(record.action == "job.cancel" and record.at == job.completed_at for record in records):
                return [_event(job.completed_at, "cancelled", "It was cancelled, with others.")]
        case _:
            pass
    return []


def reading_timeline(
    job_id: int, wanted: wire_jobs.TimelineQuery
) -> Callable[[Reader], tuple[list[EventWire], str | None] | None] | Refusal:
    """Reads a page of a job's events, and the cursor of the next one; None: there is no such job."""
    place = arrays.place(wanted.cursor, of=2)
    if isinstance(place, Refusal):
        return place
    before_attempt, before_record = place if place is not None else (NEWEST, NEWEST)

    def read(reader: Reader) -> tuple[list[EventWire], str | None] | None:
        job = reader.job(job_id)
        if job is None:
            return None
        # One more of each than a page holds says whether there is another page.
        attempts = reader.attempts_in_short(job_id, before=before_attempt, limit=wanted.limit + 1)
        records = reader.insights.records_about(job_id, before=before_record, limit=wanted.limit + 1)
        page = latest(attempts, records, below=(before_attempt, before_record), limit=wanted.limit)
        following = f"{page.following[0]}-{page.following[1]}" if page.following is not None else None
        return timeline(job, page, first=place is None), following

    return read


async def events(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_jobs.TimelineQuery)
    if isinstance(wanted, Refusal):
        return wanted
    job_id = call.params["job_id"]
    read = reading_timeline(job_id, wanted)
    if isinstance(read, Refusal):
        return read
    found = await call.services.reads.moment(read)
    return arrays.one_page(call, found[0], following=found[1]) if found is not None else no_such_job(job_id)


ROUTES = [
    Route("GET", "/api/jobs/<id:job_id>/events", Access.READ, events,
          "What has happened to a job, as a JSON array: a page is oldest first, the latest page comes first",
          gives=list[EventWire], query=wire_jobs.TimelineQuery),
]  # fmt: skip
