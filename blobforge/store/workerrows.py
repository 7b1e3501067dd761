"""The workers of the open transaction, and which types of jobs they ask for."""

from __future__ import annotations

from msgspec.structs import replace

from blobforge.requirements import holds
from blobforge.store.needs import LatestEnd, Needs
from blobforge.store.opentransaction import OpenTransaction
from blobforge.worker import Worker

ONLINE_LOOKED_AT = 64  # workers that are online for a type, to see whether there is another one
LABELLED_LOOKED_AT = 1000  # the same where labels decide


class WorkerRows(OpenTransaction):
    """Verbs on workers."""

    def worker(self, worker_id: str) -> Worker | None:
        if not self._open or worker_id not in self._rows.workers:
            self._ask(Needs(workers={worker_id}))
        return self._rows.workers[worker_id]

    def latest_ends(self, worker_id: str) -> list[LatestEnd]:
        """How the worker's latest attempts have ended, the latest first: some of them, as it was when the transaction
        began."""
        if not self._open or worker_id not in self._rows.latest:
            self._ask(Needs(latest={worker_id}))
        return self._rows.latest[worker_id]

    def save_worker(self, before: Worker | None, after: Worker) -> None:
        """Insert or change a worker; `before` is what was read, None for a new one."""
        current = self.worker(after.id)
        if current is None or _stands_otherwise(current, after):
            self._another_may_be_there()
        self._change_worker(after.id, current, after)

    def beat_worker(self, worker: Worker, *, now: int) -> None:
        """Write a sign of life that changes nothing else."""
        current = self.worker(worker.id)
        if current is not None:
            self._change_worker(worker.id, current, replace(current, last_heartbeat=now, updated_at=now))

    def delete_worker(self, worker: Worker) -> None:
        self._change_worker(worker.id, self.worker(worker.id), None)
        self.forget_types(worker.id)

    def _change_worker(self, worker_id: str, current: Worker | None, after: Worker | None) -> None:
        if worker_id not in self._pending.workers_were:
            self._journal.put(self._pending.workers_were, worker_id, current)
        self._journal.put(self._rows.workers, worker_id, after)
        if current is not None and (after is None or after.converter != current.converter):
            self._rows.lose_converter(current.converter)

    def note_types(self, worker: Worker, types: tuple[str, ...]) -> None:
        """The worker asks for jobs of these types."""
        if types == (worker.type,):
            return
        anew = worker.id in self._pending.types_forgotten
        known = self._bulk.asked_types(worker.id) if not anew else frozenset[str]()
        for type_ in types:
            asked = (worker.id, type_)
            if type_ != worker.type and type_ not in known and asked not in self._pending.types_asked:
                self._journal.put(self._pending.types_asked, asked, True)
                self._another_may_be_there()

    def forget_types(self, worker_id: str) -> None:
        """It starts anew, or is no more."""
        for asked in [asked for asked in self._pending.types_asked if asked[0] == worker_id]:
            self._journal.drop(self._pending.types_asked, asked)
        self._journal.put(self._pending.types_forgotten, worker_id, True)
        self._another_may_be_there()

    def another_worker(self, type_: str, but: tuple[str, ...], requires: str | None = None) -> bool:
        """Whether a worker that is online takes jobs of this type, and is none of those; of jobs that require this,
        as far as it is seen among so many workers."""
        if requires is not None:
            self._settle_workers()
            online_ones = self._bulk.labelled_workers(type_, LABELLED_LOOKED_AT)
            return any(id_ not in but and holds(labels, requires) for id_, labels in online_ones)
        return not self._online(type_, max(ONLINE_LOOKED_AT, len(but) + 1), len(but) + 1).issubset(but)

    def sound_workers(self, type_: str, most: int) -> list[str]:
        """The workers that are online for this type and in no quarantine, by their ids; so many at most."""
        return sorted(self._online(type_, most, most))

    def _online(self, type_: str, most: int, least: int) -> frozenset[str]:
        """`most` of them where it is asked for, and what was asked for before where that were `least` or more."""
        known, online = self._rows.online.get(type_, (0, frozenset[str]())) if self._open else (0, frozenset[str]())
        if known < least:
            self._settle_workers()
            online = self._bulk.online_workers(type_, most)
            self._rows.online[type_] = (most, online)
        return online

    def _settle_workers(self) -> None:
        """Write what is pending, where it is one of what workers may be given."""
        if (
            self._pending.types_asked
            or self._pending.types_forgotten
            or any(map(self._stands_otherwise_now, self._pending.workers_were))
        ):
            self.settle()

    def _stands_otherwise_now(self, worker_id: str) -> bool:
        before, after = self._pending.workers_were[worker_id], self._rows.workers[worker_id]
        return before is None or after is None or _stands_otherwise(before, after)

    def _another_may_be_there(self) -> None:
        for type_ in list(self._rows.online):
            self._journal.drop(self._rows.online, type_)


def _stands_otherwise(before: Worker, after: Worker) -> bool:
    """Whether the change is one of what the worker may be given."""
    was, is_now = (
        (each.status, each.enabled, each.type, each.labels, each.quarantine is None) for each in (before, after)
    )
    return was != is_now
