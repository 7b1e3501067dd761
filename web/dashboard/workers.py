"""Workers: the fleet at a glance, and one worker."""

from __future__ import annotations

from quart import Response

from blobforge.job import Job
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.insights import WorkerRates
from blobforge.store.reader import AttemptPlace, Reader, WorkerAttempt
from blobforge.worker import Worker, WorkerStatus
from web.api.workers import rates_wire
from web.dashboard.page import page
from web.dashboard.words import facts
from web.routing import Access, Call, Route

RECENT = 25  # attempts that the page of one worker lists
MOST_JOBS = 8  # of one worker in the list
ORDER = {WorkerStatus.ONLINE: 0, WorkerStatus.DRAINING: 1, WorkerStatus.OFFLINE: 2}
MOST_WORKERS = 500  # on one page; ten thousand of them are searched, not looked at


async def listed(call: Call) -> Response:
    wanted = {name: call.request.args.get(name, "") for name in ("status", "type", "q")}

    def read(reader: Reader) -> tuple[list[tuple[Worker, list[Job]]], int]:
        found = [(worker, jobs) for worker, jobs in reader.workers() if _matches(worker, wanted)]
        found.sort(key=lambda one: (not one[0].enabled, ORDER[one[0].status], one[0].id))
        shown = [(worker, _jobs(reader, jobs[:MOST_JOBS])) for worker, jobs in found[:MOST_WORKERS]]
        return shown, len(found)

    workers, total = await call.services.reads.run(read)
    now = call.services.now()
    found = await call.services.reads.run(lambda reader: reader.insights.worker_rates(now=now))
    rates = {worker.id: rates_wire(worker, found.get(worker.id, WorkerRates()), now=now) for worker, _ in workers}
    return await page(
        call, "workers.html", title="Workers", place="/workers", workers=workers, total=total, wanted=wanted,
        most=MOST_WORKERS, rates=rates, facts=facts,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    worker_id = call.params["worker_id"]

    def read(reader: Reader) -> tuple[Worker, list[Job], list[WorkerAttempt]] | None:
        for worker, jobs in reader.workers(worker_id):
            recent = reader.attempts_of_worker(worker_id, after=AttemptPlace(), limit=RECENT)
            return worker, _jobs(reader, jobs), [attempt for attempt in recent if attempt.outcome is not None]
        return None

    found = await call.services.reads.run(read)
    if found is None:
        return Refusal(RefusalCode.NO_SUCH_WORKER, f"There is no worker {worker_id!r}.")
    worker, running, recent = found
    now = call.services.now()
    rates = await call.services.reads.run(lambda reader: reader.insights.rates_of(worker_id, now=now))
    return await page(
        call, "worker.html", title=f"Worker {worker.name or worker.id}", place="/workers", worker=worker,
        running=running, recent=recent, rate=rates_wire(worker, rates, now=now), facts=facts,
    )  # fmt: skip


def _jobs(reader: Reader, ids: list[int]) -> list[Job]:
    return [job for id_ in ids if (job := reader.job(id_)) is not None]


def _matches(worker: Worker, wanted: dict[str, str]) -> bool:
    text = wanted["q"].casefold()
    state = str(worker.status) if worker.enabled else "disabled"
    return (
        (not wanted["status"] or wanted["status"] == state)
        and (not wanted["type"] or wanted["type"] == worker.type)
        and (not text or text in worker.id.casefold() or text in (worker.name or "").casefold())
    )


ROUTES = [
    Route("GET", "/workers", Access.READ, listed, "The workers page", gives=str, page=True),
    Route("GET", "/workers/<worker:worker_id>", Access.READ, shown, "The page of one worker", gives=str, page=True),
]  # fmt: skip
