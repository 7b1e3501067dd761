"""Effects by the clock: each minute the samples for the charts, and a little tidying; each hour the rest."""

from __future__ import annotations

from actors.effects.step import Step
from actors.messages import Purge, Purged, Sampled

MINUTE_MS = 60_000
# Repeatable requests forgotten in one transaction: some 20 ms. A busy day leaves them by the million.
PURGED_AT_ONCE = 2000


def sample(step: Step) -> Sampled:
    """Keep the depths of the queue, and forget old undos. The next sample is due when the next minute has begun."""
    step.store.rollups.sample_depths(now=step.now)
    step.store.rollups.purge_undos(now=step.now)
    return Sampled((MINUTE_MS - step.now % MINUTE_MS) / 1000)


def purge(step: Step, message: Purge) -> Purged:
    """Forget what has been kept long enough: page by page where there is much of it, the rest with the last page."""
    before = step.now - round(step.rules.idempotency_window * 1000)
    if step.store.purge(before=before, limit=PURGED_AT_ONCE):
        return Purged(more=True)
    step.store.rollups.purge(now=step.now)
    step.store.purge_sessions(seen_before=step.now - round(message.idle * 1000), now=step.now)
    return Purged(more=False)
