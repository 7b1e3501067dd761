"""Claims, and how attempts end: completed, failed, given back, lost, or revoked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tests.model.world.access import Access
from tests.model.world.chains import Born, Chains
from tests.model.world.comparisons import Comparisons
from tests.model.world.things import (
    LIFE_MS,
    Attempt,
    File,
    Given,
    Job,
    No,
    Who,
    Worker,
    is_compared,
    kind_of,
    output_of,
)


class Attempts(Access, Comparisons, Chains):
    def claim(
        self,
        who: Who,
        worker_id: str,
        types: Sequence[str],
        limit: int,
        key: str | None,
        given: Sequence[Any],
        now: int,
        accepts: tuple[str, ...] = (),
        converter: str | None = None,
    ) -> Any:
        """`given`: (attempt, lease) of each job in the answer, in its order."""
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        if not worker.registered:
            return No("no-such-worker")
        if worker.bound is not None and any(type_ != worker.bound for type_ in types):
            return No("worker-bound")
        if self.too_many(converter, worker.converter):
            return No("invalid")
        if worker.status == "offline" or not 0 <= now - (worker.seen or 0) < LIFE_MS:
            self.alive(worker, now)
        worker.accepts, worker.converter = accepts, converter or worker.converter
        if key is not None:
            held = []
            for job_id, attempt in self.claim_keys.get((worker_id, key), []):
                job = self.jobs.get(job_id)
                if job is None or job.attempt != attempt or not self.holds(job, worker_id, None):
                    continue
                if len(held) < limit:
                    job.beat = now
                    held.append(job)
            if held:
                return self.granted(held, accepts=accepts)
        if worker.drain:
            return self.granted([], idle=True)
        if tuple(types) != (worker.type,):
            worker.asks |= {type_ for type_ in types if type_ in self.types and type_ != worker.type}
        if worker.held is not None:
            return self.granted([], idle=True)
        left = {each: room for each in types if (room := self.room(each, now)) is not None}
        open_ = [each for each in types if left.get(each) != 0]
        waiting = [job for job in self.jobs.values() if job.status == "pending" and job.type in open_]
        waiting = [job for job in waiting if job.not_before is None and (job.options is None or "options" in accepts)]
        waiting = [job for job in waiting if self.fits(worker, job.requires)]
        ready = [
            job
            for job in waiting
            if worker_id not in job.avoid or not self.another(job.type, job.avoid, job.requires)
        ]
        withheld = {(job.type, self.lane(job)) for job in waiting if job not in ready}
        if "comparisons-only" in accepts:
            ready, withheld = [], set()
        jobs = self.next_of(ready, limit, left)
        compared, shut = self.comparisons_for(worker, types, accepts, left)
        withheld |= shut
        jobs = self.with_comparisons(jobs, compared, limit, left)
        self.turns_taken(jobs, self.in_turn(worker, types))
        for job in jobs:
            if (type_ := kind_of(job.type)) in left:
                left[type_] -= 1
        fresh: Iterator[tuple[int, str]] = iter(given)
        for job in jobs:
            attempt, lease = next(fresh, (job.attempt + 1, "?"))
            self.start(job, worker_id, attempt, lease, now)
            job.history[attempt].converter = worker.converter
            self.started(job.type, now)
            self.let_through(job, now)
        if jobs and key is not None:
            self.claim_keys[worker_id, key] = [(job.id, job.attempt) for job in jobs]
            self.claimed_at[worker_id, key] = now
        return self.granted(jobs, withheld=tuple(sorted(withheld)), rooms=tuple(left.items()), accepts=accepts)

    def too_many(self, converter: str | None, known: str | None) -> bool:
        """Whether this converter would be one more than there may be of results and workers."""
        there = {job.made_by for job in self.jobs.values()} | {each.converter for each in self.workers.values()}
        there -= {None}
        return converter not in (None, known, *there) and len(there) >= self.rules.max_converters

    def another(self, type_: str, but: Sequence[str], requires: str | None) -> bool:
        """Whether a worker for the type is online that is none of those."""
        return any(
            each.status == "online"
            and each.enabled
            and each.held is None
            and type_ in {each.type, *each.asks}
            and each.id not in but
            and self.fits(each, requires)
            for each in self.workers.values()
        )

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
        job.completed_at = job.not_before = job.expires_at = job.progress = job.avoid_until = None
        job.avoid = ()
        job.history[attempt] = Attempt(worker_id, lease, now)
        for number in job.batches:
            self.batches[number].started_at = self.batches[number].started_at or now

    def granted(
        self,
        jobs: Sequence[Job],
        *,
        idle: bool = False,
        withheld: tuple[Any, ...] = (),
        rooms: tuple[Any, ...] = (),
        accepts: tuple[str, ...] = (),
    ) -> Any:
        given = tuple((job.id, job.attempt, job.lease) for job in jobs)
        patience = {(type_, self.patience(type_, accepts)) for type_ in {job.type for job in jobs}}
        own = tuple(sorted((type_, *own) for type_, own in patience if own is not None))
        return ("Granted", given, idle, withheld, rooms, own)

    def holds(self, job: Job, worker_id: str, lease: str | None) -> bool:
        return job.status == "running" and job.worker == worker_id and lease in (None, job.lease)

    def comes_late(self, job: Job, worker_id: str, lease: str | None) -> bool:
        """Its lease expired, and nobody has started the job since."""
        last = job.last
        lost = last is not None and last.outcome == "lost" and last.worker == worker_id and job.lease is not None
        return lost and job.status in ("pending", "dead") and lease in (None, job.lease)

    def alive(self, worker: Worker, now: int) -> None:
        worker.seen = now
        if worker.status == "offline":
            worker.status = "draining" if worker.drain else "online"

    def attempt_of(self, who: Who, worker_id: str, job_id: int) -> Job | No:
        worker = self.may_act(worker_id, who)
        if isinstance(worker, No):
            return worker
        return self.jobs.get(job_id, No("no-such-job"))

    def not_held(self, job: Job) -> No:
        return No("job-not-running") if job.attempt == 0 else No("lease-lost")

    def tell(self, message: Any, who: Who) -> Any:
        """Of an attempt that has several outputs; what is not said again stays."""
        job = self.bringing(message, who)
        if isinstance(job, No):
            return job
        for each in message.outputs:  # in a request there is at least one
            known = self.outputs.setdefault((job.id, job.attempt), {})
            output = known.setdefault(each.name, [None, False])
            output[0] = each.size if each.size is not None else output[0]
        return ("OutputsTold", job.id, job.attempt)

    def choose(self, message: Any, who: Who) -> Any:
        job = self.bringing(message, who)
        if isinstance(job, No):
            return job
        known = self.outputs.get((job.id, job.attempt), {})
        for output in known.values():
            output[1] = output[1] and not message.first
        for each in message.outputs:
            if each.name in known:
                known[each.name][:] = each.size, True
        return ("OutputsTold", job.id, job.attempt)

    def bringing(self, message: Any, who: Who) -> Job | No:
        job = self.attempt_of(who, message.worker_id, message.job_id)
        if isinstance(job, No):
            return job
        late = self.comes_late(job, message.worker_id, message.lease)
        return job if late or self.holds(job, message.worker_id, message.lease) else self.not_held(job)

    def complete(self, message: Any, who: Who, given: Given, now: int, born: Born) -> Any:
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
            if self.too_many(message.converter, job.history[job.attempt].converter):
                return No("invalid")
            if message.several is not None:
                sizes = [size for size, chosen in self.outputs.get((job.id, job.attempt), {}).values() if chosen]
                if (len(sizes), sum(sizes)) != (message.several.count, message.several.size):
                    return No("unavailable")
            elif message.output_key is not None:
                found, said = message.output.sha256, message.checksum
                wrong = message.output_key != output_of(job.id, job.attempt) or message.output.seen == "absent"
                if wrong or (found and said and found != said):
                    return No("output-missing")
                checked = message.output.seen in ("verified", "present")
                self.files[message.output_key] = File(message.output.size, found or said, checked, keeping=checked)
            if late:
                job.attempts, job.losses = job.attempts + 1, job.losses - (not job.history[job.attempt].free)
                job.history[job.attempt].free = False
            job.status, job.worker, job.completed_at, job.error = "completed", message.worker_id, now, None
            former = (job.kept_attempt, job.output, job.result, job.made_by, job.bytes)
            one = (message.output.size or 0) if message.output_key is not None else 0
            job.bytes = message.several.size if message.several is not None else one
            job.replaced = former if job.kept_attempt is not None else None  # type: ignore[assignment]
            compared = job.compare and job.replaced is not None
            job.compare_until = now + self.rules.compare_ms if compared else None
            attempt = job.history[job.attempt]
            attempt.converter = job.made_by = message.converter or attempt.converter
            job.kept_attempt, job.output, job.result = None, message.output_key, message.result
            job.not_before, job.avoid, job.avoid_until, job.releases = None, (), None, 0
            job.end("completed", now)
            job.blamed = False
            self.one_completed(job.type, now)
            self.start_children(job, message, born, now)
        following = self.claim_next(message, job, who, given, now) if message.claim_next else None
        return ("Completed", job.id, following)

    def claim_next(self, message: Any, job: Job, who: Who, given: Given, now: int) -> Any:
        """What a repetition was given before, as long as it is held, is what it gets again."""
        before = self.followers.get(message.lease)
        follower = self.jobs.get(before[0]) if before is not None else None
        if before and follower and follower.attempt == before[1] and self.holds(follower, message.worker_id, None):
            return self.granted([follower], accepts=self.workers[message.worker_id].accepts)
        more = (message.accepts, message.converter)
        answer = self.claim(who, message.worker_id, (kind_of(job.type),), 1, None, given, now, *more)
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
        job.error, job.releases = message.error, 0
        job.end("failed", now)
        job.history[job.attempt].error, job.history[job.attempt].kind = message.error, message.kind
        counts, job.blamed = not job.blamed, True
        free = self.workers[message.worker_id].held is not None or self.is_broken(job.type)
        job.history[job.attempt].free = free
        retry = free or (message.retryable and job.attempts < job.max_attempts)
        if retry:
            wait = self.back_off(job.type, job.attempts)
            job.status, job.not_before = "failed", now + wait
            if free:  # as if it had not been tried: one that had no try left gets that one again
                if job.attempts > job.max_attempts:
                    job.status, job.releases = "pending", 1
                job.attempts -= 1
        else:
            job.status, job.completed_at = "dead", now
        self.one_more_failed(job, message.worker_id, now, counts=counts, free=free)
        return ("AttemptFailed", job.id, job.status != "dead")

    def release(self, message: Any, who: Who, now: int) -> Any:
        job = self.attempt_of(who, message.worker_id, message.job_id)
        if isinstance(job, No):
            return job
        if not self.holds(job, message.worker_id, message.lease):
            return self.not_held(job)
        self.give_back(job, "released", now)
        job.history[job.attempt].kind = str(message.cause)
        if message.cause == "trouble":
            free = job.history[job.attempt].free = self.workers[message.worker_id].held is not None
            self.trouble(job, now, free=free)
        return ("Released", job.id)

    def trouble(self, job: Job, now: int, *, free: bool, waits: bool = True) -> None:
        job.releases, job.error = max(1, job.releases + (not free)), True
        job.not_before = now + self.back_off(job.type, job.releases) if waits else None
        if job.releases > self.rules.max_releases and not free:
            job.losses, job.blamed = job.losses + 1, True
            if job.losses >= self.rules.max_losses:
                job.status, job.completed_at, job.not_before = "dead", now, None

    def give_back(self, job: Job, outcome: str, now: int) -> None:
        job.status, job.attempts = "pending", job.attempts - 1
        job.worker = job.lease = job.progress = None
        job.end(outcome, now)

    def take_back(self, worker_id: str, now: int, *, died: bool = False) -> int:
        free = self.workers[worker_id].held is not None
        held = [job for job in self.jobs.values() if job.status == "running" and job.worker == worker_id]
        for job in held:
            self.give_back(job, "released", now)
            if died:
                job.history[job.attempt].kind, job.history[job.attempt].free = "trouble", free
                self.trouble(job, now, free=free, waits=False)
        return len(held)

    def expire_leases(self, leases: Sequence[tuple[int, int, int]], now: int) -> Any:
        count = 0
        for job_id, attempt, beat in leases:
            job = self.jobs.get(job_id)
            if job is None or (job.status, job.attempt, job.beat) != ("running", attempt, beat):
                continue
            own = self.patience(job.type, ())
            if own is not None and own[0] > self.rules.timeout_ms:
                continue  # it lasts longer than the caller knows
            lease = job.lease
            self.give_back(job, "lost", now)
            job.lease = lease  # until somebody starts the job anew
            worker = self.workers[job.history[attempt].worker]
            free = job.history[attempt].free = worker.held is not None
            job.losses += not free
            job.error, job.blamed, job.releases = True, True, 0
            if job.losses >= self.rules.max_losses and not free:
                job.status, job.completed_at = "dead", now
            count += 1
        return ("SomeChanged", count)

    def output_checked(self, message: Any, now: int) -> Any:
        known = self.files.get(message.key)
        if known is None:
            return ("SomeChanged", 0)
        said, found = known.sha256, message.output.sha256
        if message.output.seen != "absent" and not (said and found and said != found):
            job = self.jobs.get(message.job_id)
            size = message.output.size
            if job is not None and job.output == message.key:
                job.bytes = size if size is not None else job.bytes
            elif job is not None and job.replaced is not None and job.replaced[1] == message.key:
                job.replaced = (*job.replaced[:4], size if size is not None else job.replaced[4])
            else:
                return ("SomeChanged", 0)
            kept = self.files[message.key].kept
            self.files[message.key] = File(size, found or said, True, True, kept)
            return ("SomeChanged", 0)
        return ("SomeChanged", self.revoke(message.job_id, message.attempt, message.key, now))

    @staticmethod
    def has_the_former(job: Job) -> None:
        former = job.replaced or (None, None, None, None, 0)
        job.kept_attempt, job.output, job.result, job.made_by, job.bytes = former
        job.replaced = None

    def revoke(self, job_id: int, attempt: int, key: str, now: int) -> int:
        self.files.pop(key, None)
        job = self.jobs.get(job_id)
        if job is None or job.status != "completed" or job.attempt != attempt:
            if job is not None and job.kept_attempt == attempt:
                job.history[attempt].forgotten = True
                self.has_the_former(job)
                job.compare = job.compare and job.kept_attempt is not None
                job.changed_at = now
                self.result_is_back(job)
            elif job is not None and job.replaced is not None and job.replaced[0] == attempt:
                job.replaced = None
                if job.status == "completed":
                    job.compare, job.compare_until, job.changed_at = False, None, now
            return 0
        self.children_revoked(job_id, attempt, now)
        self.give_back(job, "revoked", now)
        job.losses += 1
        job.completed_at = None
        self.has_the_former(job)
        job.compare_until = None
        self.result_is_back(job)
        job.error = job.blamed = True
        if job.losses >= self.rules.max_losses or is_compared(job.type):
            job.status, job.completed_at = "dead", now
        return 1
