"""The API's shapes: the types that decode every body, and those of every answer.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from blobforge import converters
from blobforge.access import Scope
from blobforge.job import JobStatus, Outcome
from blobforge.operation import OperationState
from blobforge.worker import WorkerStatus
from web.decode import LENIENT, LENIENT_PLACE

# ------------------------------------------------------------------ parts

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
# Spelt out: what \s stands for is not the same in Python and in a schema. Of spaces, only the common one: what cannot
# be told apart by a reader is no name.
_NAMED = r"[^/\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
WorkerId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=rf"^{_NAMED}( *{_NAMED})*\Z",
        description="Chosen by the worker; no slash, no space at either end",
    ),
]
JobType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=rf"^{_NAMED}( *{_NAMED})*\Z",
        description="No slash, no space at either end",
        examples=["pdf"],
    ),
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 lowercase hex digits")]
Priority = Annotated[int, Meta(ge=1, le=5, description="1 (critical) to 5 (background)")]
MaxAttempts = Annotated[int, Meta(ge=1, le=1000)]
Size = Annotated[int, Meta(ge=0, le=2**53, description="bytes")]
Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
GivenTag = Annotated[
    str, Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*\Z", description='"" and null are left out')
]
SourcePath = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*\Z")]
ShortText = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*\Z")]
Lease = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
ObjectKey = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00]*\Z")]
JobId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
ClaimKey = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\Z")]
Instance = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
FailureId = Annotated[int, Meta(ge=1, le=2**63 - 1, description="`id` of a cause in `GET /api/failures`")]
ConverterText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=converters.PATTERN,
        description="The converter: a name and a version (PEP 440)",
        examples=["marker 1.3.2"],
    ),
]
MadeBy = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=converters.WANTED_PATTERN,
        description="Of results: name and versions (PEP 440) of a converter; `none`: completed jobs, none was said",
        examples=["marker<1.3"],
    ),
]
Accepts = Annotated[list[ShortText], Meta(max_length=20, examples=[["options"]])]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its zone")]
Json = dict[str, Any]


# What is kept of each, in bytes of JSON: it is shown in lists and sent to every subscriber.
MOST_METADATA = 64 * 1024
MOST_PROGRESS = 16 * 1024


# ------------------------------------------------------------------ workers


class RegisterBody(msgspec.Struct, frozen=True):
    """`instance` is random, one for each process; `replaces` the one of the process before, if it is known to have
    ended. Requests with an instance that is not the current one get 409 `instance-replaced`."""

    id: WorkerId
    type: JobType
    metadata: Json | None = None
    labels: Json | list[Tag] | None = None
    version: ShortText | None = None
    instance: Instance | None = None
    replaces: Instance | None = None
    converter: ConverterText | None = None


class Registered(msgspec.Struct, frozen=True):
    """Intervals are in seconds."""

    heartbeat_interval: float
    worker_timeout: float
    status: str = "registered"


class HeartbeatJob(msgspec.Struct, frozen=True):
    job_id: JobId
    lease: Lease | None = None
    progress: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class HeartbeatBody(msgspec.Struct, frozen=True):
    """`progress` is an object with `stage`, `percent`, `done`, `total`, `message`; any other value is kept, too."""

    job_id: Annotated[int, Meta(ge=0, le=2**63 - 1, description="0 is none")] | None = None
    lease: Lease | None = None
    progress: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    jobs: Annotated[list[HeartbeatJob], Meta(max_length=1000)] = []
    instance: Instance | None = None


class UnregisterBody(msgspec.Struct, frozen=True):
    instance: Instance | None = None


class HeartbeatAnswer(msgspec.Struct, frozen=True):
    """`abandon` lists the jobs named whose lease this worker no longer holds: stop working on them.

    `late` lists those of `abandon` that have not been started since: a completion would still be accepted.
    """

    drain: bool
    abandon: list[int]
    lease_expires_at: str | None
    late: list[int] | msgspec.UnsetType = msgspec.UNSET  # absent when there is none
    status: str = "ok"


class Status(msgspec.Struct, frozen=True):
    status: str


class Changed(msgspec.Struct, frozen=True):
    """`undo`: a token for `POST /api/jobs/undo`, good for ten minutes; there where it was asked for."""

    status: str
    undo: str | msgspec.UnsetType = msgspec.UNSET


class WorkerWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`current_job_ids` are the first hundred; `contested_at` is when another process, on the host `contested_by`,
    asked to be this worker and was refused; `bound_type` the only type of jobs that it may ask for, where its
    credential was made for one; `accepts` what its latest claim said that it heeds."""

    id: str
    type: str
    status: str
    enabled: bool
    created_at: str
    updated_at: str
    name: str | None = None
    last_heartbeat: str | None = None
    current_job_id: int | None = None
    current_job_ids: list[int] = []
    metadata: msgspec.Raw | None = None
    labels: msgspec.Raw | None = None
    version: str | None = None
    rates: WorkerRatesWire | None = None
    contested_at: str | None = None
    contested_by: str | None = None
    bound_type: str | None = None
    accepts: tuple[str, ...] = ()
    converter: str | None = None


