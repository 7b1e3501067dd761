"""Many workers removed, drained, or drained no more: by their ids or by a filter."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from actors.messages import Drain, EnableWorker, Item, OperationPlan, RemoveWorker, RemoveWorkers
from actors.works import chosen_workers, pages_of_workers
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import ListedWorker
from blobforge.store.reading import Reader
from blobforge.worker import Worker, WorkerFilter
from web.api import bulk, encode, wire_bulk
from web.routing import Access, Call, Route

PAGE = 1000  # workers read at once
A_TURN = 200  # workers that are drained in one transaction


async def remove_many(call: Call, body: wire_bulk.BulkWorkers) -> bulk.BulkAnswered:
    if body.background and not body.dry_run:
        return await bulk.begin(call, body, _wanted(body))
    call.takes_rights = not body.dry_run  # also where they were removed before, and none is found

    async def select() -> bulk.Selected | Refusal:
        return await _select(call, body)

    return await bulk.carry_out(call, body, select)


async def drain_many(call: Call, body: wire_bulk.BulkDrain) -> wire_bulk.BulkAnswer | Refusal:
    """No operation: it is a row of each worker, and nothing goes back."""

    async def select() -> bulk.Selected | Refusal:
        only = _to_drain(body)
        if isinstance(only, Refusal):
            return only
        found = await call.services.reads.moment(partial(_named, body.ids)) if body.ids else await _all(call, only)
        one = Drain if body.drain else EnableWorker
        items = [one(each.id, replace(only, enabled=True)) for each in found if _drains(body, each)]
        matched = len(dict.fromkeys(body.ids)) if body.ids else len(found)
        return matched, [tuple(items[start : start + A_TURN]) for start in range(0, len(items), A_TURN)]

    return await bulk.carry_out(call, body, select)


def _to_drain(body: wire_bulk.BulkDrain) -> WorkerFilter | Refusal:
    wanted = WorkerFilter(body.status, None, body.type, body.q, encode.ms_or_none(body.silent_since))
    return _ids_or(wanted, body.ids) or wanted


def _drains(body: wire_bulk.BulkDrain, worker: Worker) -> bool:
    """Whether it would be changed."""
    return worker.enabled and worker.drain is not body.drain


def _named(ids: list[str], reader: Reader) -> list[Worker]:
    return [found[0] for id_ in dict.fromkeys(ids) if (found := reader.roster.worker(id_)) is not None]


async def _all(call: Call, wanted: WorkerFilter) -> list[Worker]:
    found: list[Worker] = []
    more = True
    while more:
        page, more = await _page(call, wanted, found[-1].id if found else "")
        found += [worker for worker, _ in page]
    return found


def _ids_or(wanted: WorkerFilter, ids: list[str] | None) -> Refusal | None:
    """Refuse both and neither."""
    if ids is not None and wanted != WorkerFilter():
        return Refusal(RefusalCode.INVALID, "Send ids or a filter, not both.", field="ids")
    if ids is None and wanted == WorkerFilter():
        text = "Send ids, or at least one of status, type, q, silent_since."
        return Refusal(RefusalCode.INVALID, text, field="ids")
    return None


def sample(reader: Reader, body: wire_bulk.BulkWorkers | wire_bulk.BulkDrain, *, most: int) -> list[Worker]:
    """Some of the workers that would be changed."""
    if isinstance(body, wire_bulk.BulkDrain):
        only = _to_drain(body)
        if isinstance(only, Refusal):
            return []
        found = (
            _named(body.ids, reader)
            if body.ids
            else [worker for worker, _ in reader.roster.by_id(only, after="", limit=PAGE)[0]]
        )
        return [each for each in found if _drains(body, each)][:most]
    plan = _wanted(body)
    if isinstance(plan, Refusal):
        return []
    assert isinstance(plan.work, RemoveWorkers)
    ids, chosen = plan.work.workers, chosen_workers(plan.work)
    if chosen is not None:
        listed, _ = reader.roster.by_id(chosen, after="", limit=most)
        return [worker for worker, _ in listed]
    return [each[0] for id_ in (ids or ())[:most] if (each := reader.roster.worker(id_)) is not None]


def _wanted(body: wire_bulk.BulkWorkers) -> OperationPlan | Refusal:
    wanted = WorkerFilter(body.status, None, body.type, body.q, encode.ms_or_none(body.silent_since))
    if (refusal := _ids_or(wanted, body.ids)) is not None:
        return refusal
    if body.ids is not None:
        return OperationPlan(RemoveWorkers(tuple(dict.fromkeys(body.ids))))
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
    Route("POST", "/api/workers/drain", Access.ADMIN, drain_many,
          "Drain many workers, by their ids or by a filter, or end their drain", body=wire_bulk.BulkDrain,
          gives=wire_bulk.BulkAnswer, audit="workers.drain"),
]  # fmt: skip
