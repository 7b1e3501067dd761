"""Batches: which jobs were submitted for what, and when all of it has ended."""

from __future__ import annotations

from typing import Any

from tests.model.world.state import State
from tests.model.world.things import Batch, Job, No

OVER = ("completed", "dead", "cancelled")


class Batches(State):
    def make_batch(
        self,
        name: str,
        closed: bool,
        new_id: int | None,
        now: int,
        callback: str | None = None,
        to: int | None = None,
    ) -> Any:
        """`callback`: the host that is told of its ends, by this endpoint."""
        if not closed and any(each.name == name and each.closed_at is None for each in self.batches.values()):
            return No("batch-exists")
        assert new_id is not None, "a batch should have been made"
        assert new_id not in self.given_batches, "a batch has the number of another"
        self.given_batches.add(new_id)
        self.batches[new_id] = Batch(name, now, now if closed else None, callback=to)
        if callback is not None:
            assert to is not None, "the host should have an endpoint"
            self.callbacks_to(callback, to)
        return ("BatchOpened", new_id, name)

    def close_batch(self, number: int, now: int) -> Any:
        batch = self.batches.get(number)
        if batch is None:
            return No("no-such-batch")
        if batch.closed_at is None:
            batch.closed_at = now
        return ("BatchStands", number, batch.closed_at)

    def joined(self, batches: tuple[int, ...], number: int | None) -> Any:
        """The batches of a job that is submitted for one more."""
        if number is None or number in batches:
            return batches if number is None or number in self.batches else No("no-such-batch")
        batch = self.batches.get(number)
        if batch is None:
            return No("no-such-batch")
        return (*batches, number) if batch.closed_at is None else No("batch-closed")

    def of_batch(self, number: int) -> list[Job]:
        return [job for job in self.jobs.values() if number in job.batches]

    def judge_batches(self, now: int) -> list[tuple[int, int]]:
        """After each message: which batches have ended by it, and for which time."""
        ended = []
        for number, batch in sorted(self.batches.items()):
            over = batch.closed_at is not None and all(job.status in OVER for job in self.of_batch(number))
            if over and batch.ended_at is None:
                batch.ended_at, batch.endings = now, batch.endings + 1
                ended.append((number, batch.endings))
                self.happened.append(("batch.ended", number, None, ()))
            elif not over:
                batch.ended_at = None
        return ended
