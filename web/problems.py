"""The one table from Refusal to HTTP: where a 409 is made, and every other status.

Errors are `application/problem+json` (RFC 9457) with a member `error`, which existing clients read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from blobforge.machinery.redaction import redact
from blobforge.refusals import Refusal, RefusalCode
from web.answer import PlainAnswer

_C = RefusalCode
TYPE_PREFIX = "urn:blobforge:problem:"

STATUS: dict[RefusalCode, tuple[int, str]] = {
    _C.MALFORMED: (400, "Malformed request"),
    _C.UNAUTHENTICATED: (401, "Who are you?"),
    _C.SCOPE_MISSING: (403, "Scope missing"),
    _C.NOT_YOURS: (403, "Not yours"),
    _C.CROSS_SITE: (403, "Request from another site"),
    _C.KEY_NOT_ALLOWED: (403, "Key not allowed"),
    _C.WORKER_DISABLED: (403, "Worker disabled"),
    _C.NO_SUCH_ROUTE: (404, "No such address"),
    _C.NO_SUCH_JOB: (404, "No such job"),
    _C.NO_SUCH_TYPE: (404, "No such type"),
    _C.NO_SUCH_WORKER: (404, "No such worker"),
    _C.NO_SUCH_TOKEN: (404, "No such token"),
    _C.NO_SUCH_WEBHOOK: (404, "No such webhook"),
    _C.NO_SUCH_DELIVERY: (404, "No such delivery"),
    _C.NO_SUCH_USER: (404, "No such user"),
    _C.NO_SUCH_OPERATION: (404, "No such operation"),
    _C.NO_SUCH_BATCH: (404, "No such batch"),
    _C.NO_SUCH_CANARY: (404, "No such canary"),
    _C.NO_SUCH_OBJECT: (404, "No such object"),
    _C.NO_SUCH_FAILURE: (404, "No such cause of failures"),
    _C.NO_SUCH_UNDO: (404, "Nothing to undo"),
    _C.METHOD_NOT_ALLOWED: (405, "Method not allowed"),
    _C.TOO_SLOW: (408, "Request too slow"),
    _C.JOB_NOT_RETRYABLE: (409, "Job cannot be retried"),
    _C.JOB_ENDED: (409, "Job has ended"),
    _C.JOB_NOT_UPLOADING: (409, "Job awaits no source"),
    _C.JOB_NOT_RUNNING: (409, "Job is not running"),
    _C.JOB_NOT_WAITING: (409, "Job does not wait"),
    _C.JOB_EXISTS: (409, "Job exists"),
    _C.JOB_RUNNING: (409, "Job is running"),
    _C.JOB_MOVED_ON: (409, "Job has moved on"),
    _C.BATCH_CLOSED: (409, "Batch is closed"),
    _C.BATCH_EXISTS: (409, "Batch exists"),
    _C.BATCH_RUNNING: (409, "Batch has not ended"),
    _C.BATCHES_FULL: (409, "In too many batches"),
    _C.OPERATION_RUNNING: (409, "Operation has not ended"),
    _C.OPERATION_ENDED: (409, "Operation has ended"),
    _C.CANARY_ENDED: (409, "Canary has ended"),
    _C.JOB_OF_CANARY: (409, "Job of a canary"),
    _C.NOTHING_TO_COMPARE: (409, "Nothing to compare with"),
    _C.NO_WORKER_OF_VERSION: (409, "No worker of that version"),
    _C.LEASE_LOST: (409, "Lease lost"),
    _C.OUTPUT_MISSING: (409, "Output missing"),
    _C.SOURCE_MISSING: (409, "Source missing"),
    _C.UPLOAD_GONE: (409, "Upload gone"),
    _C.WRONG_STORE: (409, "Not with this object store"),
    _C.WORKER_EXISTS: (409, "Worker exists"),
    _C.WORKER_MOVED_ON: (409, "Worker has moved on"),
    _C.WORKER_BOUND: (409, "Worker of another type"),
    _C.INSTANCE_ALIVE: (409, "Another process is this worker"),
    _C.INSTANCE_REPLACED: (409, "Another process has taken over"),
    _C.DELIVERY_WAITS: (409, "The delivery has not ended"),
    _C.WEBHOOK_DISABLED: (409, "The webhook is disabled"),
    _C.CALLBACKS_FULL: (409, "Too many callbacks to one host"),
    _C.SEARCH_RUNNING: (409, "Another search is running"),
    _C.STORE_SHARED: (409, "Others use this object store"),
    _C.BACKUP_OFF: (409, "Backups are off"),
    _C.TOO_LARGE: (413, "Body too large"),
    _C.NOT_JSON: (415, "Not JSON"),
    _C.INVALID: (422, "Invalid request"),
    _C.IDEMPOTENCY_MISMATCH: (422, "Idempotency-Key used before"),
    _C.HEADERS_TOO_LARGE: (431, "Headers too large"),
    # What the embedded store's own URLs answer with.
    _C.OBJECT_URL_REFUSED: (403, "This URL opens nothing"),
    _C.OBJECT_MISSING: (404, "No such object"),
    _C.UPLOAD_STALLED: (408, "Upload stalled"),
    _C.OBJECT_TOO_LARGE: (413, "Object too large"),
    _C.RANGE_OUTSIDE: (416, "Range outside the object"),
    _C.DIGEST_MISMATCH: (422, "Other bytes than promised"),
    _C.OBJECT_FINAL: (409, "Not to be written any more"),
    _C.OBJECT_EXISTS: (412, "There is an object already"),
    _C.OBJECT_STORE_FAILED: (503, "The object store failed"),
    _C.OBJECT_STORE_FULL: (507, "The object store is full"),
    _C.SLOW_DOWN: (429, "Slow down"),
    _C.BEING_REMOVED: (503, "Being removed"),
    _C.UNAVAILABLE: (503, "Unavailable"),
    _C.SHUTTING_DOWN: (503, "Shutting down"),
}


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    instance: str
    request_id: str
    field: str | None = None


def problem_of(refusal: Refusal, *, instance: str, request_id: str) -> Problem:
    """The refusal as a problem, without secrets: a client's own text comes back in it, and errors are copied into
    tickets."""
    status, title = STATUS[refusal.code]
    detail = redact(refusal.detail)
    return Problem(
        type=TYPE_PREFIX + refusal.code,
        title=title,
        status=status,
        detail=detail,
        error=detail,
        instance=redact(instance),
        request_id=request_id,
        field=redact(refusal.field) if refusal.field is not None else None,
    )


def refused(refusal: Refusal, *, instance: str, request_id: str) -> PlainAnswer:
    """The answer to a refusal."""
    problem = problem_of(refusal, instance=instance, request_id=request_id)
    answer = PlainAnswer(problem.status, msgspec.json.encode(problem), "application/problem+json")
    if refusal.retry_after is not None:
        answer.headers["Retry-After"] = str(refusal.retry_after)
    if problem.status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="blobforge"'
    return answer


def item_problem(refusal: Refusal) -> dict[str, Any]:
    """A refused item inside an answer about many."""
    status, _ = STATUS[refusal.code]
    answer = {"status_code": status, "type": TYPE_PREFIX + refusal.code, "error": redact(refusal.detail)}
    return answer | ({"field": refusal.field} if refusal.field else {})


def internal_error(*, instance: str, request_id: str) -> PlainAnswer:
    """A bug of ours. Says nothing of its cause: that stands in the log, under the request id."""
    detail = f"The server met an internal error. Its log has the cause under request id {request_id}."
    problem = Problem(
        type=TYPE_PREFIX + "internal",
        title="Internal error",
        status=500,
        detail=detail,
        error=detail,
        instance=redact(instance),
        request_id=request_id,
    )
    return PlainAnswer(500, msgspec.json.encode(problem), "application/problem+json")
