"""What is set for one type of jobs, beside the environment's settings: who may be given its jobs, and how patiently.

Where nothing is set, what the environment says is in force. Times are milliseconds since the epoch, durations
milliseconds.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from blobforge.job import RetryPolicy
from blobforge.refusals import Refusal, RefusalCode


class TypeSettings(msgspec.Struct, frozen=True):
    """None: not set. While the type is paused (since `paused_at`, by the caller `paused_by`) no worker is given its
    jobs. `max_attempts` is for jobs that are submitted from then on without a number of their own; `retry_backoff`
    the wait after the first failed attempt."""

    paused_at: int | None = None
    paused_by: str | None = None
    reason: str | None = None
    max_attempts: int | None = None
    retry_backoff: int | None = None

    @property
    def paused(self) -> bool:
        return self.paused_at is not None


NOTHING_SET = TypeSettings()


class TypeChanges(msgspec.Struct, frozen=True):
    """What is to be set (None: to be set no longer); what is left out stays as it is."""

    paused: bool | UnsetType = UNSET
    reason: str | UnsetType | None = UNSET
    max_attempts: int | UnsetType | None = UNSET
    retry_backoff: int | UnsetType | None = UNSET


class TypeRoom(msgspec.Struct, frozen=True):
    """How many more jobs of a type may be given now. A type without limits has none."""

    type: str
    room: int


def changed(before: TypeSettings, changes: TypeChanges, *, by: str, now: int) -> TypeSettings | Refusal:
    """The settings after a change by this caller. Pausing a paused type gives it another reason; it is paused since
    the first time."""
    after = _paused(before, changes, by=by, now=now)
    if isinstance(after, Refusal):
        return after
    for name in ("max_attempts", "retry_backoff"):
        if (value := getattr(changes, name)) is not UNSET:
            after = replace(after, **{name: value})
    return after


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


def retry_policy(settings: TypeSettings, default: RetryPolicy) -> RetryPolicy:
    """The policy for jobs of the type. A first wait that is longer than the longest one of all types is kept to."""
    if settings.retry_backoff is None:
        return default
    backoff = settings.retry_backoff / 1000
    return replace(default, backoff=backoff, backoff_max=max(default.backoff_max, backoff))


def no_such_type(type_: str) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_TYPE, f"There is no job of type {type_!r}, and nothing is set for it.")
