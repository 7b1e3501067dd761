"""The facts on the page of one type: durations by size, versions, causes, breaker, workers, changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median

import msgspec

from blobforge import breaker
from blobforge.forecast import Durations
from blobforge.job import PRIORITIES, Job, JobStatus
from blobforge.people import AuditEntry
from blobforge.store.figures import Failure, WorkerRates
from blobforge.store.filters import AuditFilter, JobFilter
from blobforge.store.lists import NEWEST, Cursor
from blobforge.store.reading import Reader
from blobforge.worker import Worker, WorkerStatus

LOOKED_AT = 60  # completed jobs of each priority, the latest: by their sizes
FAILED_LOOKED_AT = 100  # dead ones, and as many that wait for their next try: by their causes
MOST_WORKERS = 100  # that are read
WORKERS_SHOWN = 12
MOST_VERSIONS = 12
MOST_CAUSES = 8
MOST_CHANGES = 8
STEP = 4  # between the bounds of sizes
SMALLEST = 64 << 10  # bytes: what is smaller is one class


class SizeClass(msgspec.Struct, frozen=True):
    """Documents from `least` bytes on (None: their size is not known), up to `below` (None: without an end)."""

    least: int | None
    below: int | None
    jobs: int
    median_seconds: float
    longest_seconds: float


class Version(msgspec.Struct, frozen=True):
    """A converter: how many jobs of the type have a result of it, how many of the type's workers that are online
    have it, and how the attempts of all of its workers ended within a day."""

    made_by: str | None
    jobs: int
    workers: int
    rates: WorkerRates


class BreakerRow(msgspec.Struct, frozen=True):
    """Failures in a row, as they stand."""

    cause: str
    since: int
    failures: int
    documents: int
    workers: list[str]
    overruled: bool
    probe_at: int | None
    probes_failed: int


class TypeFacts(msgspec.Struct, frozen=True):
    sizes: list[SizeClass]
    looked_at: int
    durations: Durations | None
    versions: list[Version]
    causes: list[tuple[Failure, int]]
    failed_looked_at: int
    row: BreakerRow | None
    workers: list[tuple[Worker, WorkerRates]]
    changes: list[AuditEntry]


def read_facts(reader: Reader, type_: str, durations: Durations | None, *, now: int) -> TypeFacts:
    insights = reader.insights
    done = _latest(reader, JobStatus.COMPLETED, type_)
    failed = [
        job
        for status in (JobStatus.DEAD, JobStatus.FAILED)
        for job in reader.list_jobs(JobFilter(status, type_), limit=FAILED_LOOKED_AT, cursor=Cursor()).jobs
    ]
    causes = {each.id: each for each in insights.failures()}
    counted = Counter(job.failure for job in failed if job.failure is not None and job.failure in causes)
    theirs = insights.workers_of_type(type_, limit=MOST_WORKERS)
    rates = insights.rates_among([each.id for each in theirs], now=now)
    workers = [(each, rates.get(each.id, WorkerRates())) for each in theirs]
    found, _ = insights.audit(AuditFilter(subject=type_, action="type.*"), before=NEWEST, limit=MOST_CHANGES)
    return TypeFacts(
        sizes_of(done),
        len(done),
        durations,
        _versions(insights.converters_of_type(type_, limit=MOST_VERSIONS), workers),
        [(causes[id_], n) for id_, n in counted.most_common(MOST_CAUSES)],
        len(failed),
        _row(reader, type_, causes, now=now),
        workers,
        found,
    )


def _latest(reader: Reader, status: JobStatus, type_: str) -> list[Job]:
    found: list[Job] = []
    for priority in PRIORITIES:
        wanted = JobFilter(status, type_, priority=priority)
        found += reader.list_jobs(wanted, limit=LOOKED_AT, cursor=Cursor()).jobs
    return found


def sizes_of(jobs: list[Job]) -> list[SizeClass]:
    """How long documents of each size took, the smallest first: by powers of STEP."""
    took: dict[int | None, list[float]] = {}
    for job in jobs:
        if job.started_at is None or job.completed_at is None:
            continue
        seconds = max(0, job.completed_at - job.started_at) / 1000
        took.setdefault(_class(job.source_size), []).append(seconds)
    classes = sorted(took.items(), key=lambda each: (each[0] is None, each[0] or 0))
    return [
        SizeClass(
            None if at is None else _bound(at),
            None if at is None else _bound(at + 1),
            len(each),
            median(each),
            max(each),
        )
        for at, each in classes
    ]


def _class(size: int | None) -> int | None:
    if size is None:
        return None
    at = 0
    while size >= _bound(at + 1):
        at += 1
    return at


def _bound(at: int) -> int:
    """From so many bytes on."""
    return SMALLEST * STEP ** (at - 1) if at else 0


def _versions(made: list[tuple[str, int]], workers: list[tuple[Worker, WorkerRates]]) -> list[Version]:
    online: Counter[str | None] = Counter()
    ended: dict[str | None, Counter[str]] = {}
    for worker, rates in workers:
        online[worker.converter] += worker.status is WorkerStatus.ONLINE and worker.enabled
        ended.setdefault(worker.converter, Counter()).update(rates.outcomes)
    jobs = dict(made)
    names = [*jobs, *sorted(each for each in ended if each is not None and each not in jobs)]
    found = [Version(name, jobs.get(name, 0), online[name], WorkerRates(dict(ended.get(name, {})))) for name in names]
    return (
        [*found, Version(None, 0, online[None], WorkerRates(dict(ended[None])))] if None in ended and found else found
    )


def _row(reader: Reader, type_: str, causes: Mapping[int, Failure], *, now: int) -> BreakerRow | None:
    row = reader.types.in_a_row(type_)
    if row is None or not breaker.goes_on(row, reader.insights.completed_since(type_, row.hour), now=now):
        return None
    cause = causes.get(row.cause)
    named = f"{cause.kind} in {cause.place}" if cause is not None and cause.place else cause.kind if cause else "?"
    return BreakerRow(
        named, row.since, len(row.failures), len({each.job_id for each in row.failures}), row.workers, row.overruled,
        row.probe_at, row.failed,
    )  # fmt: skip
