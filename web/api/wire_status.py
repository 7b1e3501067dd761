"""The shapes of how the servers are: statistics, health, backups, the installation, the servers of a database.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from web.api.wire_common import JobType


class DrillsQuery(msgspec.Struct, frozen=True):
    ok: Annotated[bool, Meta(description="only drills that passed, or only those that failed")] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1, description="`next_cursor` of the page before")] = 2**63 - 1


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
    wait, null where one is paused, no worker is online for it, or none was completed; `eta_seconds` is null unless
    all are known. `deferred_jobs` of the pending ones are not to be started yet (`not_before`): they are neither in
    these times nor in `oldest_pending_seconds`."""

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
    deferred_jobs: int = 0


class ScaleQuery(msgspec.Struct, frozen=True):
    type: JobType | None = None
    drain_seconds: Annotated[float, Meta(gt=0, le=31_536_000, description="what waits is to be done within")] = 3600


class ScaleWire(msgspec.Struct, frozen=True, kw_only=False):
    """`pending` wait, those that wait out a back-off too; `desired` workers would be done with what waits and runs in
    `drain_seconds`, and are never fewer than `busy`. `idle` workers (1,000 at most) run nothing: drain one before it
    is ended, so that it is not given a job meanwhile."""

    pending: int
    running: int
    online: int
    busy: int
    desired: int
    idle: list[str]


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
