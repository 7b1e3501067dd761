"""What has happened, in the past tense. Effects return these; they leave the writer only after COMMIT.

Events are what subscribers of `/events` see: names and fields are a public contract. Facts are for our own
actors (which worker waits, which lease runs until when) and never leave the process.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from blobforge.options import PLAIN, Lane, QueueLine


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all that subscribers see. `name` is the SSE event name."""

    name: ClassVar[str]


class JobCreated(Event, frozen=True, omit_defaults=True):
    name: ClassVar[str] = "job_created"
    job_id: int
    type: str
    status: str


class JobUpdated(Event, frozen=True, omit_defaults=True):
    name: ClassVar[str] = "job_updated"
    job_id: int
    type: str
    status: str
    worker_id: str | None = None


class JobCompleted(Event, frozen=True, omit_defaults=True):
    name: ClassVar[str] = "job_completed"
    job_id: int
    type: str
    status: str
    worker_id: str | None = None


class JobFailed(Event, frozen=True, omit_defaults=True):
    """An attempt failed: `status` is `failed` (it will be tried again) or `dead`."""

    name: ClassVar[str] = "job_failed"
    job_id: int
    type: str
    status: str
    error: str
    worker_id: str | None = None


class JobProgress(Event, frozen=True, omit_defaults=True):
    name: ClassVar[str] = "job_progress"
    job_id: int
    type: str
    status: str
    worker_id: str
    progress: msgspec.Raw


class JobRemoved(Event, frozen=True, omit_defaults=True):
    """A person deleted it."""

    name: ClassVar[str] = "job_removed"
    job_id: int
    type: str


class JobsPruned(Event, frozen=True, omit_defaults=True):
    """Jobs that ended long ago are gone: one event for many, lest they push everything else out of the window."""

    name: ClassVar[str] = "jobs_pruned"
    count: int


class WorkerOnline(Event, frozen=True, omit_defaults=False):  # its status is sent although it never varies
    name: ClassVar[str] = "worker_online"
    worker_id: str
    type: str
    status: str = "online"


class WorkerOffline(Event, frozen=True, omit_defaults=False):  # its status is sent although it never varies
    name: ClassVar[str] = "worker_offline"
    worker_id: str
    type: str
    status: str = "offline"


class WorkerDraining(Event, frozen=True, omit_defaults=False):  # its status is sent although it never varies
    name: ClassVar[str] = "worker_draining"
    worker_id: str
    type: str
    status: str = "draining"


class WorkerRemoved(Event, frozen=True, omit_defaults=True):
    name: ClassVar[str] = "worker_removed"
    worker_id: str
    type: str


class WorkerQuarantined(Event, frozen=True, omit_defaults=True):
    """It gets no jobs from now on but trials: by its failures, which the evidence says in words, or by hand."""

    name: ClassVar[str] = "worker_quarantined"
    by: str  # the caller, or `server`; before the type, see `enveloped`
    worker_id: str
    type: str
    evidence: str


class WorkerReadmitted(Event, frozen=True, omit_defaults=True):
    """It gets jobs again: its trials succeeded, or by hand."""

    name: ClassVar[str] = "worker_readmitted"
    by: str
    worker_id: str
    type: str


class TypePaused(Event, frozen=True, omit_defaults=True):
    """No worker is given jobs of this type from now on; or the pause has another reason."""

    name: ClassVar[str] = "type_paused"
    by: str  # the caller; before the type, see `enveloped`
    type: str
    reason: str | None = None


class TypeResumed(Event, frozen=True, omit_defaults=True):
    name: ClassVar[str] = "type_resumed"
    by: str
    type: str


class OperationUpdated(Event, frozen=True, omit_defaults=False):
    """An operation goes on, or has ended: at most once a second for each."""

    name: ClassVar[str] = "operation_updated"
    operation_id: int
    verb: str
    state: str
    done: int
    total: int
    changed: int


class BatchEnded(Event, frozen=True, omit_defaults=False):
    """The batch is closed, and all of its jobs have ended: for the `ending`-th time, where some were brought back."""

    name: ClassVar[str] = "batch_ended"
    batch_id: int
    ending: int


EVENT_NAMES: tuple[str, ...] = (
    *(kind.name for kind in Event.__subclasses__()),
    "stats_updated",  # made by the broadcaster itself, at most once a second
)


class Fact(msgspec.Struct, frozen=True):
    """Base of what only our own actors are told."""


class JobReady(Fact, frozen=True):
    """A job of this line can be claimed now: this one."""

    type: str
    job_id: int
    priority: int
    lane: Lane = PLAIN
    turn: int = 0

    @property
    def line(self) -> QueueLine:
        return QueueLine(self.type, self.lane)


class JobTaken(Fact, frozen=True):
    """A job of this line was claimed, by this worker and with that key: one less can be."""

    type: str
    worker_id: str = ""
    claim_key: str | None = None
    lane: Lane = PLAIN

    @property
    def line(self) -> QueueLine:
        return QueueLine(self.type, self.lane)


