"""Workers, with the pure rules of which callers may act as one and which workers get work."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from blobforge.access import Caller
from blobforge.quarantine import Quarantine
from blobforge.refusals import Refusal, RefusalCode


class WorkerStatus(StrEnum):
    ONLINE = "online"
    OFFLINE = "offline"
    DRAINING = "draining"  # ends what it has, gets nothing new


class Worker(msgspec.Struct, frozen=True):
    """One machine's worker process, by the id that it chose. Times are milliseconds since the epoch, UTC.

    `token_id` is the API token that registered it; `secret_hash` the SHA-256 of its own credential. A worker
    has at most one of the two to its name: no other credential may act as it. `drain` outlives a silence: a draining
    worker that comes back still drains. `instance` names the process that is this worker now; None: it has not said.
    `contested_at` is when another process, on the host `contested_by`, asked to be it and was refused.
    `bound_type` is the only type of jobs that it may ask for; None: any. `accepts` is what it heeds of a job beside
    the source, by its latest claim; `converter` what it works with, as it said last. In `quarantine` it gets no jobs
    but trials; what it had failed before `readmitted_at` does not count any more.
    """

    id: str
    type: str
    status: WorkerStatus
    created_at: int
    updated_at: int
    name: str | None = None
    enabled: bool = True
    last_heartbeat: int | None = None
    metadata: str | None = None
    labels: str | None = None
    version: str | None = None
    token_id: int | None = None
    secret_hash: str | None = None
    drain: bool = False
    registered: bool = False
    instance: str | None = None
    contested_at: int | None = None
    contested_by: str | None = None
    bound_type: str | None = None
    accepts: tuple[str, ...] = ()
    converter: str | None = None
    quarantine: Quarantine | None = None
    readmitted_at: int | None = None


class WorkerFilter(msgspec.Struct, frozen=True):
    """The workers that a list or a bulk action takes; None means any. `q` is a part of the id or the name, in any
    case.

    `silent_since`, in ms since the epoch: workers that were not heard from then on; one that was never heard counts
    from when it was made.
    """

    status: str | None = None
    enabled: bool | None = None
    type: str | None = None
    q: str | None = None
    silent_since: int | None = None

    def matches(self, worker: Worker) -> bool:
        """The same as `_WORKERS_WANTED` in `store/sql/sql.py`, of a worker that is in hand."""
        text = (self.q or "").casefold()
        return (
            self.status in (None, worker.status)
            and self.enabled in (None, worker.enabled)
            and self.type in (None, worker.type)
            and (text in worker.id.casefold() or text in (worker.name or "").casefold())
            and (self.silent_since is None or last_sign(worker) < self.silent_since)
        )


def last_sign(worker: Worker) -> int:
    """When the worker was heard last, or made, in ms since the epoch."""
    return worker.last_heartbeat if worker.last_heartbeat is not None else worker.created_at


class Succession(StrEnum):
    """The relation of a process that registers to the worker of that id."""

    SAME = "same"  # the process that is the worker already, or that cannot be told from it
    SUCCESSOR = "successor"  # the former one is gone, and its attempts with it
    RIVAL = "rival"  # the other one lives


def succession(
    worker: Worker, instance: str | None, replaces: str | None, *, silence_ms: int, patience_ms: int
) -> Succession:
    """Whether a process may become the worker: at once if it knows the instance of its predecessor, which only the
    same place on the same disk tells it; else when that one has been silent (`silence_ms`) for `patience_ms`.

    Two machines under one id cannot end each other's work in turns, however often each is restarted: what a process
    knows is the instance that it had itself, and that is no longer the current one once the other has taken over.
    """
    if instance is None or worker.instance is None or instance == worker.instance:
        return Succession.SAME
    heard = worker.status is not WorkerStatus.OFFLINE and silence_ms < patience_ms
    alive = worker.registered and heard
    return Succession.RIVAL if alive and replaces != worker.instance else Succession.SUCCESSOR


def instance_replaced(worker: Worker, instance: str | None) -> Refusal | None:
    """Whether another process than the one that calls is this worker now. Without an instance that is not known."""
    if instance is None or worker.instance in (None, instance):
        return None
    return Refusal(
        RefusalCode.INSTANCE_REPLACED,
        f"Another process has taken over as worker {worker.id!r}; what this one held went back. End, and do not "
        "register again under this id.",
    )


def no_such_worker(worker_id: str) -> Refusal:
    return Refusal(
        RefusalCode.NO_SUCH_WORKER,
        f"No worker {worker_id!r} is registered. Register it first: POST /api/workers/register.",
    )


def not_registered(worker_id: str) -> Refusal:
    return Refusal(
        RefusalCode.NO_SUCH_WORKER,
        f"Worker {worker_id!r} is not registered now. Register it first: POST /api/workers/register.",
    )


def disabled(worker_id: str) -> Refusal:
    return Refusal(
        RefusalCode.WORKER_DISABLED, f"Worker {worker_id!r} is disabled. An administrator can enable it again."
    )


def may_act(worker: Worker, caller: Caller, instance: str | None = None) -> Refusal | None:
    """Whether `caller` may act as `worker`: identity comes from the credential alone, and the process that it names
    is the current one.

    A worker credential is that worker. An API token is any worker that it registered itself; an admin's, any.
    """
    if not worker.enabled:
        return disabled(worker.id)
    if caller.worker_id is not None:
        mine = caller.worker_id == worker.id
    else:
        mine = caller.is_admin or (caller.token_id is not None and caller.token_id == worker.token_id)
    if mine:
        return instance_replaced(worker, instance)
    return Refusal(RefusalCode.NOT_YOURS, f"Your credential is not worker {worker.id!r} and did not register it.")


def bound_to_another(worker: Worker, types: tuple[str, ...]) -> Refusal | None:
    """Whether the worker's credential was made for another type than one of these."""
    if worker.bound_type is None:
        return None
    other = next((each for each in types if each != worker.bound_type), None)
    if other is None:
        return None
    return Refusal(
        RefusalCode.WORKER_BOUND,
        f"Worker {worker.id!r} was created for jobs of type {worker.bound_type!r}, not {other!r}. Ask for "
        f"{worker.bound_type!r} alone, or create a worker for {other!r}.",
    )


def is_held_for(worker: Worker, type_: str) -> bool:
    """Whether the worker is there, and in quarantine for what it has failed of this type."""
    held = worker.quarantine
    return held is not None and held.by is None and held.type == type_ and worker.status is WorkerStatus.ONLINE


def gets_work(worker: Worker) -> bool:
    """Whether jobs may be handed to this worker, which is there: it has just asked."""
    return worker.enabled and not worker.drain
