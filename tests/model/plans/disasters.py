"""Backups, and databases that are lost and come back as they were."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors.effects.recovery import settle_restore
from actors.effects.transaction import Transaction
from tests.model.plans.choices import RULES, seldom
from tests.model.plans.retention import Retention


class Disasters(Retention):
    """State owned here: the backups."""

    def __init__(self) -> None:
        super().__init__()
        self.backups: list[tuple[Any, dict[str, Any]]] = []

    @seldom
    @rule()
    def back_up(self) -> None:
        self.do(self.drill(True))
        self.backups = [*self.backups[-1:], (self.database.saved(), self.world.snapshot())]

    @precondition(lambda self: self.backups)
    @rule(which=st.integers(0, 1), later=st.sampled_from([1, 60, 86_400]))
    def restore(self, which: int, later: int) -> None:
        """The database is lost, and comes back as it was once; a zombie of what was lost may still call.

        Not within the same second as another restore, nor by a clock that has gone back behind it, or the backup.
        """
        which = min(which, len(self.backups) - 1)
        self.now = self.latest = max(self.now, self.latest) + later * 1000
        copy, world = self.backups[which]
        self.database.put_back(copy, restored_at=self.now)
        self.start()
        tx = Transaction(self.store, RULES, self.now, random.Random(0))
        with self.store.transaction():
            assert settle_restore(tx) is not None
        self.world.restore(world, self.now)
        self.janitor_takes(True)
        self.do(self.drill(True))
