"""Effects by the clock: each minute the samples for the charts, and a little tidying; each hour the rest."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from actors.messages import FreePages, PagesFreed, Purge, Purged, Sampled
from blobforge import failures
from blobforge.store.figures import (
    CAUSES_A_SLOT,
    HOUR_MS,
    KEPT,
    NARROWEST,
    SPLITS_KEPT,
    WEEK,
    WEEK_MS,
    WEEKS_KEPT,
    WORKER_HOURS_KEPT,
    Horizon,
)

MINUTE_MS = 60_000
# Rows of each kind forgotten in one transaction: some 20 ms. A busy day leaves repeatable requests by the million.
PURGED_AT_ONCE = 2000
UNDO_MS = 600_000  # how long an action can be undone
UNDOS_AT_ONCE = 10_000  # forgotten in one transaction, each minute: some 20 ms
CAUSES_KEPT_MS = 90 * 86_400_000  # without a job that shows it
# Free pages that are kept for what is written next: giving them back and taking them anew costs twice.
SPARE_PAGES = 256
SPARE_SHARE = 20  # one page of so many
SPREAD_AT_ONCE = 500  # fresh splits in one transaction: some 10 ms
SUMMED_AT_ONCE = 4  # slots of each width: one is over at a time, but after an upgrade; of 200 types in some 30 ms
SPREAD_PAUSE = 0.25  # seconds between two of these transactions
LOOKED_BACK = 7200  # seconds: slots of causes that have ended since; it is done each hour


def sample(tx: Transaction) -> Sampled:
    """Spread the splits of slots that are over, sum the other figures of these over all types, and with the last of
    them keep the depths of the queue and forget old undos. The next sample is due when the next minute has begun."""
    slots = {width: tx.now // 1000 // width for width in KEPT}
    if tx.store.rollups.spread_splits(tx.now // 1000 // NARROWEST, limit=SPREAD_AT_ONCE):
        return Sampled(SPREAD_PAUSE)
    if tx.store.rollups.sum_up(slots, most=SUMMED_AT_ONCE):
        return Sampled(SPREAD_PAUSE)
    tx.store.rollups.sample_depths(slots)
    tx.store.purge_undos(before=tx.now - UNDO_MS, limit=UNDOS_AT_ONCE)
    return Sampled((MINUTE_MS - tx.now % MINUTE_MS) / 1000)


def purge(tx: Transaction, message: Purge) -> Purged:
    """Forget what has been kept long enough: page by page where there is much of it, the rest with the last page."""
    before = tx.now - round(tx.rules.idempotency_window * 1000)
    if tx.store.purge(before=before, limit=PURGED_AT_ONCE):
        return Purged(more=True)
    more = tx.store.rollups.purge(_horizon(tx.now), limit=PURGED_AT_ONCE)
    seen_before = tx.now - round(message.idle * 1000)
    more = tx.store.purge_sessions(seen_before=seen_before, now=tx.now, limit=PURGED_AT_ONCE) or more
    return Purged(more=more)


def _horizon(now: int) -> Horizon:
    at = now // 1000
    return Horizon(
        slots={width: (at - seconds) // width for width, seconds in KEPT.items()},
        splits={width: (at - seconds) // width for width, seconds in SPLITS_KEPT.items()}
        | {WEEK: now // WEEK_MS - WEEKS_KEPT + 1},
        over={width: ((at - LOOKED_BACK) // width - 1, at // width) for width in SPLITS_KEPT},
        fresh=at // NARROWEST,
        causes_a_slot=CAUSES_A_SLOT,
        hour=now // HOUR_MS - WORKER_HOURS_KEPT,
        causes_seen_at=now - CAUSES_KEPT_MS,
        causes=failures.MOST_GROUPS,
        room=failures.MOST_GROUPS // 4,
    )


def free_pages(tx: Transaction, message: FreePages) -> PagesFreed:
    """Give a few free pages back to the file system, as long as there are many."""
    file = tx.store.database_file
    if file is None:
        return PagesFreed(0, more=False)
    total, free = file.pages()
    spare = max(SPARE_PAGES, total // SPARE_SHARE)
    if free > spare:
        file.free_pages(min(message.most, free - spare))
    left, still_free = file.pages()
    return PagesFreed(total - left, more=total > left and still_free > spare)
