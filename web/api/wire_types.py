"""The shapes of what is set for types of jobs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from blobforge.breaker import HIGHEST
from blobforge.chain import MOST_STEPS
from blobforge.fairness import LONGEST_GROUP, MOST_WEIGHT, MOST_WEIGHTS
from web.api.wire_common import JobType, MaxAttempts, ShortText
from web.api.wire_jobs import StepBody

Timeout = Annotated[float, Meta(ge=1, le=31_536_000, description="seconds")]
Backoff = Annotated[float, Meta(ge=0, le=604_800, description="seconds before the second try; it doubles")]

Weighed = Annotated[str, Meta(max_length=LONGEST_GROUP, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
TurnWeight = Annotated[int, Meta(ge=1, le=MOST_WEIGHT)]


class RateWire(msgspec.Struct, frozen=True):
    """`count` jobs may be started at once, and `count` more are within each `seconds`, evenly spread."""

    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    seconds: Annotated[float, Meta(ge=0.001, le=31_536_000)]


class TypeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is; null sets it no longer: what the server's settings say is in force then.
    `reason` is that of a pause. At most `max_running` jobs run at once; `rate` limits how many are started. A lease
    that no heartbeat renews lasts for `worker_timeout`. `weights`: how many workers these groups hold, where
    others hold 1; `""` are the jobs without a group. Groups that are not named keep theirs; null: all have 1.
    `breaker`: so many failures in a row, of one cause and on most workers, pause the type; 0: none do. `own_fault`: a
    document that two sound workers have failed the same way is dead at once. `quarantine`: whether machines are
    quarantined for what they fail of the type. A job that has been ready for longer than `urgent_after` gets priority
    1. `then` follows jobs that are submitted from now on, or made by the steps of such, and of which nothing else is
    said."""

    reason: ShortText | UnsetType | None = UNSET
    paused: bool | UnsetType | None = UNSET
    max_attempts: MaxAttempts | UnsetType | None = UNSET
    retry_backoff: Backoff | UnsetType | None = UNSET
    max_running: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType | None = UNSET
    rate: RateWire | UnsetType | None = UNSET
    worker_timeout: Timeout | UnsetType | None = UNSET
    breaker: Annotated[int, Meta(ge=0, le=HIGHEST)] | UnsetType | None = UNSET
    urgent_after: Timeout | UnsetType | None = UNSET
    own_fault: bool | UnsetType | None = UNSET
    quarantine: bool | UnsetType | None = UNSET
    then: Annotated[list[StepBody], Meta(max_length=MOST_STEPS)] | UnsetType | None = UNSET
    weights: Annotated[dict[Weighed, TurnWeight], Meta(max_length=MOST_WEIGHTS)] | UnsetType | None = UNSET


class PauseBody(msgspec.Struct, frozen=True):
    reason: ShortText | None = None


class InForceWire(msgspec.Struct, frozen=True):
    """What holds for the type, set for it or for all types."""

    max_attempts: int
    retry_backoff: float
    worker_timeout: float
    breaker: int
    own_fault: bool
    quarantine: bool


class TypeWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A type of jobs. While it is `paused` no worker is given a job of it: since `paused_at`, by `paused_by`, for the
    `reason`. `paused_by` is `server` where its breaker has paused it; then one job is let through from `probe_at` on,
    and the first that is completed ends the pause. `jobs` are its numbers of jobs by status. The other members are
    there where they are set for the type; `in_force` says what holds."""

    type: str
    paused: bool
    jobs: dict[str, int]
    in_force: InForceWire
    reason: str | None = None
    paused_by: str | None = None
    paused_at: str | None = None
    probe_at: str | None = None
    max_attempts: int | None = None
    retry_backoff: float | None = None
    max_running: int | None = None
    rate: RateWire | None = None
    worker_timeout: float | None = None
    weights: dict[str, int] | None = None
    breaker: int | None = None
    urgent_after: float | None = None
    own_fault: bool | None = None
    quarantine: bool | None = None
    then: tuple[StepBody, ...] | None = None


class TypesQuery(msgspec.Struct, frozen=True):
    """`cursor` is the last type of the page before."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 200
    cursor: JobType | None = None


class TypesWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """By name: types of which there are jobs, and those for which something is set. Go on with `cursor` =
    `next_cursor`, until there is none."""

    types: list[TypeWire]
    next_cursor: str | None = None
