"""What has happened to one job, in order: made of its attempts and of the records of what people did to it.

There is no table of events: what cannot be told from these (a back-off that ended, say) is not told.
"""

from __future__ import annotations

from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.people import AuditEntry
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from web.api import encode
from web.api.jobs import no_such_job
from web.api.wire_insights import EventWire
from web.routing import Access, Call, Route
from web.services import Services

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


def timeline(job: Job, attempts: list[Attempt], records: list[AuditEntry]) -> list[EventWire]:
    """The events of a job, oldest first. Pure."""
    events = [_event(job.created_at, "submitted", "It was submitted.")]
    for attempt in attempts:
        began = f"Attempt {attempt.attempt} began on {attempt.worker_id}."
        events.append(_event(attempt.started_at, "started", began, attempt=attempt))
        if attempt.ended_at is not None and attempt.outcome is not None:
            ended = f"Attempt {attempt.attempt} {_ended(attempt)}"
            events.append(_event(attempt.ended_at, attempt.outcome, ended, attempt=attempt))
    for record in records:
        done = _DONE.get(record.action, f"{record.action}.")
        events.append(_event(record.at, record.action, done, by=record.name))
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
    """What the job's present state tells that no attempt and no record does."""
    ends = {attempt.ended_at for attempt in attempts}
    match job.status:
        case JobStatus.FAILED | JobStatus.PENDING if job.not_before is not None:
            return [_event(job.not_before, "waits", "It will be tried again by itself.")]
        case JobStatus.DEAD if job.completed_at is not None:
            return [
                _event(
                    job.completed_at, "dead", f"It is dead: {_first_line(job.last_error) or 'its budget is spent'}"
                )
            ]
        case JobStatus.CANCELLED if job.completed_at is not None and job.completed_at not in ends:
            if not any(record.action == "job.cancel" and record.at == job.completed_at for record in records):
                return [_event(job.completed_at, "cancelled", "It was cancelled, with others.")]
        case _:
            pass
    return []


async def read_timeline(services: Services, job_id: int) -> list[EventWire] | None:
    """None when there is no such job."""

    def read(reader: Reader) -> list[EventWire] | None:
        found = reader.job_with_attempts(job_id)
        return timeline(*found, reader.insights.records_about(job_id)) if found is not None else None

    return await services.reads.run(read)


async def events(call: Call) -> list[EventWire] | Refusal:
    job_id = call.params["job_id"]
    found = await read_timeline(call.services, job_id)
    return found if found is not None else no_such_job(job_id)


ROUTES = [
    Route("GET", "/api/jobs/<id:job_id>/events", Access.READ, events, "What has happened to a job, oldest first",
          gives=list[EventWire]),
]  # fmt: skip
