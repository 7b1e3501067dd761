"""What the coordinator promises, said a second time: a plain model of jobs, workers, objects and people.

Written from docs/architecture.md and the contract, in the simplest code that says it, and with nothing of
`blobforge/job.py`, of the effects or of the store: a fault would have to be made twice to stay unseen. It keeps
everything in dictionaries, looks at all of it, and knows neither SQL nor indexes.

Each method is one message. It returns what must be answered: `No(code)`, or a tuple. Tokens and numbers that the
coordinator makes up come in as arguments, and the model says what must be true of them.
"""

from __future__ import annotations

from typing import Any

from tests.model.world.canaries import Canaries
from tests.model.world.fleet import Fleet
from tests.model.world.joins import Joins
from tests.model.world.repeats import Repeats
from tests.model.world.sources import Sources
from tests.model.world.things import ended
from tests.model.world.webhooks import Webhooks

__all__ = ["World"]


class World(Fleet, Sources, Canaries, Repeats, Webhooks, Joins):
    """All of it."""

    def restore(self, backup: dict[str, Any], now: int) -> None:
        """The database is as it was; what was given away since stays given away. Nobody holds anything."""
        self.put_back(backup)
        self.happened.clear()
        self.to_join.clear()
        ended.clear()
        self.restored = True
        for job in self.jobs.values():
            if job.status == "running":
                self.give_back(job, "released", now)
            elif job.status in ("pending", "dead"):
                job.lease = None
        for search in self.searches.values():
            if search.state == "running":
                search.state, search.ended_at = "failed", now
                search.error = "the database was restored from a backup"
        for worker in self.workers.values():
            worker.instance = None
        self.on_record(now, "server", "backup.restored", "the database was restored from a backup")
