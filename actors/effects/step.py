"""What every effect works with: the store, the rules in force, the time, and the list of what has happened."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import structlog

from blobforge.events import AttemptEnded, CredentialsRevoked, Event, Fact, JobWaits
from blobforge.job import Job, JobStatus, Outcome, RetryPolicy
from blobforge.store.errors import StoreUnavailable
from blobforge.store.writing import Store

T = TypeVar("T")
log = structlog.get_logger("blobforge.effects")


class Rules(msgspec.Struct, frozen=True):
    """The settings that decide about jobs. `idempotency_window`, `url_lifetime` and `beat` between heartbeats are in
    seconds."""

    retry: RetryPolicy = RetryPolicy()
    max_attempts: int = 3
    max_types: int = 200
    idempotency_window: float = 86_400.0
    beat: float = 30.0
    url_lifetime: float = 3600.0

    @property
    def url_lifetime_ms(self) -> int:
        return round(self.url_lifetime * 1000)


@dataclass
class Step:
    """One effect in the making. `now` is in milliseconds since the epoch.

    `events` and `facts` leave the writer only after COMMIT, and not at all when the effect is undone. `guarded`: each
    effect has a savepoint of its own, and is undone by itself; else an effect that must be undone raises, and takes
    the transaction with it.
    """

    store: Store
    rules: Rules
    now: int
    dice: random.Random
    guarded: bool = True
    revocations: int = 0  # how many were committed before, and how many this transaction has come to
    events: list[Event] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def alone(self, effect: Callable[[], T]) -> T | None:
        """One of many in a message, in a savepoint of its own: a bug that it meets is logged, and spoils no other."""
        events, facts = len(self.events), len(self.facts)
        try:
            with self.store.savepoint():
                return effect()
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("effect failed")
            del self.events[events:], self.facts[facts:]
            return None

    def end_attempt(self, before: Job, after: Job, outcome: Outcome, **record: str | None) -> None:
        """Write how the latest attempt of a job ended, and tell it. `before` is the job as it was until now;
        `record` is what `Store.end_attempt` keeps of it."""
        self.store.end_attempt(before, after, outcome, now=self.now, **record)
        ran = before.status is JobStatus.RUNNING and before.started_at is not None
        seconds = max(0, self.now - (before.started_at or 0)) / 1000 if ran else None
        self.facts.append(AttemptEnded(before.type, outcome, seconds))

    def waits(self, job: Job) -> None:
        """Have the job, as it is saved, woken when its time has come."""
        assert job.waits_until is not None
        self.facts.append(JobWaits(job.id, job.waits_until, max(0, job.waits_until - self.now) / 1000))

    def revoke(self, *hashes: str, workers: tuple[str, ...] = ()) -> None:
        """Note that these credentials are good no longer (`CredentialsRevoked`)."""
        if hashes or workers:
            self.revocations += 1
            self.facts.append(CredentialsRevoked(hashes, workers))

    def new_lease(self) -> str:
        """An unguessable token for one attempt (128 bits)."""
        return secrets.token_hex(16)