class WorkerRatesWire(msgspec.Struct, frozen=True):
    """A worker's rates of the last 24 hours. `failure_rate` is the share of failed and lost attempts among those that
    ended by themselves; null while there are none."""

    jobs_per_hour: float
    failure_rate: float | None
    completed: int
    failed: int
    lost: int


# ------------------------------------------------------------------ claims and attempts


class ClaimBody(msgspec.Struct, frozen=True):
    """`wait` is in seconds. `job_type` or `job_types`, not both. `write_once`: the worker sends `upload_headers`.
    `accepts`: what the worker heeds of a job beside its source. Without `options`, it gets no job that has some."""

    worker_id: WorkerId | None = None
    job_type: JobType | None = None
    job_types: Annotated[list[JobType], Meta(min_length=1, max_length=50)] | None = None
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0
    limit: Annotated[int, Meta(ge=1, le=500)] | None = None
    claim_key: ClaimKey | None = None
    instance: Instance | None = None
    write_once: bool = False
    accepts: Accepts = []
    converter: ConverterText | None = None


OutputName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z",
        description="A relative path with slashes, in NFC, of at most 512 bytes in UTF-8",
        examples=["pages/1.md"],
    ),
]
MediaType = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+\Z", examples=["text/markdown"])]


class OutputSaid(msgspec.Struct, frozen=True):
    """What a worker says of one of several outputs."""

    name: OutputName
    checksum: Sha256 | None = None
    size: Size | None = None
    media_type: MediaType | None = None


class OutputsBody(msgspec.Struct, frozen=True):
    outputs: Annotated[list[OutputSaid], Meta(min_length=1, max_length=500)]
    lease: Lease | None = None
    worker_id: WorkerId | None = None
    instance: Instance | None = None


class OutputsAnswer(msgspec.Struct, frozen=True):
    """How many the request told of."""

    outputs: int


class OutputWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output of a job. `sha256` and `media_type` are there where they are known."""

    name: str
    size: int | None
    sha256: str | None = None
    media_type: str | None = None


class OutputList(msgspec.Struct, frozen=True, omit_defaults=True):
    outputs: list[OutputWire]
    next_cursor: str | None = None


class CompleteBody(msgspec.Struct, frozen=True):
    """`result` is any JSON; a large one is kept aside (`GET /api/jobs/{id}/result`). An attempt with several outputs
    names them in `outputs`, the main one first, or says "all": all that it has told of, and `output_key` is then the
    key of the main one (without it, the first by name)."""

    worker_id: WorkerId | None = None
    output_key: Annotated[str, Meta(max_length=1024, pattern=r"^[^\x00]*\Z", description='"" is none')] | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    lease: Lease | None = None
    checksum: Sha256 | None = None
    claim_next: bool = False
    instance: Instance | None = None
    outputs: Annotated[list[OutputSaid], Meta(min_length=1, max_length=500)] | Literal["all"] | None = None
    accepts: Annotated[Accepts, Meta(description="of the claim behind it")] = []
    converter: ConverterText | None = None


class FailBody(msgspec.Struct, frozen=True):
    """Texts are cut to size, not refused: a failure must not get lost over its own length."""

    worker_id: WorkerId | None = None
    error: str = "the worker gave no reason"
    lease: Lease | None = None
    kind: str | None = None
    traceback: str | None = None
    log_tail: str | None = None
    retryable: bool = True
    instance: Instance | None = None


class ReleaseBody(msgspec.Struct, frozen=True):
    """`cause` is why: the worker stops (`shutdown`), its machine is needed (`preempted`), or it cannot do it now."""

    worker_id: WorkerId | None = None
    lease: Lease | None = None
    reason: ShortText | None = None
    cause: Literal["shutdown", "preempted", "trouble"] = "trouble"
    instance: Instance | None = None


class CompleteItem(CompleteBody, frozen=True, kw_only=True):
    job_id: JobId


class FailItem(FailBody, frozen=True, kw_only=True):
    job_id: JobId


class CompleteMany(msgspec.Struct, frozen=True):
    jobs: Annotated[list[CompleteItem], Meta(min_length=1, max_length=1000)]


class FailMany(msgspec.Struct, frozen=True):
    jobs: Annotated[list[FailItem], Meta(min_length=1, max_length=1000)]


class GrantWire(msgspec.Struct, frozen=True):
    """One attempt: fetch `source_url`, PUT the result to `upload_url` (with `upload_headers`, where there are any),
    then complete with `output_key`.

    When there is no job, `job` is null and nothing else is there.
    """

    job: JobWire | None
    source_url: str | msgspec.UnsetType = msgspec.UNSET
    upload_url: str | msgspec.UnsetType = msgspec.UNSET
    upload_headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    output_key: str | msgspec.UnsetType = msgspec.UNSET
    lease: str | msgspec.UnsetType = msgspec.UNSET
    lease_expires_at: str | msgspec.UnsetType = msgspec.UNSET


class GrantsWire(msgspec.Struct, frozen=True):
    jobs: list[GrantWire]


class CompleteAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`next` answers `claim_next`, as a claim would be."""

    status: str
    next: GrantWire | None = None


