"""Jobs and their attempts: what is known of each, and the policy of back-off and budgets.

Two counters are easily confused. `attempt` is the serial number of the last attempt ever made: it names outputs
and never goes back. `attempts` is what counts against `max_attempts`: giving a job back costs nothing, and an
attempt whose worker was lost is charged to `losses`, a budget of its own. `releases` counts how often in a row the
job was given back for trouble: those are free up to a limit, and then each is charged to `losses`, too.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec

from blobforge.chain import ChainPlace
from blobforge.options import PLAIN, Lane, QueueLine
from blobforge.refusals import Refusal, RefusalCode

PRIORITIES = range(1, 6)  # 1 is urgent
LARGEST_RESULT = 64 * 1024  # bytes of JSON that stand in the job itself; a larger result is kept aside
DEFAULT_PRIORITY = 3  # of a submission that says none
MOST_PATHS = 1000  # of a job's source, the first one included
MOST_BATCHES = 400  # that a job is in
MOST_TAGS = 100  # that a job gets by being tagged; one that was submitted with more keeps them


class JobStatus(StrEnum):
    UPLOADING = "uploading"  # its source is not there yet; given to no worker
    PENDING = "pending"  # may be claimed
    RUNNING = "running"  # one attempt holds the lease
    COMPLETED = "completed"
    FAILED = "failed"  # waits out its back-off, then is pending again by itself
    DEAD = "dead"  # a budget is spent; only a person brings it back
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"
    REVOKED = "revoked"


class ReleaseCause(StrEnum):
    """Why a worker gives a job back."""

    SHUTDOWN = "shutdown"  # it stops
    PREEMPTED = "preempted"  # its machine is needed for something else
    TROUBLE = "trouble"  # it cannot do this job now, or says nothing
    UNDELIVERED = "undelivered"  # the coordinator's own: the claimant went away before the answer

    @property
    def free(self) -> bool:
        """Whether the job is ready again at once, at no cost."""
        return self is not ReleaseCause.TROUBLE


class Job(msgspec.Struct, frozen=True):
    """One document to convert. Times are milliseconds since the epoch, UTC; sizes are bytes.

    `metadata`, `result` and `progress` are JSON as the client sent it. `lease` is the token of the attempt that
    holds the job, or of a lost one that may still complete it while no worker has started it since. `failure` is the
    number of the cause of its latest failure; `progress_at` is when `progress` last changed. A pending job with
    `not_before` waits for that time (one that was not released for trouble: for the time that its submission said; so
    does one whose source is awaited); one with `avoid` is given to none of these workers until `avoid_until`.

    `output_key` and `result` are those of the accepted attempt. A result larger than LARGEST_RESULT is kept aside, by
    job and attempt: `result_size` then has its bytes, and `result` is None. While a completed job is tried again they
    stay, and `kept_attempt` says which attempt made them; in a completed job that is its latest one. `replaced` is
    the result that a completion took the place of, as JSON: it comes back if that completion is revoked. `upload_key`
    is the key that the latest attempt was given to write to; `write_once`: by URLs that write over nothing.
    `submitter` is the caller whose submission made the job (`Caller.subject`). `more_paths`: so many further paths of
    its source are kept beside `source_path`. `output_bytes` is what the result's objects have together; None: the
    job's bytes are not counted yet, for it is of an older release. `options` are canonical JSON (`options.py`), and
    never change. `converter` is that of the latest attempt, `made_by` that of the result's. `compare`: the result is
    to be compared with the one that it takes the place of, which is kept until `compare_until` (ms). `requires`: what
    it requires of a worker, as canonical JSON (`requirements.py`); `lane` is that of the queue in which it stands, by
    its options and requirements, and by whether it has a group. `of_group`: whose job it is; jobs of different groups
    take turns (`fairness.py`), and `turn` is its place by that, 0 where it has none. `sourceless`: it ended
    while its source was awaited, and `source_size` is only what was announced. `expires_at` (ms):
    it is given up then; a worker that is given it ends that. `queued_at` (ms): when it last came into the queue;
    None: with its submission, or before such was kept. `batches`: those that it is in (`batch.py`), in the
    order in which it came to them. `chain`: what follows it, and what it came of (`chain.py`).
    """

    id: int
    type: str
    status: JobStatus
    priority: int
    source_hash: str
    created_at: int
    updated_at: int
    max_attempts: int
    source_path: str | None = None
    source_size: int | None = None
    tags: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    metadata: str | None = None
    attempts: int = 0
    losses: int = 0
    attempt: int = 0
    worker_id: str | None = None
    lease: str | None = None
    heartbeat_at: int | None = None
    started_at: int | None = None
    completed_at: int | None = None
    not_before: int | None = None
    last_error: str | None = None
    output_key: str | None = None
    result: str | None = None
    progress: str | None = None
    failure: int | None = None
    progress_at: int | None = None
    releases: int = 0
    avoid_until: int | None = None
    kept_attempt: int | None = None
    replaced: str | None = None
    submitter: str | None = None
    upload_key: str | None = None
    result_size: int | None = None
    write_once: bool = False
    more_paths: int = 0
    output_bytes: int | None = 0
    options: str | None = None
    converter: str | None = None
    made_by: str | None = None
    compare: bool = False
    compare_until: int | None = None
    requires: str | None = None
    lane: Lane = PLAIN
    sourceless: bool = False
    of_group: str | None = None
    turn: int = 0
    expires_at: int | None = None
    queued_at: int | None = None
    batches: tuple[int, ...] = ()
    chain: ChainPlace | None = None

    @property
    def batch(self) -> int | None:
        """The batch that it was made in."""
        return self.batches[0] if self.batches else None

    @property
    def waits_for_proof(self) -> bool:
        """Whether its source is an output whose bytes are not proven yet."""
        return self.chain is not None and self.chain.waits_for_proof

    @property
    def family(self) -> int | None:
        """The job that was submitted, of all that came of it; its own number, where jobs may come of this one. None:
        it is in no family."""
        if self.chain is None:
            return None
        return self.chain.family or (self.id if self.chain.then else None)

    @property
    def line(self) -> QueueLine:
        """The line in which the job stands when it is ready."""
        return QueueLine(self.type, self.lane)

    @property
    def waits_until(self) -> int | None:
        """When time alone will change something about the job (ms), if it will."""
        return self.not_before if self.not_before is not None else self.avoid_until

    @property
    def waits_to_start(self) -> bool:
        """Whether it is ready but for the time before which, by its submission, it is not to be started."""
        return self.status is JobStatus.PENDING and self.not_before is not None and self.releases == 0

    @property
    def stood_in_queue(self) -> int | None:
        """How long (ms) it stood in the queue before its latest attempt; None: not known, or there is none."""
        since = self.queued_at if self.queued_at is not None or self.attempt > 1 else self.created_at
        if self.started_at is None or since is None:
            return None
        return max(0, self.started_at - since)

    @property
    def awaited_since(self) -> int:
        """When (ms) it began to wait for its source, the last time that it did."""
        return self.queued_at if self.queued_at is not None else self.created_at

    @property
    def start(self) -> int | None:
        """That time (ms), while it waits for it or for its source."""
        return self.not_before if self.waits_to_start or self.status is JobStatus.UPLOADING else None

    @property
    def expiry(self) -> int | None:
        """When it is given up (ms), while no worker was given it."""
        waits = self.status in (JobStatus.PENDING, JobStatus.UPLOADING)
        return self.expires_at if waits else None

    @property
    def result_attempt(self) -> int | None:
        """The attempt whose output and result can be fetched, if there is one."""
        return self.attempt if self.status is JobStatus.COMPLETED else self.kept_attempt


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an accepted attempt brought. `result` is JSON as the worker sent it; `size`: see `Job.result_size`."""

    attempt: int
    output_key: str | None
    result: str | None
    size: int | None = None
    output_bytes: int = 0
    made_by: str | None = None


