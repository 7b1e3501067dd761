"""The shapes of jobs: how they are submitted, changed one by one, listed and shown.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from blobforge.chain import LONGEST_PATTERN, MOST_STEPS
from blobforge.job import DEFAULT_PRIORITY, JobStatus, Outcome
from blobforge.requirements import MOST_REQUIREMENTS
from blobforge.store.sorting import JobSort
from web.api.wire_common import (
    BatchId,
    FailureId,
    GivenTag,
    Group,
    JobType,
    JoinType,
    Json,
    MadeBy,
    MaxAttempts,
    Moment,
    PlaceQuery,
    Priority,
    Required,
    Requiring,
    Sha256,
    ShortText,
    Size,
    SourcePath,
    StepType,
    Tag,
)
from web.decode import LENIENT, LENIENT_PLACE


class JoinBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One more job of this type when all that the step has made of one result have ended: its source is the manifest
    of what they brought."""

    type: JoinType
    options: Json | None = None
    then: Annotated[list[StepBody], Meta(max_length=MOST_STEPS, examples=[[]])] | None = None


class StepBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What follows a job: each of its outputs whose name matches `outputs` (`*` and `?`, which go over slashes, too;
    `[...]`) becomes the source of a job of this `type` with these `options`, and `then` follows that one; where it is
    not said, what is set for the type, and where it is empty, nothing."""

    type: StepType
    outputs: Annotated[str, Meta(min_length=1, max_length=LONGEST_PATTERN, pattern=r"^[^\x00-\x1f\x7f]+\Z")] = "*"
    options: Json | None = None
    then: Annotated[list[StepBody], Meta(max_length=MOST_STEPS, examples=[[]])] | None = None
    join: JoinBody | None = None


class SubmitBody(msgspec.Struct, frozen=True):
    """`bind_checksum`: sign the SHA-256 into `upload_url`; the PUT must then carry all of `upload_headers`.
    `options`: what the converter is to do, at most 16 KiB of JSON; `{}` is none. A job is unique by source, type and
    options. `requires`: what the labels of its worker must hold (`gpu`, `zone=eu`, `memory_gib>=32`), 16 at most.
    `not_before`: no worker is given the job before that time; one that is over says nothing. `expires_at`: it is dead
    if no worker was given it by then. Both are a year ahead at most. `group`: whose job it is; within a priority jobs
    of different groups take turns. `batch`: the one that it is submitted for, open. `then`: what its result starts,
    in the same batch and group, with the same priority and tags; at most 32 steps, 8 deep. Where it is not said, what
    is set for the type follows; where it is empty, nothing."""

    type: JobType
    source_hash: Sha256
    source_path: SourcePath | None = None
    source_size: Size | None = None
    priority: Priority = DEFAULT_PRIORITY
    max_attempts: MaxAttempts | None = None
    tags: Annotated[list[GivenTag | None], Meta(max_length=100)] | None = None
    metadata: Json | None = None
    bind_checksum: bool = False
    options: Json | None = None
    requires: Annotated[list[Required | None], Meta(max_length=MOST_REQUIREMENTS)] | None = None
    not_before: Moment | None = None
    group: Group | None = None
    expires_at: Moment | None = None
    batch: BatchId | None = None
    then: Annotated[list[StepBody], Meta(max_length=MOST_STEPS)] | None = None


class SubmitMany(msgspec.Struct, frozen=True):
    jobs: Annotated[list[SubmitBody], Meta(min_length=1, max_length=1000)]


class SubmitAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A submission of what is there already adds its path and its tags; `left_out`: the path, or the tags, that the
    job has no room for. All else of that job stays as it is. `ignored` has the names of what this submission says
    otherwise: of `group`, `requires`, `then`, `max_attempts`, `metadata`, `not_before`, `expires_at`, and `priority`
    where it is not 3. `requires` is what the job requires, where it, or the submission, requires something. It comes
    to the batch, too, and stays in those that it was in: `batches` are all of them, where it was submitted for
    one."""

    job_id: int
    existing: bool
    status: JobStatus
    upload_url: str | None = None
    upload_headers: dict[str, str] | None = None
    left_out: tuple[str, ...] = ()
    requires: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()


class SubmittedItems(msgspec.Struct, frozen=True):
    """The items' answers, in their order. `small_sources`: this server takes many small sources at once, at
    `/api/files/sources`."""

    items: Annotated[list[Any], Meta(extra_json_schema={"items": {"type": "object"}})]
    small_sources: bool