class TypeSet(Fact, frozen=True):
    """What is set for this type is another from now on: how many of its jobs may be given is not known any more.
    `pending` of them are there, at most so many can be."""

    type: str
    pending: int


class TypeFreed(Fact, frozen=True):
    """A job of this type, of which a limited number may run at once, runs no longer."""

    type: str


class RequirementSetMade(Fact, frozen=True):
    """Jobs of this type with these requirements (canonical) stand in lanes of their own from now on, by this number:
    claims that wait may be such as may have them."""

    type: str
    number: int
    requires: str


class RequirementSetsForgotten(Fact, frozen=True):
    """Sets that no job has any more were forgotten: another set may have the number of one of them."""


class ComparisonsBegun(Fact, frozen=True):
    """There are comparisons of jobs of these types from now on, or other limits for them: claims that wait may be
    such as may have some."""

    types: tuple[str, ...]


class WorkerLabelled(Fact, frozen=True):
    """The worker has other labels than before: its claims that wait may be for other jobs now."""

    worker_id: str


class WorkerRetried(Fact, frozen=True):
    """A worker in quarantine has done with a trial, or it is in none or drains no more: its claims that wait may get
    jobs now."""

    worker_id: str


class JobWaits(Fact, frozen=True):
    """The job waits: `delay` seconds from now. `until` is what its record says (ms), and tells a stale timer.
    `start`: it is a time that its submission said, which the database knows."""

    job_id: int
    until: int
    delay: float
    start: bool = False


class LeaseRenewed(Fact, frozen=True):
    """The lease was granted or renewed now. `beat` is the heartbeat (ms) that a later expiry must still find. It runs
    for `lasts` ms; None: as long as is set for all types."""

    job_id: int
    attempt: int
    beat: int
    lasts: int | None = None


class LeaseEnded(Fact, frozen=True):
    job_id: int


class AttemptEnded(Fact, frozen=True):
    """An attempt has ended; the metrics count it. `seconds` is how long it ran, None where that says nothing (an
    attempt that was lost, and is then completed after all, ends twice)."""

    type: str
    outcome: str
    seconds: float | None


class WorkerSeen(Fact, frozen=True):
    """A sign of life. `beat` is the heartbeat (ms) that a later expiry must still find."""

    worker_id: str
    beat: int


class WorkerGone(Fact, frozen=True):
    worker_id: str


class SourceAwaited(Fact, frozen=True):
    """A job waits for `sources/<source_hash>` to be uploaded; `since` (ms): None where an older release says so."""

    job_id: int
    source_hash: str
    since: int | None = None


class SourceSettled(Fact, frozen=True):
    """The job waits for its source no longer: it has come, or the job has ended."""

    job_id: int
    source_hash: str


class OutputUnchecked(Fact, frozen=True):
    """A completion was accepted while the object store gave no answer: look for the object later."""

    job_id: int
    attempt: int
    key: str


class ManifestMade(Fact, frozen=True):
    """A job waits for its source, which the database has: it is to be put into the object store."""

    job_id: int
    source_hash: str


class ProofAwaited(Fact, frozen=True):
    """A job waits until the output that is its source has been read: the object `key`, in that `version` where the
    store keeps each."""

    job_id: int
    key: str
    version: str | None


class OutputAccepted(Fact, frozen=True):
    """A completion was accepted: its output, if it still is this, is to be copied to where no upload reaches."""

    job_id: int
    attempt: int
    key: str
    size: int | None
    sha256: str | None
    etag: str | None


class DeliveriesWait(Fact, frozen=True):
    """There is something to be sent to these webhooks, at once or later."""

    webhooks: tuple[int, ...]


class OperationsBegun(Fact, frozen=True):
    """There is an operation to carry out."""


class OrphansSought(Fact, frozen=True):
    """What servers of older releases tell of a search for orphans. Nothing heeds it, but a fact that is not known
    would have a server read everything anew."""

    searcher: str
    search: str


class ObjectsDoomed(Fact, frozen=True):
    """There are objects to delete."""


class WritesResumed(Fact, frozen=True):
    """The writer can commit again after it could not for a while."""


class CredentialsRevoked(Fact, frozen=True):
    """Credentials are good no longer, or for less than before: what waits or streams by them is judged anew, at once.
    `hashes` are those of their secrets; `workers` are the ids of workers whose credential is no longer good."""

    hashes: tuple[str, ...]
    workers: tuple[str, ...] = ()


class Audited(Fact, frozen=True):
    """A record was added to the audit log: something was changed by hand, which may have made no event. Pages that
    show it are to be fetched anew."""


class AccessChanged(Fact, frozen=True):
    """A token or a worker credential was made, changed or revoked: forget what was cached."""