class BeforeRetry(msgspec.Struct, frozen=True):
    """What a retry changes of a job, as it was: kept for an undo."""

    status: JobStatus
    priority: int
    attempt: int
    attempts: int
    losses: int
    worker_id: str | None
    lease: str | None
    started_at: int | None
    completed_at: int | None
    not_before: int | None
    progress: str | None
    kept_attempt: int | None
    replaced: str | None
    releases: int = 0
    made_by: str | None = None
    compare: bool = False
    compare_until: int | None = None
    sourceless: bool = False
    expires_at: int | None = None
    last_error: str | None = None  # where it says why the job was cancelled: of that a retry leaves nothing
    had_error: bool = False  # whether it said something else, which a retry leaves


class BeforeCancel(msgspec.Struct, frozen=True):
    """What an undo of a cancellation puts back of a job whose submission said times (ms)."""

    status: JobStatus
    not_before: int | None = None
    expires_at: int | None = None


class Retyped(msgspec.Struct, frozen=True):
    """A job got another type when it had had so many attempts: kept for an undo."""

    before: str
    after: str
    attempt: int


class TagsChanged(msgspec.Struct, frozen=True):
    """Which tags a job got and lost by a change: kept for an undo."""

    added: list[str]
    removed: list[str]


class Attempt(msgspec.Struct, frozen=True):
    """The record of one attempt. `outcome` is None while it runs; `output_key` is what it was given to write to.
    `given_back` is when (ms) its charge was, since its worker is, or came by it, in quarantine."""

    job_id: int
    attempt: int
    worker_id: str
    lease: str
    started_at: int
    ended_at: int | None = None
    outcome: Outcome | None = None
    kind: str | None = None
    error: str | None = None
    traceback: str | None = None
    log_tail: str | None = None
    output_key: str = ""
    converter: str | None = None
    given_back: int | None = None


