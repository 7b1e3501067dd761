"""From the domain to the wire, and the other way: times, JSON that is passed on as it came, jobs, heartbeats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.messages import JobBeat
from blobforge import converters, options, requirements
from blobforge.canary import ONLY_COMPARISONS, canary_of, ordinary
from blobforge.chain import Join, Step, known_hash, wrong_steps
from blobforge.config import Settings
from blobforge.forecast import Expected
from blobforge.job import Attempt, Job, JobStatus
from blobforge.jobtype import HEEDS_INTERVAL, Patience
from blobforge.store.filters import JobFilter
from blobforge.store.lists import PAGE_BYTES
from blobforge.waiting import Waiting
from web.api import wire_bulk, wire_common, wire_jobs, wire_workers
from web.decode import Oversized, UnfitMember

_LARGE_NUMBER = re.compile(r"\d[eE]\+?\d{3}|\d{309}")  # may be one that is larger than any float; in text, too
LATEST_TIME_MS = 366 * 86_400_000  # ahead: further off, a time is rather a slip than a plan
SHORT_TEXT = 2_000  # characters of an error, a traceback, a log tail, where they stand beside many others


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)  # the times of a batch are mostly one
def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def time_or_none(ms: int | None) -> str | None:
    return rfc3339(ms) if ms is not None else None


def raw(text: str | None) -> msgspec.Raw | None:
    """JSON that is passed on as it was stored."""
    return msgspec.Raw(text.encode()) if text is not None else None


def text_of(value: msgspec.Raw | msgspec.UnsetType) -> str | None:
    """JSON to be stored as it came, whatever its size; `null` is nothing.

    In one that stands in its job a number beyond any float is kept as text: readers of JSON refuse the whole list for
    one of them.
    """
    if value is msgspec.UNSET:
        return None
    text = bytes(value).decode()
    if len(text) <= PAGE_BYTES and _LARGE_NUMBER.search(text):
        text = msgspec.json.encode(json.loads(text, parse_int=_number, parse_float=_number)).decode()
    return text if text != "null" else None


def _number(text: str) -> msgspec.Raw | str:
    """As it came, where a reader can take it."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return msgspec.Raw(text.encode())


def json_text(value: Any, *, field: str, most: int) -> str | None:
    """JSON to be stored as it came. Raises Oversized when it has more than `most` bytes."""
    if value is None:
        return None
    text = msgspec.json.encode(value)
    if len(text) > most:
        raise Oversized(field, len(text), most)
    return text.decode()


def options_text(said: dict[str, Any] | None) -> str | None:
    """The options of a job, canonical. Raises UnfitMember."""
    try:
        return options.canonical(said)
    except options.UnfitOptions as error:
        raise UnfitMember("options", str(error)) from error


def steps_of(type_: str, options_: str | None, then: Sequence[wire_jobs.StepBody] | None) -> tuple[Step, ...] | None:
    """What is said to follow a job of this type with these options. Raises UnfitMember."""
    try:
        steps = _steps(then)
    except UnfitMember as error:
        raise UnfitMember("then", f"of a step, {error}") from error
    if steps and (wrong := wrong_steps(type_, options_, steps)) is not None:
        raise UnfitMember("then", wrong)
    return steps


def _steps(then: Sequence[wire_jobs.StepBody] | None) -> tuple[Step, ...] | None:
    if then is None:
        return None
    return tuple(
        Step(each.type, each.outputs, options_text(each.options), _steps(each.then), _join(each.join))
        for each in then
    )


def _join(join: wire_jobs.JoinBody | None) -> Join | None:
    return Join(join.type, options_text(join.options), _steps(join.then)) if join is not None else None


def _join_wire(join: Join | None) -> wire_jobs.JoinBody | None:
    if join is None:
        return None
    return wire_jobs.JoinBody(join.type, _decoded(join.options), _steps_below(join.then))


def _decoded(options: str | None) -> dict[str, Any] | None:
    return msgspec.json.decode(options) if options is not None else None


def _steps_below(then: Sequence[Step] | None) -> list[wire_jobs.StepBody] | None:
    return list(steps_wire(then)) if then is not None else None


def steps_wire(then: Sequence[Step]) -> tuple[wire_jobs.StepBody, ...]:
    return tuple(
        wire_jobs.StepBody(
            each.type,
            each.outputs,
            _decoded(each.options),
            _steps_below(each.then),
            _join_wire(each.join),
        )
        for each in then
    )


_ACCEPTED = (options.OPTIONS, HEEDS_INTERVAL, ONLY_COMPARISONS)


