"""Workers: the fleet at a glance, and one worker."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlencode

from msgspec.structs import replace
from quart import Response

from blobforge.job import Job, Outcome
from blobforge.load import Point
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import WorkerRates
from blobforge.store.lists import MOST_IDS, AttemptPlace, ListedWorker, RosterPage, WorkerAttempt
from blobforge.store.reading import Reader
from blobforge.worker import Worker, WorkerFilter
from web.api import arrays
from web.api.workers import rates_wire
from web.dashboard.loads import load_lines
from web.dashboard.page import framed, page
from web.dashboard.words import facts
from web.routing import Access, Call, Route

RECENT = 25  # attempts that the page of one worker lists
MOST_JOBS = 8  # of one worker in the list
PAGE = 100  # workers
BEGIN = (0, "")
NONE = WorkerRates()
# What a column may be sorted by, from the highest on.
ORDERS: dict[str, Callable[[WorkerRates], float]] = {
    "completed": lambda rates: rates.n(Outcome.COMPLETED),
    "failed": lambda rates: rates.failure_rate or 0,
}
LOADS: dict[str, Callable[[Point], float | None]] = {
    "cpu": lambda load: load.cpu,
    "memory": lambda load: load.memory,
    "gpu": lambda load: load.gpu,
}


async def listed(call: Call) -> Response | Refusal:
    wanted = {name: call.request.args.get(name, "") for name in ("status", "type", "q")}
    sort = call.request.args.get("sort", "")
    if sort not in ("", *ORDERS, *LOADS):
        return Refusal(RefusalCode.INVALID, f"sort: {' or '.join((*ORDERS, *LOADS))}.", field="sort")
    after = _place(call.request.args.get("cursor", ""))
    if isinstance(after, Refusal):
        return after

    now, live = call.services.now(), call.services.live_loads
    latest = live.points(now=now)

    def read(
        reader: Reader,
    ) -> tuple[list[tuple[Worker, list[Job]]], RosterPage, dict[str, WorkerRates], WorkerRates]:
        found = reader.roster.by_rank(_filter(wanted), after=after, limit=PAGE)
        rates = reader.insights.worker_rates(now=now) if sort in ORDERS else {}
        if sort:
            first = _first(reader, _filter(wanted), _ranked(sort, rates, latest))
            found = replace(found, workers=first, next=None)
        if not rates:
            rates = reader.insights.rates_among([worker.id for worker, _ in found.workers], now=now)
        workers = [(worker, _jobs(reader, jobs[:MOST_JOBS])) for worker, jobs in found.workers]
        return workers, found, rates, reader.insights.fleet_rates(now=now)

    totals, (workers, found, all_rates, fleet) = await framed(call, read)
    rates = {worker.id: rates_wire(worker, all_rates.get(worker.id, WorkerRates()), now=now) for worker, _ in workers}
    loads = {worker.id: load for worker, _ in workers if (load := live.of(worker, now=now)) is not None}
    given = {name: value for name, value in wanted.items() if value}
    following = urlencode(given | {"cursor": f"{found.next[0]}:{found.next[1]}"}) if found.next is not None else None
    return await page(
        call, "workers.html", title="Workers", place="/workers", totals=totals, workers=workers, total=found.total,
        wanted=wanted, sort=sort, given=given, most=PAGE, rates=rates, fleet=fleet.failure_rate,
        above={id_ for id_ in rates if all_rates.get(id_, NONE).is_above(fleet)}, facts=facts, loads=loads,
        gpus=any(load.now.gpu is not None for load in loads.values()), by_load=sort in LOADS, load_lines=load_lines,
        first=f"/workers?{urlencode(given)}" if after != BEGIN else None,
        following=f"/workers?{following}" if following is not None else None,
    )  # fmt: skip


async def shown(call: Call) -> Response | Refusal:
    worker_id = call.params["worker_id"]
    cursor = call.request.args.get("attempts") or None
    numbers = arrays.place(cursor, of=3)
    if isinstance(numbers, Refusal):
        return numbers
    place = AttemptPlace(*numbers) if numbers is not None else AttemptPlace()

    now = call.services.now()

    def read(reader: Reader) -> tuple[Worker, list[Job], list[WorkerAttempt], WorkerRates, WorkerRates] | None:
        found = reader.roster.worker(worker_id)
        if found is None:
            return None
        worker, jobs = found
        recent = reader.attempts_of_worker(worker_id, after=place, limit=RECENT + 1)
        rates, fleet = reader.insights.rates_of(worker_id, now=now), reader.insights.fleet_rates(now=now)
        return worker, _jobs(reader, jobs), recent, rates, fleet

    totals, found = await framed(call, read)
    if found is None:
        return Refusal(RefusalCode.NO_SUCH_WORKER, f"There is no worker {worker_id!r}.")
    worker, running, recent, rates, fleet = found
    last = recent[RECENT - 1] if len(recent) > RECENT else None
    base = f"/workers/{quote(worker_id, safe='')}"
    return await page(
        call, "worker.html", title=f"Worker {worker.name or worker.id}", place="/workers", totals=totals,
        worker=worker, running=running, most=MOST_IDS,
        recent=[each for each in recent[:RECENT] if each.outcome is not None],
        first=base if cursor is not None else None,
        following=f"{base}?attempts={last.cursor}#recent-title" if last is not None else None,
        rate=rates_wire(worker, rates, now=now), fleet=fleet.failure_rate, above=rates.is_above(fleet), facts=facts,
        load=call.services.live_loads.of(worker, now=now), load_lines=load_lines, alone=call.services.presence.alone,
    )  # fmt: skip


def _ranked(sort: str, rates: dict[str, WorkerRates], loads: dict[str, Point]) -> list[str]:
    """The ids of the workers for this order, the highest first: of those that have ended an attempt, or tell it."""
    if sort in LOADS:
        shares = {id_: share for id_, load in loads.items() if (share := LOADS[sort](load)) is not None}
    else:
        shares = {id_: ORDERS[sort](each) for id_, each in rates.items() if each.ended}
    return sorted(shares, key=lambda id_: (-shares[id_], id_))


def _first(reader: Reader, wanted: WorkerFilter, ids: list[str]) -> list[ListedWorker]:
    """A page of the workers that match, in the order of their ids in `ids`."""
    found: list[ListedWorker] = []
    for start in range(0, len(ids), PAGE):
        found += reader.roster.among(wanted, ids[start : start + PAGE])
        if len(found) >= PAGE:
            break
    return found[:PAGE]


def _jobs(reader: Reader, ids: list[int]) -> list[Job]:
    return [job for id_ in ids if (job := reader.job_in_short(id_)) is not None]


def _filter(wanted: dict[str, str]) -> WorkerFilter:
    """The filter that the form asks for. To a person a disabled worker is disabled, and not offline."""
    status, text, type_ = wanted["status"] or None, wanted["q"] or None, wanted["type"] or None
    if status == "disabled":
        return WorkerFilter(enabled=False, type=type_, q=text)
    return WorkerFilter(status, True if status else None, type_, text)


def _place(cursor: str) -> tuple[int, str] | Refusal:
    """Where a page begins: behind a rank and an id."""
    if not cursor:
        return BEGIN
    rank, colon, worker_id = cursor.partition(":")
    if not colon or rank not in {"0", "1", "2", "3"} or "\0" in worker_id:
        return Refusal(RefusalCode.INVALID, "cursor: take it from the link to the next page.", field="cursor")
    return int(rank), worker_id


ROUTES = [
    Route("GET", "/workers", Access.READ, listed, "The workers page", gives=str, page=True),
    Route("GET", "/workers/<worker:worker_id>", Access.READ, shown, "The page of one worker", gives=str, page=True),
]  # fmt: skip
