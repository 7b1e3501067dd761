"""Workers: register, heartbeat, leave; and what an administrator does to them."""

from __future__ import annotations

import math

import msgspec
from msgspec import UNSET
from msgspec.structs import replace
from quart import Response

from actors.messages import (
    CreateWorker,
    DisableWorker,
    Drain,
    EnableWorker,
    Heartbeat,
    Message,
    QuarantineWorker,
    ReadmitWorker,
    Register,
    RemoveWorker,
    ReplaceSecret,
    Unregister,
    WorkerChanged,
)
from blobforge.access import WORKER_SECRET_PREFIX, hash_secret
from blobforge.job import Outcome
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import HOUR_MS, RATE_HOURS, WorkerRates
from blobforge.store.lists import ListedWorker
from blobforge.store.reading import Reader
from blobforge.worker import Worker, WorkerFilter
from web.api import arrays, encode, secrets, wire_common, wire_workers
from web.decode import query
from web.liveloads import LiveLoads, WorkerLoad
from web.routing import Access, Call, Route

NULL = msgspec.Raw(b"null")
LONGEST_HOST = 255
SHORTEST_LIFE_MS = 300_000  # of a worker, for its rate: one that came a moment ago has none yet


async def register(call: Call, body: wire_workers.RegisterBody) -> wire_workers.Registered | Refusal:
    if call.caller.worker_id not in (None, body.id):
        return _not_you(call, body.id)
    outcome = await call.ask(
        Register(
            call.caller,
            body.id,
            body.type,
            encode.json_text(body.metadata, field="metadata", most=wire_common.MOST_METADATA),
            encode.json_text(body.labels, field="labels", most=wire_common.MOST_METADATA),
            body.version,
            body.instance,
            body.replaces,
            _host(body.metadata),
            encode.converter_text(body.converter),
            call.services.worker_silent_for(body.id),
        )
    )
    if isinstance(outcome, Refusal):
        return outcome
    if outcome.alive is not None:
        return Refusal(
            RefusalCode.INSTANCE_ALIVE,
            f"Another process is worker {body.id!r}, and was heard just now. Give one of the two another id; or, if "
            "that one has ended, register again when it has been silent for two heartbeats.",
            retry_after=math.ceil(outcome.alive),
        )
    settings = call.services.settings
    return wire_workers.Registered(settings.beat_every, settings.worker_timeout)


async def heartbeat(call: Call, body: wire_workers.HeartbeatBody) -> wire_workers.HeartbeatAnswer | Refusal:
    outcome = await call.ask(Heartbeat(call.caller, call.params["worker_id"], encode.beats(body), body.instance))
    if isinstance(outcome, Refusal):
        return outcome
    if body.load is not UNSET and body.load != NULL:
        call.services.live_loads.add(call.params["worker_id"], body.load, at=call.services.now())
    timeout = encode.lease_ms(call.services.settings, outcome.patience)
    expires = outcome.renewed + timeout if outcome.renewed is not None else None
    late = list(outcome.late) or UNSET
    return wire_workers.HeartbeatAnswer(
        outcome.drain, list(outcome.abandon), encode.time_or_none(expires), late, encode.interval(outcome.patience)
    )


def _host(metadata: object) -> str | None:
    """The host that a worker says it runs on, for people."""
    named = metadata.get("hostname") if isinstance(metadata, dict) else None
    return encode.clipped(named, LONGEST_HOST) if isinstance(named, str) else None


async def unregister(call: Call, body: wire_workers.UnregisterBody) -> wire_common.Status | Refusal:
    return await _change(call, Unregister(call.caller, call.params["worker_id"], body.instance), "unregistered")


async def drain(call: Call) -> wire_common.Status | Refusal:
    return await _change(call, Drain(call.params["worker_id"]), "draining")


async def remove(call: Call) -> wire_common.Status | Refusal:
    return await _change(call, RemoveWorker(call.params["worker_id"]), "removed")


async def enable(call: Call) -> wire_common.Status | Refusal:
    return await _change(call, EnableWorker(call.params["worker_id"]), "enabled")


async def disable(call: Call) -> wire_common.Status | Refusal:
    return await _change(call, DisableWorker(call.params["worker_id"]), "disabled")