class FailAnswer(msgspec.Struct, frozen=True):
    will_retry: bool
    status: str = "failed"


# ------------------------------------------------------------------ jobs


class SubmitBody(msgspec.Struct, frozen=True):
    """`bind_checksum`: sign the SHA-256 into `upload_url`; the PUT must then carry all of `upload_headers`.
    `options`: what the converter is to do, at most 16 KiB of JSON; `{}` is none. A job is unique by source, type and
    options."""

    type: JobType
    source_hash: Sha256
    source_path: SourcePath | None = None
    source_size: Size | None = None
    priority: Priority = 3
    max_attempts: MaxAttempts | None = None
    tags: Annotated[list[GivenTag | None], Meta(max_length=100)] | None = None
    metadata: Json | None = None
    bind_checksum: bool = False
    options: Json | None = None


class SubmitMany(msgspec.Struct, frozen=True):
    jobs: Annotated[list[SubmitBody], Meta(min_length=1, max_length=1000)]


class SubmitAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A submission of what is there already adds its path and its tags; `left_out`: the path, or the tags, that the
    job has no room for."""

    job_id: int
    existing: bool
    status: JobStatus
    upload_url: str | None = None
    upload_headers: dict[str, str] | None = None
    left_out: tuple[str, ...] = ()


class SubmittedItems(msgspec.Struct, frozen=True):
    """The items' answers, in their order. `small_sources`: this server takes many small sources at once, at
    `/api/files/sources`."""

    items: Annotated[list[Any], Meta(extra_json_schema={"items": {"type": "object"}})]
    small_sources: bool


class Items(msgspec.Struct, frozen=True):
    """One answer an item, in their order; a refused one has `error`, `type` and `status_code`."""

    items: list[dict[str, Any]]


class RetryBody(msgspec.Struct, frozen=True):
    """`undo`: remember how the job was, and answer with a token to put it back by."""

    reset_attempts: bool = False
    priority: Priority | None = None
    undo: bool = False


class CancelBody(msgspec.Struct, frozen=True):
    """`undo`: remember how the job was, and answer with a token to put it back by."""

    undo: bool = False


class PriorityBody(msgspec.Struct, frozen=True):
    priority: Priority
    undo: bool = False


class BulkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`, or a filter; an empty filter matches nothing, so that a slip does not touch everything.

    `background`: answer 202 with the id of an operation at once, which goes on without the client."""

    ids: Annotated[list[JobId], Meta(min_length=1, max_length=10_000)] | None = None
    status: JobStatus | None = None
    type: JobType | None = None
    tag: Tag | None = None
    worker: WorkerId | None = None
    q: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    only_priority: Annotated[int, Meta(ge=1, le=5, description="of the jobs as they are")] | None = None
    failure: FailureId | None = None
    created_since: Moment | None = None
    created_until: Moment | None = None
    updated_since: Moment | None = None
    updated_until: Moment | None = None
    made_by: MadeBy | None = None
    dry_run: bool = False
    undo: bool = False
    background: bool = False


