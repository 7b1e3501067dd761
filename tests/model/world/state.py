"""State owned here: all that the database should hold, and all that was ever given away."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final, TypeVar

from tests.model.world.things import (
    Attempt,
    Audited,
    Batch,
    Canary,
    Chain,
    Doom,
    File,
    InARow,
    Job,
    Kept,
    No,
    Person,
    Rules,
    Search,
    Session,
    Token,
    Worker,
    is_compared,
    source_of,
)

T = TypeVar("T")
# What comes back with a backup; all else is out there for ever.
DURABLE: Final = (
    "jobs", "workers", "files", "doomed", "claim_keys", "claimed_at", "undos", "retried", "retagged", "retyped",
    "times_before",
    "tokens", "people", "sessions", "audits", "kept", "drills", "outputs", "set_for",
    "buckets", "rows", "searches", "sets", "required", "clocks", "turns",
    "batches", "canaries", "hooks", "outbox", "kin", "families", "manifests",
)  # fmt: skip


class State:
    """The base of each subject."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.jobs: dict[int, Job] = {}
        self.workers: dict[str, Worker] = {}
        self.files: dict[str, File] = {}
        # By type: paused at, by, why, tries, first wait, how many may run, how many are started in how long.
        self.set_for: dict[str, tuple[Any, ...]] = {}
        self.rows: dict[str, InARow] = {}  # failures of a type, since a job of it was completed
        self.buckets: dict[str, tuple[Fraction, int]] = {}  # by type: what was in it, and when
        self.canaries: dict[int, Canary] = {}
        self.sets: dict[int, tuple[str, str]] = {}  # by number: type and requirements that jobs have, or had
        self.clocks: dict[tuple[str, int], tuple[int, int]] = {}  # by type and priority: virtual time, of those alone
        self.turns: dict[tuple[str, int, str], int] = {}  # of the last job of each group
        self.required: dict[tuple[str, int], tuple[str | None, str | None]] = {}  # by undo: before, since
        self.doomed: dict[str, Doom] = {}
        self.claim_keys: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self.claimed_at: dict[tuple[str, str], int] = {}
        self.undos: dict[tuple[str, int], tuple[str, str, int]] = {}
        self.times_before: dict[tuple[str, int], tuple[int | None, int | None]] = {}  # by undo of a cancellation
        self.retyped: dict[tuple[str, int], tuple[str, str, int]] = {}  # by undo: from, to, and after which attempt
        self.retagged: dict[tuple[str, int], tuple[list[str], list[str]]] = {}  # by undo: tags added, and removed
        self.retried: dict[tuple[str, int], dict[str, Any]] = {}  # by undo: what a retry has changed, as it was
        self.tokens: dict[int, Token] = {}
        self.people: dict[tuple[str, str], Person] = {}
        self.sessions: dict[str, Session] = {}
        self.audits: list[Audited] = []  # as they were written
        self.kept: dict[tuple[str, str], Kept] = {}  # by subject and idempotency key
        # By job and attempt: of each name the size, and whether it was chosen.
        self.outputs: dict[tuple[int, int], dict[str, list[Any]]] = {}
        self.batches: dict[int, Batch] = {}
        # By parent, attempt, step and name of the output: the job that came of it, and whether that is its source.
        self.kin: dict[tuple[int, int, int, str], tuple[int, bool]] = {}
        self.manifests: dict[str, str] = {}  # by its hash
        self.to_join: list[tuple[int, int, int]] = []  # stages that have ended, or may have, by one message
        # By the first job: how many have come of it, and how many of all these were deleted.
        self.families: dict[int, tuple[int, int]] = {}
        self.drills: list[tuple[int, bool]] = []
        self.searches: dict[str, Search] = {}
        self.hooks: dict[int, dict[str, Any]] = {}  # endpoints by number
        self.outbox: list[dict[str, Any]] = []  # what they are to be told, and what became of it
        self.happened: list[tuple[str, Any, str | None, tuple[str, ...]]] = []  # by one message, beside ends of jobs
        self.restored = False
        # Out there for ever, whatever is restored: ids, leases and attempt numbers by job.
        self.given_ids: set[int] = set()
        self.given_batches: set[int] = set()
        self.given_leases: dict[str, tuple[int, int]] = {}
        self.given_attempts: dict[int, set[int]] = {}
        self.types_before: set[str] = set()
        self.answered: Any = None  # to what is being asked
        self.followers: dict[str, tuple[int, int]] = {}  # lease of a completion -> the job claimed with it

    @property
    def types(self) -> set[str]:
        """Of ordinary jobs."""
        return {job.type for job in self.jobs.values() if not is_compared(job.type)}

    def begin(self) -> None:
        """A transaction begins."""
        self.types_before = self.types

    def one_type_too_many(self, type_: str) -> bool:
        """Whether a job of this type is refused. One whose last job has gone in this very transaction may still be
        counted, and known, or not: that is taken as it was answered."""
        there, counted = self.types, self.types | self.types_before
        full = [type_ not in types and len(types) >= self.rules.max_types for types in (there, counted)]
        return full[0] if full[0] == full[1] else self.answered == No("invalid")

    def lends(self, parent: int, attempt: int) -> bool:
        """Whether an output of the attempt is the source of a job."""
        return any(lent for row, (_, lent) in self.kin.items() if row[:2] == (parent, attempt))

    def ready(self, source_hash: str, announced: int | None) -> bool:
        """Known to be in the store, with the right bytes; where nobody read them, with as many as announced."""
        known = self.files.get(source_of(source_hash))
        if known is None or not known.checked:
            return False
        return known.sha256 is not None or announced is None or announced == known.size

    def snapshot(self) -> dict[str, Any]:
        """All that a backup holds."""
        return {name: copied(getattr(self, name)) for name in DURABLE}

    def put_back(self, snapshot: dict[str, Any]) -> None:
        for name, held in snapshot.items():
            setattr(self, name, copied(held))


def copied(held: T) -> T:
    """A copy that shares nothing that can change. (`copy.deepcopy` took a tenth of all the time.)"""
    match held:
        case dict():
            return type(held)({key: copied(value) for key, value in held.items()})
        case list():
            return type(held)(copied(value) for value in held)
        case set():
            return type(held)(held)
        case (
            Job()
            | Attempt()
            | Worker()
            | File()
            | Doom()
            | Batch()
            | Chain()
            | Session()
            | Token()
            | Person()
            | Search()
            | Canary()
            | InARow()
        ):
            twin = object.__new__(type(held))
            vars(twin).update(
                {
                    name: copied(value) if type(value) in (dict, set, list, Chain) else value
                    for name, value in vars(held).items()
                }
            )
            return twin
        case _:
            return held
