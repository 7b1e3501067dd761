"""Every message on one page: its asker, what it asks, its answer. Read from top to bottom, this is the system.

Plain data only: no callable and no open handle, so that a message could cross a process boundary. A message is
named for what is wanted, its outcome for what has happened. Any of them may be answered by a Refusal instead.
Times are milliseconds since the epoch unless a name says seconds; JSON values are text as the client sent it.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from blobforge.access import Caller, Scope
from blobforge.batch import JobBatch
from blobforge.canary import ONLY_COMPARISONS, CanaryPlan
from blobforge.chain import Step
from blobforge.job import DEFAULT_PRIORITY, Job, JobStatus, ReleaseCause
from blobforge.jobtype import Patience, TypeChanges, TypeRoom, TypeSettings
from blobforge.objects import ObjectInfo
from blobforge.operation import Operation
from blobforge.options import LineGroup, QueueLine, lines_of
from blobforge.outputs import Output
from blobforge.refusals import Refusal
from blobforge.search import Search, SearchedPage, SearchName, SearchState
from blobforge.store.filters import JobFilter
from blobforge.store.tallies import Tallies
from blobforge.webhook import CallbackAddress, Delivery, Tried, Webhook
from blobforge.worker import WorkerFilter, WorkerStatus

O = TypeVar("O")  # noqa: E741 - the outcome


class Message(msgspec.Struct, Generic[O], frozen=True, tag=True, tag_field="is"):
    """Base of all messages; `Message[X]` is answered by an X or a Refusal."""


class Success(msgspec.Struct, frozen=True, tag=True, tag_field="is"):
    """Base of all answers that are not refusals."""


class Repeatable(msgspec.Struct, frozen=True):
    """An `Idempotency-Key` as the writer keeps it: whose, which, and the SHA-256 of method, path and body."""

    subject: str
    key: str
    fingerprint: bytes


# ------------------------------------------------------------------ submission: web, intake, reaper -> writer


class NewJob(msgspec.Struct, frozen=True):
    type: str
    source_hash: str
    source_path: str | None = None
    source_size: int | None = None
    priority: int = DEFAULT_PRIORITY
    max_attempts: int | None = None
    tags: tuple[str, ...] = ()
    metadata: str | None = None
    submitter: str | None = None
    options: str | None = None  # canonical
    requires: str | None = None  # canonical
    not_before: int | None = None  # ms since the epoch; a time that is over says nothing
    expires_at: int | None = None  # likewise; one that is over is refused
    group: str | None = None  # whose job it is: within a priority groups take turns
    batch: int | None = None
    then: tuple[Step, ...] | None = None  # what is to follow it; None: what is set for the types


class Seen(StrEnum):
    """The object store's answer about an object, asked before the write."""

    VERIFIED = "verified"  # it is there, and its bytes are what they should be
    PRESENT = "present"  # it is there
    ABSENT = "absent"  # it is not there
    UNKNOWN = "unknown"  # the store gave no answer in time, or was not asked


class ObjectSeen(msgspec.Struct, frozen=True):
    seen: Seen = Seen.UNKNOWN
    size: int | None = None
    sha256: str | None = None
    epoch: int = 0  # how many deletions of objects had ended when one began to look
    etag: str | None = None
    version: str | None = None  # where the store keeps each


def seen_as(info: ObjectInfo, *, verified: bool = False, epoch: int = 0) -> ObjectSeen:
    """The store's facts about an object that is there."""
    seen = Seen.VERIFIED if verified else Seen.PRESENT
    return ObjectSeen(seen, info.size, info.sha256, epoch, info.etag, info.version)


class Submitted(Success, frozen=True):
    """`upload`: the source is not in the store as far as we know, and the client should send it. `left_out`: of a job
    that was there before, the path or the tags that it has no room for. `requires`: what the job requires of
    workers, where it, or this submission, requires something. `ignored`: the names of what this submission says
    otherwise than a job that was there before, which stays as it is. `batches`: those that the job is in, where it
    was submitted for one."""

    job_id: int
    existing: bool
    status: JobStatus
    source_hash: str
    upload: bool
    left_out: tuple[str, ...] = ()
    requires: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()


class Submit(Message[Submitted], frozen=True):
    job: NewJob
    source: ObjectSeen = ObjectSeen()


class BatchOpened(Success, frozen=True):
    batch_id: int
    name: str


class MakeBatch(Message[BatchOpened], frozen=True):
    """`callback` is told each time that the batch ends."""

    name: str
    metadata: str | None = None
    submitter: str | None = None
    closed: bool = False
    callback: CallbackAddress | None = None


class BatchStands(Success, frozen=True):
    batch: JobBatch


class CloseBatch(Message[BatchStands], frozen=True):
    """No job comes to it any more. One that is closed stays so."""

    batch_id: int


class LeaveBatch(msgspec.Struct, frozen=True):
    """Of an operation that deletes a batch: the job is in it no longer; `results`: it goes, if it is in no other."""

    job_id: int
    batch_id: int
    results: bool


class SourceSettledFor(Success, frozen=True):
    """How many jobs stopped waiting for the source. `following`: further ones are behind this one; ask anew."""

    jobs: int
    following: int | None = None


