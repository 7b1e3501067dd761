"""What an engine does for a working set: it loads all that is needed and writes all that has changed, in a few
statements each, whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from blobforge.failures import Cause
from blobforge.job import Job, Outcome
from blobforge.jobtype import SettingsByType
from blobforge.people import AuditEntry
from blobforge.requirements import RequirementSets
from blobforge.store.following import InHistory
from blobforge.store.needs import Found, Needs
from blobforge.store.tallies import Tallies
from blobforge.webhook import Webhook
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
    converter: str | None = None
    failure: int | None = None  # the number of its cause
    given_back: int | None = None  # ms


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
    """What is to be written, in the order of the fields; the tallies last.

    `more`: whether any field behind it holds something.

    `made` are jobs as they were made; one that has gone on since is among `moved`, too. `moved` and `gone` hold jobs
    as they were read: a row that has another status or attempt by now is stale.
    `texts` are jobs that are gone, or say another text than before (`texts.py`).
    `tags_added` and `tags_removed` are (tag, job) of jobs that are among `moved`; `paths` (job, number, path).
    `started` are jobs whose latest attempt begins. `results` are (job, attempt, JSON); `results_but` (job, attempt
    that stays). `workers` are new ones and those that are changed in more than a sign of life, which is all that
    `beats` are. `types_forgotten`: workers that have asked for nothing yet; `types_asked`: (worker, type).
    `claim_keys` are (worker, key, (job, attempt) pairs, now); `repeated` (subject, key, fingerprint, outcome, now);
    `undos` (token, job, what it was, what it became, now); `owed` (type, owed, at); `in_a_row` (type, hour, state).
    `clocks` (type, priority, now, alone); `turns` (type, priority, group, turn); `turns_past` (type, priority, turn,
    how many): so many turns of groups up to that one may go.
    `batches_started` are (batch, when the first of its jobs that were started now was); `batches_joined` and
    `batches_left` (batch, job) of jobs that are among `moved`; `batches` (batch, closed at, ended at, endings).
    `deliveries` (webhook, event, at, data, due at, sealed).
    `kin` (parent, attempt, step, name, job, lent); `families` (first job, how many more came of it), and
    `families_less` (the same, how many of them, and itself, are deleted).
    """

    made: Sequence[Job] = ()
    moved: Sequence[tuple[Job, Job]] = ()
    gone: Sequence[Job] = ()
    started: Sequence[Job] = ()
    ended: Sequence[AttemptEnd] = ()
    tallies: Tallies = msgspec.field(default_factory=Tallies)
    texts: Sequence[tuple[int]] = ()
    batches_started: Sequence[tuple[int, int]] = ()
    more: bool = False
    tags_added: Sequence[tuple[str, int]] = ()
    tags_removed: Sequence[tuple[str, int]] = ()
    batches_joined: Sequence[tuple[int, int]] = ()
    batches_left: Sequence[tuple[int, int]] = ()
    batches: Sequence[tuple[int, int | None, int | None, int]] = ()
    kin: Sequence[tuple[int, int, int, str, int, int]] = ()
    families: Sequence[tuple[int, int]] = ()
    families_less: Sequence[tuple[int, int]] = ()
    paths: Sequence[tuple[int, int, str]] = ()
    results_dropped: Sequence[tuple[int, int]] = ()
    results_but: Sequence[tuple[int, int | None]] = ()
    results: Sequence[tuple[int, int, str]] = ()
    files_forgotten: Sequence[str] = ()
    files: Sequence[FileSeen] = ()
    files_kept: Sequence[tuple[str, str]] = ()
    workers: Sequence[Worker] = ()
    beats: Sequence[Worker] = ()
    workers_gone: Sequence[str] = ()
    types_forgotten: Sequence[str] = ()
    types_asked: Sequence[tuple[str, str]] = ()
    causes: Sequence[CauseSeen] = ()
    claim_keys: Sequence[tuple[str, str, list[tuple[int, int]], int]] = ()
    repeated: Sequence[tuple[str, str, bytes, bytes, int]] = ()
    undos: Sequence[tuple[str, int, str, str, int]] = ()
    owed: Sequence[tuple[str, int, int]] = ()
    in_a_row: Sequence[tuple[str, int | None, str | None]] = ()
    clocks: Sequence[tuple[str, int, int, int]] = ()
    turns: Sequence[tuple[str, int, str, int]] = ()
    turns_past: Sequence[tuple[str, int, int, int]] = ()
    audit: Sequence[AuditEntry] = ()
    deliveries: Sequence[tuple[int, str, int, str, int, str | None]] = ()


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

    def type_settings(self) -> SettingsByType:
        """What is set for types; those for which nothing is are not there."""

    def type_settings_changed(self) -> None:
        """It has been changed in this transaction."""

    def webhooks(self) -> Sequence[Webhook]:
        """The endpoints that are told of what happens, and those that are deleted but for their deliveries."""

    def webhooks_changed(self) -> None:
        """They have been changed in this transaction."""

    @property
    def known_sets(self) -> RequirementSets:
        """The sets of requirements that jobs had when it was looked last: it costs no question."""

    def requirement_sets(self) -> RequirementSets:
        """The sets of requirements that jobs have."""

    def requirement_sets_are(self, sets: RequirementSets) -> None:
        """They have been changed in this transaction, to these."""

    def attempt_floor(self) -> int:
        """New attempts have numbers above this one."""

    def asked_types(self, worker_id: str) -> frozenset[str]:
        """What the worker has asked for since it registered, beside its own type."""

    def online_workers(self, type_: str, most: int) -> frozenset[str]:
        """The workers that are online and take jobs of this type; any `most` of them where there are more."""

    def labelled_workers(self, type_: str, most: int) -> list[tuple[str, str | None]]:
        """The same with their labels; some of them may be there twice."""

    def cause(self, fingerprint: str) -> int | None:
        """The number of a cause of failures."""

    def count_causes(self) -> int: ...
    def new_cause(self) -> int:
        """A number for a cause, that no other has."""
