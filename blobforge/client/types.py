"""The types of the server's answers. Unknown fields are ignored, so that an older client reads a newer server.

Times are aware datetimes in UTC, sizes are bytes, hashes are SHA-256 in lowercase hex.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

import msgspec

ReleaseCause = Literal["shutdown", "preempted", "trouble"]
"""Why a job is given back: the worker stops, its machine is needed elsewhere, or it cannot do the job now."""

FINAL_STATUSES = frozenset({"completed", "dead", "cancelled"})
"""A job in one of these moves no more by itself. (`failed` waits for its next try.)"""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of one job by one worker. `outcome` is None while it runs; `given_back_at` is when it ceased to count,
    since its worker is, or was, in quarantine, or its type was paused by its breaker."""

    attempt: int
    worker_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    kind: str | None = None
    error: str | None = None
    traceback: str | None = None
    log_tail: str | None = None
    given_back_at: datetime | None = None


class ChildJob(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the output of this name. `former`: of a result that another one has replaced. `joins`: it joins
    several."""

    job_id: int
    type: str
    status: str
    output: str = ""
    former: bool = False
    joins: bool = False
    children_to_come: int = 0  # are still to be made of its result


class ChainStage(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of one step of a chain, `depth` steps behind those that the result itself starts; `joins`: the one job
    that joins the stage above. It takes `matched` of the outputs that are known: the first are `names`, and `paths`
    those of their jobs. `workers` are online for the type; `refused`: why there could be no job of it now."""

    depth: int
    type: str
    outputs: str = "*"
    workers: int = 0
    options: dict[str, Any] | None = None
    joins: bool = False
    paused: bool = False
    matched: int | None = None
    names: list[str] = []
    paths: list[str] = []
    refused: str | None = None


class ChainCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a completion would start. `refused`: why a submission would be; `left_out`: why some of the `outputs` that
    are known would start nothing."""

    type: str
    stages: list[ChainStage] = []
    job_id: int | None = None
    status: str | None = None
    outputs: int | None = None
    refused: str | None = None
    left_out: str | None = None


class ChildPage(msgspec.Struct, frozen=True, kw_only=True):
    children: list[ChildJob]
    total: int = 0
    next_cursor: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the server describes it; `attempt_history` only where one job is asked for."""

    id: int
    type: str
    status: str
    source_hash: str
    priority: int = 3
    source_path: str | None = None
    source_size: int | None = None
    worker_id: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    attempts: int = 0
    max_attempts: int | None = None
    last_error: str | None = None
    tags: list[str] | None = None
    metadata: Any = None
    options: dict[str, Any] | None = None
    requires: list[str] | None = None
    group: str | None = None
    made_by: str | None = None
    canary: int | None = None
    compared_until: datetime | None = None
    waiting: WaitingFor | None = None  # where one job is asked for that waits
    result: Any = None
    progress: Any = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    heartbeat_at: datetime | None = None
    losses: int = 0
    output_key: str | None = None
    result_attempt: int | None = None
    result_size: int | None = None  # bytes of one that is kept aside, and absent from lists
    result_url: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    attempt_history: list[Attempt] | None = None
    paths: list[str] | None = None  # where one job is asked for that has several
    paths_total: int | None = None
    batch: int | None = None  # the one that it was made in
    batches: list[int] | None = None  # all that it is in, where it is in several
    parent: int | None = None  # whose output its source is
    then: list[dict[str, Any]] | None = None  # what follows it
    then_stopped: str | None = None  # why its result has started less
    children_to_come: int | None = None  # jobs that its result starts and that are still to be made
    children: list[ChildJob] | None = None  # where one job is asked for: the first of what came of its outputs
    children_total: int | None = None


class JobFilters(TypedDict, total=False):
    """Which jobs are meant, by a list or by what is done to many. None, or nothing: any. Times are RFC 3339; `q` is a
    part of one of the source's paths, `failure` the number of a cause, `made_by` a converter's name and versions
    ("marker<1.3"), `compared` whether a former result is kept, `requiring` what they require of their workers ("gpu",
    "memory_gib>=32", "none"), `group` whose they are, `batch` the number of one that they are in. The server's own
    type is `JobFilter`."""

    status: str | None
    type: str | None
    tag: str | None
    worker: str | None
    q: str | None
    priority: int | str | None
    failure: int | str | None
    created_since: str | None
    created_until: str | None
    updated_since: str | None
    updated_until: str | None
    made_by: str | None
    compared: bool | str | None
    requiring: str | None
    group: str | None
    batch: int | None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list. `next_cursor` is None on the last one; `total` is a lower bound unless `total_exact`."""

    jobs: list[Job]
    total: int = 0
    total_exact: bool = True
    limit: int = 0
    offset: int = 0
    next_cursor: str | None = None


class OutputCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many outputs are the same by their hashes, have changed, are gone, are new; `unproven`: of one size, and a
    hash is not on record."""

    same: int = 0
    changed: int = 0
    gone: int = 0
    new: int = 0
    unproven: int = 0


class FormerOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output of the former result."""

    name: str
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None


class ComparedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is not the same: as it is now, and as it was."""

    name: str
    change: str
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None
    former: FormerOutput | None = None


class ComparedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job's result: `same`, `changed`, `gone`, `new` or `unproven`. `result` is the same of the JSON
    that the worker sent."""

    job_id: int
    change: str
    attempt: int
    former_attempt: int
    until: datetime
    outputs: OutputCounts
    made_by: str | None = None
    former_made_by: str | None = None
    result: str | None = None


class Comparison(ComparedJob, frozen=True, kw_only=True):
    """One page of the outputs that are not the same. Go on with `next_cursor`, until there is none."""

    differing: list[ComparedOutput] = []
    next_cursor: str | None = None


class ComparisonPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs. Go on with `next_cursor`, until there is none."""

    comparisons: list[ComparedJob] = []
    next_cursor: str | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a submitted job. `upload_url` is there while the store lacks the source."""

    job_id: int
    existing: bool = False
    status: str | None = None
    upload_url: str | None = None
    upload_headers: dict[str, str] | None = None
    left_out: list[str] | None = None  # the path and the tags that the job has no room for
    requires: list[str] | None = None  # of the job, where it or the submission requires something
    ignored: list[str] | None = None  # what of the submission a job that was there does not take over
    batches: list[int] | None = None  # that the job is in, where it was submitted for one


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The one-word answer of most actions."""

    status: str = ""


class Cancelled(StatusAnswer, frozen=True, kw_only=True):
    """The job's status. With what came of it: how many of these were cancelled (or would be; `more`: at least), and
    the `operation` that goes on with the others."""

    children: int | None = None
    operation: int | None = None
    more: bool = False


class FailAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a reported failure: whether the job will be tried again."""

    status: str = ""
    will_retry: bool = False


class JoinedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output that a job joins. `name`: of the output that its job came of, and its own behind it."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


class ClaimedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job handed to this worker, with signed URLs for its source and its output. `lease` proves the hold.
    `heartbeat_interval`: seconds between heartbeats, where it is another than that of the registration. `inputs`: of
    a job that joins others, what they brought."""

    job: Job
    source_url: str
    upload_url: str
    output_key: str
    lease: str
    lease_expires_at: datetime | None = None
    upload_headers: dict[str, str] | None = None
    heartbeat_interval: float | None = None
    inputs: list[JoinedOutput] | None = None


class ClaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim that named a `limit`."""

    jobs: list[ClaimedJob] = []


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a registration. Both times are in seconds."""

    heartbeat_interval: float = 30.0
    worker_timeout: float | None = None


class LogTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a live log was taken. `next_seconds`: after how long the next one is wanted."""

    next_seconds: float = 15.0


class JobLog(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt has printed. `start` and `end` are places (characters) in all that it has sent. `live`: it
    runs, and this is what the server has heard of it. Otherwise it is the end that was kept with the attempt."""

    job_id: int
    status: str
    text: str = ""
    start: int = 0
    end: int = 0
    live: bool = False
    attempt: int | None = None


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`drain`: take no more jobs. `abandon`: jobs whose lease this worker no longer holds.

    `late`: those of `abandon` that have not been started since; they may still be completed. `heartbeat_interval`:
    seconds to the next one, where it is another than that of the registration.
    """

    drain: bool = False
    abandon: list[int] = []
    late: list[int] = []
    lease_expires_at: datetime | None = None
    heartbeat_interval: float | None = None


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one job of a batch: a Submission, or what is wrong with it in `error`."""

    job_id: int = 0
    existing: bool = False
    status: str = ""
    upload_url: str | None = None
    upload_headers: dict[str, str] | None = None
    requires: list[str] | None = None
    ignored: list[str] | None = None
    batches: list[int] | None = None
    error: str | None = None
    status_code: int = 200


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer an item, in their order. `small_sources`: the server takes many small sources in one request."""

    items: list[BatchItem]
    small_sources: bool = False


class PartsDestination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a large upload becomes: a source, or the output of an attempt that the caller holds. `name`: which of its
    several outputs."""

    source_hash: str | None = None
    job_id: int | None = None
    lease: str | None = None
    name: str | None = None

    @property
    def is_source(self) -> bool:
        return self.source_hash is not None


class MultipartUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in parts of `part_size` bytes, and those that the store has. `stored`: the object itself is there."""

    stored: bool
    upload_id: str | None = None
    part_size: int = 0
    parts: list[StoredPart] = []


class StoredPart(msgspec.Struct, frozen=True, kw_only=True):
    """`number` counts from 1."""

    number: int
    size: int
    etag: str


class PartUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A signed URL to PUT one part to, with these headers."""

    url: str
    headers: dict[str, str] = {}


class UploadUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh signed URL to PUT one object to."""

    url: str
    key: str
    headers: dict[str, str] | None = None


class DownloadUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A signed URL to GET one object from."""

    url: str


class OutputInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One of a job's outputs. `size` is in bytes; what is not known is None."""

    name: str
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None


class OutputPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a job's outputs, by name; `next_cursor` is where the next one begins."""

    outputs: list[OutputInfo]
    next_cursor: str | None = None


class NamedUploadUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where one of an attempt's several outputs goes: a URL to PUT to, with these headers. A PUT that is answered 412
    has been here before."""

    name: str
    key: str
    url: str
    headers: dict[str, str] = {}


class NamedUploadUrls(msgspec.Struct, frozen=True, kw_only=True):
    """One a name, in their order. A server that knows one output an attempt does not look at names: it has none."""

    urls: list[NamedUploadUrl] | None = None
    url: str | None = None


class FileLink(msgspec.Struct, frozen=True, kw_only=True):
    """A signed URL to GET one of many objects from, and what is known of its bytes; or what is wrong in `error`.

    `key` names the object: it changes with each result of the job, and never means other bytes. `name`: which of
    several outputs it is.
    """

    job_id: int
    kind: str = "output"
    name: str | None = None
    url: str = ""
    filename: str = ""
    key: str = ""
    size: int | None = None
    sha256: str | None = None
    error: str | None = None
    type: str = ""
    status_code: int = 200

    @property
    def attempt_key(self) -> tuple[str, ...]:
        """What the keys of all outputs of a result have in common: installation, job and attempt."""
        return tuple(self.key.split("/")[:4])


class FileLinks(msgspec.Struct, frozen=True, kw_only=True):
    """One answer an item, in their order."""

    items: list[FileLink]


class UnmatchedJobs(msgspec.Struct, frozen=True, kw_only=True):
    """Ready jobs of a type (counted up to 1,000) that require what no worker has that is there."""

    type: str
    requires: list[str]
    pending: int
    lacking: list[str] = []


class QuarantinedWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that gets no jobs but trials, the next one from `trial_at` on (None: none before it is readmitted)."""

    id: str
    type: str
    since: datetime
    evidence: str
    by: str | None = None
    trial_at: datetime | None = None


class UnheardWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that nothing has reached since then; `disabled`: the server sends it nothing more, and why."""

    id: int
    host: str
    since: datetime
    disabled: str | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a range of time, in slots of `step_seconds`. `at` are their beginnings, in seconds since the
    epoch; the other lists have one value a slot, None where the server did not run: `flows` what happened in it,
    `levels` how many jobs there were at its end, by status, `workers` how many workers."""

    since: datetime
    until: datetime
    step_seconds: int
    at: list[int]
    flows: dict[str, list[int | None]]
    levels: dict[str, list[int | None]]
    workers: list[int | None]
    window: str | None = None


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that half, nine tenths and 99 of 100 stayed below; a fifth off at most."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class HistogramBar(msgspec.Struct, frozen=True, kw_only=True):
    """`n` took from `least_seconds` up to `below_seconds`."""

    least_seconds: float
    below_seconds: float
    n: int


class TimesOf(msgspec.Struct, frozen=True, kw_only=True):
    """`n` of each slot and their quantiles, and those of the whole range."""

    n: list[int | None]
    p50: list[float | None]
    p90: list[float | None]
    p99: list[float | None]
    total: int
    overall: Quantiles
    histogram: list[HistogramBar] = []


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long jobs had stood in the queue, and completed attempts ran, by when the attempt ended. Such is kept since
    `kept_since`; None: there is nothing yet."""

    since: datetime
    until: datetime
    step_seconds: int
    at: list[int]
    queued: TimesOf
    ran: TimesOf
    window: str | None = None
    kept_since: datetime | None = None


class ChartMark(msgspec.Struct, frozen=True, kw_only=True):
    """A type was `paused` or `resumed`, by a person or by its breaker (`server`); or a server `started` or `stopped`,
    with this version."""

    at: datetime
    kind: str
    by: str
    type: str | None = None
    reason: str | None = None
    server: str | None = None
    version: str | None = None


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The latest first. `more`: there were others before."""

    since: datetime
    until: datetime
    marks: list[ChartMark]
    more: bool = False
    window: str | None = None


class CauseSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A cause, and how many attempts failed so in each slot, and in the whole range."""

    id: int
    kind: str
    place: str
    total: int
    n: list[int | None]


class Causes(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts that failed or were lost: of the most frequent causes of the range, and of all `others`. Such is kept
    since `kept_since`; None: there is nothing yet."""

    since: datetime
    until: datetime
    step_seconds: int
    at: list[int]
    total: int
    causes: list[CauseSeries]
    others: list[int | None]
    window: str | None = None
    kept_since: datetime | None = None


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """What a person should look at. `store`: whose the object store may be beside the server's; `unmatched`: ready
    jobs that require what no worker has; `quarantined`: workers whose failures stand out; `webhooks`: those that
    nothing reaches."""

    store: list[str] = []
    unmatched: list[UnmatchedJobs] = []
    quarantined: list[QuarantinedWorker] = []
    webhooks: list[UnheardWebhook] = []


class KnownServer(msgspec.Struct, frozen=True, kw_only=True):
    """One of the servers that share a database."""

    name: str
    status: str
    version: str
    seen_at: datetime
    this: bool
    turns_behind: int | None = None
    clock_ahead_seconds: float | None = None


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    servers: list[KnownServer]


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key of an installation: 32 bytes (Ed25519) in base64."""

    public_key: str
    fingerprint: str
    since: datetime


class Installation(KnownKey, frozen=True, kw_only=True):
    """Which installation the server is of, and the key that proves its manifests; `former` are keys that it has lost,
    whose manifests are as good as before."""

    id: str
    former: list[KnownKey] = []


class DatabaseRemark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that should be known about the database."""

    subject: str
    level: Literal["ok", "warning", "failure", "skipped"]
    text: str
    advice: str = ""


class Database(msgspec.Struct, frozen=True, kw_only=True):
    engine: str
    version: str
    remarks: list[DatabaseRemark]


class BytesKept(msgspec.Struct, frozen=True, kw_only=True):
    """What sources and results take."""

    sources: int = 0
    outputs: int = 0


class AllBytesKept(BytesKept, frozen=True, kw_only=True):
    """The same of all jobs, and of each type and status that has any."""

    by_type: dict[str, BytesKept] = {}
    by_status: dict[str, BytesKept] = {}


class TagSize(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs have a tag, and what their sources and results take."""

    tag: str
    jobs: int
    source_bytes: int
    output_bytes: int


class TagSizes(msgspec.Struct, frozen=True, kw_only=True):
    """One page of them, those with most first. `next_cursor` is None on the last one."""

    tags: list[TagSize]
    next_cursor: str | None = None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The queue in numbers. Rates are per minute, ages and estimates in seconds (None: nothing to tell)."""

    total_jobs: int = 0
    uploading_jobs: int = 0
    pending_jobs: int = 0
    running_jobs: int = 0
    completed_jobs: int = 0
    failed_jobs: int = 0
    dead_jobs: int = 0
    cancelled_jobs: int = 0
    total_workers: int = 0
    online_workers: int = 0
    offline_workers: int = 0
    draining_workers: int = 0
    by_type: Any = None
    by_priority: Any = None
    oldest_pending_seconds: float | None = None
    jobs_per_minute: float | None = None
    eta_seconds: float | None = None
    eta_by_type: dict[str, float | None] = {}
    deferred_jobs: int = 0
    bytes: AllBytesKept | None = None


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers there should be: `desired`, never fewer than are `busy`. `idle` ones (ids) run nothing."""

    pending: int
    running: int
    online: int
    busy: int
    desired: int
    idle: list[str]


class WorkerAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a worker. `outcome` is None while it runs."""

    job_id: int
    attempt: int
    type: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    kind: str | None = None
    error: str | None = None
    source_path: str | None = None


class WorkerAttempts(msgspec.Struct, frozen=True, kw_only=True):
    """A page of them; `next_cursor` is None at the end."""

    attempts: list[WorkerAttempt]
    next_cursor: str | None = None


class GpuLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a GPU is, as a share, and its memory in bytes."""

    utilization: float | None = None
    memory: int | None = None
    memory_total: int | None = None


class LoadSeen(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a worker's machine was `at` this time: `cpu` is a share of its `cpus`, memory is in bytes."""

    at: datetime | None = None
    cpu: float | None = None
    cpus: float | None = None
    memory: int | None = None
    memory_total: int | None = None
    gpus: list[GpuLoad] = []


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the server lists it. One that is `quarantined` gets no jobs but trials, from `trial_at` on;
    `evidence` says why in words. `load` is there while it tells how busy its machine is."""

    id: str
    type: str
    status: str
    name: str | None = None
    last_heartbeat: datetime | None = None
    current_job_id: int | None = None
    current_job_ids: list[int] = []
    metadata: Any = None
    labels: Any = None
    version: str | None = None
    enabled: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None
    bound_type: str | None = None
    quarantined: bool = False
    evidence: str | None = None
    quarantined_at: datetime | None = None
    quarantined_by: str | None = None
    trial_at: datetime | None = None
    load: LoadSeen | None = None


class BulkDone(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs (or workers) matched, were changed (a dry run: would be), and refused the change; `reason`: why
    the first of these did, when it was tried. In a dry run of `cancel`: `children` jobs have not ended that came of
    `parents` of those that match; `more`: at least."""

    matched: int = 0
    changed: int = 0
    refused: int = 0
    dry_run: bool = False
    reason: str | None = None
    parents: int | None = None
    children: int | None = None
    more: bool | None = None


class OperationBegun(msgspec.Struct, frozen=True, kw_only=True):
    """The id of an operation that goes on without its client."""

    operation: int


class OperationUndo(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and until when it can be taken back, by which operation it was, and what cannot be."""

    possible: bool = False
    until: datetime | None = None
    undone_by: int | None = None
    note: str | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to many jobs: how far it is, and what it has come to. `state` is selecting, running, completed,
    cancelled or failed; `asked` is what is to be done, and to which jobs."""

    id: int
    verb: str
    state: str
    asked: Any = None
    by: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    matched: int = 0
    total: int = 0
    done: int = 0
    changed: int = 0
    refused: int = 0
    percent: float = 0.0
    reason: str | None = None
    undo_of: int | None = None
    undo: OperationUndo = OperationUndo()

    @property
    def ended(self) -> bool:
        return self.state in ("completed", "cancelled", "failed")


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A converter on trial (`made_by`): `taken` documents are converted once more, and the results compared. `jobs`
    are the canary's own by status, of which `left` have not ended; `workers`, how many of that converter are online.
    `state` is `running`, `ended` or `cancelled`."""

    id: int
    state: str
    types: list[str]
    made_by: str
    sample: int
    taken: int
    slower: float
    priority: int
    by: str
    created_at: datetime
    until: datetime
    jobs: dict[str, int]
    left: int
    workers: int
    against: str | None = None
    cancelled_at: datetime | None = None


class CanaryPage(msgspec.Struct, frozen=True, kw_only=True):
    canaries: list[Canary]
    next_cursor: int | None = None


class CanaryJob(msgspec.Struct, frozen=True, kw_only=True):
    """Job `job_id` of a canary, held against the result of attempt `against` of job `original_id`: the files of both
    can be fetched as those of any job. `outcome` is `same`, `different`, `unproven`, `failed`, `gone`, `cancelled`,
    `running` or `waiting`. It took `now` seconds, and the other one `before`."""

    job_id: int
    original_id: int
    against: int
    type: str
    outcome: str
    slower: bool
    change: str | None = None
    before: float | None = None
    now: float | None = None
    ratio: float | None = None
    error: str | None = None
    worker_id: str | None = None
    former_made_by: str | None = None
    source_size: int | None = None
    source_path: str | None = None


class CanaryJobPage(msgspec.Struct, frozen=True, kw_only=True):
    jobs: list[CanaryJob]
    next_cursor: int | None = None


class CanaryReport(msgspec.Struct, frozen=True, kw_only=True):
    """`verdict` is the worst that there is to say: `failed`, `different`, `unproven`, `slower`, `same`, `nothing`
    (not one could be compared), or `running`. `outcomes` counts the comparisons; `worst` are those to look at."""

    canary: Canary
    verdict: str
    outcomes: dict[str, int]
    slower: int
    timed: int
    is_slower: bool
    worst: list[CanaryJob]
    median: float | None = None


class OperationPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of operations, newest first; `next_cursor` is None on the last one."""

    operations: list[Operation]
    next_cursor: int | None = None


class BatchMade(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that jobs can be submitted for."""

    id: int
    name: str = ""


class BatchEta(msgspec.Struct, frozen=True, kw_only=True):
    """When all of a batch's jobs will have ended, in seconds: at the least and at the most; None: `words` say why."""

    low_seconds: float | None = None
    high_seconds: float | None = None
    words: str = ""


class QueueEta(BatchEta, frozen=True, kw_only=True):
    """When the queue will be empty, and each type of jobs in it."""

    by_type: dict[str, BatchEta] = {}


class BatchInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A batch: `state` is open, closed or ended; `counts` are by status, `gone` those that were deleted since."""

    id: int
    name: str = ""
    state: str = ""
    counts: dict[str, int] = {}
    counts_by_type: dict[str, dict[str, int]] = {}
    total: int = 0
    unfinished: int = 0
    percent: float = 0.0
    endings: int = 0
    metadata: Any = None
    created_at: datetime | None = None
    closed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    eta: BatchEta | None = None
    callback: str | None = None

    @property
    def ended(self) -> bool:
        return self.state == "ended"


class BatchInfoPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of batches, newest first; `next_cursor` is None on the last one."""

    batches: list[BatchInfo]
    next_cursor: int | None = None


class AttemptPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a job's attempts, newest first."""

    attempts: list[Attempt]
    total: int = 0
    next_cursor: int | None = None


class PathPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the paths of a job's source, the first one first."""

    paths: list[str]
    total: int = 0
    next_cursor: int | None = None


class UserInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A person that has signed in through the identity provider."""

    id: int
    issuer: str = ""
    subject: str = ""
    email: str | None = None
    name: str | None = None
    groups: list[str] = []
    is_admin: bool = False
    created_at: datetime | None = None
    last_login_at: datetime | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit log: `actor` did `action` to `subject`, from `address`."""

    id: int
    at: datetime
    actor: str = ""
    name: str = ""
    address: str = ""
    action: str = ""
    subject: str = ""
    detail: str | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the audit log, newest first. `next_cursor` is None on the last one."""

    entries: list[AuditEntry]
    next_cursor: int | None = None


class WhoAmI(msgspec.Struct, frozen=True, kw_only=True):
    """The caller as the server sees us. `expires_at` is that of an API token; None: never."""

    subject: str
    name: str
    scopes: list[str] = []
    is_admin: bool = False
    expires_at: datetime | None = None
    server_version: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """How one part of the server is: healthy, unhealthy, or disabled."""

    status: str
    name: str | None = None
    detail: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is, part by part."""

    status: str
    database: Part | None = None
    object_store: Part | None = None
    backup: Part | None = None


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """One drill: the backup was restored to the side and compared."""

    started_at: datetime
    ended_at: datetime
    ok: bool
    proven_until: datetime | None = None
    detail: str | None = None


class DrillsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Drills, newest first; `next_cursor` goes on."""

    drills: list[Drill]
    next_cursor: int | None = None


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the backup is; `drills` newest first."""

    status: str
    detail: str | None = None
    lag_seconds: float | None = None
    proven_until: datetime | None = None
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
    drills: tuple[Drill, ...] = ()


class WorkerSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's new credential; the server shows `secret` this once."""

    id: str
    secret: str
    name: str | None = None
    type: str | None = None


class SupersededAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Results that another one of their job has replaced, and those that would go by a rule: replaced more than
    `older_than` seconds ago, or not among the latest `keep` of their job."""

    results: int
    bytes: int
    due_results: int
    due_bytes: int
    older_than: float | None = None
    keep: int | None = None


class OrphanSearch(msgspec.Struct, frozen=True, kw_only=True):
    """How a search for objects that no job needs goes. `bytes` is the size of the orphans."""

    state: str
    dry_run: bool
    objects: int
    orphans: int
    bytes: int
    unfinished: int
    examples: list[str]
    next_cursor: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None


class WaitingFor(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job does not run, as a `code` and in words. `until`: it ends by itself then. `change`: commands that
    would change it; `held_by`: running jobs that are in its way; `ahead`: how many come before it, at least;
    `expires_at`: it is dead then if no worker was given it."""

    code: str
    text: str
    until: datetime | None = None
    change: list[str] = []
    held_by: list[int] = []
    ahead: int | None = None
    expires_at: datetime | None = None


class JobWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting` is None where the job runs or has ended."""

    job_id: int
    status: str
    waiting: WaitingFor | None


class TypeInForce(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a type, set for it or for all types."""

    max_attempts: int
    retry_backoff: float
    worker_timeout: float | None = None  # of an older server, as what follows
    breaker: int | None = None
    own_fault: bool | None = None
    quarantine: bool | None = None


class TypeRate(msgspec.Struct, frozen=True, kw_only=True):
    """So many jobs may be started at once, and as many more within each `seconds`."""

    count: int
    seconds: float


class TypeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A type of jobs. While it is `paused` no job of it is given out. `jobs` are their numbers by status."""

    type: str
    paused: bool
    jobs: dict[str, int]
    in_force: TypeInForce
    reason: str | None = None
    paused_by: str | None = None
    paused_at: datetime | None = None
    probe_at: datetime | None = None
    max_attempts: int | None = None
    retry_backoff: float | None = None
    max_running: int | None = None
    rate: TypeRate | None = None
    worker_timeout: float | None = None
    weights: dict[str, int] | None = None
    breaker: int | None = None
    urgent_after: float | None = None
    own_fault: bool | None = None
    quarantine: bool | None = None
    then: list[dict[str, Any]] | None = None  # what follows its jobs


class TypesPage(msgspec.Struct, frozen=True, kw_only=True):
    types: list[TypeInfo]
    next_cursor: str | None = None


class WebhookInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as the server lists it, without its secret. `waiting` deliveries are still to be made (1,000 stands
    for any more); `failing_since`: since then none has succeeded. `callbacks_of`: it stands for the callbacks of
    batches to this host."""

    id: int
    url: str
    events: list[str]
    enabled: bool = True
    waiting: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    types: list[str] = []
    tags: list[str] = []
    group: str | None = None
    batch: int | None = None
    results: bool = False
    waiting_since: datetime | None = None
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_why: str | None = None
    former_until: datetime | None = None
    callbacks_of: str | None = None


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook just made, or its new secret, which the server shows this once. `former_until`: up to then deliveries
    are signed with the former one, too."""

    id: int
    secret: str
    former_until: datetime | None = None


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook was sent, or is to be: `waiting`, `delivered` or `failed` (given up). `webhook_id` is what the
    receiver knows it by; of the latest try, the `status` and the beginning of the answer, or the `error`."""

    id: int
    webhook_id: str
    event: str
    at: datetime
    state: str
    tries: int = 0
    data: dict[str, Any] = {}
    due_at: datetime | None = None
    tried_at: datetime | None = None
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    ended_at: datetime | None = None


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    deliveries: list[WebhookDelivery]
    next_cursor: int | None = None


class DeliveryBegun(msgspec.Struct, frozen=True, kw_only=True):
    delivery: int


class Redelivered(msgspec.Struct, frozen=True, kw_only=True):
    redelivered: int
    next_cursor: int | None = None


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An API token as the server lists it, without its secret."""

    id: int | str
    name: str
    prefix: str | None = None
    is_admin: bool = False
    scopes: list[str] | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token just made; the server shows `token` this once."""

    id: int | str
    token: str
    name: str