class CheckSource(Message[SourceSettledFor], frozen=True):
    """To the intake: the source is said to be there; look at once."""

    source_hash: str


class SourceArrived(Message[SourceSettledFor], frozen=True):
    """The source is in the store and its bytes are what its name says (or it is too large to be checked)."""

    source_hash: str
    size: int
    verified: bool
    epoch: int = 0  # see ObjectSeen
    after: int = 0  # of the jobs that wait for it, those behind this one


class SourceRejected(Message[SourceSettledFor], frozen=True):
    """The uploaded bytes are not those that their name says; they were removed, and the jobs go on waiting."""

    source_hash: str
    reason: str
    after: int = 0  # of the jobs that wait for it, those behind this one


class ChildSourceRead(Message[SourceSettledFor], frozen=True):
    """The output that is the source of a job was looked for and read: its SHA-256 and its size, or that it is not
    there."""

    job_id: int
    key: str
    output: ObjectSeen


class Unsent(msgspec.Struct, frozen=True):
    """A job whose source has not come since it began to wait for it, at `since` (ms); None: whenever that was."""

    job_id: int
    since: int | None = None


class ExpireUploads(Message[SourceSettledFor], frozen=True):
    """A job that has begun to wait anew, for it was submitted again meanwhile, is not given up."""

    uploads: tuple[Unsent, ...]
    after: float  # seconds that were waited, for the reason that the job shows


# --------------------------------------------------------------- claims: web -> scheduler -> writer


class Granted(Success, frozen=True):
    """The jobs handed out, most urgent first. `idle`: none, which says nothing about whether there are any (the
    worker drains, the request waits no longer, or it is the answer of an earlier request). `repeated`: it is that,
    and final. `withheld_lines`: those in which there are jobs that are kept from this worker. `rooms`: how many more
    jobs may be given of those of its types that are paused or have limits. `patience`: with the leases of those types
    for which it is not the one of all. `group`: the lines of jobs with requirements or groups that it was given none
    of, though its worker's `labels` hold them. `again`: in so many seconds it may be given one, whatever else
    happens."""

    jobs: tuple[Job, ...] = ()
    idle: bool = False
    repeated: bool = False
    withheld_lines: tuple[QueueLine, ...] = ()
    rooms: tuple[TypeRoom, ...] = ()
    patience: dict[str, Patience] = {}
    group: LineGroup = ()
    labels: str | None = None
    again: float | None = None


class Claim(Message[Granted], frozen=True):
    """Ask for up to `limit` jobs of these types; `wait` seconds at most until there is one. The caller's credential
    is good for `good_for` seconds, as far as is known. `accepts` is what the worker heeds of a job beside its source
    (`options`, `heartbeat_interval`, `comparisons-only`), `converter` what it works with, where it says so here."""

    caller: Caller
    worker_id: str
    types: tuple[str, ...]
    limit: int = 1
    wait: float = 0.0
    claim_key: str | None = None
    good_for: float = math.inf
    instance: str | None = None  # of the worker's process; None: it has none
    write_once: bool = False  # the worker sends the header that keeps its URLs from writing over anything
    accepts: tuple[str, ...] = ()
    converter: str | None = None

    @property
    def lines(self) -> tuple[QueueLine, ...]:
        """Those that it takes ordinary jobs from."""
        return () if ONLY_COMPARISONS in self.accepts else lines_of(self.types, self.accepts)

    @property
    def lines_of_all(self) -> tuple[QueueLine, ...]:
        """The lines of its types."""
        return lines_of(self.types, self.accepts)


# --------------------------------------------------------------- attempts: web, reaper, intake -> writer


class Completed(Success, frozen=True):
    """Accepted. `next` is the answer to `claim_next`, from the same transaction."""

    job_id: int
    next: Granted | None = None


class Several(msgspec.Struct, frozen=True):
    """How many outputs an attempt has chosen, and their bytes together."""

    count: int
    size: int


class Complete(Message[Completed], frozen=True):
    """With `several` outputs, `output_key` is that of the main one."""

    caller: Caller
    worker_id: str
    job_id: int
    lease: str | None = None
    output_key: str | None = None
    output: ObjectSeen = ObjectSeen()
    checksum: str | None = None
    result: str | None = None
    claim_next: bool = False
    instance: str | None = None
    several: Several | None = None
    accepts: tuple[str, ...] = ()  # of the claim behind it
    converter: str | None = None


class OutputsTold(Success, frozen=True):
    job_id: int
    attempt: int


class TellOutputs(Message[OutputsTold], frozen=True):
    """An attempt says what its several outputs are called, or more about them."""

    caller: Caller
    worker_id: str
    job_id: int
    outputs: tuple[Output, ...]
    lease: str | None = None
    instance: str | None = None


class ChooseOutputs(Message[OutputsTold], frozen=True):
    """These outputs of an attempt that is about to be completed have been seen; `first`: and none before."""

    caller: Caller
    worker_id: str
    job_id: int
    outputs: tuple[Output, ...]
    first: bool
    lease: str | None = None
    instance: str | None = None


class AttemptFailed(Success, frozen=True):
    job_id: int
    will_retry: bool