class BulkRetry(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reset_attempts: bool = False
    priority: Priority | None = None


class BulkPriority(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    priority: Priority


class BulkTags(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    add: Annotated[list[Tag], Meta(max_length=100)] = []
    remove: Annotated[list[Tag], Meta(max_length=100)] = []


class BulkDelete(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`objects`: their outputs go too, and sources that no other job has."""

    objects: bool = True


class TagsBody(msgspec.Struct, frozen=True):
    """`undo`: remember how the job was, and answer with a token to put it back by."""

    add: Annotated[list[Tag], Meta(max_length=100)] = []
    remove: Annotated[list[Tag], Meta(max_length=100)] = []
    undo: bool = False


class BulkWorkers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`, or a filter. `q` is a part of the id or the name; `silent_since`: not heard from then on.

    By a filter, only workers that are `status` go, by default `offline`, and none that is disabled: its removal would
    let it register again.
    """

    ids: Annotated[list[WorkerId], Meta(min_length=1, max_length=10_000)] | None = None
    status: WorkerStatus | None = None
    type: JobType | None = None
    q: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    silent_since: Moment | None = None
    dry_run: bool = False


class BulkAnswer(msgspec.Struct, frozen=True):
    """How many matched, how many were (or, in a dry run, would be) changed, and how many refused the change."""

    matched: int
    changed: int
    refused: int
    dry_run: bool
    undo: str | msgspec.UnsetType = msgspec.UNSET


class OperationBegun(msgspec.Struct, frozen=True):
    """`operation` is its id: `GET /api/operations/{id}`."""

    operation: int


class OperationsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class OperationUndo(msgspec.Struct, frozen=True, omit_defaults=False):
    """`possible` until that time; `undone_by` is the operation that takes it back, `note` what cannot be."""

    possible: bool
    until: str | None
    undone_by: int | None
    note: str | None


class OperationWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`asked` is what is to be done, to which jobs. Of `matched` jobs `total` are those that it would change; `done`
    of them were treated, `changed` changed and `refused` not, for they had moved on. `reason`: why it failed."""

    id: int
    verb: str
    state: OperationState
    asked: msgspec.Raw
    by: str
    created_at: str
    updated_at: str
    matched: int
    total: int
    done: int
    changed: int
    refused: int
    percent: float
    undo: OperationUndo
    ended_at: str | None = None
    reason: str | None = None
    undo_of: int | None = None


class OperationsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    operations: list[OperationWire]
    next_cursor: int | None = None


class PathsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 100
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class PathsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The paths under which a job's source was submitted, the first one first."""

    paths: list[str]
    total: int
    next_cursor: int | None = None


class UndoBody(msgspec.Struct, frozen=True):
    """`undo`: the token that a retry, a cancellation or a change of priority was answered with."""

    undo: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[0-9a-f]+\Z")]


class UndoAnswer(msgspec.Struct, frozen=True):
    """`changed` of `matched` jobs are as before; the others have moved on since, and stay."""

    matched: int
    changed: int


class AttemptWire(msgspec.Struct, frozen=True, omit_defaults=True):
    attempt: int
    worker_id: str
    started_at: str
    ended_at: str | None = None
    outcome: Outcome | None = None
    kind: str | None = None
    error: str | None = None
    traceback: str | None = None
    log_tail: str | None = None
    converter: str | None = None


class AttemptsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=50)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class AttemptsWire(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. Go on with `cursor` = `next_cursor`, until there is none."""

    attempts: list[AttemptWire]
    total: int
    next_cursor: int | None = None


class WorkersQuery(msgspec.Struct, frozen=True):
    """`cursor` is the id of the last worker of the page before; the `Link` header has the next page's address."""

    status: ShortText | None = None
    type: ShortText | None = None
    q: Annotated[str, Meta(max_length=500, description="a part of the id or the name")] | None = None
    enabled: bool | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, extra=LENIENT)] = 1000
    cursor: Annotated[str, Meta(max_length=255)] | None = None


class ArrayQuery(msgspec.Struct, frozen=True):
    """`cursor` is the id of the last one of the page before; the `Link` header has the next page's address."""

    limit: Annotated[int, Meta(ge=1, le=1000, extra=LENIENT)] = 1000
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class TokensQuery(ArrayQuery, frozen=True):
    """As every array, page by page."""

    q: Annotated[str, Meta(max_length=500, description="a part of the name")] | None = None
    scope: Scope | None = None
    expired: bool | None = None


class UsersQuery(ArrayQuery, frozen=True):
    """As every array, page by page."""

    q: Annotated[str, Meta(max_length=500, description="a part of the name, e-mail address or subject")] | None = None
    admin: bool | None = None


class PlaceQuery(msgspec.Struct, frozen=True):
    """`cursor` is where a page begins: the `Link` header has the next page's address."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: ShortText | None = None


class TimelineQuery(PlaceQuery, frozen=True):
    """`limit` counts attempts and records; an attempt has two events."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class DrillsQuery(msgspec.Struct, frozen=True):
    ok: Annotated[bool, Meta(description="only drills that passed, or only those that failed")] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1, description="`next_cursor` of the page before")] = 2**63 - 1


