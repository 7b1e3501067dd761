"""Webhooks: other systems are told of what has happened, by a POST to a URL of theirs. What an endpoint asks for,
what it is sent, and when a delivery is tried again.

A batch may name a URL that is told of its end: a callback. All callbacks to one host have one endpoint, so that no
host is called more often at once than any other endpoint, however many batches name it.

Pure: the time is an argument. Times are milliseconds since the epoch. Signatures and headers are those of Standard
Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from blobforge.batch import JobBatch
from blobforge.chain import known_hash
from blobforge.job import Job, JobStatus
from blobforge.refusals import Refusal, RefusalCode
from blobforge.spans import due_in

# After each failure it waits longer: three days of tries in all, then the delivery is given up.
BACKOFF: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 86_400)  # seconds
JITTER: Final = 0.1  # of the wait, at most: endpoints that came back are not met by all at once
DISABLE_AFTER: Final = 3 * 86_400_000  # ms of nothing but failures, and an endpoint is sent nothing more
# Of the time between two failures so much counts at most: the longest wait between two tries. Beyond it the endpoint
# was not tried: no server ran, or the clock was set forward.
MOST_COUNTED: Final = round(BACKOFF[-1] * 1000 * (1 + JITTER))  # ms
UNHEARD_AFTER: Final = 3_600_000  # ms of nothing but failures, and people are told
TAKEN_FOR: Final = 60_000  # ms that a server has to deliver what it took; then another one may
MOST_WEBHOOKS: Final = 100  # each commit that ends a job looks at all of them
MOST_CALLBACKS: Final = 1000  # that one host is to be told, or waits to be told
HEEDED: Final = 4 * 3_600_000  # ms that a receiver may ask to be left alone, at most
LONGEST_ERROR: Final = 500  # characters of a job's error in what is sent
LONGEST_PATH: Final = 500
GONE: Final = 410  # the status of an endpoint that wants nothing more, by the specification


class WebhookEvent(StrEnum):
    """What an endpoint may ask for."""

    JOB_COMPLETED = "job.completed"
    JOB_DEAD = "job.dead"
    JOB_CANCELLED = "job.cancelled"
    BATCH_ENDED = "batch.ended"
    TYPE_PAUSED = "type.paused"
    TYPE_RESUMED = "type.resumed"
    WORKER_LOST = "worker.lost"
    WORKER_QUARANTINED = "worker.quarantined"
    DRILL_FAILED = "backup.drill_failed"


TEST: Final = "webhook.test"  # sent when it is asked for, to any endpoint
_OF_STATUS: Final = {
    JobStatus.COMPLETED: WebhookEvent.JOB_COMPLETED,
    JobStatus.DEAD: WebhookEvent.JOB_DEAD,
    JobStatus.CANCELLED: WebhookEvent.JOB_CANCELLED,
}


class Occasion(msgspec.Struct, frozen=True):
    """Something that endpoints may want to hear of: what happened, what it is about, and what is sent of it."""

    event: str
    data: dict[str, Any]
    type: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    batches: tuple[int, ...] = ()


class Webhook(msgspec.Struct, frozen=True):
    """An endpoint. It is sent the events that it names, where they are about one of its `types`, one of its `tags`,
    its `group` and its `batch`, as far as these are set: what has no such thing is not sent then. `results`: with
    URLs to download what a job came to.

    `sealed` is its secret, `former` the one before it, with which deliveries are signed, too, up to `former_until`.
    `failing_since`: no delivery has succeeded since then, and one has failed. `failed_at` is when the writer heard of
    the last failure, `failing_ms` how much of the time up to that counts. `deleted_at`: it is gone, but for its
    deliveries.

    `host`: it stands for the callbacks of batches to this host. It asks for no events; each of its deliveries has
    its own URL and secret.
    """

    id: int
    url: str
    events: tuple[str, ...]
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group: str | None = None
    batch: int | None = None
    results: bool = False
    sealed: bytes = b""
    former: bytes | None = None
    former_until: int | None = None
    created_at: int = 0
    updated_at: int = 0
    failing_since: int | None = None
    disabled_at: int | None = None
    disabled_why: str | None = None
    deleted_at: int | None = None
    host: str | None = None
    failed_at: int | None = None
    failing_ms: int = 0

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None and self.deleted_at is None

    def is_unheard(self, *, now: int) -> bool:
        """Whether a person should look at it: nothing has reached it for a while, or it was disabled for that."""
        if self.failing_since is None:
            return False
        return self.disabled_at is not None or now - self.failing_since >= UNHEARD_AFTER

    def wants(self, occasion: Occasion) -> bool:
        return (
            self.is_enabled
            and occasion.event in self.events
            and (not self.types or occasion.type in self.types)
            and (not self.tags or not set(self.tags).isdisjoint(occasion.tags))
            and self.group in (None, occasion.group)
            and (self.batch is None or self.batch in occasion.batches)
        )


class DeliveryState(StrEnum):
    WAITING = "waiting"  # to be sent, or sent again
    DELIVERED = "delivered"
    FAILED = "failed"  # given up


class Delivery(msgspec.Struct, frozen=True):
    """One message to one endpoint. `at` is when it happened, `data` what is sent of it, as JSON.

    It is due at `due_at`; the server `courier` has taken it up to then. Of the latest try: when, what the endpoint
    answered (`status`, and the beginning of its answer), or else why there was no answer. `sealed`: of a callback,
    its URL and secret, encrypted.
    """

    id: int
    webhook: int
    event: str
    at: int
    data: str
    state: DeliveryState
    due_at: int
    tries: int = 0
    courier: str | None = None
    tried_at: int | None = None
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    ended_at: int | None = None
    sealed: str | None = None

    def is_due(self, *, now: int) -> bool:
        """Whether one that waits is to be delivered now. What waits by a clock that has been set back since, by years
        perhaps, is not waited for."""
        if self.courier is not None:
            longest = TAKEN_FOR
        else:
            longest = self.due_at - self.tried_at if self.tries and self.tried_at is not None else 0
        return due_in(self.due_at, now=now, longest=longest) == 0


class CallbackAddress(msgspec.Struct, frozen=True):
    """What is called when a batch ends: the host of the URL, and the URL with its secret, encrypted."""

    host: str
    sealed: str


class Tried(msgspec.Struct, frozen=True):
    """What one try came to. `error`: why it failed; None: the endpoint has it. `wait`: for how long (ms) it asked not
    to be called."""

    delivery: int
    at: int
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    wait: int | None = None


def no_such_webhook(webhook_id: int) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_WEBHOOK, f"There is no webhook {webhook_id}.")


def message_id(installation: str, delivery: int) -> str:
    """The same for each try, so that a receiver knows what it has had."""
    return f"msg_{installation}_{delivery}"


def wait_after(tries: int, dice: random.Random, *, asked: int | None = None) -> int | None:
    """How long (ms) a delivery waits that has failed so often; None: it is given up. `asked`: how long the receiver
    wants it to wait, which it does, up to a limit."""
    if tries > len(BACKOFF):
        return None
    wait = round(BACKOFF[tries - 1] * 1000 * (1 + JITTER * dice.random()))
    return max(wait, min(asked or 0, HEEDED))


def retry_after(text: str, *, now: int) -> int | None:
    """How long (ms) a receiver asks not to be called, by its header `Retry-After`: seconds, or a date (RFC 9110,
    10.2.3). None: it says neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:10]) * 1000, HEEDED)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(0, round(at.timestamp() * 1000) - now), HEEDED)