class Fail(Message[AttemptFailed], frozen=True):
    caller: Caller
    worker_id: str
    job_id: int
    error: str
    lease: str | None = None
    kind: str | None = None
    traceback: str | None = None
    log_tail: str | None = None
    retryable: bool = True
    instance: str | None = None


class Released(Success, frozen=True):
    job_id: int


class Release(Message[Released], frozen=True):
    caller: Caller
    worker_id: str
    job_id: int
    lease: str | None = None
    reason: str | None = None
    cause: ReleaseCause = ReleaseCause.TROUBLE
    instance: str | None = None


class SomeChanged(Success, frozen=True):
    """How many it has changed: not those that have moved on meanwhile, or given a sign of life."""

    count: int


class Silent(msgspec.Struct, frozen=True):
    """A lease that no heartbeat has renewed since `beat`, for `lasted` ms; None: for as long as is set for all
    types."""

    job_id: int
    attempt: int
    beat: int
    lasted: int | None = None


class ExpireLeases(Message[SomeChanged], frozen=True):
    """`resumed`: how often writes had come back after an outage, as far as its sender had heard; what was sent before
    they did is refused, for each lease has a fresh period since. None: it is not looked at."""

    leases: tuple[Silent, ...]
    resumed: int | None = None


class OutputChecked(Message[SomeChanged], frozen=True):
    """We looked for the output of a completion that was accepted unchecked."""

    job_id: int
    attempt: int
    key: str
    output: ObjectSeen


class KeptOutput(msgspec.Struct, frozen=True):
    """An accepted output and its copy, which no URL to upload names."""

    key: str
    to: str


class LostOutput(msgspec.Struct, frozen=True):
    """An accepted output that is gone or was written over before it could be copied."""

    job_id: int
    attempt: int
    key: str
    why: str


class OutputsKept(Message[SomeChanged], frozen=True):
    """Accepted outputs that are beyond the reach of URLs now, and those that were lost before that."""

    kept: tuple[KeptOutput, ...]
    lost: tuple[LostOutput, ...] = ()


# ------------------------------------------------------------------------ workers: web, reaper -> writer


class WorkerRegistered(Success, frozen=True):
    """`alive`: not this process, for the one that is the worker has been heard; asking again after `alive` seconds
    may do. That is no Refusal, since it is kept that it was asked."""

    worker_id: str
    alive: float | None = None


class Register(Message[WorkerRegistered], frozen=True):
    """`metadata` and `labels` are JSON objects as text. `instance` names the process, `replaces` the one before it,
    and `host` where it runs. `silent`: the seconds for which the worker was not heard of, by a clock that does not
    jump; None where the wall clock alone tells."""

    caller: Caller
    worker_id: str
    type: str
    metadata: str | None = None
    labels: str | None = None
    version: str | None = None
    instance: str | None = None
    replaces: str | None = None
    host: str | None = None
    converter: str | None = None
    silent: float | None = None


class HeartbeatSeen(Success, frozen=True):
    """`abandon`: the jobs named that this worker no longer holds. `renewed`: when their leases were renewed.

    `late`: those of `abandon` whose lease expired and that have not been started since; they may still be completed.
    `patience`: with the lease that ends first, where one of them has not the patience of all types.
    """

    drain: bool
    abandon: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    renewed: int | None = None
    patience: Patience | None = None


class JobBeat(msgspec.Struct, frozen=True):
    job_id: int
    lease: str | None = None
    progress: str | None = None


class Heartbeat(Message[HeartbeatSeen], frozen=True):
    caller: Caller
    worker_id: str
    jobs: tuple[JobBeat, ...] = ()
    instance: str | None = None


class WorkerChanged(Success, frozen=True):
    """The worker as it is now; `returned` running jobs went back to the queue; of very many,
    which go back as an operation, none is counted.

    `salt` is what its secret was made of."""

    worker_id: str
    status: WorkerStatus
    type: str = ""
    name: str | None = None
    returned: int = 0
    salt: str = ""


class Unregister(Message[WorkerChanged], frozen=True):
    caller: Caller
    worker_id: str
    instance: str | None = None


class Drain(Message[WorkerChanged], frozen=True):
    """`only`: as in RemoveWorker."""

    worker_id: str
    only: WorkerFilter | None = None


class RemoveWorker(Message[WorkerChanged], frozen=True):
    """`only`: the worker was chosen by this; one that has changed since is left alone."""

    worker_id: str
    only: WorkerFilter | None = None


class CreateWorker(Message[WorkerChanged], frozen=True):
    worker_id: str
    type: str
    secret_hash: str
    name: str | None = None
    salt: str = ""


class ReplaceSecret(Message[WorkerChanged], frozen=True):
    worker_id: str
    secret_hash: str
    salt: str = ""


class EnableWorker(Message[WorkerChanged], frozen=True):
    """Also ends a drain. `only`: as in RemoveWorker."""

    worker_id: str
    only: WorkerFilter | None = None


class DisableWorker(Message[WorkerChanged], frozen=True):
    worker_id: str


class QuarantineWorker(Message[WorkerChanged], frozen=True):
    """`by` is the caller (`Caller.subject`)."""

    worker_id: str
    by: str
    reason: str | None = None


class ReadmitWorker(Message[WorkerChanged], frozen=True):
    worker_id: str
    by: str