class OrphansQuery(msgspec.Struct, frozen=True):
    """Of the names that are listed."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 10
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1, description="`next_cursor` of the page before")] = 0


class WorkerAttemptsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: ShortText | None = None


class WorkerAttemptWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    job_id: int
    attempt: int
    type: str
    started_at: str
    ended_at: str | None = None
    outcome: Outcome | None = None
    kind: str | None = None
    error: str | None = None
    source_path: str | None = None


class WorkerAttemptsWire(msgspec.Struct, frozen=True, omit_defaults=True):
    attempts: list[WorkerAttemptWire]
    next_cursor: str | None = None


class ExpectedWire(msgspec.Struct, frozen=True):
    """In one case of two the job will have ended between these. `by`: `progress` (its own pace so far), or
    `durations` (how long others of its type took)."""

    earliest: str
    latest: str
    by: str


class WaitingWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a job does not run. `code` is `source`, `back-off`, `kept`, `not-accepted`, `no-worker`, `all-offline`,
    `all-disabled`, `all-draining`, `queued` or `next`; `until` is when that ends by itself, where it is known."""

    code: str
    text: str
    until: str | None = None


class JobWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Absent where null; `attempt_history` (the latest 50, their long texts cut), `attempts_total` and
    `waiting` are there when one job is asked for.

    A `result` of more than 64 KiB is kept aside: `result_size` has its bytes, `result_url` where to get it whole. In
    lists and claims it is absent then, and where one job is asked for if it has more than 1 MiB.

    `paths_total` is there where the source was submitted under more than one path, and `paths` (the first fifty)
    where one such job is asked for; `GET /api/jobs/{id}/paths` has all.

    `failure` is the cause of its latest failure (`GET /api/failures`), `progress_at` when its progress last changed.
    `made_by` is the converter of its result.
    """

    id: int
    type: str
    status: JobStatus
    priority: int
    source_hash: str
    attempts: int
    max_attempts: int
    created_at: str
    updated_at: str
    source_path: str | None = None
    source_size: int | None = None
    worker_id: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    last_error: str | None = None
    tags: tuple[str, ...] = ()
    metadata: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    progress: msgspec.Raw | None = None
    not_before: str | None = None
    heartbeat_at: str | None = None
    output_key: str | None = None
    result_attempt: int | None = None
    result_size: int | None = None
    result_url: str | None = None
    losses: int = 0
    failure: int | None = None
    progress_at: str | None = None
    expected_end: ExpectedWire | None = None
    waiting: WaitingWire | None = None
    options: msgspec.Raw | None = None
    made_by: str | None = None
    attempt_history: list[AttemptWire] | msgspec.UnsetType = msgspec.UNSET
    attempts_total: int | msgspec.UnsetType = msgspec.UNSET
    paths: list[str] | msgspec.UnsetType = msgspec.UNSET
    paths_total: int | msgspec.UnsetType = msgspec.UNSET


class JobsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`total` is exact unless `total_exact` is false: then it is what is known so far, at least."""

    jobs: list[JobWire]
    total: int
    limit: int
    offset: int
    total_exact: bool
    next_cursor: str | None = None


