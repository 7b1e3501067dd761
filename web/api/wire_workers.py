"""The shapes of workers: their registration, their heartbeats, how they are shown, and their credentials.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.job import Outcome
from blobforge.load import MachineGpu, MachineLoad
from web.api.wire_common import ConverterText, Instance, JobId, JobType, Json, Lease, ShortText, Tag, WorkerId
from web.decode import LENIENT


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


class LoadSeen(MachineLoad, frozen=True, omit_defaults=True, kw_only=True):
    """How busy a worker's machine is, as the heartbeat `at` this time had it: `cpu` is the share of the `cpus` that
    the worker may use, since the heartbeat before; `memory` is in use, of `memory_total`, in bytes."""

    at: str
    gpus: tuple[MachineGpu, ...] = ()


_LOAD_SAID = {
    "description": "How busy the machine is, in the form of `LoadSeen`, without `at`. Kept in memory for a while; "
    "costs no heartbeat: what is of another form is left out.",
    "examples": [{"cpu": 0.42, "cpus": 8, "memory": 3221225472, "memory_total": 8589934592}],
}


class HeartbeatBody(msgspec.Struct, frozen=True):
    """`progress` is an object with `stage`, `percent`, `done`, `total`, `message`; any other value is kept, too."""

    job_id: Annotated[int, Meta(ge=0, le=2**63 - 1, description="0 is none")] | None = None
    lease: Lease | None = None
    progress: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    jobs: Annotated[list[HeartbeatJob], Meta(max_length=1000)] = []
    instance: Instance | None = None
    load: Annotated[msgspec.Raw | msgspec.UnsetType, Meta(extra_json_schema=_LOAD_SAID)] = msgspec.UNSET


class UnregisterBody(msgspec.Struct, frozen=True):
    instance: Instance | None = None


class HeartbeatAnswer(msgspec.Struct, frozen=True):
    """`abandon` lists the jobs named whose lease this worker no longer holds: stop working on them.

    `late` lists those of `abandon` that have not been started since: a completion would still be accepted.
    `heartbeat_interval`: seconds to the next heartbeat, where it is another than was told at the registration.
    """

    drain: bool
    abandon: list[int]
    lease_expires_at: str | None
    late: list[int] | msgspec.UnsetType = msgspec.UNSET  # absent when there is none
    heartbeat_interval: float | msgspec.UnsetType = msgspec.UNSET
    status: str = "ok"


class WorkerWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`current_job_ids` are the first hundred; `contested_at` is when another process, on the host `contested_by`,
    asked to be this worker and was refused; `bound_type` the only type of jobs that it may ask for, where its
    credential was made for one; `accepts` what its latest claim said that it heeds.

    A worker that is `quarantined` gets no jobs but trials, the next one from `trial_at` on (absent: none before it is
    readmitted), since `quarantined_at`; `evidence` says in words why. `load` is there while it tells how busy its
    machine is, at the server that it speaks to."""

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
    quarantined: bool | None = None  # never absent
    evidence: str | None = None
    quarantined_at: str | None = None
    quarantined_by: str | None = None
    trial_at: str | None = None
    load: LoadSeen | None = None


class WorkerRatesWire(msgspec.Struct, frozen=True):
    """A worker's rates of the last 24 hours. `failure_rate` is the share of failed and lost attempts among those that
    ended by themselves; null while there are none."""

    jobs_per_hour: float
    failure_rate: float | None
    completed: int
    failed: int
    lost: int


class WorkersQuery(msgspec.Struct, frozen=True):
    """`cursor` is the id of the last worker of the page before; the `Link` header has the next page's address."""

    status: ShortText | None = None
    type: ShortText | None = None
    q: Annotated[str, Meta(max_length=500, description="a part of the id or the name")] | None = None
    enabled: bool | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, extra=LENIENT)] = 1000
    cursor: Annotated[str, Meta(max_length=255)] | None = None


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


class QuarantineBody(msgspec.Struct, frozen=True):
    reason: Annotated[str, Meta(max_length=500, description="why, for people")] | None = None


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