class SilentWorker(msgspec.Struct, frozen=True):
    worker_id: str
    beat: int


class ExpireWorkers(Message[SomeChanged], frozen=True):
    """`resumed` as in ExpireLeases."""

    workers: tuple[SilentWorker, ...]
    resumed: int | None = None


# ------------------------------------------------------------------------ types: web -> writer


class TypeChanged(Success, frozen=True):
    """What is set for the type now."""

    type: str
    settings: TypeSettings


class ChangeType(Message[TypeChanged], frozen=True):
    """Set something for a type of jobs, or set it no longer. `by` is the caller (`Caller.subject`)."""

    type: str
    by: str
    changes: TypeChanges


# ------------------------------------------------------------------------ jobs: web, scheduler -> writer


class JobChanged(Success, frozen=True):
    """`undo`: the token that it can be undone by, where one was sent and something was changed. `children`: how many
    of what came of it were changed, too; `operation` goes on with the others."""

    job_id: int
    status: JobStatus
    undo: str = ""
    children: int = 0
    operation: int | None = None


class Retry(Message[JobChanged], frozen=True):
    """`undo`: see Cancel. `compare`: the result that the job has is kept for a while beside the next one."""

    job_id: int
    reset_attempts: bool = False
    priority: int | None = None
    undo: str = ""
    compare: bool = False


class Cancel(Message[JobChanged], frozen=True):
    """`undo` is a token to remember by how the job was; jobs changed together share one. `reason`: in words, for
    people. `children`: with all that came of it, which is not undone; the job itself may have ended then."""

    job_id: int
    undo: str = ""
    reason: str | None = None
    children: bool = False


class SetPriority(Message[JobChanged], frozen=True):
    job_id: int
    priority: int
    undo: str = ""


class Retype(Message[JobChanged], frozen=True):
    """Give the job, which waits, the type `to`. `undo`: see Cancel."""

    job_id: int
    to: str
    undo: str = ""


class SetRequirements(Message[JobChanged], frozen=True):
    """`requires`: canonical; None: any worker may have the job. `undo`: see Cancel."""

    job_id: int
    requires: str | None
    undo: str = ""


class ChangeTags(Message[JobChanged], frozen=True):
    """`undo`: see Cancel."""

    job_id: int
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    undo: str = ""


class Undone(Success, frozen=True):
    """`changed` of `matched` jobs are as before; the others have moved on. `more`: ask again for the next ones."""

    matched: int
    changed: int
    more: bool


class Undo(Message[Undone], frozen=True):
    """Take back what was done under this token, at most `limit` jobs of it. `further`: this is not the first page,
    and there may be nothing more."""

    token: str
    limit: int = 1000
    further: bool = False


class Due(msgspec.Struct, frozen=True):
    """A job that waited until that time (ms), as its record says."""

    job_id: int
    until: int


class WakeJobs(Message[SomeChanged], frozen=True):
    """These waits are over: of a back-off, or for a worker that has not failed the job."""

    due: tuple[Due, ...]


class TimesHeeded(Success, frozen=True):
    """How many jobs are ready now, and how many are given up; in how many seconds the time of the next one comes (0:
    it has come), if one waits."""

    jobs: int
    expired: int
    next_in: float | None


class HeedTimes(Message[TimesHeeded], frozen=True):
    """Times have come that submissions said: some jobs may be started now, and some are given up that no worker was
    given. At most so many, which the writer finds."""

    limit: int


# ------------------------------------------------------------------------ access and upkeep: web, reaper -> writer


class TokenCreated(Success, frozen=True):
    """`salt` is what the token was made of: a repeated request shows the same one, and it is kept nowhere."""

    token_id: int
    name: str
    salt: str = ""


class CreateToken(Message[TokenCreated], frozen=True):
    name: str
    hash: str
    prefix: str
    scopes: frozenset[Scope]
    expires_at: int | None = None
    salt: str = ""


class EnsureAdminToken(Message[TokenCreated], frozen=True):
    """The first-start token, or the one that the configuration names: there, and an administrator's. `in_use`: the
    hashes of those that other servers live by."""

    name: str
    hash: str
    prefix: str
    in_use: frozenset[str] = frozenset()


class Done(Success, frozen=True):
    pass


class AddSigningKey(Message[Done], frozen=True):
    """A further signing key of the installation. `known`: how many there were when this one was made; with more by
    now, another server has made one, and this one is dropped."""

    public_key: str
    sealed: bytes
    known: int


class DeleteToken(Message[Done], frozen=True):
    token_id: int


class TouchTokens(Message[Done], frozen=True):
    """(token id, last use) pairs, gathered over a minute."""

    uses: tuple[tuple[int, int], ...]


class Purged(Success, frozen=True):
    """`more`: there may be more to forget; ask again."""

    more: bool


class Purge(Message[Purged], frozen=True):
    """Forget some of what has been kept long enough; `idle` is how long a session may rest, in seconds."""

    idle: float = 86_400.0


class Hurried(Success, frozen=True):
    """So many jobs are urgent now. `more`: there may be more; ask again."""

    jobs: int
    more: bool


class HurryJobs(Message[Hurried], frozen=True):
    """Make up to so many jobs urgent that have been ready for longer than their types promise."""

    limit: int


