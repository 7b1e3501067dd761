"""Workers: who they are, whether they are there, and who decides about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.model.world.attempts import Attempts
from tests.model.world.things import No, Who, Worker


class Fleet(Attempts):
    def register(
        self,
        who: Who,
        worker_id: str,
        type_: str,
        replaces: str | None,
        now: int,
        converter: str | None = None,
        labels: str | None = None,
    ) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            if who.worker is not None:
                return No("no-such-worker")
            if self.too_many(converter, None):
                return No("invalid")
            worker = self.workers[worker_id] = Worker(worker_id, type_, token=who.token)
        allowed = self.may_act(worker_id, who._replace(instance=None))
        if isinstance(allowed, No):
            owned = worker.secret is None and worker.token is not None
            orphan = owned and worker.token not in self.tokens
            if not (worker.enabled and orphan and who.token is not None):
                return allowed
        if worker.bound not in (None, type_):
            return No("worker-bound")
        if self.too_many(converter, worker.converter):
            return No("invalid")
        if isinstance(allowed, No):
            self.take_back(worker_id, now)
            worker.token, worker.instance = who.token, None
        if who.instance is not None and worker.instance not in (None, who.instance):
            heard = now - (worker.seen or 0)
            alive = worker.registered and worker.status != "offline" and heard < 2 * self.rules.beat_ms
            if alive and replaces != worker.instance:
                worker.contested_at = now
                return ("WorkerRegistered", worker_id, max(1.0, (2 * self.rules.beat_ms - heard) / 1000))
            self.take_back(worker_id, now, died=True)
        worker.instance, worker.contested_at = who.instance or worker.instance, None
        worker.type, worker.status, worker.drain, worker.registered, worker.seen = type_, "online", False, True, now
        worker.asks = set()
        worker.accepts, worker.converter, worker.labels = (), converter, labels
        return ("WorkerRegistered", worker_id, None)

    def heartbeat(
        self, who: Who, worker_id: str, beats: Sequence[tuple[int, str | None, str | None]], now: int
    ) -> Any:
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        if not worker.registered:
            return No("no-such-worker")
        self.alive(worker, now)
        lost = []
        kept, types = set(), set()
        for job_id, lease, progress in beats:
            job = self.jobs.get(job_id)
            if job is not None and self.holds(job, worker_id, lease):
                job.beat, job.progress = now, progress or job.progress
                types.add(job.type)
                kept.add(job_id)
            else:
                lost.append((job_id, job is not None and self.comes_late(job, worker_id, lease)))
        abandon = [job_id for job_id, _ in lost if job_id not in kept]
        late = [job_id for job_id, late in lost if late and job_id not in kept]
        renewed = now if kept else None
        patience = [self.patience(type_, worker.accepts) for type_ in types]
        own = [each for each in patience if each is not None]
        first = min(own + [(self.rules.timeout_ms, self.rules.beat_ms)] * (len(own) < len(patience)), default=None)
        shortest = first if own else None
        return ("HeartbeatSeen", worker.drain, tuple(abandon), tuple(late), renewed, shortest)

    def unregister(self, who: Who, worker_id: str, now: int) -> Any:
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        returned = self.take_back(worker_id, now)
        worker.registered, worker.status = False, "offline"
        return self.changed(worker, returned)

    def drain(self, worker_id: str) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        worker.drain = True
        if worker.status == "online":
            worker.status = "draining"
        return self.changed(worker, 0)

    def enable(self, worker_id: str) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        worker.enabled, worker.drain = True, False
        if worker.status == "draining":
            worker.status = "online"
        return self.changed(worker, 0)

    def quarantine(self, worker_id: str, by: str, reason: str | None, now: int) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        why = reason or "put there by hand"
        if worker.held is None or worker.held[1:] != (why, by):
            worker.held = (now, why, by)
            self.happened.append(("worker.quarantined", worker.id, worker.type, ()))
        return self.changed(worker, 0)

    def readmit(self, worker_id: str, now: int) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        worker.held, worker.readmitted_at = None, now
        return self.changed(worker, 0)

    def disable(self, worker_id: str, now: int) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        returned = self.take_back(worker_id, now)
        worker.enabled, worker.status = False, "offline"
        return self.changed(worker, returned)

    def remove(self, worker_id: str, now: int) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        returned = self.take_back(worker_id, now)
        del self.workers[worker_id]
        return self.changed(worker, returned)

    def create_worker(self, worker_id: str, type_: str, secret: str) -> Any:
        if worker_id in self.workers:
            return No("worker-exists")
        self.workers[worker_id] = Worker(worker_id, type_, secret=secret, bound=type_)
        return self.changed(self.workers[worker_id], 0)

    def replace_secret(self, worker_id: str, secret: str, now: int) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        returned = self.take_back(worker_id, now)
        worker.secret, worker.token = secret, None
        return self.changed(worker, returned)

    def delete_token(self, token_id: int, now: int) -> Any:
        """What its workers run goes back."""
        if token_id not in self.tokens:
            return No("no-such-token")
        for worker in self.workers.values():
            if worker.token == token_id:
                self.take_back(worker.id, now)
        self.drop_token(token_id)
        return ("Done",)

    def expire_workers(self, silent: Sequence[tuple[str, int]]) -> Any:
        count = 0
        for worker_id, beat in silent:
            worker = self.workers.get(worker_id)
            if worker is not None and worker.seen == beat and worker.status != "offline":
                worker.status = "offline"
                self.happened.append(("worker.lost", worker.id, worker.type, ()))
                count += 1
        return ("SomeChanged", count)

    def changed(self, worker: Worker, returned: int) -> Any:
        return ("WorkerChanged", worker.id, worker.status, returned)