def times_ms(not_before: datetime | None, expires_at: datetime | None, *, now: int) -> tuple[int | None, int | None]:
    """The times (ms) before which a job is not to be started, and at which it is given up. Raises UnfitMember."""
    start, end = _ms(not_before), _ms(expires_at)
    for name, time in (("not_before", start), ("expires_at", end)):
        if time is not None and time > now + LATEST_TIME_MS:
            raise UnfitMember(name, "times of a job are a year (366 days) ahead at most")
    if end is not None and start is not None and end <= start:
        raise UnfitMember("expires_at", "the job is not to be started before it would have expired")
    return start, end


def _ms(said: datetime | None) -> int | None:
    return round(said.timestamp() * 1000) if said is not None else None


def requires_text(said: Iterable[str | None] | None) -> str | None:
    """What a job requires, canonical. Raises UnfitMember."""
    try:
        return requirements.canonical(said)
    except requirements.UnfitRequirement as error:
        raise UnfitMember("requires", str(error)) from error


def accepted(said: list[str]) -> tuple[str, ...]:
    """What a claim accepts, of the words that are known: others may mean something to another release."""
    return tuple(word for word in _ACCEPTED if word in said)


def converter_text(said: str | None) -> str | None:
    """A converter by its one spelling. Raises UnfitMember."""
    if said is None:
        return None
    try:
        return str(converters.converter(said))
    except converters.UnfitConverter as error:
        raise UnfitMember("converter", str(error)) from error


def made_by_text(said: str | None) -> str | None:
    """A filter of converters that is one. Raises UnfitMember."""
    if said is not None:
        try:
            converters.wanted(said)
        except converters.UnfitConverter as error:
            raise UnfitMember("made_by", str(error)) from error
    return said


def requiring_text(said: str | None) -> str | None:
    """A filter of requirements that is one. Raises UnfitMember."""
    if said is None or said == requirements.NOTHING:
        return said
    try:
        return str(requirements.parse(said))
    except requirements.UnfitRequirement as error:
        raise UnfitMember("requiring", str(error)) from error


def ms_or_none(moment: datetime | None) -> int | None:
    """A moment of a request in milliseconds since the epoch."""
    return round(moment.timestamp() * 1000) if moment is not None else None


def job_filter(asked: wire_jobs.JobQuery | wire_bulk.BulkBody, *, priority: int | None) -> JobFilter:
    """The filter of a list or a bulk action."""
    return JobFilter(
        JobStatus(asked.status) if asked.status is not None else None,
        asked.type,
        asked.tag,
        asked.worker,
        asked.q,
        priority,
        asked.failure,
        ms_or_none(asked.created_since),
        ms_or_none(asked.created_until),
        ms_or_none(asked.updated_since),
        ms_or_none(asked.updated_until),
        made_by_text(asked.made_by),
        asked.compared,
        requiring_text(asked.requiring),
        asked.group,
        asked.batch,
    )


def expected_wire(expected: Expected | None) -> wire_jobs.ExpectedWire | None:
    if expected is None:
        return None
    return wire_jobs.ExpectedWire(rfc3339(expected.earliest), rfc3339(expected.latest), expected.by)


def waiting_wire(waiting: Waiting | None) -> wire_jobs.WaitingWire | None:
    if waiting is None:
        return None
    return wire_jobs.WaitingWire(
        waiting.reason,
        waiting.text,
        time_or_none(waiting.until),
        list(waiting.change),
        list(waiting.held_by),
        waiting.ahead,
        time_or_none(waiting.expires),
    )


