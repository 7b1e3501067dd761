"""Safety, after every commit: the difference between the database as it was and as it is must be one that the
promises of `docs/promises.md` allow.

Owns: the database as it was after the last commit, when each lease was last renewed, by the play's own clock, and
when each attempt failed. Reads through the probe, so that it sees what is committed and nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from blobforge.canary import is_comparison, ordinary
from blobforge.objects.keys import output_of
from tests.fixtures.engines import Database
from tests.fixtures.probe import Probe
from tests.simulation.canaries import CanaryRules
from tests.simulation.clock import WallClock
from tests.simulation.families import Families, Stage
from tests.simulation.history import History
from tests.simulation.kinds import Begun, TypeRules, TypeSet
from tests.simulation.receiver import Receiver

MAX_ATTEMPTS = 3  # of a job, where nothing is said
SLACK = 0.002  # seconds: wall time is kept in ms
URGENT = 1  # the priority
ENDED = ("completed", "dead", "cancelled")


class Job(NamedTuple):
    id: int
    type: str
    source: str
    status: str
    attempt: int
    attempts: int
    losses: int
    max_attempts: int
    worker: str | None
    lease: str | None
    beat: int | None
    not_before: int | None
    output: str | None
    releases: int
    avoid: str | None
    requires: str | None = None
    updated: int = 0
    priority: int = 3
    lane: int = 0
    group: str | None = None
    turn: int = 0
    expires_at: int | None = None
    batches: str | None = None
    chain: str | None = None

    @property
    def kind(self) -> str:
        """The type whose settings and limits hold for it: of a comparison, that of the document."""
        return ordinary(self.type)

    @property
    def is_child(self) -> bool:
        """Whether its source is an output, or what was made of several."""
        chain = json.loads(self.chain or "{}")
        return "source" in chain or chain.get("joins", False)

    @property
    def expiry(self) -> int | None:
        """When it is given up, as things are."""
        return self.expires_at if self.status in ("pending", "uploading") else None

    @property
    def deferred(self) -> bool:
        """It waits, with its source or for it, for the time that its submission said."""
        return self.not_before is not None and self.releases == 0 and self.status in ("pending", "uploading")

    @property
    def ready(self) -> bool:
        return self.status == "pending" and self.not_before is None and self.avoid is None

    def kept_from(self, worker: str) -> bool:
        return worker in json.loads(self.avoid or "[]")


class Attempt(NamedTuple):
    job: int
    number: int
    worker: str
    lease: str
    outcome: str | None
    kind: str | None
    started_at: int = 0
    given_back: int | None = None


class Batch(NamedTuple):
    id: int
    closed_at: int | None
    ended_at: int | None
    endings: int


class Worker(NamedTuple):
    id: str
    type: str
    status: str
    may: bool  # enabled, registered, not draining, not in quarantine
    labels: str | None = None
    quarantine: str | None = None
    converter: str | None = None

    def fits(self, job: Job) -> bool:
        """Whether it has what the job requires, of the few things that a play knows."""
        labels = json.loads(self.labels or "[]")
        gpu = labels.get("gpu") is True if isinstance(labels, dict) else "gpu" in labels
        large = isinstance(labels, dict) and labels.get("memory_gib", 0) >= 32
        has = {"gpu": gpu, "memory_gib>=32": large}
        return all(has[each] for each in json.loads(job.requires or "[]"))


@dataclass
class Look:
    jobs: dict[int, Job]
    attempts: dict[tuple[int, int], Attempt]
    workers: dict[str, Worker]
    types: dict[str, TypeSet] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    put_off: frozenset[Stage] = frozenset()  # stages that an operation has still to look at


def _line(job: Job) -> tuple[str, int, str | None]:
    return job.type, job.priority, job.group


def _running_of_groups(look: Look) -> list[Job]:
    return [job for job in look.jobs.values() if job.status == "running" and job.group is not None]


def _runs_on(job: Job, look: Look) -> bool:
    """Whether it runs there, too, by the same attempt and in the same line."""
    other = look.jobs.get(job.id)
    return other is not None and (other.status, other.attempt, _line(other)) == ("running", job.attempt, _line(job))


@dataclass
class Limits:
    """The settings that promises are about, in seconds."""

    worker_timeout: float
    upload_timeout: float
    retry_backoff: float
    retry_backoff_max: float
    max_losses: int
    max_releases: int
    kept: Mapping[str, float] = field(default_factory=dict)  # status -> how long a job that ended so is kept


class Oracle:
    def __init__(self, history: History, limits: Limits, clock: WallClock, *, beside_others: bool = False) -> None:
        """`beside_others`: several servers share the database, and one starts while others go on."""
        self.clock = clock
        self._beside_others = beside_others
        self._starts: list[float] = []
        self.was = self.now = Look({}, {}, {})
        self.limits = limits
        self.started_at = 0.0
        self.renewed: dict[tuple[int, int], float] = {}
        self.since: dict[int, tuple[float, int]] = {}  # when, and in which run, each job got the status that it has
        self.labelled_since: dict[str, float] = {}  # since when each worker has its labels and its converter
        self.may_since: dict[str, float] = {}  # since when each worker may have work
        self.spoken: dict[str, float] = {}  # lease -> when its holder's last heartbeat came, committed or not
        self.began: dict[tuple[int, int], float] = {}
        self.began_in: dict[tuple[int, int], int] = {}  # during which run of the server
        self.failed_at: dict[int, float] = {}
        self.failed_as: dict[int, tuple[TypeSet, ...]] = {}  # by what was set then for its type: before and behind
        self.changed_at: dict[int, float] = {}  # when each job was changed last in a way that tells
        self.restarts = 0
        self.failed_in: dict[int, int] = {}  # during which run of the server
        self.types = TypeRules()
        self.families = Families(history)
        self.canaries = CanaryRules(history)
        self.receiver: Receiver | None = None  # of what is told to webhooks, where there is one
        self.commits = 0
        self.begun_by: dict[tuple[int, int], int] = {}  # by which commit each attempt was
        self.token_gone: dict[int, tuple[float, int]] = {}  # when, and by which commit, each that is revoked was
        self._history = history
        self._database: Database | None = None
        self._version = -1
        self._time = 0  # of the database itself, where it has one
        self._leases: dict[str, tuple[int, int]] = {}

    def survived(self, database: Database) -> None:
        """The server is down, and its next run has not begun: what was acknowledged must be there."""
        self._database, self._version = database, -1
        was = self.now
        self.committed()
        if (self.now.jobs, self.now.attempts) != (was.jobs, was.attempts):
            self._broken("what is committed is there after a kill", "the database is not as it was")

    def opened(self, database: Database) -> None:
        """The server is up."""
        self._database, self._version = database, -1
        self.restarts += 1
        self.started_at = trio.current_time()
        self._starts.append(self.started_at)
        self._history.say(f"server up ({self.restarts})")
        self.committed()

    def was_renewed(self, place: tuple[int, int], since: float) -> bool:
        """Whether a lease was renewed since then. Where the time of servers stands still, since a clock was set back,
        one that is as new as can be is not written again."""
        job = self.now.jobs.get(place[0])
        return self.renewed.get(place, -1.0) >= since or (job is not None and job.beat == self._time)

    def committed(self) -> None:
        assert self._database is not None
        version = self._database.version()
        if version == self._version:
            return
        self._version = version
        self.was, self.now = was, _ = self.now, self._look()
        self._time = self._database.time(0)
        self.commits += 1
        self._compare(was, self.now)
        if self._history.revoking - self.token_gone.keys():
            there = {token for (token,) in self._database.probe.rows("tokens", "id")}
            for token in sorted(self._history.revoking - there):
                self.token_gone.setdefault(token, (trio.current_time(), self.commits))

    def _look(self) -> Look:
        assert self._database is not None
        probe = self._database.probe
        jobs = probe.rows(
            "jobs", "id", "type", "source_hash", "status", "attempt", "attempts", "losses", "max_attempts",
            "worker_id", "lease", "heartbeat_at", "not_before", "output_key", "releases", "avoid", "requires",
            "updated_at", "priority", "lane", "of_group", "turn", "expires_at", "batches", "chain", order="id",
        )  # fmt: skip
        attempts = probe.rows(
            "attempts", "job_id", "attempt", "worker_id", "lease", "outcome", "kind", "started_at",
            "given_back",
            order="job_id, attempt",
        )  # fmt: skip
        workers = probe.rows(
            "workers", "id", "type", "status", "enabled", "registered", "drain", "labels", "quarantine",
            "converter", order="id",
        )  # fmt: skip
        types = probe.rows(
            "type_settings", "type", "paused_at", "max_running", "rate_count", "rate_ms", "paused_by", "urgent_after",
            "worker_timeout", "retry_backoff", "max_attempts",
        )  # fmt: skip
        batches = probe.rows("batches", "id", "closed_at", "ended_at", "endings")
        return Look(
            {row[0]: Job(*row) for row in jobs},
            {(row[0], row[1]): Attempt(*row) for row in attempts},
            {
                row[0]: Worker(*row[:3], bool(row[3] and row[4] and not (row[5] or row[7])), *row[6:])
                for row in workers
            },
            {row[0]: TypeSet(*row[1:]) for row in types},
            {row[0]: Batch(*row) for row in batches},
            frozenset(self._put_off(probe)) if self._history.chained else frozenset(),
        )

    @staticmethod
    def _put_off(probe: Probe) -> Iterator[Stage]:
        for number, at in probe.rows("operations", "id", "page", verb="join-stages", ended_at=None):
            for page, stages in probe.rows("operation_pages", "page", "jobs", operation_id=number):
                if page >= at:
                    yield from map(tuple, json.loads(stages))

    @property
    def _probe(self) -> Probe:
        assert self._database is not None
        return self._database.probe

    def invariants(self) -> None:
        """Every invariant of `blobforge db check`."""
        assert self._database is not None
        for found in self._database.broken():
            self._broken("counters and invariants hold", found)

    def _broken(self, promise: str, how: str) -> None:
        self._history.broken(promise, how)

    # --- from one commit to the next

    def _compare(self, was: Look, now: Look) -> None:
        for job_id in sorted(was.jobs.keys() - now.jobs.keys()):
            if job_id in self._history.deleted:
                pass
            elif self.families.replaced(was.jobs[job_id], self._probe):
                self._history.deleted.add(job_id)
            else:
                self._pruned(was.jobs[job_id])
            self._history.say(f"  job {job_id} is gone")
        for job in now.jobs.values():
            before = was.jobs.get(job.id)
            if before is job or before == job:
                continue
            self._history.happened["job_created", job.id] += before is None and not is_comparison(job.type)
            self._job(before, job)
            self._charged(now, job)
            if before is not None and before.output != job.output:
                self._result_moved(now, before, job)
        for worker in now.workers.values():
            then = was.workers.get(worker.id)
            if then is None or then.may != worker.may:
                self.may_since[worker.id] = trio.current_time()
            if then is None or (then.labels, then.converter) != (worker.labels, worker.converter):
                self.labelled_since[worker.id] = trio.current_time()
        for key, attempt in now.attempts.items():
            earlier = was.attempts.get(key)
            if earlier != attempt:
                self._attempt(was, earlier, attempt)
        self._types(was, now)
        self._turns(was, now)
        self._batches(was, now)
        if self._history.chained:
            self.families.committed(self._probe, was, now)
        if self._history.examined:
            self.canaries.committed(self._probe, was, now)
        if self.receiver is not None:
            self.receiver.committed(self._probe, was, now)

    def _pruned(self, job: Job) -> None:
        """A job that is gone, though it was not to be deleted: it has been kept for long enough."""
        kept, over = self.limits.kept.get(job.status), trio.current_time() - self.since[job.id][0]
        if kept is None:
            self._broken("a job is lost never", f"job {job.id} is gone")
        elif over < kept - SLACK:
            self._broken(
                "what has ended is kept as long as is said", f"job {job.id} is gone after {over:.3f} s of {kept}"
            )
        self._history.deleted.add(job.id)

    def _batches(self, was: Look, now: Look) -> None:
        """A batch has ended where it is closed and all of its jobs have; and is told to have once for each time."""
        promise = "a batch ends once, when it is closed and its last job has ended"
        for batch in now.batches.values():
            waits = [
                job.id
                for job in now.jobs.values()
                if batch.id in json.loads(job.batches or "[]") and job.status not in ENDED
            ]
            parents = {parent for parent, *_ in now.put_off}
            held = [job.id for job in now.jobs.values() if batch.id in json.loads(job.batches or "[]")]
            before = was.batches.get(batch.id)
            if before is None or before.ended_at is None:
                # One that has ended goes on again with the job that joins the stage, and no earlier.
                waits += parents.intersection(held)
            over = batch.closed_at is not None and not waits
            if over != (batch.ended_at is not None):
                self._broken(promise, f"{batch}, and jobs {waits} have not ended")
            endings = batch.endings - (before.endings if before is not None else 0)
            began = over and (before is None or before.ended_at is None)
            if endings < began or (endings > 0 and not over):
                self._broken(promise, f"{batch} was {before}")
        for number in was.batches.keys() - now.batches.keys():
            self._broken(promise, f"batch {number} is gone")

    def _turns(self, was: Look, now: Look) -> None:
        """Of jobs that the same workers may have, none of a group is given out before one that could have been: of
        its own group with an earlier turn, or of another one of which surely fewer jobs ran, or as many, and whose
        turn was earlier. No play sets weights: a round is a job."""
        waiting = [job for job in now.jobs.values() if job.group is not None and job.ready]
        waiting = [job for job in waiting if was.jobs.get(job.id) == job]
        if not waiting:
            return
        ran, run = (Counter(map(_line, _running_of_groups(look))) for look in (was, now))
        begun = Counter(_line(job) for job in _running_of_groups(now) if not _runs_on(job, was))
        ended = Counter(_line(job) for job in _running_of_groups(was) if not _runs_on(job, now))
        for job in now.jobs.values():
            before = was.jobs.get(job.id)
            if job.group is None or before is None or not before.ready or job.status != "running":
                continue
            least = ran[_line(before)] - ended[_line(before)]
            for other in waiting:
                if (other.type, other.lane, other.priority) != (before.type, before.lane, before.priority):
                    continue
                most = ran[_line(other)] + begun[_line(other)]
                mine, theirs = (least, before.turn, before.id), (most, other.turn, other.id)
                if theirs[other.group == before.group :] < mine[other.group == before.group :]:
                    self._broken(
                        "groups take turns",
                        f"job {job.id} was given out before job {other.id}; {run[_line(before)]} of its group run, "
                        f"and {run[_line(other)]} of the other",
                    )

    def _types(self, was: Look, now: Look) -> None:
        began = [
            Begun(f"{number[0]}/{number[1]}", now.jobs[number[0]].kind, attempt.started_at)
            for number, attempt in now.attempts.items()
            if number not in was.attempts and number[0] in now.jobs
        ]
        running = Counter(job.kind for job in now.jobs.values() if job.status == "running")
        for found in self.types.committed(was.types, now.types, began, running):
            self._broken("a type's pause and its limits are kept to", found)

    def _job(self, was: Job | None, job: Job) -> None:
        now = trio.current_time()
        if was is None:
            self._tries(job)
        if was is None or was.status != job.status or was.attempt != job.attempt:
            self._history.say(
                f"  job {job.id} {was.status if was else '-'} -> {job.status} #{job.attempt} of {job.worker}"
                f" charged {job.attempts}+{job.losses}"
            )
            began = self.since.get(job.id, (now, self.restarts))
            self.since[job.id] = now, self.restarts
        elif (was.not_before, was.avoid) != (job.not_before, job.avoid) or (
            job.status == "pending" and was.requires != job.requires
        ):
            self.since[job.id] = now, self.restarts
        waits_since = max(self.changed_at.get(job.id, now), self.since[job.id][0])
        if was is None or was.updated != job.updated:
            self.changed_at[job.id] = now
        if was is not None and was.type != job.type:
            self._retyped(was, job)
        if was is not None and was.priority != job.priority:
            self._reprioritised(was, job, now - waits_since)
        if job.status == "running" and (was is None or was.beat != job.beat or was.attempt != job.attempt):
            self.renewed[job.id, job.attempt] = now
        if was is not None and job.attempt < was.attempt:
            self._broken(
                "every attempt keeps its own record", f"job {job.id} went from #{was.attempt} to #{job.attempt}"
            )
        retried = self._history.asked("retry", job.id)  # which gives it one try more, or one loss
        if job.losses > self.limits.max_losses and not retried:
            self._broken("budgets are finite", f"job {job.id} lost {job.losses} workers")
        if job.attempts > job.max_attempts and not retried:
            self._broken("budgets are finite", f"job {job.id} was charged {job.attempts} of {job.max_attempts}")
        if was is not None and was.deferred:
            self._deferred(was, job, retried=retried)
        elif was is not None and was.status == "pending" and was.not_before is not None and job.not_before is None:
            if job.status == "pending":
                self._waited(job, now, was.releases)
            elif job.status == "running":
                self._broken("retries wait", f"job {job.id} was given away in its back-off")
        if was is None or was.status == job.status:
            return
        if job.not_before is not None:
            self.failed_at[job.id], self.failed_in[job.id] = now, self.restarts
            self.failed_as[job.id] = self._set_for(was)
        if was.status == "failed" and not retried and job.status in ("pending", "running"):
            self._waited(job, now, max(job.attempts - (job.status == "running"), 1))
        if job.status == "dead":
            self._died(was, job, *began)
        if was.status in ENDED and not retried and not self._may_come_back(was, job):
            self._broken("what has ended stays so", f"job {job.id} went from {was.status} to {job.status}")
        chain = json.loads(job.chain or "{}")
        line = (job.id, chain.get("parent"), chain.get("family"))
        asked = any(self._history.asked("cancel", each) for each in line)
        if job.status == "cancelled" and not asked and not is_comparison(job.type):
            self._broken("nothing is invented", f"nobody cancelled job {job.id}")

    def _result_moved(self, now: Look, was: Job, job: Job) -> None:
        """Another result is shown only where another completion was accepted; or where the one that was shown is
        revoked, and then that of the completion before."""
        accepted = [
            number
            for (job_id, number), attempt in now.attempts.items()
            if job_id == job.id and attempt.outcome == "completed"
        ]
        shown = output_of(job.output).attempt if job.output is not None else None
        if shown != max(accepted, default=None):
            self._broken(
                "a result is kept until another takes its place",
                f"job {job.id} shows {job.output} instead of {was.output}; accepted are {accepted}",
            )

    def _retyped(self, was: Job, job: Job) -> None:
        if job.status == "pending":
            self.since[job.id] = trio.current_time(), self.restarts
        if not self._history.asked("retype", job.id):
            self._broken("nothing is invented", f"job {job.id} is {job.type} and no {was.type}")
        if was.status not in ("uploading", "pending", "failed") or was.output is not None:
            self._broken("only jobs that wait get another type", f"job {job.id} was {was.status}")

    def _reprioritised(self, was: Job, job: Job, waited: float) -> None:
        """By hand, or since it has been ready for as long as its type says, by the database's time and by the play's:
        it has `waited` so long (s) since it became ready or was changed."""
        if self._history.asked("priority", job.id) or self._history.asked("retry", job.id):
            return
        after = [self.types.settings(look, job.type).urgent_after for look in (self.was.types, self.now.types)]
        for_long = min(job.updated - was.updated, math.inf if self.clock.was_set else (waited + SLACK) * 1000)
        aged = any(each is not None and for_long >= each for each in after)
        if job.priority != URGENT or not was.ready or not aged:
            self._broken(
                "nothing is urgent before its time",
                f"job {job.id} from {was.priority} to {job.priority} after {for_long} ms, of {after}",
            )

    def _charged(self, now: Look, job: Job) -> None:
        """What an attempt costs is decided by how it ended; who retries a job by hand may start over."""
        if self._history.asked("retry", job.id):
            return
        ends = [
            attempt.outcome
            for (job_id, _), attempt in now.attempts.items()
            if job_id == job.id and attempt.given_back is None
        ]
        attempts = sum(ends.count(end) for end in (None, "failed", "completed", "cancelled"))
        losses = ends.count("lost") + ends.count("revoked") + self._given_back_too_often(now, job)
        if (job.attempts, job.losses) != (attempts, losses):
            self._broken("budgets go by cause", f"job {job.id} is charged {job.attempts}+{job.losses}: {ends}")

    def _given_back_too_often(self, now: Look, job: Job) -> int:
        """How often it was given back for trouble, or left behind by its worker's process, beyond what is free in a
        row. A worker in quarantine costs nothing."""
        count = in_a_row = 0
        for _, attempt in sorted(
            (number, each) for (job_id, number), each in now.attempts.items() if job_id == job.id
        ):
            if attempt.outcome == "released" and attempt.given_back is not None:
                in_a_row = max(1, in_a_row)
            elif attempt.outcome == "released":
                in_a_row += attempt.kind == "trouble"
                count += attempt.kind == "trouble" and in_a_row > self.limits.max_releases
            elif attempt.outcome is not None:
                in_a_row = 0
        return count

    def _may_come_back(self, was: Job, job: Job) -> bool:
        """A lost worker's completion came late; an output was accepted unseen, and is not there; a source that never
        came was submitted again."""
        if was.status == "dead":
            if job.status == "pending" and job.attempts < was.attempts:
                return True  # what it has died of was given back, which `_charged` looks at
            late = job.status == "completed" and was.losses >= self.limits.max_losses
            return late or (was.attempt == 0 and job.status in ("uploading", "pending", "running"))
        return was.status == "completed" and job.losses > was.losses

    def _deferred(self, was: Job, job: Job, *, retried: bool) -> None:
        ready = job.status == "running" or (job.status == "pending" and job.not_before is None)
        if ready and not retried and was.not_before is not None and job.updated < was.not_before:
            self._broken("nothing is started before its time", f"job {job.id}, by {was.not_before - job.updated} ms")

    def _waited(self, job: Job, now: float, times: int) -> None:
        least = min(self.waits(job.id, times))
        # After a restart what is left of it is told by the wall clock, which may be wrong.
        if self.failed_in[job.id] == self.restarts and now - self.failed_at[job.id] < least - SLACK:
            self._broken("retries wait", f"job {job.id} waited {now - self.failed_at[job.id]:.3f} s of {least}")

    def waits(self, job_id: int, times: int) -> list[float]:
        """For how long (s) it may be that the job waits, which has failed so many times."""
        general, longest = self.limits.retry_backoff, self.limits.retry_backoff_max
        return [each.wait(times, general, longest) for each in self.failed_as.get(job_id, (TypeSet(),))]

    def _set_for(self, job: Job) -> tuple[TypeSet, ...]:
        return tuple(self.types.settings(look.types, job.kind) for look in (self.was, self.now))

    def _tries(self, job: Job) -> None:
        """A job may be tried as often as its submission says, or else its type, or else all types."""
        asks = self._history.sent.get(("submit", job.source), ())
        said = {ask.body.get("max_attempts") for ask in asks}
        may = {*said, *(each.max_attempts or MAX_ATTEMPTS for each in self._set_for(job) if None in said)}
        if asks and not is_comparison(job.type) and job.max_attempts not in may:
            self._broken("a job may be tried as often as is said", f"job {job.id} {job.max_attempts} times: {may}")

    def _died(self, was: Job, job: Job, since: float, run: int) -> None:
        if was.expiry is not None and was.expiry <= job.updated:
            return
        if was.status == "uploading" and was.is_child:
            return  # its source is gone
        if was.status == "uploading":
            # A restart leaves at least one period of grace; what is left of the time is told by the wall clock.
            now = trio.current_time()
            least = self.limits.upload_timeout if run == self.restarts else self.limits.worker_timeout
            waited = now - (since if run == self.restarts else self._started_since(since))
            whole = self._beside_others and now - since >= self.limits.upload_timeout - SLACK
            if waited < least - SLACK and not whole:
                self._broken(
                    "clock jumps expire nothing", f"the source of job {job.id} was given up after {waited:.3f} s"
                )
            return
        spent = job.losses >= self.limits.max_losses or job.attempts >= job.max_attempts
        if not spent and not self._history.asked("give up", job.id):
            self._broken("budgets are finite", f"job {job.id} is dead, charged {job.attempts}+{job.losses}")

    def _started_since(self, since: float) -> float:
        """When a server has started that knew what was so then from the database; the first one that may be up."""
        return next(at for at in self._starts if at >= since) if self._beside_others else self.started_at

    # --- attempts

    def _attempt(self, was: Look, earlier: Attempt | None, attempt: Attempt) -> None:
        name = f"{attempt.job}/{attempt.number}"
        if earlier is None:
            self._begun(was, attempt, name)
        elif (earlier.worker, earlier.lease) != (attempt.worker, attempt.lease):
            self._broken("a lease belongs to one attempt", f"the lease of {name} changed hands")
        if attempt.outcome is None:
            if earlier is not None and earlier.outcome is not None:
                self._broken("every attempt keeps its own record", f"{name} had ended ({earlier.outcome})")
            return
        if earlier is not None and earlier._replace(given_back=attempt.given_back) == attempt:
            self._history.say(f"  attempt {name} does not count")
            if attempt.outcome != "failed" or earlier.given_back is not None:
                self._broken("what a broken type has cost is given back, once", name)
            return
        if earlier is not None and earlier.outcome is not None:
            changed = (earlier.outcome, attempt.outcome)
            if changed not in (("lost", "completed"), ("completed", "revoked")):
                self._broken("every attempt keeps its own record", f"{name} went from {changed[0]} to {changed[1]}")
        self._history.say(f"  attempt {name} ended: {attempt.outcome}")
        self._ended(attempt, name)
        if earlier is None or earlier.outcome is None:
            self._free(was, attempt, name)

    def _free(self, was: Look, attempt: Attempt, name: str) -> None:
        """What comes to nothing on a worker in quarantine costs its job nothing; all else does, but for what fails
        while its type is paused by its breaker, or has it paused."""
        found = [look.workers.get(attempt.worker) for look in (was, self.now)]
        held = [each is not None and each.quarantine is not None for each in found]
        counts = attempt.outcome in ("failed", "lost") or (attempt.outcome, attempt.kind) == ("released", "trouble")
        given_back = attempt.given_back is not None
        if all(held) and given_back != counts:
            self._broken("quarantine gives back exactly what it took", f"{name} {attempt.outcome}: {given_back}")
        job = self.now.jobs.get(attempt.job)
        type_ = job.type if job is not None else ""
        broken = any(self.types.settings(look.types, type_).by_breaker for look in (was, self.now))
        # In one commit its breaker may have paused it, and what was completed have ended that.
        broken = broken or any(
            each.outcome == "completed" and (before := was.attempts.get(place)) is not None and before.outcome is None
            for place, each in self.now.attempts.items()
        )
        if not any(held) and given_back and not (attempt.outcome == "failed" and broken):
            self._broken(
                "quarantine gives back exactly what it took", f"{name} ended on {attempt.worker}, for nothing"
            )

    def _begun(self, was: Look, attempt: Attempt, name: str) -> None:
        self._history.say(f"  attempt {name} begun by {attempt.worker}")
        key = (attempt.job, attempt.number)
        self.began[key], self.began_in[key] = trio.current_time(), self.restarts
        self.begun_by[key] = self.commits
        if self._leases.setdefault(attempt.lease, (attempt.job, attempt.number)) != (attempt.job, attempt.number):
            self._broken("a lease belongs to one attempt", f"{name} has the lease of {self._leases[attempt.lease]}")
        job, holders = (
            self.now.jobs.get(attempt.job),
            (was.workers.get(attempt.worker), self.now.workers.get(attempt.worker)),
        )
        # Of a registration, a change and a claim in one transaction it is not seen which was first.
        asked = [each for each in (job, was.jobs.get(attempt.job)) if each is not None]
        if not any(worker.fits(each) for worker in holders if worker is not None for each in asked):
            self._broken("a worker is given what its labels hold", f"{name} began on {attempt.worker}")
        for other in self.now.attempts.values():
            if other.job == attempt.job and other.number != attempt.number and other.outcome is None:
                self._broken("redelivered only after its lease ended", f"{name} began beside #{other.number}")
        job = was.jobs.get(attempt.job)
        if job is not None and job.kept_from(attempt.worker):
            there = [set(look.workers.values()) for look in (was, self.now)]
            others = [
                each.id
                for each in there[0] & there[1]
                if each.type == job.type
                and each.status == "online"
                and each.may
                and not job.kept_from(each.id)
                and each.fits(job)
            ]
            if others:
                self._broken("a retry goes to another worker", f"{attempt.worker} got {name}, and {others} are there")
        then, now = was.workers.get(attempt.worker), self.now.workers.get(attempt.worker)
        trial = now is not None and now.quarantine is not None and self._is_trial(now, attempt)
        if now is None or (then is not None and not then.may and not now.may and not trial):
            self._broken("a draining, disabled or unknown worker gets nothing", f"{attempt.worker} got {name}")

    def _compares(self, job_id: int) -> bool:
        job = self.now.jobs.get(job_id)
        return job is not None and is_comparison(job.type)

    def _is_trial(self, worker: Worker, attempt: Attempt) -> bool:
        """Whether the server has put it into quarantine, and it may try one job now."""
        held = json.loads(worker.quarantine or "{}")
        alone = all(
            each.worker != worker.id or each.outcome is not None or each is attempt
            for each in self.now.attempts.values()
        )
        return held.get("by") is None and alone and attempt.started_at >= held.get("trial_at", math.inf)

    def _ended(self, attempt: Attempt, name: str) -> None:
        now = trio.current_time()
        key = (attempt.job, attempt.number)
        history = self._history
        match attempt.outcome:
            case "lost":
                heard = self.renewed.get(key, 0.0)
                if not self._beside_others:  # else another server ends it, which has not started, and has not heard
                    heard = max(heard, self.started_at, self.spoken.get(attempt.lease, 0.0))
                silent = now - heard
                job = self.now.jobs.get(attempt.job)
                lasts = self.types.patience(job.kind if job is not None else "", heard, self.limits.worker_timeout)
                if silent < lasts - SLACK:
                    self._broken("silence alone expires a lease", f"{name} is lost after {silent:.3f} s")
            case "completed":
                if not self._compares(attempt.job):
                    history.happened["job_completed", attempt.job] += 1
                if not history.asked("complete", attempt.lease):
                    self._broken("nothing is invented", f"nobody completed {name}")
                job = self.now.jobs.get(attempt.job)
                if job is not None and job.attempt != attempt.number:
                    self._broken("a late completion counts only if nobody has started the job since", name)
                accepted = [
                    a for a in self.now.attempts.values() if a.job == attempt.job and a.outcome == "completed"
                ]
                if len(accepted) > 1 + len(history.sent.get(("retry", attempt.job), ())):
                    self._broken("accepted as complete at most once", f"job {attempt.job}: {len(accepted)} times")
                if (
                    job is not None
                    and job.status == "completed"
                    and (job.output is None or output_of(job.output).attempt != attempt.number)
                ):
                    self._broken("outputs are fenced", f"job {attempt.job} has {job.output}, of {name}")
            case "failed":
                if not history.asked("fail", attempt.lease):
                    self._broken("nothing is invented", f"nobody failed {name}")
            case "released":
                given_back = history.asked("release", attempt.lease) or history.asked("take", attempt.worker)
                if not given_back and key in history.delivered:
                    self._broken("nothing is invented", f"nobody gave {name} back")
            case _:
                pass
