"""What the model is made of: plain data, as simple as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNDO_MS = 600_000
INSTALLATION = "binstallation"
LIFE_MS = 5_000  # claims are written as signs of life that far apart
DOUBT_MS = 600_000
URL_MS = 3_600_000
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 30_000, 300_000
DRILLS_KEPT = 100
TAKEN_MS = 60_000  # so long a server has to deliver what it took
DAYS_MS = 3 * 86_400_000  # of nothing but failures, and an endpoint is told nothing more
# (status, job, type, tags) of those that have ended, each as it was then; until endpoints are told.
ended: list[tuple[str, int, str, tuple[str, ...]]] = []


MOST_CANARIES = 10  # that have not ended


class No(NamedTuple):
    code: str


def kind_of(type_: str) -> str:
    """The type of the documents, also of a canary's jobs."""
    return type_.split("/canary/", maxsplit=1)[0]


def is_compared(type_: str) -> bool:
    return type_ != kind_of(type_)


@dataclass
class Canary:
    types: tuple[str, ...]
    made_by: str
    taken: int
    closed_at: int | None = None
    cancelled_at: int | None = None
    jobs: dict[int, tuple[int, int]] = field(default_factory=dict)  # by id: the other job, and its attempt


Given = Sequence[tuple[int, str]]  # attempt and lease of each job in the answer, in its order
Beat = tuple[int, str | None, str | None]  # job, lease, progress


class Who(NamedTuple):
    """A credential: an API token, an administrator's or not, or a worker's own."""

    token: int | None = None
    worker: str | None = None
    admin: bool = False
    secret: str | None = None  # that a worker's credential came with
    instance: str | None = None  # of the process that speaks


@dataclass
class Attempt:
    worker: str
    lease: str
    started_at: int
    ended_at: int | None = None
    outcome: str | None = None
    error: str | None = None  # as the worker said it
    kind: str | None = None
    converter: str | None = None
    free: bool = False  # what it had charged was given back
    forgotten: bool = False  # its result is kept no longer


@dataclass
class Chain:
    then: tuple[Any, ...] = ()
    parent: int | None = None
    family: int | None = None
    depth: int = 0
    source: str | None = None
    proven: bool = False
    stopped: str = ""  # of what it says why less has come of it
    adopted: bool = False
    joined: bool = False  # a job waits for the end of this one
    joins: bool = False  # it is such a job
    unjoined: set[int] = field(default_factory=set)  # steps whose stages have ended and are not joined


@dataclass
class Job:
    id: int
    type: str
    hash: str
    status: str
    priority: int
    max_attempts: int
    size: int | None
    tags: tuple[str, ...]
    options: str | None = None
    requires: str | None = None
    group: str | None = None
    turn: int = 0
    attempt: int = 0
    attempts: int = 0
    losses: int = 0
    releases: int = 0
    avoid: tuple[str, ...] = ()
    avoid_until: int | None = None
    worker: str | None = None
    lease: str | None = None
    beat: int | None = None
    completed_at: int | None = None
    not_before: int | None = None
    expires_at: int | None = None
    error: str | bool | None = None  # True: there is a reason, whatever its words
    blamed: bool = False  # it has a cause of failure
    output: str | None = None
    result: str | None = None
    progress: str | None = None
    kept_attempt: int | None = None  # whose output and result these are, while it is tried again
    made_by: str | None = None
    bytes: int = 0  # what the output, or the outputs, have, as far as it is known
    # Attempt, output, result, converter, bytes: back if it is revoked.
    replaced: tuple[int, str | None, str | None, str | None, int] | None = None
    compare: bool = False  # the result is to be compared with the one that it takes the place of
    compare_until: int | None = None  # so long that one is kept
    changed_at: int | None = None  # by a retry, or while it waits: for the undo of that retry
    source_never_came: bool = False
    expired: bool = False
    batches: tuple[int, ...] = ()
    chain: Chain | None = None
    history: dict[int, Attempt] = field(default_factory=dict)

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if name == "status" and value in ("completed", "dead", "cancelled") and before not in (None, value):
            ended.append((value, self.id, self.type, tuple(self.tags)))
        vars(self)[name] = value

    @property
    def last(self) -> Attempt | None:
        return self.history.get(self.attempt)

    @property
    def waits_for_proof(self) -> bool:
        return self.chain is not None and self.chain.source is not None and not self.chain.proven

    @property
    def deferred(self) -> bool:
        """It waits for the time that its submission said."""
        return self.status == "pending" and self.not_before is not None and not self.releases

    @property
    def never_started(self) -> bool:
        """It is brought back by another submission, once it is dead."""
        return self.source_never_came or self.expired

    @property
    def expiry(self) -> int | None:
        """When it is given up, as things are."""
        return self.expires_at if self.status in ("pending", "uploading") else None

    def timed(self, start: int | None, end: int | None, now: int) -> None:
        self.expires_at = end
        if start is not None and start > now:
            self.not_before, self.avoid, self.avoid_until = start, (), None

    def end(self, outcome: str, now: int) -> None:
        attempt = self.history[self.attempt]
        attempt.outcome, attempt.ended_at = outcome, now


