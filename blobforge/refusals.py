"""Every "no" that the system can say, as values.

A Refusal is an answer, not an error: a caller that asked for what the rules or the state forbid gets one back.
Exceptions are kept for bugs and outages. `web/problems.py` is the one place that gives each code its HTTP status.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RefusalCode(StrEnum):
    """The stable suffix of the problem's `type` URI: clients may match on it."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    NOT_JSON = "not-json"
    TOO_LARGE = "too-large"
    HEADERS_TOO_LARGE = "headers-too-large"
    TOO_SLOW = "too-slow"
    NO_SUCH_ROUTE = "no-such-route"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    UNAUTHENTICATED = "unauthenticated"
    SCOPE_MISSING = "scope-missing"
    NOT_YOURS = "not-yours"
    CROSS_SITE = "cross-site"
    KEY_NOT_ALLOWED = "key-not-allowed"
    WORKER_DISABLED = "worker-disabled"
    NO_SUCH_JOB = "no-such-job"
    NO_SUCH_TYPE = "no-such-type"
    NO_SUCH_WORKER = "no-such-worker"
    NO_SUCH_TOKEN = "no-such-token"
    NO_SUCH_WEBHOOK = "no-such-webhook"
    NO_SUCH_DELIVERY = "no-such-delivery"
    NO_SUCH_USER = "no-such-user"
    NO_SUCH_OPERATION = "no-such-operation"
    NO_SUCH_FAILURE = "no-such-failure"
    NO_SUCH_BATCH = "no-such-batch"
    NO_SUCH_CANARY = "no-such-canary"
    NO_SUCH_OBJECT = "no-such-object"
    OBJECT_URL_REFUSED = "object-url-refused"
    OBJECT_MISSING = "object-missing"
    OBJECT_TOO_LARGE = "object-too-large"
    OBJECT_STORE_FULL = "object-store-full"
    OBJECT_STORE_FAILED = "object-store-failed"
    DIGEST_MISMATCH = "digest-mismatch"
    OBJECT_FINAL = "object-final"
    OBJECT_EXISTS = "object-exists"
    UPLOAD_STALLED = "upload-stalled"
    RANGE_OUTSIDE = "range-outside"
    NO_SUCH_UNDO = "no-such-undo"
    JOB_NOT_RETRYABLE = "job-not-retryable"
    JOB_ENDED = "job-ended"
    JOB_NOT_UPLOADING = "job-not-uploading"
    JOB_NOT_RUNNING = "job-not-running"
    JOB_NOT_WAITING = "job-not-waiting"
    JOB_EXISTS = "job-exists"
    JOB_RUNNING = "job-running"
    JOB_MOVED_ON = "job-moved-on"
    BATCH_CLOSED = "batch-closed"
    BATCH_EXISTS = "batch-exists"
    BATCH_RUNNING = "batch-running"
    BATCHES_FULL = "batches-full"
    OPERATION_RUNNING = "operation-running"
    OPERATION_ENDED = "operation-ended"
    CANARY_ENDED = "canary-ended"
    JOB_OF_CANARY = "job-of-canary"
    NOTHING_TO_COMPARE = "nothing-to-compare"
    NO_WORKER_OF_VERSION = "no-worker-of-version"
    LEASE_LOST = "lease-lost"
    OUTPUT_MISSING = "output-missing"
    SOURCE_MISSING = "source-missing"
    UPLOAD_GONE = "upload-gone"
    WRONG_STORE = "wrong-store"
    WORKER_EXISTS = "worker-exists"
    WORKER_MOVED_ON = "worker-moved-on"
    WORKER_BOUND = "worker-bound"
    INSTANCE_ALIVE = "instance-alive"
    INSTANCE_REPLACED = "instance-replaced"
    DELIVERY_WAITS = "delivery-waits"
    WEBHOOK_DISABLED = "webhook-disabled"
    CALLBACKS_FULL = "callbacks-full"
    SEARCH_RUNNING = "search-running"
    STORE_SHARED = "store-shared"
    BEING_REMOVED = "being-removed"
    BACKUP_OFF = "backup-off"
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch"
    SLOW_DOWN = "slow-down"
    UNAVAILABLE = "unavailable"
    SHUTTING_DOWN = "shutting-down"


class Refusal(msgspec.Struct, frozen=True, tag=True, tag_field="is"):
    """One "no": what was refused and what to do about it, in a sentence that a person can act on.

    `field` names the offending member of the request where there is one; `retry_after` is in seconds.
    """

    code: RefusalCode
    detail: str
    field: str | None = None
    retry_after: int | None = None
