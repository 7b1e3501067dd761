"""The shapes of canaries: documents converted once more by a converter on trial, and the results compared."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.canary import (
    LOWEST_PRIORITY,
    MOST_JOBS,
    MOST_TYPES,
    SLOWER,
    WORST,
    CanaryOutcome,
    CanaryState,
    CanaryVerdict,
)
from blobforge.comparison import Difference
from web.api.wire_common import ConverterText, JobType, MadeBy, Priority

Ratio = Annotated[float, Meta(ge=1.05, le=1000, description="times as long counts as slower")]


class CanaryBody(msgspec.Struct, frozen=True):
    """Of these types `sample` completed jobs (all, where there are fewer) are converted once more, by workers of
    `made_by`. `against`: only results of these converters are compared with. Ordinary jobs of the same `priority` go
    first. `need_worker`: refuse where no such worker is online."""

    types: Annotated[list[JobType], Meta(min_length=1, max_length=MOST_TYPES)]
    made_by: ConverterText
    against: MadeBy | None = None
    sample: Annotated[int, Meta(ge=1, le=MOST_JOBS)] = 200
    slower: Ratio = SLOWER
    priority: Priority = LOWEST_PRIORITY
    need_worker: bool = False


class CanaryWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Of `sample` jobs that were asked for `taken` were there. `jobs` are its own by status, of which `left` have not
    ended. `workers`: so many that may be given them are online now. Until `until` it is kept, with its results."""

    id: int
    state: CanaryState
    types: tuple[str, ...]
    made_by: str
    sample: int
    taken: int
    slower: float
    priority: int
    by: str
    created_at: str
    until: str
    jobs: dict[str, int]
    left: int
    workers: int
    against: str | None = None
    cancelled_at: str | None = None


class CanariesQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class CanariesWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    canaries: list[CanaryWire]
    next_cursor: int | None = None


class CanaryJobWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Job `job_id` of the canary, held against the result that attempt `against` of job `original_id` has made: both
    can be fetched as those of any job. `change` is what became of the outputs. `ratio` is how many times as long it
    took, of seconds `before` and `now`; `slower`: that counts."""

    job_id: int
    original_id: int
    against: int
    type: str
    outcome: CanaryOutcome
    slower: bool
    change: Difference | None = None
    before: float | None = None
    now: float | None = None
    ratio: float | None = None
    error: str | None = None
    worker_id: str | None = None
    former_made_by: str | None = None
    source_size: int | None = None
    source_path: str | None = None


class CanaryJobsQuery(msgspec.Struct, frozen=True):
    """Those of one `outcome`, where it is said."""

    outcome: CanaryOutcome | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class CanaryJobsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A page may be short, even empty, and not be the last: go on with `cursor` = `next_cursor`, until there is
    none."""

    jobs: list[CanaryJobWire]
    next_cursor: int | None = None


class ReportQuery(msgspec.Struct, frozen=True):
    worst: Annotated[int, Meta(ge=0, le=200, description="comparisons to look at, at most")] = WORST


class ReportWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`verdict` is the worst that there is to say; while jobs are left it is `running`. `outcomes` counts the
    comparisons by what they came to. `slower` of them took longer than the threshold says; `median` is the ratio of
    the one in the middle, of `timed`, by which the canary `is_slower` as a whole. `worst`: the ones to look at."""

    canary: CanaryWire
    verdict: CanaryVerdict
    outcomes: dict[str, int]
    slower: int
    timed: int
    is_slower: bool
    worst: list[CanaryJobWire]
    median: float | None = None