def job_wire(
    job: Job,
    attempts: list[Attempt] | None = None,
    *,
    attempts_total: int | None = None,
    expected: Expected | None = None,
    waiting: Waiting | None = None,
    paths: list[str] | None = None,
    children: list[wire_jobs.ChildWire] | None = None,
    children_total: int = 0,
) -> wire_jobs.JobWire:
    return wire_jobs.JobWire(
        id=job.id,
        type=ordinary(job.type),
        status=job.status,
        priority=job.priority,
        source_hash=known_hash(job.source_hash),
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        created_at=rfc3339(job.created_at),
        updated_at=rfc3339(job.updated_at),
        source_path=job.source_path,
        source_size=job.source_size,
        worker_id=job.worker_id,
        started_at=time_or_none(job.started_at),
        completed_at=time_or_none(job.completed_at),
        last_error=job.last_error,
        tags=job.tags,
        metadata=raw(job.metadata),
        result=raw(job.result),
        progress=raw(job.progress),
        not_before=time_or_none(job.not_before),
        expires_at=time_or_none(job.expires_at),
        heartbeat_at=time_or_none(job.heartbeat_at),
        output_key=job.output_key,
        result_attempt=job.result_attempt,
        result_size=job.result_size,
        result_url=f"/api/jobs/{job.id}/result" if job.result_size is not None else None,
        losses=job.losses,
        failure=job.failure,
        progress_at=time_or_none(job.progress_at) if job.status is JobStatus.RUNNING else None,
        expected_end=expected_wire(expected) if expected is not None else None,
        waiting=waiting_wire(waiting) if waiting is not None else None,
        options=raw(job.options),
        requires=requirements.words(job.requires) or None,
        group=job.of_group,
        made_by=job.made_by,
        canary=canary_of(job.type),
        compared_until=time_or_none(job.compare_until),
        batch=job.batch,
        batches=job.batches if len(job.batches) > 1 else (),
        parent=job.chain.parent if job.chain is not None else None,
        then=steps_wire(job.chain.then) if job.chain is not None else (),
        then_stopped=job.chain.said if job.chain is not None else None,
        children_to_come=job.chain.rest.left if job.chain is not None and job.chain.rest is not None else 0,
        children=children if children else msgspec.UNSET,
        children_total=children_total if children else msgspec.UNSET,
        attempt_history=_history(attempts) if attempts is not None else msgspec.UNSET,
        attempts_total=attempts_total if attempts_total is not None else msgspec.UNSET,
        paths=paths if paths is not None and job.more_paths else msgspec.UNSET,
        paths_total=job.more_paths + 1 if job.more_paths else msgspec.UNSET,
    )


def _history(attempts: list[Attempt]) -> list[wire_jobs.AttemptWire]:
    """The latest one whole, the long texts of the others cut: `GET /api/jobs/{id}/attempts` has them."""
    return [attempt_wire(cut(each)) for each in attempts[:-1]] + [attempt_wire(each) for each in attempts[-1:]]


def cut(attempt: Attempt) -> Attempt:
    return replace(
        attempt,
        error=clipped(attempt.error, SHORT_TEXT) if attempt.error is not None else None,
        traceback=clipped_tail(attempt.traceback, SHORT_TEXT),
        log_tail=clipped_tail(attempt.log_tail, SHORT_TEXT),
    )


def attempt_wire(attempt: Attempt) -> wire_jobs.AttemptWire:
    return wire_jobs.AttemptWire(
        attempt.attempt,
        attempt.worker_id,
        rfc3339(attempt.started_at),
        time_or_none(attempt.ended_at),
        attempt.outcome,
        attempt.kind,
        attempt.error,
        attempt.traceback,
        attempt.log_tail,
        attempt.converter,
        time_or_none(attempt.given_back),
    )


def lease_ms(settings: Settings, patience: Patience | None) -> int:
    """How long a lease lasts. `patience`: with it, where it is not the one of all types."""
    return patience.lease if patience is not None else round(settings.worker_timeout * 1000)


def interval(patience: Patience | None) -> float | msgspec.UnsetType:
    """The seconds between two heartbeats, where they are others than the worker was told when it registered."""
    return patience.beat / 1000 if patience is not None else msgspec.UNSET


def beats(body: wire_workers.HeartbeatBody) -> tuple[JobBeat, ...]:
    """The jobs that a heartbeat names, in the old form and in the new one."""
    named = [wire_workers.HeartbeatJob(body.job_id, body.lease, body.progress)] if body.job_id else []
    return tuple(JobBeat(job.job_id, job.lease, progress_text(job.progress)) for job in (*named, *body.jobs))


def progress_text(progress: msgspec.Raw | msgspec.UnsetType) -> str | None:
    """Progress to be stored as it came. One that is too large costs no heartbeat: words stand in for it."""
    text = text_of(progress)
    if text is None or len(text.encode()) <= wire_common.MOST_PROGRESS:
        return text
    too_large = Oversized("progress", len(text.encode()), wire_common.MOST_PROGRESS)
    return msgspec.json.encode({"message": str(too_large)}).decode()


def clipped(text: str, most: int) -> str:
    """The beginning of a text, at most `most` characters, without NUL."""
    text = text.replace("\0", "")
    return text if len(text) <= most else text[: most - 1] + "…"


def clipped_tail(text: str | None, most: int) -> str | None:
    """The end of a text, at most `most` characters, without NUL."""
    if text is None:
        return None
    text = text.replace("\0", "")
    return text if len(text) <= most else "…" + text[1 - most :]
