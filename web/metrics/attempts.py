"""How attempts end, as the writer tells it after each commit. State owned here: the counts, by job type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from prometheus_client.core import Metric

from blobforge.events import AttemptEnded, Fact
from blobforge.job import Outcome
from blobforge.machinery.tally import Spread
from web.metrics.families import counter, histogram

# Seconds; a conversion may take from a blink to a day.
SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)


class Attempts:
    """A listener of the writer."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({AttemptEnded})

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, str]] = Counter()
        self._seconds: defaultdict[str, Spread] = defaultdict(partial(Spread, SECONDS))

    def post(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, AttemptEnded):
                self._ended[fact.type, fact.outcome] += 1
                if fact.seconds is not None and fact.outcome in {Outcome.COMPLETED, Outcome.FAILED}:
                    self._seconds[fact.type].add(fact.seconds)

    def post_of_others(self, facts: Sequence[Fact]) -> None:
        """Each server counts its own, and they are added up."""

    def families(self) -> Iterable[Metric]:
        types = {type_ for type_, _ in self._ended}
        ended = {(type_, outcome): self._ended[type_, outcome] for type_ in sorted(types) for outcome in Outcome}
        yield counter(
            "blobforge_attempts",
            "Attempts that ended, by job type and outcome. One that was lost and is completed late counts as both",
            {(type_, str(outcome)): n for (type_, outcome), n in ended.items()},
            ("type", "outcome"),
        )
        yield histogram(
            "blobforge_attempt_duration_seconds",
            "How long attempts ran that their worker ended (completed or failed), by job type",
            (((type_,), spread) for type_, spread in self._seconds.items()),
            ("type",),
        )
