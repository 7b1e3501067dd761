"""What is set for one type of jobs, beside the environment's settings: a pause, limits, and a patience of its own.

Where nothing is set, what the environment says is in force. Times are milliseconds since the epoch, durations
milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from blobforge.chain import Step
from blobforge.fairness import MOST_WEIGHTS, Weights
from blobforge.job import RetryPolicy
from blobforge.refusals import Refusal, RefusalCode
from blobforge.spans import SET_BACK_MS


class TypeSettings(msgspec.Struct, frozen=True):
    """None: not set. While the type is paused (since `paused_at`, by the caller `paused_by`) no worker is given its
    jobs. `max_attempts` is for jobs that are submitted from then on without a number of their own; `retry_backoff`
    the wait after the first failed attempt. At most `max_running` of its jobs run at once. Jobs that are started are
    taken out of a bucket of `rate_count` that fills evenly within `rate_ms`. `worker_timeout`: how long a lease lasts
    that no heartbeat renews. `group_weights`: how much of the workers groups get (`fairness.py`), as JSON. So many
    failures in a row pause the type (`breaker`; 0: none do). `own_fault`: a document that two sound workers have
    failed the same way is dead at once. `quarantine`: whether machines are judged by what they fail of it. A job that
    has been ready for longer than `urgent_after` is urgent. `made_by`: these are comparisons of a canary
    (`canary.py`), for workers of that converter alone. `then_steps`: what follows its jobs (`typechain.py`), as
    JSON."""

    paused_at: int | None = None
    paused_by: str | None = None
    reason: str | None = None
    max_attempts: int | None = None
    retry_backoff: int | None = None
    max_running: int | None = None
    rate_count: int | None = None
    rate_ms: int | None = None
    worker_timeout: int | None = None
    group_weights: str | None = None
    breaker: int | None = None
    urgent_after: int | None = None
    own_fault: bool | None = None
    quarantine: bool | None = None
    made_by: str | None = None
    then_steps: str | None = None

    @property
    def then(self) -> tuple[Step, ...]:
        """What follows jobs of which nothing else is said."""
        return _steps(self.then_steps) if self.then_steps is not None else ()

    @property
    def weights(self) -> Weights:
        """Of groups; those that are not there have 1."""
        return _weights(self.group_weights) if self.group_weights is not None else {}

    @property
    def paused(self) -> bool:
        return self.paused_at is not None

    @property
    def most(self) -> int | None:
        """How many of its jobs may run at once; None: as many as there are workers."""
        return 0 if self.paused else self.max_running

    @property
    def limited(self) -> bool:
        return self.max_running is not None or self.rate_count is not None


@lru_cache(maxsize=256)
def _weights(text: str) -> Weights:
    return msgspec.json.decode(text, type=dict[str, int])


@lru_cache(maxsize=256)
def _steps(text: str) -> tuple[Step, ...]:
    return msgspec.json.decode(text, type=tuple[Step, ...])


def _weighed(before: Weights, changes: Weights | None) -> dict[str, int]:
    """The weights that are not 1 after a change; None: all are."""
    return {group: n for group, n in {**before, **changes}.items() if n != 1} if changes is not None else {}


NOTHING_SET = TypeSettings()
# What is set as it is said.
SIMPLE: Final = (
    "max_attempts", "retry_backoff", "max_running", "worker_timeout", "breaker", "urgent_after", "own_fault",
    "quarantine",
)  # fmt: skip


class SettingsByType(dict[str, TypeSettings]):
    """What is set for types; those for which nothing is are not there. `comparisons`: the types of comparisons, by
    the converter of the workers that they are for. `then`: what follows jobs of a type, where that is set."""

    def __init__(self, settings: Mapping[str, TypeSettings]) -> None:
        super().__init__(settings)
        self.then = {type_: each.then for type_, each in settings.items() if each.then_steps is not None}
        self.comparisons: dict[str, tuple[str, ...]] = {}
        for type_, each in settings.items():
            if each.made_by is not None:
                self.comparisons[each.made_by] = (*self.comparisons.get(each.made_by, ()), type_)


# By this word a claim says that its worker beats at the interval that it is told with each job.
HEEDS_INTERVAL: Final = "heartbeat_interval"
BEATS_SHARE: Final = 1 / 6  # of the patience with a lease: so long a worker waits between two heartbeats


class TypeChanges(msgspec.Struct, frozen=True):
    """What is to be set (None: to be set no longer); what is left out stays as it is."""

    paused: bool | UnsetType = UNSET
    reason: str | UnsetType | None = UNSET
    max_attempts: int | UnsetType | None = UNSET
    retry_backoff: int | UnsetType | None = UNSET
    max_running: int | UnsetType | None = UNSET
    rate: tuple[int, int] | UnsetType | None = UNSET  # count, ms
    worker_timeout: int | UnsetType | None = UNSET
    breaker: int | UnsetType | None = UNSET
    urgent_after: int | UnsetType | None = UNSET
    own_fault: bool | UnsetType | None = UNSET
    quarantine: bool | UnsetType | None = UNSET
    then: tuple[Step, ...] | UnsetType | None = UNSET
    weights: dict[str, int] | UnsetType | None = UNSET  # of these groups; the others keep theirs. 1: as if not set


class Patience(msgspec.Struct, frozen=True):
    """How long a lease lasts that no heartbeat renews, and how long its worker waits between two (both ms)."""

    lease: int
    beat: int


class TypeLoad(msgspec.Struct, frozen=True):
    """How much of a type's limits is taken: its running jobs; and of its bucket `owed` at `owed_at`, where a started
    job takes `rate_ms` out of `rate_count * rate_ms`, and each millisecond gives `rate_count` back."""

    running: int = 0
    owed: int = 0
    owed_at: int = 0


class TypeRoom(msgspec.Struct, frozen=True):
    """How many more jobs of a type may be given now; and in how many seconds one more may be by time alone, where
    nothing but its rate is in the way. A type without limits has none."""

    type: str
    room: int
    again: float | None = None


def changed(before: TypeSettings, changes: TypeChanges, *, by: str, now: int) -> TypeSettings | Refusal:
    """The settings after a change by this caller. Pausing a paused type gives it another reason; it is paused since
    the first time."""
    after = _paused(before, changes, by=by, now=now)
    if isinstance(after, Refusal):
        return after
    for name in SIMPLE:
        if (value := getattr(changes, name)) is not UNSET:
            after = replace(after, **{name: value})
    if changes.then is not UNSET:
        steps = msgspec.json.encode(changes.then).decode() if changes.then else None
        after = replace(after, then_steps=steps)
    if changes.weights is not UNSET:
        weights = _weighed(before.weights, changes.weights)
        if len(weights) > MOST_WEIGHTS:
            return Refusal(
                RefusalCode.INVALID,
                f"{len(weights):,} groups would have a weight, and {MOST_WEIGHTS:,} may. Set some to 1.",
                field="weights",
            )
        text = msgspec.json.encode(weights, order="sorted").decode() if weights else None
        after = replace(after, group_weights=text)
    if changes.rate is UNSET:
        return after
    count, ms = changes.rate or (None, None)
    return replace(after, rate_count=count, rate_ms=ms)


def room(type_: str, settings: TypeSettings, load: TypeLoad, *, now: int) -> TypeRoom:
    """What the limits leave, of a type that has any."""
    left = settings.max_running - load.running if settings.max_running is not None else None
    if settings.rate_count is None or settings.rate_ms is None:
        assert left is not None
        return TypeRoom(type_, max(0, left))
    count, ms = settings.rate_count, settings.rate_ms
    owed = owed_now(settings, load, now=now)
    tokens = max(0, (count * ms - owed) // ms)
    if left is not None and left <= 0:
        return TypeRoom(type_, 0)
    # To the next one, beyond those that are there.
    lacking = (tokens + 1) * ms + owed - count * ms
    return TypeRoom(type_, tokens if left is None else min(tokens, left), -(-lacking // count) / 1000)


def owed_now(settings: TypeSettings, load: TypeLoad, *, now: int) -> int:
    """What is still taken out of the bucket. Where the clock has been set back since, by years perhaps, it is not
    known how much has come back: enough for one job, and from that on it goes by the clock as it is now."""
    count, ms = settings.rate_count or 0, settings.rate_ms or 0
    if load.owed_at - now > SET_BACK_MS:
        return min(load.owed, max(0, count - 1) * ms)
    return max(0, load.owed - count * max(0, now - load.owed_at))


def free_at(settings: TypeSettings, load: TypeLoad, *, now: int) -> int | None:
    """When the bucket has one (ms), as far as nothing is taken out before; None: there is no rate."""
    if settings.rate_count is None or settings.rate_ms is None:
        return None
    lacking = owed_now(settings, load, now=now) - (settings.rate_count - 1) * settings.rate_ms
    return now + max(0, -(-lacking // settings.rate_count))


def spend(settings: TypeSettings, load: TypeLoad, n: int, *, now: int) -> TypeLoad:
    """The load after so many more were started, of a type with a rate."""
    owed = owed_now(settings, load, now=now) + n * (settings.rate_ms or 0)
    return replace(load, owed=owed, owed_at=now)


def _paused(before: TypeSettings, changes: TypeChanges, *, by: str, now: int) -> TypeSettings | Refusal:
    reason = None if changes.reason is UNSET else changes.reason
    paused = before.paused if changes.paused is UNSET else changes.paused
    if not paused:
        if reason:
            return Refusal(
                RefusalCode.INVALID,
                "reason: it is the reason of a pause, and the type is not paused. Send `paused: true` with it.",
                field="reason",
            )
        return replace(before, paused_at=None, paused_by=None, reason=None)
    if changes.paused is UNSET and changes.reason is UNSET:
        return before
    since = before.paused_at if before.paused_at is not None else now
    return replace(before, paused_at=since, paused_by=by, reason=reason or None)


def patience(settings: TypeSettings, default: Patience, *, heeds: bool) -> Patience | None:
    """What holds for a lease of a job of the type instead of the default; None: the default does. `heeds`: its worker
    beats at the interval that it is told with the job. One that does not beats at its own, by which a shorter lease
    would be lost."""
    own = settings.worker_timeout
    if own is None or (own < default.lease and not heeds):
        return None
    # Workers that are silent for longer than the default count as offline, whatever they run.
    return Patience(own, min(default.beat, round(own * BEATS_SHARE)))


def retry_policy(settings: TypeSettings, default: RetryPolicy) -> RetryPolicy:
    """The policy for jobs of the type. A first wait that is longer than the longest one of all types is kept to."""
    if settings.retry_backoff is None:
        return default
    backoff = settings.retry_backoff / 1000
    return replace(default, backoff=backoff, backoff_max=max(default.backoff_max, backoff))


def no_such_type(type_: str) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_TYPE, f"There is no job of type {type_!r}, and nothing is set for it.")