class RetryBody(msgspec.Struct, frozen=True):
    """`undo`: remember how the job was, and answer with a token to put it back by. `compare`: when the next result is
    accepted, the one that the job has now is kept beside it for a while (`BLOBFORGE_RETENTION_COMPARED`)."""

    reset_attempts: bool = False
    priority: Priority | None = None
    undo: bool = False
    compare: bool = False


class CancelBody(msgspec.Struct, frozen=True):
    """`undo`: remember how the job was, and answer with a token to put it back by. `reason`: why, for people; the job
    shows it. `children`: with all that came of it by its chain and has not ended, also where the job itself has;
    these are not put back by the token. `dry_run`: cancel nothing, and say how many these are."""

    undo: bool = False
    reason: ShortText | None = None
    children: bool = False
    dry_run: bool = False


class Cancelled(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status` is the job's. `undo`: a token for `POST /api/jobs/undo`, good for ten minutes; there where it was
    asked for. `children`: how many were cancelled of what came of it, and `operation` goes on with the others; by a
    `dry_run`, how many would be, and `more`: there may be more than these."""

    status: str
    undo: str | msgspec.UnsetType = msgspec.UNSET
    children: int | msgspec.UnsetType = msgspec.UNSET
    operation: int | msgspec.UnsetType = msgspec.UNSET
    more: bool | msgspec.UnsetType = msgspec.UNSET
    dry_run: bool = False


class PriorityBody(msgspec.Struct, frozen=True):
    priority: Priority
    undo: bool = False


class RetypeBody(msgspec.Struct, frozen=True):
    """`to` is the type that the job gets. `undo`: remember how the job was, and answer with a token to put it back
    by."""

    to: JobType
    undo: bool = False


class RequiresBody(msgspec.Struct, frozen=True):
    """All that the job is to require; an empty list: any worker may have it. `undo`: remember how the job was, and
    answer with a token to put it back by."""

    requires: Annotated[list[Required], Meta(max_length=MOST_REQUIREMENTS)]
    undo: bool = False


class TagsBody(msgspec.Struct, frozen=True):
    """`undo`: remember how the job was, and answer with a token to put it back by."""

    add: Annotated[list[Tag], Meta(max_length=100)] = []
    remove: Annotated[list[Tag], Meta(max_length=100)] = []
    undo: bool = False


class PathsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 100
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class PathsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The paths under which a job's source was submitted, the first one first."""

    paths: list[str]
    total: int
    next_cursor: int | None = None


class AttemptWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """`given_back_at`: when its try, or its loss, was given back to the job, since its worker was in quarantine, or
    came into it by this attempt; or since its type was paused by its breaker."""

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
    given_back_at: str | None = None


class AttemptsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=50)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class AttemptsWire(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. Go on with `cursor` = `next_cursor`, until there is none."""

    attempts: list[AttemptWire]
    total: int
    next_cursor: int | None = None


class TimelineQuery(PlaceQuery, frozen=True):
    """`limit` counts attempts and records; an attempt has two events."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class ExpectedWire(msgspec.Struct, frozen=True):
    """In one case of two the job will have ended between these. `by`: `progress` (its own pace so far), or
    `durations` (how long others of its type took)."""

    earliest: str
    latest: str
    by: str


class WaitingWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a job does not run. `code` is `source`, `not-before`, `back-off`, `kept`, `paused`, `limit`, `rate`,
    `not-accepted`, `labels`, `no-worker`, `all-offline`, `all-disabled`, `all-draining`, `queued` or `next`; `until`
    is when that ends by itself, where it is known. `change` are commands that would change it; `held_by` running
    jobs in its way, the first five; `ahead` how many come before it, at least. At `expires_at` the job is dead if no
    worker was given it."""

    code: str
    text: str
    until: str | None = None
    change: list[str] = []
    held_by: list[int] = []
    ahead: int | None = None
    expires_at: str | None = None


class WhyWire(msgspec.Struct, frozen=True):
    """`waiting` is null where the job runs or has ended."""

    job_id: int
    status: str
    waiting: WaitingWire | None


class ChildWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of the output of this name. `former`: of a result that another one has replaced. `joins`: it joins
    several, and came of no single one."""

    job_id: int
    type: str
    status: JobStatus
    output: str = ""
    former: bool = False
    joins: bool = False
    children_to_come: int = 0


class ChildrenQuery(msgspec.Struct, frozen=True):
    """`cursor` is `next_cursor` of an earlier answer."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 100
    cursor: Annotated[str, Meta(max_length=600, pattern=r"^[0-9]{1,18}:-?[0-9]{1,4}:[^\x00]*\Z")] | None = None


class ChildrenWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """By attempt, step and output. A job that joins several stands before what it joins."""

    children: list[ChildWire]
    total: int
    next_cursor: str | None = None


class JobWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Absent where null; `attempt_history` (the latest 50, their long texts cut), `attempts_total` and
    `waiting` are there when one job is asked for.

    A `result` of more than 64 KiB is kept aside: `result_size` has its bytes, `result_url` where to get it whole. In
    lists and claims it is absent then, and where one job is asked for if it has more than 1 MiB.

    `paths_total` is there where the source was submitted under more than one path, and `paths` (the first fifty)
    where one such job is asked for; `GET /api/jobs/{id}/paths` has all.

    `failure` is the cause of its latest failure (`GET /api/failures`), `progress_at` when its progress last changed.
    `made_by` is the converter of its result. `compared_until`: so long the result that it took the place of is kept,
    too (`GET /api/jobs/{id}/comparison`). `batch` is the one that it was made in; `batches` are all that it is in,
    where it is in several. `canary`: it is a comparison of that canary (`GET /api/canaries/{id}`).

    `parent` is the job whose output is its source; its `source_hash` is empty until the server has read that. `then`
    is what follows it, and `then_stopped` why its result has started less; `children_to_come` jobs are still to be
    made of that. Where one job is asked for, `children` are what came of its outputs (the first fifty),
    `children_total` is how many there are.
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
    expires_at: str | None = None
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
    requires: tuple[str, ...] | None = None
    group: str | None = None
    made_by: str | None = None
    canary: int | None = None
    compared_until: str | None = None
    batch: int | None = None
    batches: tuple[int, ...] = ()
    parent: int | None = None
    then: tuple[StepBody, ...] = ()
    then_stopped: str | None = None
    children_to_come: int = 0
    children: list[ChildWire] | msgspec.UnsetType = msgspec.UNSET
    children_total: int | msgspec.UnsetType = msgspec.UNSET
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


class DeleteQuery(msgspec.Struct, frozen=True):
    objects: bool = True


class ResultQuery(msgspec.Struct, frozen=True):
    """`former`: the result that is kept to be compared."""

    former: bool = False


Text = Annotated[
    str,
    Meta(
        max_length=500,
        description="in a path or a tag, in either case; or the first digits (8 or more) of the source's hash; or "
        "the name of the worker",
    ),
]


class JobQuery(msgspec.Struct, frozen=True):
    """Which jobs are meant."""

    status: Annotated[str, Meta(max_length=100, description="an unknown one finds nothing")] | None = None
    type: str | None = None
    tag: str | None = None
    worker: str | None = None
    q: Text | None = None
    priority: Priority | None = None
    failure: FailureId | None = None
    created_since: Moment | None = None
    created_until: Moment | None = None
    updated_since: Moment | None = None
    updated_until: Moment | None = None
    made_by: MadeBy | None = None
    compared: Annotated[bool, Meta(description="whether a former result is kept beside the job's own")] | None = None
    requiring: Requiring | None = None
    group: Group | None = None
    batch: BatchId | None = None


class ListQuery(JobQuery, frozen=True):
    """What `GET /api/jobs` takes. `cursor` is `next_cursor` of the page before, and fast at any depth. `sort`:
    another order than by priority and then newest first; with a `-`, the highest first. Jobs that have nothing to be
    sorted by (no end, no more than one try) follow behind the others; by `-size` also those of less than 8 MiB, where
    more than 5,000 match."""

    limit: Annotated[int, Meta(ge=1, le=100, extra=LENIENT)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000, description="beyond 10,000 use `cursor`", extra=LENIENT_PLACE)] = 0
    cursor: Annotated[str, Meta(max_length=200)] | None = None
    sort: JobSort | None = None


class ExportQuery(JobQuery, frozen=True):
    """What `GET /api/jobs/export` takes. `columns`: their names with commas between them; the id is always the first.
    None said: all. A text of CSV that a spreadsheet would take for a formula has a `'` before it. The last line of a
    table that had to end early is `CUT OFF: ...` in the column of ids, or `{"cut_off": ...}`."""

    status: JobStatus | None = None
    format: Literal["csv", "ndjson"] = "csv"
    columns: Annotated[str, Meta(max_length=1000)] | None = None


class ManifestQuery(JobQuery, frozen=True):
    """What `GET /api/results/manifest` takes. `completed_since`: jobs with a result that completed since then."""

    status: JobStatus | None = None
    completed_since: Moment | None = None
