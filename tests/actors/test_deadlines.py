"""Deadlines that mostly move, against a plain dictionary."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.deadlines import Deadlines

KEYS = st.sampled_from("abcdef")


class Against(RuleBasedStateMachine):
    """Time moves on; deadlines are put, moved back, dropped, postponed, and taken when due."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[str, int] = Deadlines()
        self.model: dict[str, tuple[float, int]] = {}
        self.latest: dict[str, float] = {}  # where a key was ever put: never to be brought forward
        self.now = 0.0
        self.note = 0

    @rule(key=KEYS, wait=st.integers(0, 50))
    def put(self, key: str, wait: int) -> None:
        at = max(self.now + wait, self.latest.get(key, 0))
        self.note += 1
        self.latest[key] = at
        self.deadlines.set(key, at, self.note)
        self.model[key] = (at, self.note)

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.deadlines.drop(key)
        self.model.pop(key, None)

    @rule(wait=st.integers(0, 50))
    def postpone(self, wait: int) -> None:
        until = self.now + wait
        self.deadlines.postpone_all(until)
        self.model = {key: (max(at, until), note) for key, (at, note) in self.model.items()}
        self.latest |= {key: max(self.latest[key], at) for key, (at, _) in self.model.items()}

    @rule(step=st.integers(0, 30), limit=st.integers(1, 8))
    def take(self, step: int, limit: int) -> None:
        self.now += step
        due = {(key, note) for key, (at, note) in self.model.items() if at <= self.now}
        taken = self.deadlines.take_due(self.now, limit)
        assert len(taken) == min(limit, len(due))
        assert set(taken) <= due
        for key, _ in taken:
            del self.model[key]

    @invariant()
    def nothing_comes_before_next(self) -> None:
        """Or the reaper would sleep through a deadline."""
        assert self.deadlines.next() <= min((at for at, _ in self.model.values()), default=math.inf)
        assert len(self.deadlines) == len(self.model)


Against.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAgainst = Against.TestCase