@dataclass
class InARow:
    """Failures of a type, since a job of it was completed."""

    since: int
    failures: list[tuple[int, int, str, bool]] = field(default_factory=list)  # job, attempt, worker, counts
    probe_at: int | None = None
    probe: tuple[int, int] | None = None
    failed: int = 0
    overruled: bool = False


@dataclass
class Worker:
    id: str
    type: str
    status: str = "offline"
    enabled: bool = True
    drain: bool = False
    registered: bool = False
    seen: int | None = None
    token: int | None = None
    secret: str | None = None
    instance: str | None = None
    contested_at: int | None = None
    bound: str | None = None  # the only type that it may ask for
    asks: set[str] = field(default_factory=set)  # types beside its own
    accepts: tuple[str, ...] = ()
    converter: str | None = None
    labels: str | None = None
    held: tuple[int, str, str] | None = None  # in quarantine, by hand: since when, why, by which caller
    readmitted_at: int | None = None


@dataclass
class File:
    size: int | None
    sha256: str | None
    checked: bool
    keeping: bool = False  # a copy of it is to be made that no URL to upload names
    kept: str | None = None  # that copy, which is served


@dataclass
class Doom:
    state: str
    due_at: int
    tries: int = 0
    epoch: int = 0
    again: bool = True  # it is not deleted once more after this


@dataclass
class Search:
    """Through the object store."""

    searcher: str
    state: str
    doom: bool
    started_at: int
    heard_at: int
    folder: str
    cursor: str = ""
    ended_at: int | None = None
    objects: int = 0
    found: list[tuple[str, int]] = field(default_factory=list)
    unfinished: int = 0
    error: str | None = None

    def given_up(self, now: int) -> bool:
        return self.state == "running" and (now < self.heard_at or now >= self.heard_at + 120_000)

    def row(self, name: str) -> tuple[Any, ...]:
        return (
            name, self.searcher, self.state, self.doom, self.started_at, self.heard_at, self.folder, self.cursor,
            self.ended_at, self.objects, len(self.found), sum(size for _, size in self.found), self.unfinished,
            len(self.found), self.error,
        )  # fmt: skip


@dataclass
class Batch:
    name: str
    made_at: int
    closed_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    endings: int = 0
    callback: int | None = None  # the endpoint of its host
    gone: dict[str, int] = field(default_factory=dict)  # jobs that were deleted since, by type


@dataclass
class Token:
    name: str
    hash: str
    admin: bool
    of_the_start: bool = False  # made by the server, or named by its configuration
    used_at: int | None = None


@dataclass
class Person:
    id: int
    name: str | None
    groups: tuple[str, ...]
    admin: bool
    last_login_at: int


@dataclass
class Session:
    user: int | None
    token: int | None
    seen_at: int
    checked_at: int
    expires_at: int


class Audited(NamedTuple):
    at: int
    actor: str
    action: str
    subject: str


class Kept(NamedTuple):
    """What was answered to an idempotency key."""

    fingerprint: bytes
    answer: Any
    at: int


@dataclass
class Rules:
    max_attempts: int = 3
    max_losses: int = 2
    max_releases: int = 2
    avoid_ms: int = 60_000
    beat_ms: int = 10_000
    timeout_ms: int = 60_000
    max_types: int = 3
    max_sets: int = 4
    max_converters: int = 2
    backoff_ms: int = 30_000
    backoff_max_ms: int = 50_000
    compare_ms: int = 600_000
    window_ms: int = 86_400_000  # for which idempotency and claim keys are kept


def source_of(source_hash: str) -> str:
    return f"sources/{source_hash}"


def output_of(job_id: int, attempt: int) -> str:
    return f"outputs/{INSTALLATION}/{job_id}/{attempt}/output"


def prefix_of(job_id: int, attempt: int) -> str:
    """What the keys of an attempt's several outputs begin with."""
    return output_of(job_id, attempt).removesuffix("output")


def copy_of(key: str) -> str:
    return key.replace("outputs/", "accepted/", 1)
