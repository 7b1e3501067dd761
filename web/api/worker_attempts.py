"""What a worker has done: its attempts, whatever became of them, the newest first."""

from __future__ import annotations

from blobforge.canary import ordinary
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import AttemptPlace, WorkerAttempt
from blobforge.store.reading import Reader
from web.api import arrays, encode, wire_workers
from web.decode import query
from web.routing import Access, Call, Route

LONGEST_LINE = 500  # characters of an error, in a list


async def listed(call: Call) -> wire_workers.WorkerAttemptsWire | Refusal:
    wanted = query(call.request.args, wire_workers.WorkerAttemptsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    numbers = arrays.place(wanted.cursor, of=3)
    if isinstance(numbers, Refusal):
        return numbers
    place = AttemptPlace(*numbers) if numbers is not None else AttemptPlace()
    worker_id = call.params["worker_id"]

    def read(reader: Reader) -> list[WorkerAttempt] | None:
        found = reader.attempts_of_worker(worker_id, after=place, limit=wanted.limit + 1)
        # A worker that was removed has left its attempts behind.
        return found if found or reader.worker(worker_id) is not None else None

    found = await call.services.reads.moment(read)
    if found is None:
        return Refusal(RefusalCode.NO_SUCH_WORKER, f"There is no worker {worker_id!r}, and no attempt of one.")
    page = found[: wanted.limit]
    last = page[-1] if len(found) > wanted.limit else None
    return wire_workers.WorkerAttemptsWire([_wire(each) for each in page], last.cursor if last is not None else None)


def _wire(found: WorkerAttempt) -> wire_workers.WorkerAttemptWire:
    return wire_workers.WorkerAttemptWire(
        job_id=found.job_id,
        attempt=found.attempt,
        type=ordinary(found.type),
        started_at=encode.rfc3339(found.started_at),
        ended_at=encode.time_or_none(found.ended_at),
        outcome=found.outcome,
        kind=found.kind,
        error=encode.clipped(found.error, LONGEST_LINE) if found.error is not None else None,
        source_path=found.source_path,
    )


ROUTES = [
    Route("GET", "/api/workers/<worker:worker_id>/attempts", Access.READ, listed,
          "The attempts of a worker, whatever their outcome, the newest first",
          gives=wire_workers.WorkerAttemptsWire, query=wire_workers.WorkerAttemptsQuery),
]  # fmt: skip
