"""What an engine does for a working set: it loads all that is needed and writes all that has changed, in a few
statements each, whatever their number."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from blobforge.failures import Cause
from blobforge.job import Job, Outcome
from blobforge.people import AuditEntry
from blobforge.store.following import InHistory
from blobforge.store.needs import Found, Needs
from blobforge.store.tallies import Tallies
from blobforge.worker import Worker


class AttemptEnd(NamedTuple):
    """How an attempt ended, at `ended_at` (ms)."""

    job_id: int
    attempt: int
    ended_at: int
    outcome: Outcome
    kind: str | None = None
    error: str | None = None
    traceback: str | None = None
    log_tail: str | None = None


class FileSeen(NamedTuple):
    """An object and what is known of it: a new record, or one that takes the place of another but for `kept`, and for
    whose it is and since when. Times are in ms."""

    key: str
    size: int | None
    sha256: str | None
    job_id: int | None
    attempt: int | None
    now: int
    checked_at: int | None
    etag: str | None
    version: str | None
    keeping: bool


class CauseSeen(NamedTuple):
    """Attempts failed of this cause: how often, and when (ms) first and last. `new`: it was not known before."""

    id: int
    example: str
    first: int
    last: int
    n: int
    new: Cause | None = None

    def as_new(self) -> tuple[Any, ...]:
        """The values of its row, of one that was not known before."""
        new = self.new
        assert new is not None
        return (self.id, new.fingerprint, new.kind, new.place, self.example, self.first, self.last, self.n)


class Changes(msgspec.Struct):
    """What is to be written, in the order of the fields.

    `made` are jobs as they were made; one that has gone on since is among `moved`, too. `moved` and `gone` hold jobs
    as they were read: a row that has another status or attempt by now is stale.
    `started` are jobs whose latest attempt begins. `results` are (job, attempt, JSON); `results_but` (job, attempt
    that stays). `workers` are new ones and those that are changed in more than a sign of life, which is all that
    `beats` are. `types_forgotten`: workers that have asked for nothing yet; `types_asked`: (worker, type).
    `claim_keys` are (worker, key, (job, attempt) pairs, now); `repeated` (subject, key, fingerprint, outcome, now);
    `undos` (token, job, what it was, what it became, now).
    """

    made: list[Job] = []
    moved: list[tuple[Job, Job]] = []
    gone: list[Job] = []
    started: list[Job] = []
    ended: list[AttemptEnd] = []
    results_dropped: list[tuple[int, int]] = []
    results_but: list[tuple[int, int | None]] = []
    results: list[tuple[int, int, str]] = []
    files_forgotten: list[str] = []
    files: list[FileSeen] = []
    files_kept: list[tuple[str, str]] = []
    workers: list[Worker] = []
    beats: list[Worker] = []
    workers_gone: list[str] = []
    types_forgotten: list[str] = []
    types_asked: list[tuple[str, str]] = []
    causes: list[CauseSeen] = []
    claim_keys: list[tuple[str, str, list[tuple[int, int]], int]] = []
    repeated: list[tuple[str, str, bytes, bytes, int]] = []
    undos: list[tuple[str, int, str, str, int]] = []
    audit: list[AuditEntry] = []
    tallies: Tallies = msgspec.field(default_factory=Tallies)

    def has_more(self) -> bool:
        """Whether anything changes but jobs, records of attempts and tallies."""
        return any(
            (
                self.results_dropped, self.results_but, self.results, self.files_forgotten, self.files,
                self.files_kept, self.workers, self.beats, self.workers_gone, self.types_forgotten, self.types_asked,
                self.causes, self.claim_keys, self.repeated, self.undos, self.audit,
            )
        )  # fmt: skip


class BulkAccess(InHistory, Protocol):
    """One transaction after the other, all of one writer. Each raises StoreUnavailable for an outage.

    `far`: each question is a way there and back. All that may be needed is asked for in the first one, then: `load`
    looks at `next_of` by itself.
    """

    @property
    def far(self) -> bool: ...
    @property
    def written(self) -> int:
        """Goes up when, and only when, a statement changes something."""

    def begin(self, now: int) -> None:
        """`now`: this server's own time (ms)."""

    def load(self, needs: Needs) -> Found: ...
    def write(self, changes: Changes) -> None:
        """Raises StaleState for a row that is not as it was read; or whatever is asked or committed next does, as
        Unwritable."""

    def ensure(self) -> None:
        """What was written is written now. Raises as `write` does."""

    def commit(self) -> float:
        """Returns how long it took, in seconds."""

    def rollback(self) -> None:
        """Undo all of the transaction, if there is one."""

    def doubt(self) -> None:
        """Rows are about to be changed by others than `write`: whatever is remembered of them may not be so."""

    def known_types(self) -> frozenset[str]:
        """The types of which there are jobs (or were, until a moment ago)."""

    def attempt_floor(self) -> int:
        """New attempts have numbers above this one."""

    def asked_types(self, worker_id: str) -> frozenset[str]:
        """What the worker has asked for since it registered, beside its own type."""

    def online_workers(self, type_: str, most: int) -> frozenset[str]:
        """The workers that are online and take jobs of this type; any `most` of them where there are more."""

    def cause(self, fingerprint: str) -> int | None:
        """The number of a cause of failures."""

    def count_causes(self) -> int: ...
    def new_cause(self) -> int:
        """A number for a cause, that no other has."""