async def quarantine(call: Call, body: wire_workers.QuarantineBody) -> wire_common.Status | Refusal:
    message = QuarantineWorker(call.params["worker_id"], call.caller.subject, body.reason or None)
    audit = replace(call.audit, detail=body.reason) if call.audit is not None else None
    outcome = await call.tell(message, call.repeat, audit)
    return outcome if isinstance(outcome, Refusal) else wire_common.Status("quarantined")


async def readmit(call: Call) -> wire_common.Status | Refusal:
    return await _change(call, ReadmitWorker(call.params["worker_id"], call.caller.subject), "readmitted")


async def _change(call: Call, message: Message[WorkerChanged], status: str) -> wire_common.Status | Refusal:
    outcome = await call.ask(message)
    return outcome if isinstance(outcome, Refusal) else wire_common.Status(status)


async def listed(call: Call) -> Response | Refusal:
    """A JSON array, as existing clients know it; the way to the next page stands in a header."""
    wanted = query(call.request.args, wire_workers.WorkersQuery)
    if isinstance(wanted, Refusal):
        return wanted
    now = call.services.now()
    filter_ = WorkerFilter(wanted.status, wanted.enabled, wanted.type, wanted.q)

    def read(reader: Reader) -> tuple[list[ListedWorker], bool, dict[str, WorkerRates]]:
        found, more = reader.roster.by_id(filter_, after=wanted.cursor or "", limit=wanted.limit)
        return found, more, reader.insights.rates_among([worker.id for worker, _ in found], now=now)

    found, more, rates = await call.services.reads.moment(read)
    none = WorkerRates()
    loads = call.services.live_loads
    shown = [_wire(worker, jobs, rates.get(worker.id, none), loads, now=now) for worker, jobs in found]
    return arrays.one_page(call, shown, following=shown[-1].id if more else None)


async def shown(call: Call) -> wire_workers.WorkerWire | Refusal:
    worker_id = call.params["worker_id"]
    now = call.services.now()
    found, rates = await call.services.reads.moment(
        lambda reader: (reader.roster.worker(worker_id), reader.insights.rates_of(worker_id, now=now))
    )
    if found is None:
        return Refusal(RefusalCode.NO_SUCH_WORKER, f"There is no worker {worker_id!r}.")
    return _wire(*found, rates, call.services.live_loads, now=now)


async def create(call: Call, body: wire_workers.WorkerBody) -> wire_workers.WorkerMade | Refusal:
    salt = secrets.new_salt()
    hash_ = hash_secret(secrets.made_of(call, WORKER_SECRET_PREFIX, salt))
    outcome = await call.ask(CreateWorker(body.id, body.type, hash_, body.name or None, salt), about=body.id)
    return _made(call, outcome)


async def regenerate(call: Call) -> wire_workers.WorkerMade | Refusal:
    salt = secrets.new_salt()
    hash_ = hash_secret(secrets.made_of(call, WORKER_SECRET_PREFIX, salt))
    outcome = await call.ask(ReplaceSecret(call.params["worker_id"], hash_, salt))
    return _made(call, outcome)


def _made(call: Call, outcome: WorkerChanged | Refusal) -> wire_workers.WorkerMade | Refusal:
    if isinstance(outcome, Refusal):
        return outcome
    secret = secrets.made_of(call, WORKER_SECRET_PREFIX, outcome.salt)
    return wire_workers.WorkerMade(outcome.worker_id, outcome.name or outcome.worker_id, outcome.type, secret)


def _not_you(call: Call, named: str) -> Refusal:
    return Refusal(RefusalCode.NOT_YOURS, f"You are worker {call.caller.worker_id!r}, not {named!r}.")


def rates_wire(worker: Worker, rates: WorkerRates, *, now: int) -> wire_workers.WorkerRatesWire:
    """Its rates over the hours that are kept, or over its life where that is shorter."""
    kept = (RATE_HOURS - 1) * HOUR_MS + now % HOUR_MS
    hours = max(SHORTEST_LIFE_MS, min(kept, now - worker.created_at)) / HOUR_MS
    completed, failed, lost = (rates.n(each) for each in (Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST))
    share = rates.failure_rate
    return wire_workers.WorkerRatesWire(
        round(completed / hours, 2), round(share, 4) if share is not None else None, completed, failed, lost
    )


