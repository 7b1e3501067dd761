"""What the coordinator promises, said a second time: a plain model of jobs, workers and objects.

Written from docs/architecture.md and the contract, in the simplest code that says it, and with nothing of
`blobforge/job.py`, of the effects or of the store: a fault would have to be made twice to stay unseen. It keeps
everything in dictionaries, looks at all of it, and knows neither SQL nor indexes.

Each method is one message. It returns what must be answered: `No(code)`, or a tuple. Tokens and numbers that the
coordinator makes up come in as arguments, and the model says what must be true of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNDO_MS = 600_000
LIFE_MS = 5_000  # claims are written as signs of life that far apart
DOUBT_MS = 600_000
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 30_000, 300_000


class No(NamedTuple):
    code: str


Given = Sequence[tuple[int, str]]  # attempt and lease of each job in the answer, in its order
Beat = tuple[int, str | None, str | None]  # job, lease, progress


class Who(NamedTuple):
    """A credential: an API token, an administrator's or not, or a worker's own."""

    token: int | None = None
    worker: str | None = None
    admin: bool = False


@dataclass
class Attempt:
    worker: str
    lease: str
    started_at: int
    ended_at: int | None = None
    outcome: str | None = None


@dataclass
class Job:
    id: int
    type: str
    hash: str
    status: str
    priority: int
    max_attempts: int
    size: int | None
    tags: tuple[str, ...]
    attempt: int = 0
    attempts: int = 0
    losses: int = 0
    worker: str | None = None
    lease: str | None = None
    beat: int | None = None
    completed_at: int | None = None
    not_before: int | None = None
    error: str | bool | None = None  # True: there is a reason, whatever its words
    output: str | None = None
    result: str | None = None
    progress: str | None = None
    source_never_came: bool = False
    history: dict[int, Attempt] = field(default_factory=dict)

    @property
    def last(self) -> Attempt | None:
        return self.history.get(self.attempt)

    def end(self, outcome: str, now: int) -> None:
        attempt = self.history[self.attempt]
        attempt.outcome, attempt.ended_at = outcome, now


@dataclass
class Worker:
    id: str
    type: str
    status: str = "offline"
    enabled: bool = True
    drain: bool = False
    registered: bool = False
    seen: int | None = None
    token: int | None = None
    secret: str | None = None


@dataclass
class File:
    size: int | None
    sha256: str | None
    checked: bool


@dataclass
class Doom:
    state: str
    due_at: int
    tries: int = 0
    epoch: int = 0


@dataclass
class Rules:
    max_attempts: int = 3
    max_losses: int = 2
    max_types: int = 3
    backoff_ms: int = 30_000
    backoff_max_ms: int = 50_000


class World:
    """State owned here: all that the database should hold, and all that was ever given away."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.jobs: dict[int, Job] = {}
        self.workers: dict[str, Worker] = {}
        self.files: dict[str, File] = {}
        self.doomed: dict[str, Doom] = {}
        self.tokens: set[int] = set()
        self.claim_keys: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self.claimed_at: dict[tuple[str, str], int] = {}
        self.undos: dict[tuple[str, int], tuple[str, str, int]] = {}
        self.followers: dict[str, tuple[int, int]] = {}  # lease of a completion -> the job claimed with it
        self.restored = False
        # Out there for ever, whatever is restored: ids, leases and attempt numbers by job.
        self.given_ids: set[int] = set()
        self.given_leases: dict[str, tuple[int, int]] = {}
        self.given_attempts: dict[int, set[int]] = {}

    # ------------------------------------------------------------------ submission

    def submit(self, job: Any, source: Any, new_id: int | None, now: int) -> Any:
        key = source_of(job.source_hash)
        seen, size = source.seen, source.size
        doom = self.doomed.get(key)
        if doom is not None:
            if doom.state == "deleting":
                return No("being-removed")
            if source.epoch < doom.epoch:
                seen, size = "unknown", None
        found = next((j for j in self.jobs.values() if (j.hash, j.type) == (job.source_hash, job.type)), None)
        types = {each.type for each in self.jobs.values()}
        if found is None and job.type not in types and len(types) >= self.rules.max_types:
            return No("invalid")
        if seen == "verified":
            self.files[key] = File(size, job.source_hash, True)
        elif seen == "absent":
            self.files.pop(key, None)
        ready = self.ready(job.source_hash, found.size if found is not None else job.source_size)
        missing = not ready and seen != "present"
        if found is not None:
            if found.status == "dead" and found.source_never_came:
                self.again(found, reset=True, priority=None)
            return ("Submitted", found.id, True, found.status, missing and found.status == "uploading")
        assert new_id is not None, "a job should have been made"
        assert all(new_id > given for given in self.given_ids), "an id was given again"
        self.given_ids.add(new_id)
        made = Job(
            new_id, job.type, job.source_hash, "pending" if ready else "uploading", job.priority,
            job.max_attempts or self.rules.max_attempts, job.source_size, tuple(dict.fromkeys(job.tags)),
        )  # fmt: skip
        self.jobs[new_id] = made
        return ("Submitted", new_id, False, made.status, missing)

    def ready(self, source_hash: str, announced: int | None) -> bool:
        """Known to be in the store, with the right bytes; where nobody read them, with as many as announced."""
        known = self.files.get(source_of(source_hash))
        if known is None or not known.checked:
            return False
        return known.sha256 is not None or announced is None or announced == known.size

    def source_arrived(self, source_hash: str, size: int, verified: bool, epoch: int) -> Any:
        doom = self.doomed.get(source_of(source_hash))
        if doom is not None and (doom.state == "deleting" or epoch < doom.epoch):
            return No("being-removed")
        self.files[source_of(source_hash)] = File(size, source_hash if verified else None, True)
        count = 0
        for job in self.waiting_for(source_hash):
            if not verified and job.size is not None and job.size != size:
                job.error = True
                continue
            job.status, job.size, job.error = "pending", size, None
            count += 1
        return ("SourceSettledFor", count)

    def source_rejected(self, source_hash: str) -> Any:
        self.files.pop(source_of(source_hash), None)
        jobs = list(self.waiting_for(source_hash))
        for job in jobs:
            job.error = True
        return ("SourceSettledFor", len(jobs))

    def expire_uploads(self, ids: Sequence[int], now: int) -> Any:
        count = 0
        for id_ in ids:
            job = self.jobs.get(id_)
            if job is not None and job.status == "uploading":
                job.status, job.completed_at, job.error, job.source_never_came = "dead", now, True, True
                count += 1
        return ("SourceSettledFor", count)

    def waiting_for(self, source_hash: str) -> Iterator[Job]:
        return (job for job in self.jobs.values() if job.hash == source_hash and job.status == "uploading")

    # ------------------------------------------------------------------ workers

    def may_act(self, worker_id: str, who: Who) -> Worker | No:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        if not worker.enabled:
            return No("worker-disabled")
        mine = who.worker == worker_id if who.worker is not None else who.admin or who.token == worker.token
        return worker if mine else No("not-yours")

    def register(self, who: Who, worker_id: str, type_: str, now: int) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            if who.worker is not None:
                return No("no-such-worker")
            worker = self.workers[worker_id] = Worker(worker_id, type_, token=who.token)
        allowed = self.may_act(worker_id, who)
        if isinstance(allowed, No):
            owned = worker.secret is None and worker.token is not None
            orphan = owned and worker.token not in self.tokens
            if not (worker.enabled and orphan and who.token is not None):
                return allowed
            self.take_back(worker_id, now)
            worker.token = who.token
        worker.type, worker.status, worker.drain, worker.registered, worker.seen = type_, "online", False, True, now
        return ("Registered", worker_id)

    def alive(self, worker: Worker, now: int) -> None:
        worker.seen = now
        if worker.status == "offline":
            worker.status = "draining" if worker.drain else "online"

    def heartbeat(
        self, who: Who, worker_id: str, beats: Sequence[tuple[int, str | None, str | None]], now: int
    ) -> Any:
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        if not worker.registered:
            return No("no-such-worker")
        self.alive(worker, now)
        abandon, late = [], []
        for job_id, lease, progress in beats:
            job = self.jobs.get(job_id)
            if job is not None and self.holds(job, worker_id, lease):
                job.beat, job.progress = now, progress or job.progress
                continue
            abandon.append(job_id)
            if job is not None and self.comes_late(job, worker_id, lease):
                late.append(job_id)
        renewed = now if len(abandon) < len(beats) else None
        return ("HeartbeatSeen", worker.drain, tuple(abandon), tuple(late), renewed)

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
        self.workers[worker_id] = Worker(worker_id, type_, secret=secret)
        return self.changed(self.workers[worker_id], 0)

    def replace_secret(self, worker_id: str, secret: str) -> Any:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        worker.secret, worker.token = secret, None
        return self.changed(worker, 0)

    def expire_workers(self, silent: Sequence[tuple[str, int]]) -> Any:
        count = 0
        for worker_id, beat in silent:
            worker = self.workers.get(worker_id)
            if worker is not None and worker.seen == beat and worker.status != "offline":
                worker.status = "offline"
                count += 1
        return ("Expired", count)

    def changed(self, worker: Worker, returned: int) -> Any:
        return ("WorkerChanged", worker.id, worker.status, returned)

    def take_back(self, worker_id: str, now: int) -> int:
        held = [job for job in self.jobs.values() if job.status == "running" and job.worker == worker_id]
        for job in held:
            self.give_back(job, "released", now)
        return len(held)

    def delete_token(self, token_id: int) -> Any:
        if token_id not in self.tokens:
            return No("no-such-token")
        self.tokens.discard(token_id)
        return ("Done",)

    # ------------------------------------------------------------------ claims

    def claim(
        self,
        who: Who,
        worker_id: str,
        types: Sequence[str],
        limit: int,
        key: str | None,
        given: Sequence[Any],
        now: int,
    ) -> Any:
        """`given`: (attempt, lease) of each job in the answer, in its order."""
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        if not worker.registered:
            return No("no-such-worker")
        if worker.status == "offline" or now - (worker.seen or 0) >= LIFE_MS:
            self.alive(worker, now)
        if key is not None:
            held = []
            for job_id, attempt in self.claim_keys.get((worker_id, key), []):
                job = self.jobs.get(job_id)
                if job is not None and job.attempt == attempt and self.holds(job, worker_id, None):
                    job.beat = now
                    held.append(job)
            if held:
                return self.granted(held)
        if worker.drain:
            return self.granted([], idle=True)
        ready = [job for job in self.jobs.values() if job.status == "pending" and job.type in types]
        ready.sort(key=lambda job: (job.priority, job.id))
        jobs = ready[:limit]
        fresh: Iterator[tuple[int, str]] = iter(given)
        for job in jobs:
            attempt, lease = next(fresh, (job.attempt + 1, "?"))
            self.start(job, worker_id, attempt, lease, now)
        if jobs and key is not None:
            self.claim_keys[worker_id, key] = [(job.id, job.attempt) for job in jobs]
            self.claimed_at[worker_id, key] = now
        return self.granted(jobs)

    def start(self, job: Job, worker_id: str, attempt: int, lease: str, now: int) -> None:
        """The number goes up, by one as long as nothing was restored; neither it nor the lease was ever given."""
        assert attempt > job.attempt
        assert self.restored or attempt == job.attempt + 1
        numbers = self.given_attempts.setdefault(job.id, set())
        assert attempt not in numbers, f"attempt {attempt} of job {job.id} was given before"
        assert lease not in self.given_leases, f"the lease of {(job.id, attempt)} was {self.given_leases[lease]}'s"
        numbers.add(attempt)
        self.given_leases[lease] = (job.id, attempt)
        job.status, job.worker, job.lease, job.attempt, job.beat = "running", worker_id, lease, attempt, now
        job.attempts += 1
        job.completed_at = job.not_before = job.output = job.result = job.progress = None
        job.history[attempt] = Attempt(worker_id, lease, now)

    def granted(self, jobs: Sequence[Job], *, idle: bool = False) -> Any:
        return ("Granted", tuple((job.id, job.attempt, job.lease) for job in jobs), idle)

    # ------------------------------------------------------------------ attempts

    def holds(self, job: Job, worker_id: str, lease: str | None) -> bool:
        return job.status == "running" and job.worker == worker_id and lease in (None, job.lease)

    def comes_late(self, job: Job, worker_id: str, lease: str | None) -> bool:
        """Its lease expired, and nobody has started the job since."""
        last = job.last
        lost = last is not None and last.outcome == "lost" and last.worker == worker_id and job.lease is not None
        return lost and job.status in ("pending", "dead") and lease in (None, job.lease)

    def attempt_of(self, who: Who, worker_id: str, job_id: int) -> Job | No:
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        return self.jobs.get(job_id, No("no-such-job"))

    def not_held(self, job: Job) -> No:
        return No("job-not-running") if job.attempt == 0 else No("lease-lost")

    def complete(self, message: Any, who: Who, given: Given, now: int) -> Any:
        job = self.attempt_of(who, message.worker_id, message.job_id)
        if isinstance(job, No):
            return job
        repeated = (
            job.status == "completed"
            and message.lease is not None
            and (job.lease, job.worker, job.output) == (message.lease, message.worker_id, message.output_key)
        )
        if not repeated:
            late = self.comes_late(job, message.worker_id, message.lease)
            if not late and not self.holds(job, message.worker_id, message.lease):
                return self.not_held(job)
            if message.output_key is not None:
                found, said = message.output.sha256, message.checksum
                wrong = message.output_key != output_of(job.id, job.attempt) or message.output.seen == "absent"
                if wrong or (found and said and found != said):
                    return No("output-missing")
                checked = message.output.seen in ("verified", "present")
                self.files[message.output_key] = File(message.output.size, found or said, checked)
            if late:
                job.attempts, job.losses = job.attempts + 1, job.losses - 1
            job.status, job.worker, job.completed_at, job.error = "completed", message.worker_id, now, None
            job.output, job.result = message.output_key, message.result
            job.end("completed", now)
        following = self.claim_next(message, job, who, given, now) if message.claim_next else None
        return ("Completed", job.id, following)

    def claim_next(self, message: Any, job: Job, who: Who, given: Given, now: int) -> Any:
        """What a repetition was given before, as long as it is held, is what it gets again."""
        before = self.followers.get(message.lease)
        follower = self.jobs.get(before[0]) if before is not None else None
        if before and follower and follower.attempt == before[1] and self.holds(follower, message.worker_id, None):
            return self.granted([follower])
        answer = self.claim(who, message.worker_id, (job.type,), 1, None, given, now)
        if isinstance(answer, No):
            return self.granted([], idle=True)
        if message.lease is not None and answer[1]:
            self.followers[message.lease] = answer[1][0][:2]
        return answer

    def fail(self, message: Any, who: Who, now: int) -> Any:
        job = self.attempt_of(who, message.worker_id, message.job_id)
        if isinstance(job, No):
            return job
        if not self.holds(job, message.worker_id, message.lease):
            return self.not_held(job)
        job.lease = job.worker = None
        job.error = message.error
        job.end("failed", now)
        retry = message.retryable and job.attempts < job.max_attempts
        if retry:
            wait = min(self.rules.backoff_ms * 2 ** (job.attempts - 1), self.rules.backoff_max_ms)
            job.status, job.not_before = "failed", now + wait
        else:
            job.status, job.completed_at = "dead", now
        return ("AttemptFailed", job.id, retry)

    def release(self, message: Any, who: Who, now: int) -> Any:
        job = self.attempt_of(who, message.worker_id, message.job_id)
        if isinstance(job, No):
            return job
        if not self.holds(job, message.worker_id, message.lease):
            return self.not_held(job)
        self.give_back(job, "released", now)
        return ("Released", job.id)

    def give_back(self, job: Job, outcome: str, now: int) -> None:
        job.status, job.attempts = "pending", job.attempts - 1
        job.worker = job.lease = job.progress = None
        job.end(outcome, now)

    def expire_leases(self, leases: Sequence[tuple[int, int, int]], now: int) -> Any:
        count = 0
        for job_id, attempt, beat in leases:
            job = self.jobs.get(job_id)
            if job is None or (job.status, job.attempt, job.beat) != ("running", attempt, beat):
                continue
            lease = job.lease
            self.give_back(job, "lost", now)
            job.lease = lease  # until somebody starts the job anew
            job.losses += 1
            job.error = True
            if job.losses >= self.rules.max_losses:
                job.status, job.completed_at = "dead", now
            count += 1
        return ("Expired", count)

    def output_checked(self, message: Any, now: int) -> Any:
        known = self.files.get(message.key)
        if known is None:
            return ("Expired", 0)
        said, found = known.sha256, message.output.sha256
        if message.output.seen != "absent" and not (said and found and said != found):
            self.files[message.key] = File(message.output.size, found or said, True)
            return ("Expired", 0)
        del self.files[message.key]
        job = self.jobs.get(message.job_id)
        if job is None or job.status != "completed" or job.attempt != message.attempt:
            return ("Expired", 0)
        self.give_back(job, "revoked", now)
        job.losses += 1
        job.completed_at = job.output = job.result = None
        job.error = True
        if job.losses >= self.rules.max_losses:
            job.status, job.completed_at = "dead", now
        return ("Expired", 1)

    # ------------------------------------------------------------------ what people do

    def again(self, job: Job, *, reset: bool, priority: int | None) -> Any:
        if job.status in ("uploading", "pending", "running"):
            return No("job-not-retryable")
        job.status = "pending" if self.ready(job.hash, job.size) else "uploading"
        job.priority = priority or job.priority
        if reset:
            job.attempts = job.losses = 0
        job.worker = job.lease = job.completed_at = job.not_before = job.output = job.result = job.progress = None
        job.source_never_came = False
        return ("JobChanged", job.id, job.status, "")

    def retry(self, job_id: int, reset: bool, priority: int | None) -> Any:
        job = self.jobs.get(job_id)
        return No("no-such-job") if job is None else self.again(job, reset=reset, priority=priority)

    def cancel(self, job_id: int, undo: str, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if job.status in ("completed", "dead", "cancelled"):
            return No("job-ended")
        if job.status == "running":
            job.end("cancelled", now)
        if undo:
            self.undos.setdefault((undo, job_id), (job.status, "cancelled", now))
        job.status, job.completed_at = "cancelled", now
        job.lease = job.worker = job.not_before = None
        return ("JobChanged", job_id, "cancelled", undo)

    def set_priority(self, job_id: int, priority: int, undo: str, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if job.priority == priority:
            return ("JobChanged", job_id, job.status, "")
        if undo:
            self.undos.setdefault((undo, job_id), (str(job.priority), str(priority), now))
        job.priority = priority
        return ("JobChanged", job_id, job.status, undo)

    def undo(self, token: str, limit: int, further: bool, now: int) -> Any:
        found = sorted(
            job_id for (kept, job_id), (*_, at) in self.undos.items() if kept == token and at >= now - UNDO_MS
        )
        found = found[:limit]
        if not found and not further:
            return No("no-such-undo")
        changed = 0
        for job_id in found:
            was, became, at = self.undos.pop((token, job_id))
            job = self.jobs.get(job_id)
            if job is None:
                continue
            if became == "cancelled":
                if job.status == "cancelled" and job.completed_at == at:
                    self.again(job, reset=False, priority=None)
                    changed += 1
            elif str(job.priority) == became:
                job.priority = int(was)
                changed += 1
        return ("Undone", len(found), changed, len(found) == limit)

    def wake(self, retries: Sequence[tuple[int, int]]) -> Any:
        count = 0
        for job_id, attempt in retries:
            job = self.jobs.get(job_id)
            if job is not None and (job.status, job.attempt) == ("failed", attempt):
                job.status, job.not_before = "pending", None
                count += 1
        return ("Expired", count)

    # ------------------------------------------------------------------ for good

    def delete(self, job_id: int, objects: bool, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if job.status == "running":
            return No("job-running")
        self.drop(job, objects, now)
        return ("JobDeleted", job_id)

    def drop(self, job: Job, objects: bool, now: int) -> None:
        del self.jobs[job.id]
        keys = [output_of(job.id, attempt) for attempt in job.history]
        if not any(other.hash == job.hash for other in self.jobs.values()):
            keys.append(source_of(job.hash))
        for key in keys:
            self.files.pop(key, None)
            if objects:
                self.doom(key, now)

    def doom(self, key: str, now: int) -> None:
        doom = self.doomed.get(key)
        if doom is None:
            self.doomed[key] = Doom("waiting", now)
        elif doom.state == "gone":
            doom.state, doom.due_at, doom.tries = "waiting", now, 0

    def prune(self, before: Sequence[tuple[str, int]], objects: bool, limit: int, now: int) -> Any:
        found: list[Job] = []
        for status, time in before:
            ended = [job for job in self.jobs.values() if job.status == status and (job.completed_at or 0) < time]
            found += sorted(ended, key=lambda job: job.completed_at or 0)[:limit]
        for job in found[:limit]:
            self.drop(job, objects, now)
        count = len(found[:limit])
        return ("Pruned", count, 0 < count == limit)

    def take_doomed(self, first: bool, now: int) -> Any:
        if first:
            for key in [key for key, doom in self.doomed.items() if doom.state == "gone"]:
                del self.doomed[key]
            for doom in self.doomed.values():
                doom.epoch = 0
        for key in [key for key, doom in self.doomed.items() if doom.state == "gone" and doom.due_at <= now]:
            del self.doomed[key]
        for doom in self.doomed.values():
            if doom.state != "gone":  # a clock that was set back makes nothing wait for long
                doom.due_at = min(doom.due_at, now + LONGEST_PAUSE_MS)
        state = "deleting" if any(doom.state == "deleting" for doom in self.doomed.values()) else "waiting"
        due = [key for key, doom in self.doomed.items() if doom.state == state and doom.due_at <= now]
        taken = set()
        for key in due:
            doom = self.doomed[key]
            if not self.needed(key):
                self.files.pop(key, None)
                doom.state, doom.due_at = "deleting", now
                taken.add(key)
            elif doom.epoch:
                self.doomed[key] = Doom("gone", now + DOUBT_MS, 0, doom.epoch)
            else:
                del self.doomed[key]
        return ("ToDelete", taken)

    def deletions_tried(self, outcomes: dict[str, str], epoch: int, now: int) -> Any:
        for key, outcome in outcomes.items():
            doom = self.doomed.get(key)
            if doom is None:
                continue
            if outcome == "gone":
                if key.startswith("sources/"):
                    self.doomed[key] = Doom("gone", now + DOUBT_MS, 0, epoch)
                else:
                    del self.doomed[key]
            else:
                pause = min(FIRST_PAUSE_MS * 2**doom.tries, LONGEST_PAUSE_MS)
                doom.state = "waiting" if outcome == "refused" else "deleting"
                doom.due_at, doom.tries = now + pause, doom.tries + 1
        return ("Done",)

    def find_unneeded(self, keys: Sequence[str], doom: bool, now: int) -> Any:
        found = [key for key in keys if key not in self.doomed and not self.needed(key)]
        if doom:
            for key in found:
                self.doom(key, now)
        return ("Unneeded", tuple(found))

    def purge_undos(self, now: int) -> None:
        for key in [key for key, (*_, at) in self.undos.items() if at < now - UNDO_MS]:
            del self.undos[key]

    def purge_claims(self, now: int, window: float) -> None:
        for claim, at in list(self.claimed_at.items()):
            if at < now - window * 1000:
                del self.claim_keys[claim], self.claimed_at[claim]

    def needed(self, key: str) -> bool:
        """A source with a job; an output that was accepted, or may still be."""
        if key.startswith("sources/"):
            return any(source_of(job.hash) == key for job in self.jobs.values())
        _, job_id, attempt, _ = key.split("/")
        job = self.jobs.get(int(job_id))
        if job is None:
            return False
        comes = job.status == "running" or (job.status in ("pending", "dead") and job.lease is not None)
        return key in self.files or (comes and job.attempt == int(attempt))

    # ------------------------------------------------------------------ disasters

    def snapshot(self) -> World:
        return copy.deepcopy(self)

    def restore(self, backup: World, now: int) -> None:
        """The database is as it was; what was given away since stays given away. Nobody holds anything."""
        for name in ("jobs", "workers", "files", "doomed", "tokens", "claim_keys", "claimed_at", "undos"):
            setattr(self, name, copy.deepcopy(getattr(backup, name)))
        self.restored = True
        for job in self.jobs.values():
            if job.status == "running":
                self.give_back(job, "released", now)
            elif job.status in ("pending", "dead"):
                job.lease = None


def source_of(source_hash: str) -> str:
    return f"sources/{source_hash}"


def output_of(job_id: int, attempt: int) -> str:
    return f"outputs/{job_id}/{attempt}/output"
