"""Live logs: the output of an attempt while it runs, sent by its worker, read, and followed."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import ExitStack

import msgspec
import trio
from quart import Response

from blobforge.job import Attempt, Job, JobStatus, no_such_job
from blobforge.life import holds, lease_lost
from blobforge.livelog import harmless
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import DatabaseError
from blobforge.worker import may_act
from web.api import wire_logs
from web.api.held import worker_of
from web.decode import query
from web.events import CONTENT_TYPE, HEADERS, KEEPALIVE_SECONDS, STILL_HERE, STREAM
from web.long_answers import long_answer, may_still_read
from web.routing import Access, Call, Route

PIECE_SECONDS = 0.25  # from one piece of a stream to the next: what comes meanwhile is in it

_encode = msgspec.json.Encoder().encode


async def send(call: Call, body: wire_logs.LogBody) -> wire_logs.LogTaken | Refusal:
    job_id, logs = call.params["job_id"], call.services.live_logs
    worker_id = worker_of(call, body.worker_id)
    if isinstance(worker_id, Refusal):
        return worker_id
    sender = (worker_id, body.instance or "", call.caller.subject)
    if not logs.may_send(job_id, body.lease, sender):
        job, worker = await call.services.reads.moment(lambda reader: (reader.job(job_id), reader.worker(worker_id)))
        if worker is None:
            return Refusal(RefusalCode.NO_SUCH_WORKER, f"There is no worker {worker_id!r}.")
        if (refusal := may_act(worker, call.caller, body.instance)) is not None:
            return refusal
        if job is None:
            return no_such_job(job_id)
        if not holds(job, worker_id=worker_id, lease=body.lease):
            return lease_lost(job)
        logs.admit(job_id, body.lease, sender)
    return wire_logs.LogTaken(logs.add(job_id, body.start, body.text))


async def read(call: Call) -> wire_logs.LogWire | Refusal:
    wanted = query(call.request.args, wire_logs.LogQuery)
    return wanted if isinstance(wanted, Refusal) else await log_of(call, wanted)


async def log_of(call: Call, wanted: wire_logs.LogQuery) -> wire_logs.LogWire | Refusal:
    """The log of a job's latest attempt, as far as it is known here."""
    job_id = call.params["job_id"]
    found = await call.services.reads.run(lambda reader: reader.job_with_attempts(job_id))
    return no_such_job(job_id) if found is None else shown(call, *found, wanted)


def shown(call: Call, job: Job, attempts: list[Attempt], wanted: wire_logs.LogQuery) -> wire_logs.LogWire:
    """The same, of a job that has been read."""
    last = attempts[-1] if attempts else None
    number = last.attempt if last is not None else None
    start = wanted.start if wanted.attempt == number else 0
    if job.status is JobStatus.RUNNING:
        log = call.services.live_logs.of(job.id, job.lease)
        passage = log.after(start) if log is not None else None
        begin, end, text = passage if passage is not None else (0, 0, "")
    else:
        kept = harmless(last.log_tail or "") if last is not None else ""
        begin, end, text = min(start, len(kept)), len(kept), kept[start:]
    return wire_logs.LogWire(
        job_id=job.id,
        status=job.status,
        text=text,
        start=begin,
        end=end,
        live=job.status is JobStatus.RUNNING,
        attempt=number,
    )


async def follow(call: Call) -> Response | Refusal:
    """The log as it grows: `log` (the same as `GET /api/jobs/{id}/log`, from where the last one ended), and `end`
    when the attempt has ended."""
    wanted = query(call.request.args, wire_logs.LogQuery)
    if isinstance(wanted, Refusal):
        return wanted
    job_id = call.params["job_id"]
    found = await call.services.reads.run(lambda reader: reader.job_with_attempts(job_id))
    if found is None:
        return no_such_job(job_id)
    first = shown(call, *found, _from_last(call, wanted))
    lease = found[0].lease
    return long_answer(call, lambda room: _stream(call, first, lease, room), headers=HEADERS, type_=CONTENT_TYPE)


def _from_last(call: Call, wanted: wire_logs.LogQuery) -> wire_logs.LogQuery:
    """Where a client that comes back goes on: `Last-Event-ID` is the attempt and the place that it knows."""
    attempt, _, place = (call.request.headers.get("Last-Event-ID") or "").partition("-")
    if not (attempt.isdecimal() and place.isdecimal()) or len(attempt) > 15 or len(place) > 15:
        return wanted
    return wire_logs.LogQuery(int(attempt), int(place))


async def _stream(call: Call, first: wire_logs.LogWire, lease: str | None, room: ExitStack) -> AsyncIterator[bytes]:
    with room, call.services.live_logs.watched(call.params["job_id"], lease) as log:
        frame, at, now = _frame(first), first.end, first
        checked, revocations = -math.inf, -1
        while True:
            known = call.services.keyring.revocations
            if trio.current_time() - checked >= KEEPALIVE_SECONDS or call.good_for() <= 0 or known != revocations:
                if not await _may_still_read(call):
                    return
                checked, revocations = trio.current_time(), known
            yield frame
            if not now.live:
                yield b"event: end\ndata: %s\n\n" % _encode({"status": now.status, "attempt": now.attempt})
                return
            # A piece that has come since is not waited for; one that is on its way takes a moment.
            await trio.sleep(PIECE_SECONDS)
            if not log.over and log.end <= at:
                with trio.move_on_after(min(KEEPALIVE_SECONDS, call.good_for())):
                    await log.news.wait()
            if log.holder is not None and not log.over and log.end > at:
                passage = log.after(at)
                at = passage.end
                now = msgspec.structs.replace(now, text=passage.text, start=passage.start, end=at)
                frame = _frame(now)
                continue
            # It has ended, or nothing has come for long: what becomes of it the database knows.
            try:
                found = await log_of(call, wire_logs.LogQuery(first.attempt, at))
            except DatabaseError:
                found = None
            if found is None:
                frame = STILL_HERE
            elif isinstance(found, Refusal):
                return
            elif found.attempt != first.attempt or (log.over and found.live):
                return  # a client that comes back is given the next attempt's, or goes on with what is kept
            elif found.live:
                frame = STILL_HERE
            else:
                # What was kept with the attempt is another text than what was sent of it.
                now = msgspec.structs.replace(found, text="", start=at, end=at)
                frame = _frame(now)


def _frame(log: wire_logs.LogWire) -> bytes:
    return b"id: %d-%d\nevent: log\ndata: %s\n\n" % (log.attempt or 0, log.end, _encode(log))


async def _may_still_read(call: Call) -> bool:
    try:
        return await may_still_read(call)
    except DatabaseError:
        return call.good_for() > 0


ROUTES = [
    Route("POST", "/api/jobs/<id:job_id>/log", Access.WORK, send,
          "What an attempt prints, while it runs; kept in memory only",
          body=wire_logs.LogBody, gives=wire_logs.LogTaken, writes=False, hot=True),
    Route("GET", "/api/jobs/<id:job_id>/log", Access.READ, read,
          "The log of a job's latest attempt: live while it runs, else the end that was kept",
          gives=wire_logs.LogWire, query=wire_logs.LogQuery),
    Route("GET", "/events/jobs/<id:job_id>/log", Access.READ, follow, "The same as it grows (SSE)",
          gives=str, kinds=(STREAM,), query=wire_logs.LogQuery),
]  # fmt: skip