class Sampled(Success, frozen=True):
    """`wait`: seconds until the next one: until the next minute begins, or a moment, as there is more to do."""

    wait: float


class Sample(Message[Sampled], frozen=True):
    """Keep how deep the queue is now, for the charts, and bring into their slots what has happened lately."""


class SettleFork(Message[Done], frozen=True):
    """The database has lost what it had acknowledged: what may be out there of that is void. `fork`: how often it
    has, in this run of the server."""

    fork: int


class Ping(Message[Done], frozen=True):
    """Answered once the writer has come round: what `/readyz` asks."""


# ------------------------------------------------------------------------ people: web -> writer


class Audit(msgspec.Struct, frozen=True):
    """The line for the audit log: goes with a message, and is written with its effect."""

    actor: str
    name: str
    address: str
    action: str
    subject: str = ""
    detail: str | None = None


class Person(msgspec.Struct, frozen=True):
    """A person, as the identity provider says."""

    issuer: str
    subject: str
    email: str | None
    name: str | None
    groups: tuple[str, ...]
    is_admin: bool


class NewSession(msgspec.Struct, frozen=True):
    hash: str
    expires_at: int
    sealed: bytes | None = None
    address: str | None = None
    agent: str | None = None


class SignedIn(Success, frozen=True):
    """`user_id` is None for a person that signed in with an API token."""

    user_id: int | None
    token_id: int | None = None


class SignIn(Message[SignedIn], frozen=True):
    """A person from the identity provider, or the holder of a token. `replaces` ends the session from before."""

    session: NewSession
    person: Person | None = None
    token_id: int | None = None
    replaces: str | None = None


class SessionRenewed(Success, frozen=True):
    pass


class RenewSession(Message[SessionRenewed], frozen=True):
    """The provider has confirmed the person; groups may have changed."""

    hash: str
    person: Person
    sealed: bytes | None = None


class TouchSession(Message[Done], frozen=True):
    """The session was used."""

    hash: str


class EndSession(Message[Done], frozen=True):
    hash: str


class SessionsEnded(Success, frozen=True):
    count: int


class EndSessions(Message[SessionsEnded], frozen=True):
    """All sessions of one user."""

    user_id: int


class Note(Message[Done], frozen=True):
    """A message without an effect but its audit record."""


# ------------------------------------------------------------------------ backups: web -> replicator -> writer


class RunDrill(Message[Done], frozen=True):
    """To the replicator: restore the backup to the side and compare it. Answered when it has
    begun, or when one was under way: there is never a second beside it."""


class LeaveCheckpoints(Message[Done], frozen=True):
    """Whether Litestream checkpoints the WAL: a second checkpointer spoils the backup."""

    to_litestream: bool


class RecordDrill(Message[Done], frozen=True):
    """How a drill went; `proven_until`: everything up to then was in the backup."""

    started_at: int
    ended_at: int
    ok: bool
    proven_until: int | None
    detail: str


# ------------------------------------------------------------------------ housekeeping: web, janitor -> writer


class JobDeleted(Success, frozen=True):
    job_id: int


class DeleteJob(Message[JobDeleted], frozen=True):
    """Delete a job for good. `objects`: its outputs go too, and its source when no other job has it. `submitter`:
    only a job that this caller submitted, and only while its source is awaited.
    """

    job_id: int
    objects: bool = True
    submitter: str | None = None


class Pruned(Success, frozen=True):
    """`more`: there is probably more to prune. `results`: of jobs that stay, those that others had replaced."""

    jobs: int
    more: bool
    results: int = 0


class Prune(Message[Pruned], frozen=True):
    """Remove at most `limit` jobs that ended before the time (ms) of their status, as much of the audit log, as many
    workers that were last heard of before `workers_before`, and as many former results that were kept until
    `compared_before`. And as many results that others have replaced: before `superseded_before`, or of each job all
    but the latest `superseded_kept`. And the jobs of a canary that was begun before `canaries_before`."""

    ended_before: tuple[tuple[JobStatus, int], ...]
    audit_before: int | None = None
    objects: bool = False
    limit: int = 200
    workers_before: int | None = None
    compared_before: int | None = None
    superseded_before: int | None = None
    superseded_kept: int | None = None
    canaries_before: int | None = None
    deliveries_before: int | None = None  # of what webhooks were told of, whatever has become of it


class ToDelete(Success, frozen=True):
    """`next_at`: when there is something to do again (ms), where it is not now. `doubtful`: there may be more that a
    former run of the server has left, so the next time is a `first` one, too."""

    keys: tuple[str, ...]
    next_at: int | None = None
    doubtful: bool = False


class TakeDoomed(Message[ToDelete], frozen=True):
    """Which objects to delete now. `first`: the first time in this run of the server."""

    limit: int
    first: bool = False


class DeletionsTried(Message[Done], frozen=True):
    """The results of deletions: deleted, certainly not deleted, and no answer. `epoch` is the count with these."""

    gone: tuple[str, ...]
    refused: tuple[str, ...]
    unanswered: tuple[str, ...]
    epoch: int
    spared: tuple[str, ...] = ()  # another installation may need them
    more: tuple[str, ...] = ()  # outputs of an attempt, of which some were deleted and some are left


