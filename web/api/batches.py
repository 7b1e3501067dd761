"""Batches: made, closed, cancelled, retried and deleted; listed and shown with what their jobs have come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

from quart import Response

from actors.messages import (
    BeginOperation,
    CancelJobs,
    CloseBatch,
    DeleteBatch,
    MakeBatch,
    OperationPlan,
    RetryJobs,
)
from blobforge.batch import GONE, JobBatch, no_such_batch
from blobforge.forecast import Outlook, batch_outlook
from blobforge.job import JobStatus
from blobforge.manifest import MANIFEST_TYPE
from blobforge.outward import addresses
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from blobforge.store.lists import NEWEST
from blobforge.store.reading import BatchCounts, Reader
from blobforge.webhook import CallbackAddress
from web import letters
from web.api import encode, manifest, wire_batches, wire_bulk, wire_common, wire_jobs
from web.api.webhooks import wrong_url
from web.decode import query
from web.routing import Access, Call, Route

Begun = tuple[int, wire_bulk.OperationBegun] | Refusal
_WAIT: Final = (JobStatus.PENDING, JobStatus.FAILED)


async def make(call: Call, body: wire_batches.BatchBody) -> wire_batches.BatchMade | Refusal:
    metadata = encode.json_text(body.metadata, field="metadata", most=wire_common.MOST_METADATA)
    callback = _callback(call, body.callback) if body.callback is not None else None
    if isinstance(callback, Refusal):
        return callback
    message = MakeBatch(body.name, metadata, call.caller.subject, body.closed, callback)
    made = await call.ask(message, about=body.name)
    return made if isinstance(made, Refusal) else wire_batches.BatchMade(made.batch_id, made.name)


def _callback(call: Call, asked: wire_batches.BatchCallback) -> CallbackAddress | Refusal:
    """Sealed, if it may be called."""
    host = addresses.host_of(asked.url)
    if (wrong := wrong_url(call, asked.url, field="callback.url")) is not None:
        return wrong
    if host not in addresses.callback_hosts(call.services.settings.callback_hosts):
        detail = f"{host} is none of BLOBFORGE_CALLBACK_HOSTS, the hosts that batches may call. Ask an administrator."
        return Refusal(RefusalCode.INVALID, detail, field="callback.url")
    secret = letters.read_secret(asked.secret)
    if secret is None:
        detail = f"A secret is {letters.PREFIX} and 24 to 64 bytes in base64."
        return Refusal(RefusalCode.INVALID, detail, field="callback.secret")
    return CallbackAddress(host, letters.seal_callback(call.services.sealer, asked.url, secret))


async def close(call: Call) -> wire_batches.BatchWire | Refusal:
    """No further jobs come to it: it ends when all that it has do."""
    stands = await call.ask(CloseBatch(call.params["batch_id"]))
    return stands if isinstance(stands, Refusal) else await shown(call)


async def cancel(call: Call, body: wire_batches.BatchCancel) -> Begun:
    """It is closed, and all of its jobs that have not ended are cancelled, by an operation."""
    batch_id = call.params["batch_id"]
    plan = OperationPlan(CancelJobs(body.reason), filter=JobFilter(batch=batch_id))
    return await _begin(call, plan, closes=batch_id)


async def retry(call: Call, body: wire_batches.BatchRetry) -> Begun:
    """What failed for good is brought back, by an operation. The batch ends once more after that."""
    batch_id = call.params["batch_id"]
    if (missing := await _missing(call, batch_id)) is not None:
        return missing
    # What waits out its back-off comes back by itself.
    status = None if body.cancelled else JobStatus.DEAD
    plan = OperationPlan(RetryJobs(body.reset_attempts, ended_only=True), filter=JobFilter(status, batch=batch_id))
    return await _begin(call, plan)


async def delete(call: Call) -> Begun:
    """It is forgotten, by an operation; its jobs stay, or go with their results."""
    batch_id = call.params["batch_id"]
    wanted = query(call.request.args, wire_batches.BatchDelete)
    if isinstance(wanted, Refusal):
        return wanted
    plan = OperationPlan(DeleteBatch(batch_id, wanted.results), filter=JobFilter(batch=batch_id))
    return await _begin(call, plan, closes=batch_id)


async def _begin(call: Call, plan: OperationPlan, *, closes: int | None = None) -> Begun:
    begun = await call.ask(BeginOperation(plan, call.caller, closes))
    return begun if isinstance(begun, Refusal) else (202, wire_bulk.OperationBegun(begun.operation_id))


async def _missing(call: Call, batch_id: int) -> Refusal | None:
    found = await call.services.reads.run(lambda reader: reader.batches.get(batch_id))
    return no_such_batch(batch_id) if found is None else None


async def listed(call: Call) -> wire_batches.BatchesWire | Refusal:
    wanted = query(call.request.args, wire_batches.BatchesQuery)
    if isinstance(wanted, Refusal):
        return wanted
    before, now = wanted.cursor if wanted.cursor is not None else NEWEST, call.services.now()

    def read(reader: Reader) -> wire_batches.BatchesWire:
        found, more = page_of(reader, wanted, before=before, now=now)
        return wire_batches.BatchesWire(batches=found, next_cursor=found[-1].id if more else None)

    return await call.services.reads.moment(read)


def page_of(
    reader: Reader, wanted: wire_batches.BatchesQuery, *, before: int, now: int
) -> tuple[list[wire_batches.BatchWire], bool]:
    """Some batches below a number, the newest first, and whether there are more."""
    found = reader.batches.page(before=before, limit=wanted.limit + 1, name=wanted.name, going=wanted.going)
    return batches_wire(reader, found[: wanted.limit], now=now), len(found) > wanted.limit


async def shown(call: Call) -> wire_batches.BatchWire | Refusal:
    batch_id, now = call.params["batch_id"], call.services.now()
    found = await call.services.reads.moment(lambda reader: read_batch(reader, batch_id, now=now))
    return found or no_such_batch(batch_id)


def read_batch(reader: Reader, batch_id: int, *, now: int) -> wire_batches.BatchWire | None:
    batch = reader.batches.get(batch_id)
    return batches_wire(reader, [batch], now=now)[0] if batch is not None else None


def batches_wire(reader: Reader, batches: list[JobBatch], *, now: int) -> list[wire_batches.BatchWire]:
    counts = reader.batches.counts([batch.id for batch in batches])
    hosts = _hosts(reader, batches)
    etas: dict[int, Outlook] = {}
    if going := [batch.id for batch in batches if batch.unfinished]:
        insights = reader.insights
        loads, online = insights.loads(), insights.types_with_workers()
        durations = insights.durations(now=now)
        for number in going:
            waiting = _of_type(counts[number], _WAIT)
            running = _of_type(counts[number], (JobStatus.RUNNING,))
            uploading = sum(_of_type(counts[number], (JobStatus.UPLOADING,)).values())
            etas[number] = batch_outlook(waiting, running, uploading, loads, durations, online)
    return [
        _batch_wire(batch, counts[batch.id], etas.get(batch.id), hosts.get(batch.callback_to)) for batch in batches
    ]


def _hosts(reader: Reader, batches: list[JobBatch]) -> Mapping[int | None, str | None]:
    """Of the callbacks that these batches have."""
    if all(batch.callback_to is None for batch in batches):
        return {}
    return {each.id: each.host for each in reader.webhooks.all()}


def _of_type(counts: BatchCounts, statuses: tuple[JobStatus, ...]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for (status, type_), n in counts.items():
        if status in statuses:
            found[type_] = found.get(type_, 0) + n
    return found


def _batch_wire(
    batch: JobBatch, counted: BatchCounts, eta: Outlook | None, callback: str | None
) -> wire_batches.BatchWire:
    counts = dict.fromkeys((*JobStatus, GONE), 0)
    by_type: dict[str, dict[str, int]] = {}
    for (status, type_), n in counted.items():
        counts[status] += n
        by_type.setdefault(type_, {})[status] = n
    total = sum(counts.values())
    return wire_batches.BatchWire(
        id=batch.id,
        name=batch.name,
        state=cast(Literal["open", "closed", "ended"], batch.state),
        created_at=encode.rfc3339(batch.created_at),
        counts={str(status): n for status, n in counts.items()},
        counts_by_type=by_type,
        total=total,
        unfinished=batch.unfinished,
        percent=round(100 * (total - batch.unfinished) / total, 1) if total else 0.0,
        endings=batch.endings,
        metadata=encode.raw(batch.metadata),
        closed_at=encode.time_or_none(batch.closed_at),
        started_at=encode.time_or_none(batch.started_at),
        ended_at=encode.time_or_none(batch.ended_at),
        eta=_eta_wire(eta) if eta is not None else None,
        callback=callback,
    )


def _eta_wire(eta: Outlook) -> wire_batches.BatchEta:
    low, high = eta.low_seconds, eta.high_seconds
    return wire_batches.BatchEta(
        round(low, 1) if low is not None else None, round(high, 1) if high is not None else None, eta.words
    )


async def of_batch(call: Call) -> Response | Refusal:
    """The manifest of all of its jobs, whatever has become of them."""
    batch_id = call.params["batch_id"]
    if (missing := await _missing(call, batch_id)) is not None:
        return missing
    return await manifest.signed(call, wire_jobs.ManifestQuery(batch=batch_id))


ROUTES = [
    Route("POST", "/api/batches", Access.SUBMIT, make, "Make a batch, to submit jobs for",
          body=wire_batches.BatchBody, gives=wire_batches.BatchMade, status=201, audit="batch.create"),
    Route("GET", "/api/batches", Access.READ, listed, "Batches, newest first", gives=wire_batches.BatchesWire,
          query=wire_batches.BatchesQuery),
    Route("GET", "/api/batches/<id:batch_id>", Access.READ, shown,
          "A batch: how many of its jobs have come to what, and when it will have ended",
          gives=wire_batches.BatchWire),
    Route("GET", "/api/batches/<id:batch_id>/manifest", Access.READ, of_batch,
          "What the jobs of a batch have made: JSON lines, the last of which signs all of them", gives=str,
          kinds=(MANIFEST_TYPE,)),
    Route("POST", "/api/batches/<id:batch_id>/close", Access.SUBMIT, close,
          "Close a batch: it takes no further jobs, and ends when all that it has do", gives=wire_batches.BatchWire,
          audit="batch.close"),
    Route("POST", "/api/batches/<id:batch_id>/cancel", Access.SUBMIT, cancel,
          "Close a batch and cancel all of its jobs that have not ended, by an operation",
          body=wire_batches.BatchCancel, gives=wire_bulk.OperationBegun, status=202, audit="batch.cancel"),
    Route("POST", "/api/batches/<id:batch_id>/retry", Access.SUBMIT, retry,
          "Bring the dead jobs of a batch back, by an operation", body=wire_batches.BatchRetry,
          gives=wire_bulk.OperationBegun, status=202, audit="batch.retry"),
    Route("DELETE", "/api/batches/<id:batch_id>", Access.ADMIN, delete,
          "Forget a batch, by an operation; its jobs stay, or go with their results", gives=wire_bulk.OperationBegun,
          status=202, query=wire_batches.BatchDelete, audit="batch.delete"),
]  # fmt: skip
