"""What the dashboard shows: the outlook, causes of failures, what needs attention, the settings in force.

The `read_*` functions are for the pages, too: a page shows what the API answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from heapq import nsmallest
from typing import Protocol

from msgspec.structs import asdict, replace

from actors.janitor import Janitor
from blobforge.breaker import is_open
from blobforge.config import describe
from blobforge.failures import WORKER_SILENT
from blobforge.forecast import Durations, Outlook, outlook, still_for
from blobforge.job import JobStatus, Outcome
from blobforge.jobtype import NOTHING_SET
from blobforge.outward.addresses import host_of
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import Failure, TypeQueue, WorkerRates
from blobforge.store.lists import MOST_IDS
from blobforge.store.reading import Reader
from web.api import arrays, encode, status, wire_insights
from web.api.job_types import probe_at
from web.decode import query
from web.routing import Access, Call, Route
from web.services import Services

MOST_SHOWN = 20  # of each kind of thing that needs attention


def read_outlook(
    reader: Reader,
    *,
    now: int,
    durations: Mapping[str, Durations] | None = None,
    types: Collection[str] | None = None,
) -> wire_insights.OutlookWire:
    """`durations`, where they have been read already; `types`: of these alone."""
    insights = reader.insights
    durations = durations if durations is not None else insights.durations(now=now)
    loads = {type_: load for type_, load in insights.loads().items() if types is None or type_ in types}
    found = outlook(loads, durations, insights.types_with_workers())
    by_type = {type_: wire_insights.TypeOutlookWire(*_range(each), each.words) for type_, each in found.types.items()}
    rest = wire_insights.TypeOutlookWire(*_range(found.rest), found.rest.words) if found.rest is not None else None
    return wire_insights.OutlookWire(*_range(found), found.words, by_type, rest)


def _range(found: Outlook) -> tuple[float | None, float | None]:
    low, high = (round(each, 1) if each is not None else None for each in (found.low_seconds, found.high_seconds))
    return low, high


def reading_failures(asked: wire_insights.FailureQuery) -> Callable[[Reader], wire_insights.FailuresWire] | Refusal:
    """Reads a page of the causes: a thousand at most. A cause that has moved up meanwhile is not on a later page."""
    numbers = arrays.place(asked.cursor, of=3)
    if isinstance(numbers, Refusal):
        return numbers
    text = (asked.q or "").casefold()
    after = (-numbers[0], -numbers[1], numbers[2]) if numbers is not None else None

    def read(reader: Reader) -> wire_insights.FailuresWire:
        wanted = [
            each
            for each in reader.insights.failures()
            if (not asked.open or each.jobs) and text in f"{each.kind}\n{each.place}\n{each.example}".casefold()
        ]
        rest = [each for each in wanted if after is None or each.rank > after]
        page = rest[: asked.limit]
        last = page[-1] if len(rest) > len(page) else None
        following = f"{last.jobs}-{last.last_seen}-{last.id}" if last is not None else None
        shown = [_failure(each) for each in page]
        return wire_insights.FailuresWire(shown, len(wanted), reader.insights.filling(), following)

    return read


async def failures(call: Call) -> wire_insights.FailuresWire | Refusal:
    wanted = query(call.request.args, wire_insights.FailureQuery)
    if isinstance(wanted, Refusal):
        return wanted
    read = reading_failures(wanted)
    return read if isinstance(read, Refusal) else await call.services.reads.moment(read)


def read_failure(reader: Reader, failure_id: int) -> wire_insights.FailureDetailWire | None:
    """A cause with its workers; None: there is none of this id."""
    failure = next((each for each in reader.insights.failures() if each.id == failure_id), None)
    if failure is None:
        return None
    workers = [wire_insights.FailingWorker(*each) for each in reader.insights.workers_of_failure(failure_id)]
    return wire_insights.FailureDetailWire(**asdict(_failure(failure)), workers=workers)


async def failure(call: Call) -> wire_insights.FailureDetailWire | Refusal:
    failure_id = call.params["failure_id"]
    found = await call.services.reads.moment(partial(read_failure, failure_id=failure_id))
    if found is None:
        return Refusal(
            RefusalCode.NO_SUCH_FAILURE, f"No cause of failures has the id {failure_id}; it may be forgotten."
        )
    return found


class ReadAttention(Protocol):
    def __call__(
        self, reader: Reader, durations: Mapping[str, Durations] | None = None
    ) -> wire_insights.AttentionWire: ...


async def reading_attention(services: Services) -> ReadAttention:
    """Takes down what stands in memory now. What it returns reads the rest of it from the database."""
    now = services.now()
    backup = await status.backup(services)
    store = _store(services.janitor)
    refusing = [
        wire_insights.LimitWire(name, limit.used, limit.total, limit.refused)
        for name, limit in services.limits.items()
        if limit.refusing
    ]

    def read(reader: Reader, durations: Mapping[str, Durations] | None = None) -> wire_insights.AttentionWire:
        insights = reader.insights
        failures = insights.failures()
        dead = sorted((each for each in failures if each.dead), key=lambda each: -each.dead)
        return wire_insights.AttentionWire(
            insights.count(JobStatus.DEAD),
            [_failure(each) for each in dead[:MOST_SHOWN]],
            [_failure(each) for each in failures if each.kind == WORKER_SILENT][:MOST_SHOWN],
            _lost(reader, now=now),
            _contested(reader, now=now),
            _queues(reader, now=now),
            _standing_still(reader, durations if durations is not None else insights.durations(now=now), now=now),
            refusing,
            backup,
            paused=_paused(reader),
            unmatched=_unmatched(reader),
            quarantined=_quarantined(reader),
            webhooks=_unheard(reader, now=now),
            store=store,
        )

    return read


def _store(janitor: Janitor) -> list[str]:
    """The warnings about the object store: it is older than this database, or other databases use it."""
    said = []
    if janitor.found_objects:
        said.append("this database is new, and the object store held objects before it")
    if janitor.others:
        names = ", ".join(janitor.others[:3])
        said.append(f"other installations use it ({names}): sources and orphans are not deleted")
    return said


def _lost(reader: Reader, *, now: int) -> list[wire_insights.LostWorker]:
    """Workers that fell silent with work in hand; one that was idle is merely away."""
    found, none = [], WorkerRates()
    workers = reader.insights.lost_workers(now=now)[:MOST_SHOWN]
    rates = reader.insights.rates_among([worker.id for worker in workers], now=now)
    for worker in workers:
        lost = rates.get(worker.id, none).n(Outcome.LOST)
        running = reader.jobs_running_on(worker.id, limit=MOST_IDS)
        seen = encode.time_or_none(worker.last_heartbeat)
        found.append(
            wire_insights.LostWorker(id=worker.id, type=worker.type, last_heartbeat=seen, lost=lost, running=running)
        )
    return found


def _paused(reader: Reader) -> list[wire_insights.PausedType]:
    """All of them, the latest pause first."""
    settings, jobs = reader.types.known()
    paused = [(type_, each) for type_, each in settings.items() if each.paused_at is not None]
    return [
        wire_insights.PausedType(
            type_, encode.rfc3339(each.paused_at or 0), each.paused_by, each.reason,
            jobs.get(type_, {}).get(JobStatus.PENDING, 0),
            encode.time_or_none(probe_at(reader, type_) if is_open(each) else None),
        )
        for type_, each in sorted(paused, key=lambda found: (-(found[1].paused_at or 0), found[0]))
    ]  # fmt: skip


def _unmatched(reader: Reader) -> list[wire_insights.UnmatchedWire]:
    found = sorted(reader.insights.unmatched(), key=lambda each: (-each.pending, each.type, each.requires))
    return [
        wire_insights.UnmatchedWire(each.type, each.requires, each.pending, each.lacking)
        for each in found[:MOST_SHOWN]
    ]


def _contested(reader: Reader, *, now: int) -> list[wire_insights.ContestedWorker]:
    return [
        wire_insights.ContestedWorker(
            worker.id, worker.type, encode.rfc3339(worker.contested_at or now), worker.contested_by
        )
        for worker in reader.insights.contested_workers(now=now)
    ]


def _quarantined(reader: Reader) -> list[wire_insights.QuarantinedWorker]:
    held = [(worker, worker.quarantine) for worker in reader.insights.quarantined_workers()]
    return [
        wire_insights.QuarantinedWorker(
            worker.id, worker.type, encode.rfc3339(each.since), each.evidence, each.by,
            encode.time_or_none(each.trial_at),
        )
        for worker, each in held
        if each is not None
    ]  # fmt: skip


def _unheard(reader: Reader, *, now: int) -> list[wire_insights.UnheardWebhook]:
    found = [each for each in reader.webhooks.all() if each.is_unheard(now=now)][:MOST_SHOWN]
    return [
        wire_insights.UnheardWebhook(
            each.id, host_of(each.url), encode.rfc3339(each.failing_since or now), each.disabled_why
        )
        for each in found
    ]


def _standing_still(reader: Reader, durations: Mapping[str, Durations], *, now: int) -> list[wire_insights.StillJob]:
    still = (
        (seconds, job)
        for job in reader.insights.running_jobs()
        if (seconds := still_for(job, durations.get(job.type), now=now)) is not None
    )
    return [
        wire_insights.StillJob(job.id, job.type, job.worker_id, round(seconds, 1), job.source_path)
        for seconds, job in nsmallest(MOST_SHOWN, still, key=lambda each: (-each[0], each[1].id))
    ]


def _queues(reader: Reader, *, now: int) -> list[wire_insights.QueueWire]:
    settings, jobs = reader.types.known()
    return [
        replace(
            _queue(each, now=now),
            running=jobs.get(each.type, {}).get(JobStatus.RUNNING, 0),
            max_running=settings.get(each.type, NOTHING_SET).max_running,
        )
        for each in reader.insights.queues()
    ]


def _queue(queue: TypeQueue, *, now: int) -> wire_insights.QueueWire:
    oldest = queue.oldest_at
    age = max(0.0, (now - oldest) / 1000) if oldest is not None else None
    since = encode.time_or_none(oldest)
    return wire_insights.QueueWire(queue.type, queue.pending, since, age, queue.has_worker, queue.not_accepted)


def _failure(failure: Failure) -> wire_insights.FailureWire:
    return wire_insights.FailureWire(
        failure.id,
        failure.fingerprint,
        failure.kind,
        failure.place,
        failure.example,
        encode.rfc3339(failure.first_seen),
        encode.rfc3339(failure.last_seen),
        failure.n,
        failure.failed,
        failure.dead,
    )


async def attention(call: Call) -> wire_insights.AttentionWire:
    return await call.services.reads.moment(await reading_attention(call.services))


async def read_settings(services: Services) -> list[wire_insights.SettingWire]:
    """Every setting with the value in force. What a default stands for shows what came of it."""
    return [
        wire_insights.SettingWire(each.name, each.value, each.default, each.description, each.group, each.is_set)
        for each in describe(services.settings)
    ]


async def settings(call: Call) -> list[wire_insights.SettingWire]:
    return await read_settings(call.services)


async def look_ahead(call: Call) -> wire_insights.OutlookWire:
    return await call.services.reads.moment(partial(read_outlook, now=call.services.now()))


ROUTES = [
    Route("GET", "/api/stats/outlook", Access.READ, look_ahead, "When the queue will be empty, as a range",
          gives=wire_insights.OutlookWire),
    Route("GET", "/api/stats/attention", Access.READ, attention, "What a person should look at",
          gives=wire_insights.AttentionWire),
    Route("GET", "/api/failures", Access.READ, failures, "Failures by their cause, most jobs first",
          gives=wire_insights.FailuresWire, query=wire_insights.FailureQuery),
    Route("GET", "/api/failures/<id:failure_id>", Access.READ, failure, "A cause of failures, and its workers",
          gives=wire_insights.FailureDetailWire),
    Route("GET", "/api/admin/settings", Access.ADMIN, settings, "The settings in force, secrets masked",
          gives=list[wire_insights.SettingWire]),
]  # fmt: skip