class SearchStands(Success, frozen=True):
    """The search of that name as it is now; None: there was never one."""

    search: Search | None


class BeginSearch(Message[SearchStands], frozen=True):
    """Begin a search through the object store, in that folder. One that goes on answers for its like, and is in the
    way of the other kind; one that was abandoned is taken up.

    With `every` (ms), it is begun only where the last one ended that long ago.
    """

    name: SearchName
    searcher: str
    doom: bool
    folder: str
    every: int | None = None


class TakeUpSearch(Message[SearchStands], frozen=True):
    """Go on with a search that its searcher has abandoned."""

    name: SearchName
    searcher: str


class AdvanceSearch(Message[SearchStands], frozen=True):
    """The searcher has looked at a page, has met an error, or has ended the search; else, it is still there. Nothing
    happens where another has taken the search up."""

    name: SearchName
    searcher: str
    page: SearchedPage | None = None
    error: str | None = None
    ended: SearchState | None = None
    unfinished: int = 0


class Backfilled(Success, frozen=True):
    """`more`: there are further jobs to look at."""

    more: bool


class Backfill(Message[Backfilled], frozen=True):
    """Make what an older database has not kept of what it has, for at most `limit` jobs."""

    limit: int = 100


class TextsIndexed(Success, frozen=True):
    """`jobs`: how many were looked at. `more`: there may be further ones."""

    jobs: int
    more: bool


class IndexTexts(Message[TextsIndexed], frozen=True):
    """Put into the index of texts what at most `limit` jobs say."""

    limit: int


class RecountBegun(Success, frozen=True):
    """`older`: the last turn of a server of an older release, if what it does not keep was not counted since.
    `recount`: the number of the recount that was begun, if one was."""

    older: int | None
    recount: int | None = None


class BeginRecount(Message[RecountBegun], frozen=True):
    """What servers of an older release do not keep is to be counted anew, where their last turn is this one: none of
    them has written since that was said."""

    older: int | None


class CountsCorrected(Success, frozen=True):
    """`jobs`: whose bytes were others. `holds`: what was found still holds; else nothing was changed, and it is to be
    found anew."""

    holds: bool
    jobs: int = 0


class CorrectCounts(Message[CountsCorrected], frozen=True):
    """A page of what a recount has found (`Miscounts`). `done`: it found nothing at all."""

    recount: int
    older: int
    lacking: Tallies = msgspec.field(default_factory=Tallies)
    unweighed: tuple[int, ...] = ()
    done: bool = False


class PagesFreed(Success, frozen=True):
    pages: int
    more: bool


class FreePages(Message[PagesFreed], frozen=True):
    """Give at most so many free pages of the database file back to the file system."""

    most: int


class FindOrphans(Message[SearchStands], frozen=True):
    """To the janitor: look through the object store. Answered at once; it takes as long as it takes."""

    delete: bool = False


# ------------------------------------------------------------------------ canaries: web -> writer


class CanaryBegun(Success, frozen=True):
    """`taken`: how many documents are converted once more. `workers`: so many are there for them now."""

    canary_id: int
    taken: int
    workers: int


class BeginCanary(Message[CanaryBegun], frozen=True):
    """Have these completed jobs converted once more, to compare the results; those that are not as they were
    any more are left out."""

    plan: CanaryPlan
    jobs: tuple[int, ...]
    by: str  # the caller (`Caller.subject`)
    name: str = ""


class CanaryEnded(Success, frozen=True):
    """So many of its jobs were cancelled."""

    canary_id: int
    cancelled: int


class CancelCanary(Message[CanaryEnded], frozen=True):
    """Give no more of its jobs to workers, and stop those that run. `jobs` are its jobs, so that they are read
    ahead."""

    canary_id: int
    jobs: tuple[int, ...] = ()


# ------------------------------------------------------------------------ webhooks: web, courier -> writer


class WebhookStands(Success, frozen=True):
    """The endpoint as it is now. `salt` is what the secret was made of that is shown."""

    webhook: Webhook
    salt: str = ""


class CreateWebhook(Message[WebhookStands], frozen=True):
    """`webhook` says what is asked for, with its secret sealed; its `id` and times are given."""

    webhook: Webhook
    salt: str