# ------------------------------------------------------------------ files, tokens, workers' credentials


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload becomes: a source (`source_hash`), or the output of an attempt that the caller holds (`job_id`,
    `lease`)."""

    source_hash: Sha256 | None = None
    job_id: JobId | None = None
    lease: Lease | None = None
    worker_id: WorkerId | None = None


class NamedUpload(msgspec.Struct, frozen=True):
    """One of several outputs, to be uploaded. With `checksum` the store takes no other bytes; with `multipart`, where
    the store has that, it is begun in parts (`size` is needed then)."""

    name: OutputName
    multipart: bool = False
    checksum: Sha256 | None = None
    size: Size | None = None
    media_type: MediaType | None = None


class UploadBody(Destination, frozen=True, kw_only=True):
    """With `names`: for several outputs of an attempt, up to 500 in one request."""

    key: ObjectKey | None = None
    content_type: Annotated[str, Meta(max_length=200, pattern=r"^[\x20-\x7e]*\Z")] | None = None
    checksum: Sha256 | None = None
    write_once: bool = False
    names: Annotated[list[OutputName | NamedUpload], Meta(min_length=1, max_length=500)] | None = None
    instance: Instance | None = None


class UploadAnswer(msgspec.Struct, frozen=True):
    url: str
    key: str
    headers: dict[str, str]


_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class SmallSource(msgspec.Struct, frozen=True):
    """`data` is base64."""

    source_hash: Sha256
    data: Annotated[bytes, Meta(extra_json_schema={"pattern": _BASE64})]


class SmallSources(msgspec.Struct, frozen=True):
    """As many as fit into one request body."""

    sources: Annotated[list[SmallSource], Meta(min_length=1, max_length=1000)]


UploadId = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[\x21-\x7e]+\Z")]
PartNumber = Annotated[int, Meta(ge=1, le=10_000)]


class PartsDestination(Destination, frozen=True, kw_only=True):
    """`name`: which of an attempt's several outputs, after `POST /api/files/upload-url` has been told of it."""

    name: OutputName | None = None


class MultipartBody(PartsDestination, frozen=True, kw_only=True):
    size: Size


class PartDone(msgspec.Struct, frozen=True):
    """`etag` as the PUT answered it, without its quotes."""

    number: PartNumber
    etag: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[\x21\x23-\x7e]+\Z")]


class PartStored(msgspec.Struct, frozen=True):
    number: int
    size: int
    etag: str


class NamedUploadUrl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one of several outputs goes: a URL and the headers of the PUT, or an upload in parts (`POST
    /api/files/multipart/part`, with `name`). The PUT is answered 412 where the object is there already."""

    name: str
    key: str
    url: str | None = None
    headers: dict[str, str] | None = None
    upload_id: str | None = None
    part_size: int | None = None
    parts: list[PartStored] | None = None


class UploadUrls(msgspec.Struct, frozen=True):
    urls: list[NamedUploadUrl]


class MultipartAnswer(msgspec.Struct, frozen=True):
    """`parts`: what is there already of an upload that broke off. `stored`: the object itself is; nothing to do."""

    stored: bool
    upload_id: str | None = None
    part_size: int = 0
    parts: list[PartStored] = []


class PartBody(PartsDestination, frozen=True, kw_only=True):
    """`md5`: base64 of the part's MD5; the store then refuses other bytes."""

    upload_id: UploadId
    number: PartNumber
    md5: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{22}==\Z")] | None = None


class PartUrl(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]


class MultipartDone(PartsDestination, frozen=True, kw_only=True):
    upload_id: UploadId
    parts: Annotated[list[PartDone], Meta(min_length=1, max_length=10_000)]


class MultipartGone(PartsDestination, frozen=True, kw_only=True):
    upload_id: UploadId


class Url(msgspec.Struct, frozen=True):
    url: str


class UrlQuery(msgspec.Struct, frozen=True):
    """`name`: which of several outputs."""

    name: str | None = None


class OutputsQuery(msgspec.Struct, frozen=True):
    """`cursor`: where the page before ended."""

    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500


class WantedUrl(msgspec.Struct, frozen=True):
    """`name`: which of several outputs."""

    job_id: JobId
    kind: Literal["source", "output"]
    name: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\x00]*\Z")] | None = None


class WantedUrls(msgspec.Struct, frozen=True):
    items: Annotated[list[WantedUrl], Meta(min_length=1, max_length=500)]


