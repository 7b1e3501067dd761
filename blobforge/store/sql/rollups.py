"""The dashboard's figures beside the counters: depths of the queue, figures that an older database has not kept, and
which of them are forgotten.

None of them is needed to be correct about jobs. How long they are kept, and when they are sampled, is decided by the
effects (`actors/effects/periodic.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from blobforge.store.figures import Backfilling, Horizon
from blobforge.store.sql import sql
from blobforge.store.sql.running import Statements
from blobforge.store.tallies import Tallies
from blobforge.store.workingset import WorkingSet

ROWS_OF_SLOT = 100  # causes of one type: most have a few, and none more than a thousand or so
ROWS_OF_TYPE = 35  # counters: one for each status and priority
_SUMMED = ((sql.FIRST_UNSUMMED_HAPPENINGS, sql.SUM_HAPPENINGS), (sql.FIRST_UNSUMMED_DEPTHS, sql.SUM_DEPTHS))


class Rollups:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    # --- what an older database has not kept

    def backfill(self) -> Backfilling | None:
        row = self._do.row(sql.BACKFILL)
        return Backfilling(row[0], row[1], bool(row[2]), row[3]) if row else None

    def begin_backfill(self, *, until: int) -> None:
        self._do.rows(sql.BEGIN_BACKFILL, (until,))

    def backfilled(self, *, next_job: int | None) -> None:
        if next_job is None:
            self._do.rows(sql.END_BACKFILL)
        else:
            self._do.rows(sql.BACKFILLED, (next_job,))

    def weighing(self) -> tuple[int, int] | None:
        row = self._do.row(sql.WEIGHING)
        return (row[0], row[1]) if row else None

    def weighed(self, *, next_job: int | None) -> None:
        if next_job is None:
            self._do.rows(sql.END_WEIGHING)
        else:
            self._do.rows(sql.WEIGHED, (next_job,))

    # --- depths

    def sample_depths(self, slots: Mapping[int, int]) -> None:
        self._working.settle()
        online = sum(n for status, n in self._do.rows(sql.WORKER_COUNTS) if status != "offline")
        for at in slots.items():
            self._do.rows(sql.CLEAR_DEPTHS, at)
            self._do.rows(sql.SAVE_DEPTHS, at)
            self._do.rows(sql.SAVE_ONLINE, (*at, online))

    def sum_up(self, slots: Mapping[int, int], *, most: int) -> bool:
        self._working.settle()
        more = False
        for step, slot in slots.items():
            for first_unsummed, sum_up in _SUMMED:
                ((first,),) = self._do.rows(first_unsummed, (step, slot))
                if first is not None:
                    self._do.rows(sum_up, (step, first, min(first + most, slot)))
                    ((first,),) = self._do.rows(first_unsummed, (step, slot))
                    more = more or first is not None
        return more

    # --- splits

    def spread_splits(self, under_way: int, *, limit: int) -> bool:
        taken = self._do.rows(sql.TAKE_FRESH, (under_way, limit))
        if taken:
            self._working.move_counters(Tallies(spread={(slot, *key): n for slot, *key, n in taken}))
        return len(taken) == limit

    # --- upkeep

    def purge(self, kept: Horizon, *, limit: int) -> bool:
        self._working.forget()
        pages: list[tuple[str, tuple[int, ...]]] = []
        for step, slot in kept.slots.items():
            pages += [(sql.PURGE_HAPPENINGS, (step, slot)), (sql.PURGE_DEPTHS, (step, slot))]
            pages += [(sql.PURGE_HAPPENINGS_OF_ALL, (step, slot)), (sql.PURGE_DEPTHS_OF_ALL, (step, slot))]
        pages += [(sql.PURGE_SPLITS, (step, slot)) for step, slot in kept.splits.items()]
        pages += [(sql.PURGE_WORKER_RATES, (kept.hour,))]
        pages += [(sql.FORGET_TAGS, ()), (sql.FORGET_CONVERTERS, ()), (sql.FORGET_DEFERRED, ())]
        more = [self._do.change(statement, (*values, limit)) == limit for statement, values in pages]
        more.append(self.spread_splits(kept.fresh, limit=limit))
        more += [self._fold_causes(step, span, kept.causes_a_slot, limit=limit) for step, span in kept.over.items()]
        types = max(1, limit // ROWS_OF_TYPE)
        more.append(self._do.change(sql.FORGET_TYPES, (types,)) >= types)
        self._do.rows(sql.PURGE_FAILURES, (kept.causes_seen_at,))
        if self._do.number(sql.COUNT_FAILURES) >= kept.causes:
            self._do.rows(sql.FORGET_FAILURES, (kept.room,))
        self._do.rows(sql.FORGET_FAILURE_COUNTS)
        return any(more)

    def _fold_causes(self, step: int, span: tuple[int, int], most: int, *, limit: int) -> bool:
        """Count together what is beyond the `most` frequent causes of a slot."""
        limit = max(1, limit // ROWS_OF_SLOT)
        found = self._do.rows(sql.MANY_CAUSES, (step, *span, most, limit))
        for slot, type_ in found:
            folded = 0
            for part, n in self._do.rows(sql.CAUSES_OF_SLOT, (step, slot, type_))[most:]:
                self._do.rows(sql.FORGET_SPLIT, (step, slot, type_, part))
                folded += n
            self._do.rows(sql.ADD_NO_CAUSE, (step, slot, type_, folded))
        return len(found) == limit
