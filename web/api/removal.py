"""Many workers removed, by their ids or by a filter."""

from __future__ import annotations

from actors.messages import Item, OperationPlan, RemoveWorker, RemoveWorkers
from actors.works import chosen_workers, pages_of_workers
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import ListedWorker
from blobforge.store.reading import Reader
from blobforge.worker import Worker, WorkerFilter
from web.api import bulk, encode, wire_bulk
from web.routing import Access, Call, Route

PAGE = 1000  # workers read at once


async def remove_many(call: Call, body: wire_bulk.BulkWorkers) -> bulk.BulkAnswered:
    if body.background and not body.dry_run:
        return await bulk.begin(call, body, _wanted(body))

    async def select() -> bulk.Selected | Refusal:
        return await _select(call, body)

    return await bulk.carry_out(call, body, select)


def sample(reader: Reader, body: wire_bulk.BulkWorkers, *, most: int) -> list[Worker]:
    """Some of the workers that would be removed."""
    plan = _wanted(body)
    if isinstance(plan, Refusal):
        return []
    assert isinstance(plan.work, RemoveWorkers)
    ids, only = plan.work.workers, chosen_workers(plan.work)
    if only is not None:
        found, _ = reader.roster.by_id(only, after="", limit=most)
        return [worker for worker, _ in found]
    return [each[0] for id_ in (ids or ())[:most] if (each := reader.roster.worker(id_)) is not None]


def _wanted(body: wire_bulk.BulkWorkers) -> OperationPlan | Refusal:
    wanted = WorkerFilter(body.status, None, body.type, body.q, encode.ms_or_none(body.silent_since))
    if body.ids is not None:
        if wanted != WorkerFilter():
            return Refusal(RefusalCode.INVALID, "Send ids or a filter, not both.", field="ids")
        return OperationPlan(RemoveWorkers(tuple(dict.fromkeys(body.ids))))
    if wanted == WorkerFilter():
        text = "Send ids, or at least one of status, type, q, silent_since."
        return Refusal(RefusalCode.INVALID, text, field="ids")
    return OperationPlan(RemoveWorkers(chosen=wanted))


async def _select(call: Call, body: wire_bulk.BulkWorkers) -> bulk.Selected | Refusal:
    plan = _wanted(body)
    if isinstance(plan, Refusal):
        return plan
    assert isinstance(plan.work, RemoveWorkers)
    ids, wanted, only = plan.work.workers, plan.work.chosen, chosen_workers(plan.work)
    if ids is not None:
        found = await call.services.reads.moment(lambda reader: [reader.roster.worker(each) for each in ids])
        return len(ids), _pages([each for each in found if each is not None], None)
    assert only is not None, "by a filter"
    matched = 0
    chosen: list[ListedWorker] = []
    after, more = "", True
    while more:
        page, more = await _page(call, wanted, after)
        matched += len(page)
        chosen += [each for each in page if only.matches(each[0])]
        after = page[-1][0].id if page else after
    # Once more in the transaction: a worker that has come back since stays, and its jobs with it.
    return matched, _pages(chosen, only)


def _pages(chosen: list[ListedWorker], only: WorkerFilter | None) -> list[tuple[Item, ...]]:
    """The jobs of each go back along with it."""
    pages = pages_of_workers((worker.id, len(jobs)) for worker, jobs in chosen)
    return [tuple(RemoveWorker(worker_id, only) for worker_id in page) for page in pages]


async def _page(call: Call, wanted: WorkerFilter, after: str) -> tuple[list[ListedWorker], bool]:
    return await call.services.reads.run(lambda reader: reader.roster.by_id(wanted, after=after, limit=PAGE))


ROUTES = [
    Route("POST", "/api/workers/remove", Access.ADMIN, remove_many,
          "Remove many workers, by their ids or by a filter", body=wire_bulk.BulkWorkers,
          gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="workers.remove"),
]  # fmt: skip