def _wire(
    worker: Worker, jobs: list[int], rates: WorkerRates, loads: LiveLoads, *, now: int
) -> wire_workers.WorkerWire:
    held, load = worker.quarantine, loads.of(worker, now=now)
    return wire_workers.WorkerWire(
        id=worker.id,
        type=worker.type,
        status=worker.status,
        enabled=worker.enabled,
        created_at=encode.rfc3339(worker.created_at),
        updated_at=encode.rfc3339(worker.updated_at),
        name=worker.name,
        last_heartbeat=encode.time_or_none(worker.last_heartbeat),
        current_job_id=jobs[0] if jobs else None,
        current_job_ids=jobs,
        metadata=encode.raw(worker.metadata),
        labels=encode.raw(worker.labels),
        version=worker.version,
        rates=rates_wire(worker, rates, now=now),
        contested_at=encode.time_or_none(worker.contested_at),
        contested_by=worker.contested_by,
        bound_type=worker.bound_type,
        accepts=worker.accepts,
        converter=worker.converter,
        quarantined=held is not None,
        evidence=held.evidence if held is not None else None,
        quarantined_at=encode.time_or_none(held.since) if held is not None else None,
        quarantined_by=held.by if held is not None else None,
        trial_at=encode.time_or_none(held.trial_at) if held is not None else None,
        load=_load_wire(load) if load is not None else None,
    )


def _load_wire(load: WorkerLoad) -> wire_workers.LoadSeen:
    last = load.last
    return wire_workers.LoadSeen(
        at=encode.rfc3339(load.at), cpu=last.cpu, cpus=last.cpus, memory=last.memory, memory_total=last.memory_total,
        gpus=last.gpus or (),
    )  # fmt: skip


ROUTES = [
    Route("POST", "/api/workers/register", Access.WORK, register, "Register a worker: it is online from now on",
          body=wire_workers.RegisterBody, gives=wire_workers.Registered, hot=True),
    Route("POST", "/api/workers/<worker:worker_id>/heartbeat", Access.WORK, heartbeat,
          "A sign of life; renews the leases of the jobs named and keeps their progress",
          body=wire_workers.HeartbeatBody, gives=wire_workers.HeartbeatAnswer, hot=True),
    Route("POST", "/api/workers/<worker:worker_id>/unregister", Access.WORK, unregister,
          "The worker leaves; its running jobs go back at once",
          body=wire_workers.UnregisterBody, gives=wire_common.Status, hot=True),
    Route("POST", "/api/workers/<worker:worker_id>/drain", Access.ADMIN, drain,
          "No new jobs for this worker; what it runs, it may end", gives=wire_common.Status, audit="worker.drain"),
    Route("POST", "/api/workers/<worker:worker_id>/quarantine", Access.ADMIN, quarantine,
          "No new jobs for this worker, and no trials either, until it is readmitted",
          body=wire_workers.QuarantineBody, gives=wire_common.Status, audit="worker.quarantine"),
    Route("POST", "/api/workers/<worker:worker_id>/readmit", Access.ADMIN, readmit,
          "End a worker's quarantine; what it has failed so far does not count any more",
          gives=wire_common.Status, audit="worker.readmit"),
    Route("DELETE", "/api/workers/<worker:worker_id>", Access.ADMIN, remove,
          "Remove a worker; its running jobs go back at once", gives=wire_common.Status, audit="worker.remove"),
    Route("GET", "/api/workers", Access.READ, listed, "Workers by id, as a JSON array",
          gives=list[wire_workers.WorkerWire], query=wire_workers.WorkersQuery),
    Route("GET", "/api/workers/<worker:worker_id>", Access.READ, shown, "One worker", gives=wire_workers.WorkerWire),
    Route("POST", "/api/admin/workers", Access.ADMIN, create, "Give a worker a credential of its own",
          body=wire_workers.WorkerBody, gives=wire_workers.WorkerMade, status=201, audit="worker.create"),
    Route("POST", "/api/admin/workers/<worker:worker_id>/regenerate", Access.ADMIN, regenerate,
          "A new secret for a worker; the old one is worth nothing from now on",
          gives=wire_workers.WorkerMade, audit="worker.rotate"),
    Route("POST", "/api/admin/workers/<worker:worker_id>/enable", Access.ADMIN, enable,
          "Let a worker work again; also ends a drain", gives=wire_common.Status, audit="worker.enable"),
    Route("POST", "/api/admin/workers/<worker:worker_id>/disable", Access.ADMIN, disable,
          "Refuse a worker's credential; its running jobs go back at once",
          gives=wire_common.Status, audit="worker.disable"),
]  # fmt: skip