def after_failure(webhook: Webhook, tried: Tried, *, now: int) -> Webhook:
    """The endpoint once one more delivery has failed.

    What counts is time, and not a number of tries. Where much is sent, hundreds fail within minutes. Where the
    endpoint hangs and more is sent than can be tried, no delivery is tried often.
    """
    if webhook.failing_since is None:
        return replace(webhook, failing_since=tried.at, failed_at=now, failing_ms=0)
    passed = now - (webhook.failing_since if webhook.failed_at is None else webhook.failed_at)
    counted = min(max(0, passed), MOST_COUNTED)
    return replace(webhook, failed_at=now, failing_ms=webhook.failing_ms + counted)


def not_failing(webhook: Webhook) -> Webhook:
    return replace(webhook, failing_since=None, failed_at=None, failing_ms=0)


def is_to_be_disabled(webhook: Webhook, tried: Tried) -> str | None:
    """Why an endpoint is sent nothing more after this failure, in words; None: it goes on. So do callbacks to a host:
    others than those that failed may be well."""
    if webhook.host is not None:
        return None
    if tried.status == GONE:
        return "it answered 410 Gone"
    if webhook.failing_ms >= DISABLE_AFTER:
        return f"nothing was delivered for {DISABLE_AFTER // 86_400_000} days: {tried.error}"
    return None


# --- occasions


def job_ended(job: Job) -> Occasion:
    data: dict[str, Any] = {
        "job_id": job.id,
        "type": job.type,
        "status": job.status.value,
        "priority": job.priority,
        "attempts": job.attempts,
        "source_hash": known_hash(job.source_hash),
    }
    if job.source_path is not None:
        data["source_path"] = job.source_path[-LONGEST_PATH:]
    if job.tags:
        data["tags"] = list(job.tags)
    if job.of_group is not None:
        data["group"] = job.of_group
    if job.batches:
        data["batches"] = list(job.batches)
    if job.status is JobStatus.COMPLETED and job.made_by is not None:
        data["made_by"] = job.made_by
    if job.status is not JobStatus.COMPLETED and job.last_error:
        data["error"] = job.last_error[:LONGEST_ERROR]
    return Occasion(_OF_STATUS[job.status], data, job.type, job.tags, job.of_group, job.batches)


def batch_ended(batch: JobBatch, counts: Mapping[str, int] | None = None) -> Occasion:
    """`counts`: how many of its jobs have come to what."""
    data = {"batch": batch.id, "name": batch.name, "ending": batch.endings, "counts": dict(counts or {})}
    return Occasion(WebhookEvent.BATCH_ENDED, data, batches=(batch.id,))


def type_paused(type_: str, *, by: str, reason: str | None) -> Occasion:
    data = {"type": type_, "by": by} | ({"reason": reason} if reason else {})
    return Occasion(WebhookEvent.TYPE_PAUSED, data, type_)


def type_resumed(type_: str, *, by: str) -> Occasion:
    return Occasion(WebhookEvent.TYPE_RESUMED, {"type": type_, "by": by}, type_)


def worker_lost(worker_id: str, type_: str) -> Occasion:
    """It was silent for too long."""
    return Occasion(WebhookEvent.WORKER_LOST, {"worker_id": worker_id, "type": type_}, type_)


def worker_quarantined(worker_id: str, type_: str, *, by: str, evidence: str) -> Occasion:
    data = {"worker_id": worker_id, "type": type_, "by": by, "evidence": evidence}
    return Occasion(WebhookEvent.WORKER_QUARANTINED, data, type_)


def drill_failed(detail: str) -> Occasion:
    return Occasion(WebhookEvent.DRILL_FAILED, {"detail": detail[:LONGEST_ERROR]})


def about_ping(webhook: Webhook) -> Occasion:
    return Occasion(TEST, {"webhook": webhook.id})
