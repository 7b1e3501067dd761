"""Types of jobs: what is set for each, and its pause."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from actors.messages import ChangeType, TypeChanged
from blobforge.breaker import is_open, limit
from blobforge.config import Settings
from blobforge.jobtype import NOTHING_SET, TypeChanges, TypeSettings, no_such_type
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from web.api import encode, wire_common, wire_types
from web.decode import UnfitMember, invalid, query
from web.routing import Access, Call, Route

LONGEST_DETAIL = 1000  # characters of what was asked for, in the audit log


async def listed(call: Call) -> wire_types.TypesWire | Refusal:
    wanted = query(call.request.args, wire_types.TypesQuery)
    if isinstance(wanted, Refusal):
        return wanted
    settings, jobs, probes = await call.services.reads.run(_known)
    names = sorted({*settings, *jobs})
    rest = [name for name in names if wanted.cursor is None or name > wanted.cursor]
    page = rest[: wanted.limit]
    shown = [
        _wire(call, name, settings.get(name, NOTHING_SET), jobs.get(name, {}), probes.get(name)) for name in page
    ]
    return wire_types.TypesWire(shown, page[-1] if len(rest) > len(page) else None)


def _known(
    reader: Reader,
) -> tuple[Mapping[str, TypeSettings], Mapping[str, Mapping[str, int]], Mapping[str, int | None]]:
    """What is set, the numbers of jobs, and when the next job is let through of those that a breaker has paused."""
    with reader.snapshot():
        settings, jobs = reader.types.known()
        return settings, jobs, {type_: probe_at(reader, type_) for type_, each in settings.items() if is_open(each)}


def probe_at(reader: Reader, type_: str) -> int | None:
    """When (ms) the next job is let through of a type that its breaker has paused."""
    row = reader.types.in_a_row(type_)
    return row.probe_at if row is not None else None


async def shown(call: Call) -> wire_types.TypeWire | Refusal:
    type_: str = call.params["type"]
    settings, jobs, probes = await call.services.reads.run(_known)
    if type_ not in settings and type_ not in jobs:
        return no_such_type(type_)
    return _wire(call, type_, settings.get(type_, NOTHING_SET), jobs.get(type_, {}), probes.get(type_))


async def change(call: Call, body: wire_types.TypeBody) -> wire_types.TypeWire | Refusal:
    rate = body.rate
    try:
        then = encode.steps_of(call.params["type"], None, body.then) if body.then is not UNSET else UNSET
    except UnfitMember as error:
        return Refusal(RefusalCode.INVALID, f"{error}.", field=error.field)
    changes = TypeChanges(
        paused=False if body.paused is None else body.paused,
        reason=body.reason,
        max_attempts=body.max_attempts,
        retry_backoff=_ms(body.retry_backoff),
        max_running=body.max_running,
        rate=(rate.count, round(rate.seconds * 1000)) if isinstance(rate, wire_types.RateWire) else rate,
        worker_timeout=_ms(body.worker_timeout),
        breaker=body.breaker,
        urgent_after=_ms(body.urgent_after),
        own_fault=body.own_fault,
        quarantine=body.quarantine,
        then=then,
        weights=body.weights,
    )
    detail = msgspec.json.encode(body).decode()[:LONGEST_DETAIL]
    outcome = await _change(call, changes, detail)
    if isinstance(outcome, Refusal):
        return outcome
    _, jobs, probes = await call.services.reads.run(_known)
    probe = probes.get(outcome.type)
    return _wire(call, outcome.type, outcome.settings, jobs.get(outcome.type, {}), probe)


async def pause(call: Call, body: wire_types.PauseBody) -> wire_common.Status | Refusal:
    outcome = await _change(call, TypeChanges(paused=True, reason=body.reason), body.reason)
    return outcome if isinstance(outcome, Refusal) else wire_common.Status("paused")


async def resume(call: Call) -> wire_common.Status | Refusal:
    outcome = await _change(call, TypeChanges(paused=False, reason=UNSET), None)
    return outcome if isinstance(outcome, Refusal) else wire_common.Status("resumed")


async def _change(call: Call, changes: TypeChanges, detail: str | None) -> TypeChanged | Refusal:
    try:
        type_ = msgspec.convert(call.params["type"], wire_common.JobType)
    except msgspec.ValidationError as error:
        return invalid(f"{error} - at `$.type`")
    audit = replace(call.audit, detail=detail) if call.audit is not None else None
    return await call.tell(ChangeType(type_, call.caller.subject, changes), call.repeat, audit)


def _ms(seconds: float | UnsetType | None) -> int | UnsetType | None:
    return round(seconds * 1000) if isinstance(seconds, float) else seconds


def _seconds(ms: int | None) -> float | None:
    return ms / 1000 if ms is not None else None


def _wire(
    call: Call, type_: str, settings: TypeSettings, jobs: Mapping[str, int], probe: int | None
) -> wire_types.TypeWire:
    return wire_types.TypeWire(
        type=type_,
        paused=settings.paused,
        jobs=dict(jobs),
        in_force=in_force(settings, call.services.settings),
        reason=settings.reason,
        paused_by=settings.paused_by,
        paused_at=encode.time_or_none(settings.paused_at),
        probe_at=encode.time_or_none(probe),
        max_attempts=settings.max_attempts,
        retry_backoff=_seconds(settings.retry_backoff),
        max_running=settings.max_running,
        rate=_rate(settings),
        worker_timeout=_seconds(settings.worker_timeout),
        weights=dict(settings.weights) or None,
        breaker=settings.breaker,
        urgent_after=_seconds(settings.urgent_after),
        own_fault=settings.own_fault,
        quarantine=settings.quarantine,
        then=encode.steps_wire(settings.then) or None,
    )


def _rate(settings: TypeSettings) -> wire_types.RateWire | None:
    if settings.rate_count is None or settings.rate_ms is None:
        return None
    return wire_types.RateWire(settings.rate_count, settings.rate_ms / 1000)


def in_force(settings: TypeSettings, all_: Settings) -> wire_types.InForceWire:
    """What holds for the type."""
    backoff, timeout = _seconds(settings.retry_backoff), _seconds(settings.worker_timeout)
    return wire_types.InForceWire(
        settings.max_attempts or all_.max_attempts,
        backoff if backoff is not None else all_.retry_backoff,
        timeout if timeout is not None else all_.worker_timeout,
        limit(settings, all_.breaker),
        bool(settings.own_fault),
        all_.quarantine if settings.quarantine is None else settings.quarantine,
    )


ROUTES = [
    Route("GET", "/api/types", Access.READ, listed, "Types of jobs, and what is set for each",
          gives=wire_types.TypesWire, query=wire_types.TypesQuery),
    Route("GET", "/api/types/<type:type>", Access.READ, shown, "One type", gives=wire_types.TypeWire),
    Route("PATCH", "/api/types/<type:type>", Access.ADMIN, change,
          "Set something for a type; null sets it no longer", body=wire_types.TypeBody, gives=wire_types.TypeWire,
          audit="type.set"),
    Route("POST", "/api/types/<type:type>/pause", Access.ADMIN, pause,
          "Give out no job of a type; what runs goes on", body=wire_types.PauseBody, gives=wire_common.Status,
          audit="type.pause"),
    Route("POST", "/api/types/<type:type>/resume", Access.ADMIN, resume, "Give out the type's jobs again",
          gives=wire_common.Status, audit="type.resume"),
]  # fmt: skip