class FileUrl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is at the URL: the name to save it under, its bytes and its SHA-256, as far as they are known."""

    job_id: int
    kind: str
    url: str
    filename: str
    key: str
    size: int | None = None
    sha256: str | None = None
    name: str | None = None


class TokenBody(msgspec.Struct, frozen=True):
    """`expires_in` is in days; absent, or 0: never."""

    name: Name
    is_admin: bool = False
    scopes: list[Annotated[str, Meta(pattern=r"^(read|submit|work|admin)\Z")]] | None = None
    expires_in: Annotated[float, Meta(ge=0, le=36_500)] | None = None


class TokenMade(msgspec.Struct, frozen=True):
    """The only time that the token is shown."""

    id: int
    token: str
    name: str


class TokenWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    name: str
    prefix: str
    scopes: list[str]
    is_admin: bool
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None


class WorkerBody(msgspec.Struct, frozen=True):
    id: WorkerId
    type: JobType
    name: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z", description='"" is none')] | None = (
        None
    )


class WorkerMade(msgspec.Struct, frozen=True):
    """The only time that the secret is shown."""

    id: str
    name: str
    type: str
    secret: str


# ------------------------------------------------------------------ lists, statistics, health


class DeleteQuery(msgspec.Struct, frozen=True):
    objects: bool = True


class OrphanBody(msgspec.Struct, frozen=True):
    dry_run: bool = True


class Orphans(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`state` is `never` (none since the server started), `running`, `done` or `failed` (then `error` says why).

    `objects` is how many were looked at, `bytes` the size of the orphans; `unfinished` uploads began more than a day
    ago and never ended. Nothing that came within a day is counted as an orphan. With `dry_run: false`, what was found
    is on the list of what will be deleted. `examples` is a page of their names, of which a thousand are kept;
    `next_cursor` is there when the search has named more.
    """

    state: str
    dry_run: bool
    objects: int
    orphans: int
    bytes: int
    unfinished: int
    examples: list[str]
    next_cursor: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    error: str | None = None


class JobQuery(msgspec.Struct, frozen=True):
    """Which jobs are meant."""

    status: Annotated[str, Meta(max_length=100, description="an unknown one finds nothing")] | None = None
    type: str | None = None
    tag: str | None = None
    worker: str | None = None
    q: Annotated[str, Meta(max_length=500)] | None = None
    priority: Priority | None = None
    failure: FailureId | None = None
    created_since: Moment | None = None
    created_until: Moment | None = None
    updated_since: Moment | None = None
    updated_until: Moment | None = None
    made_by: MadeBy | None = None


class ListQuery(JobQuery, frozen=True):
    """What `GET /api/jobs` takes. `cursor` is `next_cursor` of the page before, and fast at any depth."""

    limit: Annotated[int, Meta(ge=1, le=100, extra=LENIENT)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000, description="beyond 10,000 use `cursor`", extra=LENIENT_PLACE)] = 0
    cursor: Annotated[str, Meta(max_length=200)] | None = None


class ManifestQuery(JobQuery, frozen=True):
    """What `GET /api/results/manifest` takes. `completed_since`: jobs with a result that completed since then."""

    status: JobStatus | None = None
    completed_since: Moment | None = None


class FormerKey(msgspec.Struct, frozen=True):
    public_key: str
    fingerprint: str
    since: str


class InstallationWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """`public_key` is 32 bytes (Ed25519) in base64, `fingerprint` its SHA-256, for people to compare. `former` are
    keys that signed before `since`, whose private halves cannot be opened any more."""

    id: str
    public_key: str
    fingerprint: str
    since: str
    former: list[FormerKey] = []


class UserWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    issuer: str
    subject: str
    groups: list[str]
    is_admin: bool
    created_at: str
    last_login_at: str
    email: str | None = None
    name: str | None = None


class SessionWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    created_at: str
    seen_at: str
    checked_at: str
    expires_at: str
    address: str | None = None
    agent: str | None = None


class SessionsEnded(msgspec.Struct, frozen=True):
    ended: int