class WebhookChanges(msgspec.Struct, frozen=True):
    """What is to be another from now on; UNSET: it stays."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    types: tuple[str, ...] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    group: str | UnsetType | None = UNSET
    batch: int | UnsetType | None = UNSET
    results: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class ChangeWebhook(Message[WebhookStands], frozen=True):
    webhook_id: int
    changes: WebhookChanges
    by: str


class RotateSecret(Message[WebhookStands], frozen=True):
    """Sign with another secret from now on, and for `overlap` ms with the former one, too."""

    webhook_id: int
    sealed: bytes
    salt: str
    overlap: int


class DeleteWebhook(Message[Done], frozen=True):
    webhook_id: int


class DeliveryWaits(Success, frozen=True):
    delivery_id: int


class PingWebhook(Message[DeliveryWaits], frozen=True):
    """Send it something, whatever events it asks for."""

    webhook_id: int


class DeliverAgain(Message[DeliveryWaits], frozen=True):
    """Send a delivery that has ended once more, with the id that it had."""

    webhook_id: int
    delivery_id: int


class DeliveriesAgain(Success, frozen=True):
    """How many are sent once more. `following`: there are further ones behind this one; ask anew."""

    count: int
    following: int | None = None


class DeliverRangeAgain(Message[DeliveriesAgain], frozen=True):
    """The same of those of what happened from `since` on and before `until`; `only_failed`: of those that were given
    up. At most `limit` of that time, behind `after`."""

    webhook_id: int
    since: int
    until: int
    only_failed: bool
    after: int = 0
    limit: int = 500


class DeliveriesTaken(Success, frozen=True):
    """To be delivered now, by the courier that asked, to this endpoint (None: it gets nothing now). `next_at`: when
    there may be more (ms); None: there are none."""

    webhook: Webhook | None = None
    deliveries: tuple[Delivery, ...] = ()
    next_at: int | None = None


class TakeDeliveries(Message[DeliveriesTaken], frozen=True):
    """From the courier: what became of those that it took last, and the next ones for this endpoint."""

    webhook_id: int
    courier: str
    limit: int
    tried: tuple[Tried, ...] = ()


# ------------------------------------------------------------------------ many at once: web -> writer

Item = (
    Submit
    | SourceArrived
    | Complete
    | Fail
    | Retry
    | Cancel
    | SetPriority
    | Retype
    | SetRequirements
    | ChangeTags
    | DeleteJob
    | RemoveWorker
    | Drain
    | EnableWorker
)
ItemOutcome = (
    Submitted | SourceSettledFor | Completed | AttemptFailed | JobChanged | JobDeleted | WorkerChanged | Refusal
)  # fmt: skip


class BatchDone(Success, frozen=True):
    """One answer an item, in their order."""

    items: tuple[ItemOutcome, ...]


class Batch(Message[BatchDone], frozen=True):
    """Many in one transaction; a refused item spoils no other.

    `only`: the jobs were chosen by this; one that does not match by now is left alone.
    """

    items: tuple[Item, ...]
    only: JobFilter | None = None


# ------------------------------------------------------------------------ operations: web, operator -> writer


class RetryJobs(msgspec.Struct, frozen=True, tag="retry", tag_field="verb"):
    """`completed_too`: what is completed is converted again; `compare`: see Retry; `ended_only`: what has failed and
    waits out its back-off is left to it."""

    reset_attempts: bool = False
    priority: int | None = None
    completed_too: bool = False
    compare: bool = False
    ended_only: bool = False


class CancelJobs(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel", tag_field="verb"):
    reason: str | None = None


class CancelFamilies(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel-families", tag_field="verb"):
    """The jobs, where they have not ended, and then all that came of them."""

    reason: str | None = None


class PrioritiseJobs(msgspec.Struct, frozen=True, tag="priority", tag_field="verb"):
    priority: int


class RetypeJobs(msgspec.Struct, frozen=True, tag="retype", tag_field="verb"):
    to: str


class RequireJobs(msgspec.Struct, frozen=True, tag="requires", tag_field="verb"):
    """`requires`: canonical; None: nothing."""

    requires: str | None


class TagJobs(msgspec.Struct, frozen=True, tag="tags", tag_field="verb"):
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class DeleteJobs(msgspec.Struct, frozen=True, tag="delete", tag_field="verb"):
    objects: bool = True


class DeleteBatch(msgspec.Struct, frozen=True, tag="delete-batch", tag_field="verb"):
    """Of the jobs of a batch, that is then forgotten. `results`: those that are in no other batch go for good, with
    all that they have."""

    batch_id: int
    results: bool


class UndoJobs(msgspec.Struct, frozen=True, tag="undo", tag_field="verb"):
    """What that operation has changed is taken back."""

    operation_id: int


class TakeBackJobs(msgspec.Struct, frozen=True, tag="take-back", tag_field="verb"):
    """What these workers ran when they left goes back to the queue, at no cost; where their processes have `died`,
    that is so only some times in a row."""

    workers: tuple[str, ...]
    reason: str
    died: bool = False


class StartChildren(msgspec.Struct, frozen=True, tag="start-children", tag_field="verb"):
    """What follows the result of that attempt, as the job's steps say; how far it is stands in the job."""

    parent: int
    attempt: int


class CancelChildren(msgspec.Struct, frozen=True, tag="cancel-children", tag_field="verb"):
    """Of all that came of the job, what has not ended."""

    parent: int
    reason: str | None = None


class JoinStages(msgspec.Struct, frozen=True, tag="join-stages", tag_field="verb", omit_defaults=True):
    """Those of the stages in the pages of the operation that have ended; but for what was cancelled since, with one
    of these batches, or as what came of these parents."""

    cancelled: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()


ChangeJobs = RetryJobs | CancelJobs | CancelFamilies | PrioritiseJobs | RetypeJobs | RequireJobs | TagJobs
Work = ChangeJobs | DeleteJobs | DeleteBatch | UndoJobs | TakeBackJobs | StartChildren | CancelChildren | JoinStages


class RemoveWorkers(msgspec.Struct, frozen=True, tag="remove-workers", tag_field="verb", omit_defaults=True):
    """Of an operation over workers: those with these ids, or all that match `chosen`."""

    workers: tuple[str, ...] | None = None
    chosen: WorkerFilter = WorkerFilter()


class OperationPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be done, and to which jobs: those with these ids, or all that match. Work on workers says which."""

    work: Work | RemoveWorkers
    ids: tuple[int, ...] | None = None
    filter: JobFilter = JobFilter()


class OperationBegun(Success, frozen=True):
    operation_id: int


class BeginOperation(Message[OperationBegun], frozen=True):
    """Answered when it is on record; from then on it is carried out, whatever becomes of the asker. `closes`: the
    batch to which all of it is done, which takes no further jobs from then on."""

    plan: OperationPlan
    caller: Caller
    closes: int | None = None


class OperationStands(Success, frozen=True):
    """How far the operation is by now."""

    operation: Operation


class SelectJobs(Message[OperationStands], frozen=True):
    """From the operator: further jobs of the operation (or workers), behind its first `after` pages, as many in each
    as one turn treats. `matched`: how many were looked at for them; without a `cursor` these were the last."""

    operation_id: int
    after: int
    pages: tuple[tuple[int, ...], ...] | tuple[tuple[str, ...], ...]
    matched: int
    cursor: str | None = None


class AdvanceOperation(Message[OperationStands], frozen=True):
    """From the operator: treat the next page, if it is this one. `jobs` (or `workers`) and `verb` are what it holds,
    so that it is read ahead."""

    operation_id: int
    page: int
    verb: str = ""
    jobs: tuple[int, ...] = ()
    workers: tuple[str, ...] = ()


class EndOperation(Message[OperationStands], frozen=True):
    """Treat no further jobs. `reason`: it cannot go on, which makes it failed and not cancelled."""

    operation_id: int
    reason: str | None = None


class UndoOperation(Message[OperationBegun], frozen=True):
    """Take back what an operation has changed, by another one."""

    operation_id: int
    caller: Caller


class PruneOperations(Message[Purged], frozen=True):
    """Forget what can be undone no longer, and operations that ended long ago: at most so many rows."""

    limit: int = 100


class BulkDone(Success, frozen=True):
    """The result of a bulk action over a filter, all its transactions together. `reason`: why the first of those was
    refused that might have been changed."""

    matched: int
    changed: int
    refused: int
    undo: str = ""
    reason: str | None = None


class RecordBulk(Message[BulkDone], frozen=True):
    """Keep the answer of a bulk action for its idempotency key; answered by what was kept first."""

    done: BulkDone


Command = (
    MakeBatch | CloseBatch
    | Submit | SourceArrived | SourceRejected | ChildSourceRead | ExpireUploads
    | Claim | TellOutputs | ChooseOutputs | Complete | Fail | Release | ExpireLeases | OutputChecked | OutputsKept
    | Register | Heartbeat | Unregister | Drain | RemoveWorker | CreateWorker | ReplaceSecret
    | EnableWorker | DisableWorker | QuarantineWorker | ReadmitWorker | ExpireWorkers | ChangeType
    | Retry | Cancel | SetPriority | Retype | SetRequirements | ChangeTags | Undo | WakeJobs | HeedTimes | Sample
    | HurryJobs
    | SignIn | RenewSession | TouchSession | EndSession | EndSessions | Note
    | CreateToken | EnsureAdminToken | DeleteToken | TouchTokens | AddSigningKey
    | Purge | Ping | SettleFork | BeginRecount | CorrectCounts | Batch | RecordBulk
    | BeginCanary | CancelCanary
    | BeginOperation | SelectJobs | AdvanceOperation | EndOperation | UndoOperation | PruneOperations
    | DeleteJob | Prune | TakeDoomed | DeletionsTried | FreePages | Backfill | IndexTexts
    | BeginSearch | TakeUpSearch | AdvanceSearch
    | RecordDrill | LeaveCheckpoints
    | CreateWebhook | ChangeWebhook | RotateSecret | DeleteWebhook | PingWebhook | DeliverAgain | DeliverRangeAgain
    | TakeDeliveries
)  # fmt: skip

# These take rights from others than those that ask. They are answered, also that it was done before, once it is so at
# every server; so are the routes that say of themselves that they do (`Call.takes_rights`).
TAKES_RIGHTS = (DeleteToken, DisableWorker, EndSessions, RemoveWorker, ReplaceSecret)

# What an idempotency record may hold.
Answer = (
    BatchOpened | BatchStands
    | Submitted | SourceSettledFor | Granted | Completed | AttemptFailed | Released | SomeChanged | WorkerRegistered
    | OutputsTold | HeartbeatSeen | WorkerChanged | TypeChanged | JobChanged | TokenCreated | Done | BatchDone
    | BulkDone
    | JobDeleted | Pruned | ToDelete | SearchStands | PagesFreed | Backfilled | TextsIndexed | RecountBegun
    | CountsCorrected
    | Hurried | TimesHeeded | Undone | Purged | Sampled | OperationBegun | OperationStands
    | CanaryBegun | CanaryEnded
    | SignedIn | SessionRenewed | SessionsEnded
    | WebhookStands | DeliveryWaits | DeliveriesAgain | DeliveriesTaken | Refusal
)  # fmt: skip
