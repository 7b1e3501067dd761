"""What every effect works with: the store, the rules in force, the time, and the list of what has happened."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import structlog

from blobforge.events import Event, Fact
from blobforge.job import RetryPolicy
from blobforge.store.store import Store, StoreUnavailable

T = TypeVar("T")
log = structlog.get_logger("blobforge.effects")


class Rules(msgspec.Struct, frozen=True):
    """The settings that decide about jobs. `idempotency_window` and `rates_kept` are in seconds."""

    retry: RetryPolicy = RetryPolicy()
    max_attempts: int = 3
    max_types: int = 200
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

    def new_lease(self) -> str:
        """An unguessable token for one attempt (128 bits)."""
        return secrets.token_hex(16)