class WhoAmI(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`subject` is `token:3`, `worker:w1` or `user:7`."""

    subject: str
    name: str
    scopes: list[str]
    is_admin: bool
    server_version: str
    expires_at: str | None = None


class AuditQuery(msgspec.Struct, frozen=True):
    """`actor` is `token:7`, `user:3` or a name; `action` may end in `*` (`worker.*`)."""

    actor: Annotated[str, Meta(max_length=500)] | None = None
    action: Annotated[str, Meta(max_length=100)] | None = None
    subject: Annotated[str, Meta(max_length=500)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1, description="`next_cursor` of the page before")] = 2**63 - 1


class AuditWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    at: str
    actor: str
    name: str
    address: str
    action: str
    subject: str
    detail: str | None = None


class AuditPage(msgspec.Struct, frozen=True):
    entries: list[AuditWire]
    next_cursor: int | msgspec.UnsetType = msgspec.UNSET


class KeptBytes(msgspec.Struct, frozen=True):
    """Bytes of sources that are there, and of results. A source of several jobs counts for each."""

    sources: int
    outputs: int


class KeptWire(msgspec.Struct, frozen=True):
    """What is kept; by tag: `GET /api/stats/tags`."""

    sources: int
    outputs: int
    by_type: dict[str, KeptBytes]
    by_status: dict[str, KeptBytes]


class TagsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=300, pattern=r"^\d{1,19}:[^\x00]*\Z")] | None = None


class TagWire(msgspec.Struct, frozen=True):
    tag: str
    jobs: int
    source_bytes: int
    output_bytes: int


class TagsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Tags with what their jobs have, those with most first."""

    tags: list[TagWire]
    next_cursor: str | None = None


class StatsWire(msgspec.Struct, frozen=True, kw_only=True):
    """`jobs_per_minute` is the mean of the last ten minutes; `eta_by_type` has the types with jobs that
    wait, null where no worker is online for one or none was completed; `eta_seconds` is null unless all are known."""

    total_jobs: int
    pending_jobs: int
    running_jobs: int
    completed_jobs: int
    failed_jobs: int
    dead_jobs: int
    uploading_jobs: int
    cancelled_jobs: int
    total_workers: int
    online_workers: int
    offline_workers: int
    draining_workers: int
    by_type: dict[str, dict[str, int]]
    by_priority: dict[str, dict[str, int]]
    oldest_pending_seconds: float | None
    jobs_per_minute: float
    eta_seconds: float | None
    eta_by_type: dict[str, float | None] = {}
    bytes: KeptWire | msgspec.UnsetType = msgspec.UNSET


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    status: str
    name: str | None = None
    detail: str | None = None


class DrillWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """`proven_until`: everything up to then was found in the restored backup. `detail` is for administrators."""

    started_at: str
    ended_at: str
    ok: bool
    proven_until: str | None = None
    detail: str | None = None


class DrillsWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """Newest first. Go on with `cursor` = `next_cursor`, until there is none."""

    drills: list[DrillWire]
    next_cursor: int | None = None


class ServerWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server. `status`: `online`, or `silent` until it is forgotten. `since`: when this run of it began. `this`:
    it is the one that answers. `last_turn`: the last one of its own in which it wrote, where servers take turns;
    `turns_behind`: those of all servers that it had not read yet when it said so."""

    id: str
    name: str
    status: str
    version: str
    since: str
    seen_at: str
    this: bool
    long_polls: int
    streams: int
    url: str | None = None
    last_turn: int | None = None
    last_turn_at: str | None = None
    turns_behind: int | None = None
    clock_ahead_seconds: float | None = None


class Servers(msgspec.Struct, frozen=True):
    """The one that answers is the first. Without a database that several can share it is the only one."""

    servers: list[ServerWire]


class RemarkWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """`level`: `ok`, `warning`, `failure`, or `skipped` for what could not be looked at. `advice`: what to do."""

    subject: str
    level: str
    text: str
    advice: str | None = None


class DatabaseWire(msgspec.Struct, frozen=True):
    engine: str
    version: str
    remarks: list[RemarkWire]


class BackupPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """`lag_seconds`: for how long something has not been in the backup; absent when it was never reached."""

    status: str
    detail: str | None = None
    lag_seconds: float | None = None
    proven_until: str | None = None
    last_drill: DrillWire | None = None


class Health(msgspec.Struct, frozen=True):
    status: str
    database: Part
    object_store: Part
    backup: BackupPart


class BackupReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The backup, for administrators. `drills`: the last ones, newest first."""

    status: str
    detail: str | None = None
    lag_seconds: float | None = None
    proven_until: str | None = None
    place: str | None = None
    epoch: str | None = None
    encrypted: bool | None = None
    litestream: str | None = None
    running: bool | None = None
    restarts: int | None = None
    sync_interval: float | None = None
    retention: float | None = None
    drill_interval: float | None = None
    drill_running: bool | None = None
    drills: list[DrillWire] = []