class RetryPolicy(msgspec.Struct, frozen=True):
    """Back-off and budgets. Times are in seconds.

    The delay before attempt n+1 is `backoff * 2**(n-1)`, at most `backoff_max`, spread by ±`jitter` (a share);
    the same after the n-th release for trouble in a row. `max_releases` of those are free. A retry is kept from the
    workers that have failed the job for `avoid` seconds.
    """

    backoff: float = 30.0
    backoff_max: float = 3600.0
    jitter: float = 0.2
    max_losses: int = 3
    max_releases: int = 5
    avoid: float = 180.0

    def delay(self, attempts: int, dice: float) -> float:
        """Seconds to wait after `attempts` failed attempts; `dice` is uniform in [0, 1)."""
        # The exponent is capped: 2**1000 is no float.
        base = min(self.backoff_max, self.backoff * 2.0 ** min(max(attempts - 1, 0), 40))
        return max(0.0, base * (1.0 + self.jitter * (2.0 * dice - 1.0)))

    @property
    def longest(self) -> float:
        """Seconds that a job waits for a time at most."""
        return max(self.backoff_max * (1.0 + self.jitter), self.avoid)


def tagged(tags: tuple[str, ...], add: Collection[str], remove: Collection[str]) -> tuple[tuple[str, ...], list[str]]:
    """The tags with these added and those removed, and those that there is no room for."""
    kept = tuple(tag for tag in tags if tag not in remove)
    new = [tag for tag in dict.fromkeys(add) if tag not in kept]
    room = max(0, MOST_TAGS - len(kept))
    return (*kept, *new[:room]), new[room:]


def no_such_job(job_id: int) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_JOB, f"There is no job {job_id}.")


def tries(attempts: int, most: int, of: str = "/") -> str:
    """The tries as text for a person: `2/3`; `3/3+1` where all were spent, and a retry by hand gave one more."""
    beyond = max(0, attempts - most)
    return f"{attempts - beyond}{of}{most}" + (f"+{beyond}" if beyond else "")
