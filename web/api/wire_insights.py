"""The shapes of what the dashboard shows beside jobs and workers: causes of failures, what needs a person."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from web.api.wire_status import BackupPart


class TypeOutlookWire(msgspec.Struct, frozen=True):
    """The same of one type."""

    low_seconds: float | None
    high_seconds: float | None
    words: str


class OutlookWire(msgspec.Struct, frozen=True):
    """When the queue will be empty, as a range in seconds from now; null unless it can be said of each type. `words`
    says what was assumed, or why it is unknown. `rest`: all types together but those of which it cannot be said; null
    where it can be said of each, or of none."""

    low_seconds: float | None
    high_seconds: float | None
    words: str
    by_type: dict[str, TypeOutlookWire] = {}
    rest: TypeOutlookWire | None = None


class FailureWire(msgspec.Struct, frozen=True):
    """A cause of failures: its kind and place, and the latest error as an example. `failed` and `dead` are the jobs
    that show it now, `attempts` those that ever failed so. List them with `GET /api/jobs?failure=<id>`."""

    id: int
    fingerprint: str
    kind: str
    place: str
    example: str
    first_seen: str
    last_seen: str
    attempts: int
    failed: int
    dead: int


class FailingWorker(msgspec.Struct, frozen=True):
    """A worker, and how many of the jobs that were looked at failed there."""

    worker_id: str
    jobs: int


class FailureDetailWire(FailureWire, frozen=True):
    """A cause, and the workers at which jobs failed so, most jobs first: 20 of them, by 1,000 of its jobs at most.
    One that stands alone here may be at fault itself (see `quarantined` of `GET /api/workers`)."""

    workers: list[FailingWorker]


class FailureQuery(msgspec.Struct, frozen=True):
    open: Annotated[bool, Meta(description="only causes that jobs show now")] = False
    q: Annotated[str, Meta(max_length=500, description="a part of kind, place or example")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1001)] = 100
    cursor: Annotated[str, Meta(max_length=100, description="`next_cursor` of the page before")] | None = None


class FailuresWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """The causes with the most jobs first; `total` is how many match; `next_cursor` goes on. `filling` is there while
    failures of an older release are still being sorted: how much of that is done (0 to 1)."""

    failures: list[FailureWire]
    total: int
    filling: float | None = None
    next_cursor: str | None = None


class LostWorker(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A worker that fell silent. `lost` attempts of the last 24 hours; `running` jobs whose lease still runs, the
    first hundred of them."""

    id: str
    type: str
    last_heartbeat: str | None = None
    lost: int
    running: list[int]


class QueueWire(msgspec.Struct, frozen=True):
    """What waits of one type, and since when. `has_worker`: a worker that is there takes such jobs. `not_accepted`:
    some have options, and no worker that is there heeds them. `running` of its jobs run now, where that is limited
    of `max_running` at most."""

    type: str
    pending: int
    oldest_pending_at: str | None
    oldest_pending_seconds: float | None
    has_worker: bool
    not_accepted: bool = False
    running: int = 0
    max_running: int | None = None


class StillJob(msgspec.Struct, frozen=True):
    """A running job that has shown no progress for longer than can be expected."""

    job_id: int
    type: str
    worker_id: str | None
    seconds: float
    source_path: str | None


class ContestedWorker(msgspec.Struct, frozen=True):
    """A worker's id that another process, on `host`, asked for while the one that has it lives."""

    id: str
    type: str
    at: str
    host: str | None


class QuarantinedWorker(msgspec.Struct, frozen=True):
    """A worker that gets no jobs but trials, the next one from `trial_at` on (null: none before it is readmitted)."""

    id: str
    type: str
    since: str
    evidence: str
    by: str | None
    trial_at: str | None


class LimitWire(msgspec.Struct, frozen=True):
    """A limit that refuses callers now: how much room it has, how much of it is taken, how many found none so far."""

    name: str
    used: int
    total: int
    refused: int


class PausedType(msgspec.Struct, frozen=True):
    """A type of which no job is given out: since when, by which caller and why; `pending` of its jobs wait. By
    `server`: its breaker has paused it, and one job is let through from `probe_at` on."""

    type: str
    since: str
    by: str | None
    reason: str | None
    pending: int
    probe_at: str | None = None


class UnmatchedWire(msgspec.Struct, frozen=True):
    """Ready jobs of a type that require what no worker has that is there: `pending` of them, counted up to 1,000.
    `lacking`: of what they require, what not one of the workers of the type has."""

    type: str
    requires: tuple[str, ...]
    pending: int
    lacking: tuple[str, ...]


class UnheardWebhook(msgspec.Struct, frozen=True):
    """A webhook that nothing has reached since then; `disabled`: the server sends it nothing more, and why. Its
    `host` alone: the rest of its URL is for administrators."""

    id: int
    host: str
    since: str
    disabled: str | None


class AttentionWire(msgspec.Struct, frozen=True):
    """What a person should look at, the worst of each kind first; empty lists are good news.

    `silent`: jobs of workers that sent no heartbeat while they worked, so that their leases expired.
    """

    dead_jobs: int
    dead: list[FailureWire]
    silent: list[FailureWire]
    workers_lost: list[LostWorker]
    workers_contested: list[ContestedWorker]
    queues: list[QueueWire]
    standing_still: list[StillJob]
    limits: list[LimitWire]
    backup: BackupPart
    paused: list[PausedType] = msgspec.field(default_factory=list)
    unmatched: list[UnmatchedWire] = msgspec.field(default_factory=list)
    quarantined: list[QuarantinedWorker] = msgspec.field(default_factory=list)
    webhooks: list[UnheardWebhook] = msgspec.field(default_factory=list)
    store: list[str] = msgspec.field(default_factory=list)  # what is odd about the object store, in words


class EventWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that happened to a job. `what` is `submitted`, `started`, the outcome of an attempt, `given-back`,
    `waits`, `expires`, `cancelled`, `dead`, or an action (`job.retry`) of the caller `by`."""

    at: str
    what: str
    text: str
    attempt: int | None = None
    worker_id: str | None = None
    by: str | None = None


class PreviewQuery(msgspec.Struct, frozen=True):
    """`of`: the source, or an output; `name`: which of several outputs, `former`: of the result that is kept to be
    compared."""

    of: Literal["source", "output"] = "output"
    name: Annotated[str, Meta(max_length=512)] | None = None
    former: bool = False


class PreviewWire(msgspec.Struct, frozen=True):
    """The beginning of a file as HTML that is safe to show, or null with the reason why there is none.

    `kind` is `markdown`, `text`, `json` or `table`; or `image` or `pdf`, of which there is no HTML. `cut`: there is
    more of it than is shown.
    """

    kind: str | None
    html: str | None
    cut: bool
    reason: str | None


class SettingWire(msgspec.Struct, frozen=True):
    """A setting in force; secrets are masked."""

    name: str
    value: str
    default: str
    description: str
    group: str
    is_set: bool
