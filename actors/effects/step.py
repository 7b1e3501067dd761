"""What every effect works with: the store, the rules in force, the time, and the list of what has happened."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field

import msgspec

from blobforge.events import Event, Fact
from blobforge.job import RetryPolicy
from blobforge.store.store import Store


class Rules(msgspec.Struct, frozen=True):
    """The settings that decide about jobs. `worker_timeout` and `idempotency_window` are in seconds."""

    retry: RetryPolicy = RetryPolicy()
    max_attempts: int = 3
    worker_timeout: float = 180.0
    idempotency_window: float = 86_400.0
    rates_kept: float = 8 * 86_400.0


@dataclass
class Step:
    """One effect in the making. `now` is in milliseconds since the epoch.

    `events` and `facts` leave the writer only after COMMIT, and not at all when the effect is undone.
    """

    store: Store
    rules: Rules
    now: int
    dice: random.Random
    events: list[Event] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def new_lease(self) -> str:
        """An unguessable token for one attempt (128 bits)."""
        return secrets.token_hex(16)
