"""The table of types: how each stands, how fast it goes, and when it will be done. Made of kept figures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from blobforge.breaker import is_open
from blobforge.forecast import Expected
from blobforge.job import JobStatus
from blobforge.jobtype import NOTHING_SET, TypeSettings
from blobforge.store.figures import FEW_FAILURES, TypeLately
from blobforge.store.reading import Reader
from web.api.job_types import probe_at
from web.api.wire_insights import OutlookWire, TypeOutlookWire

HIGH_SHARE = 0.2  # of attempts that fail: coloured from there on
LONGEST_CLOCK = 365 * 86_400  # seconds from now: what is later has no time of day


class TypeRow(msgspec.Struct, frozen=True):
    """`outlook` is None where nothing waits and nothing runs; `workers` are those that are online for it."""

    type: str
    jobs: Mapping[str, int]
    settings: TypeSettings
    lately: TypeLately
    workers: int
    outlook: TypeOutlookWire | None
    probe_at: int | None = None  # when the next job is let through, of one that its breaker has paused

    @property
    def waiting(self) -> int:
        return self.jobs.get(JobStatus.PENDING, 0)

    @property
    def running(self) -> int:
        return self.jobs.get(JobStatus.RUNNING, 0)

    @property
    def fails(self) -> bool:
        """Whether so many of its attempts fail that a person should look."""
        return self.lately.failed >= FEW_FAILURES and (self.lately.failure_rate or 0.0) >= HIGH_SHARE


class KnownType(msgspec.Struct, frozen=True):
    """The facts by which a type is listed or not, and in which place."""

    type: str
    jobs: Mapping[str, int]
    settings: TypeSettings
    workers: int

    @property
    def unserved(self) -> bool:
        return self.workers == 0 and self.jobs.get(JobStatus.PENDING, 0) > 0

    @property
    def work(self) -> int:
        """Its jobs that wait, for a worker or for their next try, and that run."""
        return sum(self.jobs.get(each, 0) for each in (JobStatus.PENDING, JobStatus.FAILED, JobStatus.RUNNING))


def known_types(reader: Reader) -> list[KnownType]:
    """All of them by name: those of which there are jobs, and those for which something is set."""
    settings, jobs = reader.types.known()
    workers = reader.insights.workers_by_type()
    return [
        KnownType(name, jobs.get(name, {}), settings.get(name, NOTHING_SET), workers.get(name, 0))
        for name in sorted({*settings, *jobs})
    ]


def busiest(types: list[KnownType], most: int) -> list[KnownType]:
    """Those with the most to do; by name, so that a table of them does not jump."""
    first = sorted(types, key=lambda each: (-each.work, -sum(each.jobs.values()), each.type))[:most]
    return sorted(first, key=lambda each: each.type)


def rows_of(reader: Reader, types: list[KnownType], outlook: OutlookWire, *, now: int) -> list[TypeRow]:
    lately = reader.insights.lately([each.type for each in types], now=now)
    return [
        TypeRow(
            each.type, each.jobs, each.settings, lately[each.type], each.workers, outlook.by_type.get(each.type),
            probe_at(reader, each.type) if is_open(each.settings) else None,
        )
        for each in types
    ]  # fmt: skip


def ends(outlook: OutlookWire | TypeOutlookWire | None, *, now: int) -> Expected | None:
    """When that will be, by the clock; None where it is not known, or too far away to say."""
    if outlook is None or outlook.low_seconds is None or outlook.high_seconds is None:
        return None
    if not 0 < outlook.high_seconds <= LONGEST_CLOCK:
        return None
    low, high = (now + round(each * 1000) for each in (outlook.low_seconds, outlook.high_seconds))
    return Expected(low, high, "durations")


STATES: Mapping[str, Callable[[KnownType], bool]] = {
    "busy": lambda each: each.work > 0,
    "paused": lambda each: each.settings.paused,
    "unserved": lambda each: each.unserved,
}
