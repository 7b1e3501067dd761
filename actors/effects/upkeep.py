"""What is done by the clock, once a minute: the samples for the charts, and a little tidying."""

from __future__ import annotations

from actors.effects.step import Step
from actors.messages import Sampled

MINUTE_MS = 60_000


def sample(step: Step) -> Sampled:
    """Keep the depths of the queue. The next one is due when the next minute has begun."""
    step.store.rollups.sample_depths(now=step.now)
    step.store.rollups.purge_undos(now=step.now)
    return Sampled((MINUTE_MS - step.now % MINUTE_MS) / 1000)
