"""How canaries end, and how they go for good."""

from __future__ import annotations

from typing import Any

from tests.model.world.comparisons import Comparisons
from tests.model.world.retention import Retention
from tests.model.world.things import No


class Canaries(Comparisons, Retention):
    def cancel_canary(self, canary_id: int, now: int) -> Any:
        canary = self.canaries.get(canary_id)
        if canary is None:
            return No("no-such-canary")
        if canary.cancelled_at is not None or not self.left_of(canary):
            return No("canary-ended")
        cancelled = sum(self.stop(id_, f"canary {canary_id} was cancelled", now) for id_ in canary.jobs)
        canary.cancelled_at = now
        canary.closed_at = now if canary.closed_at is None else canary.closed_at
        return ("CanaryEnded", canary_id, cancelled)

    def stop(self, job_id: int, reason: str, now: int) -> bool:
        return not isinstance(self.cancel(job_id, "", now, reason), No)

    def keep_canaries(self, before: int, begun_at: dict[int, int], limit: int, now: int) -> bool:
        """`begun_at`: when each was, as the database has it. Whether there may be more to do."""
        for canary in self.canaries.values():
            if canary.closed_at is None and not self.left_of(canary):
                canary.closed_at = now
        old = sorted(number for number in self.canaries if begun_at[number] < before)
        if not old:
            return False
        canary = self.canaries[old[0]]
        some = sorted(canary.jobs)[:limit]
        for id_ in some:
            self.stop(id_, "kept no longer", now)
            if id_ in self.jobs:
                self.drop(self.jobs[id_], True, now)
            del canary.jobs[id_]
        if len(some) < limit:
            del self.canaries[old[0]]
            return True
        return len(some) == limit
