"""The shapes of comparisons: what has changed between a result and the one that it took the place of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.comparison import Difference
from blobforge.job import JobStatus
from web.api.wire_jobs import JobQuery


class ComparisonQuery(msgspec.Struct, frozen=True):
    """`cursor`: where the page before ended."""

    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class ComparisonsQuery(JobQuery, frozen=True):
    """Of which jobs; of these, those whose former result is kept. `cursor` is `next_cursor` of the page before."""

    status: JobStatus | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(max_length=200)] | None = None


class CountsWire(msgspec.Struct, frozen=True):
    """How many outputs are the same by their hashes, have changed, were there before, are new; and of how many that
    cannot be said, because they have one size and a hash is not on record."""

    same: int
    changed: int
    gone: int
    new: int
    unproven: int


class FormerOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None


class ComparedWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output that is not the same. `size`, `sha256` and `media_type` are those of now; `former`: as it was."""

    name: str
    change: Difference
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None
    former: FormerOutput | None = None


class ComparedJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a job's result. `change` is that of its outputs, or, where neither result has any, that of the
    JSON that the worker sent (`result`). Until `until` the former result can be fetched (`former=true`)."""

    job_id: int
    change: Difference
    attempt: int
    former_attempt: int
    until: str
    outputs: CountsWire
    made_by: str | None = None
    former_made_by: str | None = None
    result: Difference | None = None


class ComparisonWire(ComparedJob, frozen=True, kw_only=True, omit_defaults=True):
    """`differing` has the outputs that are not the same, by name, page by page."""

    differing: list[ComparedWire]
    next_cursor: str | None = None


class ComparisonsWire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page may be short, even empty, and not be the last: go on with `cursor` = `next_cursor`, until there is
    none."""

    comparisons: list[ComparedJob]
    next_cursor: str | None = None
