"""The state machine: Hypothesis chooses messages, effects and model both get them, and both must say the same.

One message is one transaction, as the writer commits it. The choices are small numbers and words ("the holder", "a
stale lease"), so that most messages hit something, and a failing plan shrinks to one that can be read.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors import messages as m
from actors.effects import perform
from actors.effects.recovery import settle_restore
from actors.effects.step import Rules, Step
from blobforge.access import Caller, Scope
from blobforge.job import JobStatus, RetryPolicy
from blobforge.refusals import Refusal
from blobforge.store import sql
from blobforge.store.store import Store
from tests.model import world as w
from tests.model.database import broken, copied, differences, opened, overwrite
from tests.store.making import T0, hash_of

LIMITS = w.Rules()
RULES = Rules(
    RetryPolicy(
        backoff=LIMITS.backoff_ms / 1000,
        backoff_max=LIMITS.backoff_max_ms / 1000,
        jitter=0,
        max_losses=LIMITS.max_losses,
    ),
    max_attempts=LIMITS.max_attempts,
    max_types=LIMITS.max_types,
)
WORKERS = ("w1", "w2", "w3")
TOKENS = ("admin", "two", "three")
SIZES = st.sampled_from([None, 1, 2])
PRIORITIES = st.integers(1, 5)
JOBS = st.sampled_from(["apt"] * 5 + ["last apt"] * 2 + ["1st", "2nd", "none"])
ENDINGS = ["none"] * 4 + [
    "complete",
    "complete unseen",
    "fail",
    "lose",
    "lose",
    "late",
    "lost and restored",
    "follower lost",
]
SOURCES = [hash_of(number) for number in range(3)]
HASHES = st.sampled_from(SOURCES)
TYPES = st.sampled_from(["pdf", "pdf", "pdf", "ocr", "tiff", "one-too-many", "one-too-many"])
CALLERS = st.sampled_from(["own"] * 9 + [*TOKENS, "another worker"])
UNLUCKY = st.sampled_from(["holder", "holder", *WORKERS])  # who leaves, is removed, disabled
CLAIMERS = st.sampled_from(["w1", "w1", "w2", "w3"])
WHO = st.sampled_from(["holder", "holder", "holder", *WORKERS])
LEASE = st.sampled_from(["right", "right", "right", "none", "stale", "wrong"])
SEEN = st.builds(
    m.ObjectSeen,
    seen=st.sampled_from([m.Seen.VERIFIED, m.Seen.VERIFIED, m.Seen.PRESENT, m.Seen.ABSENT, m.Seen.UNKNOWN]),
    size=st.just(1),
    sha256=st.sampled_from([None, hash_of("output")]),
)
MOST_CHECKED = 4  # steps between two looks at all invariants


# What upsets the others, or is quickly done: not in every step, or nothing would get far.
seldom = precondition(lambda machine: machine.steps % 4 == 0)


class Coordinator(RuleBasedStateMachine):
    """Two of everything: `store` and `world`. `path` says where the database is; None: in memory."""

    path: ClassVar[Path | None] = None
    opened_so_far: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        path = None
        if self.path is not None:
            type(self).opened_so_far += 1
            path = self.path / f"{self.opened_so_far}.db"
        self.db = opened(path)
        self.store = Store(self.db)
        self.world = w.World(LIMITS)
        self.now = T0
        self.restored_at = T0
        self.steps = 0
        self.epoch = 0  # deletions of objects that have ended
        self.deleting: set[str] = set()  # what the janitor was told to delete and has not answered for
        self.backups: list[tuple[Any, w.World]] = []

    def teardown(self) -> None:
        assert broken(self.db) == []
        self.db.close()

    # ------------------------------------------------------------------ both at once

    def say(self, message: Any) -> Any:
        """One transaction of the real thing."""
        self.steps += 1
        step = Step(self.store, RULES, self.now, random.Random(0))
        with self.store.transaction():
            return perform(step, message)

    def agree(self, answer: Any, expected: Any) -> None:
        assert plain(answer) == expected

    @invariant()
    def the_database_is_what_the_model_says(self) -> None:
        assert differences(self.db, self.world) == []
        if self.steps % MOST_CHECKED == 0:
            assert broken(self.db) == []

    # ------------------------------------------------------------------ choices

    def job_id(self, choice: str, *apt: str) -> int:
        """The first, or last, one of the apt statuses; where there is none, the oldest of all. `#7` is 7."""
        if choice[0] == "#":
            return int(choice[1:])
        ids = sorted(self.world.jobs)
        if choice == "none" or not ids:
            return 999
        if choice[0].isdigit():
            return ids[min(int(choice[0]), len(ids)) - 1]
        found = [job_id for job_id in ids if self.world.jobs[job_id].status in apt] or ids
        return found[-1 if choice == "last apt" else 0]

    def has(self, *statuses: str) -> bool:
        return any(job.status in statuses for job in self.world.jobs.values())

    def lost(self) -> bool:
        return any(job.status == "pending" and job.lease is not None for job in self.world.jobs.values())

    def unlucky(self, choice: str) -> str:
        running = [job.worker for job in self.world.jobs.values() if job.status == "running"]
        return choice if choice != "holder" else (running[0] if running and running[0] else "w3")

    def worker_of(self, job_id: int, choice: str) -> str:
        """The holder is who has the latest attempt, whether it still holds the job or not."""
        job = self.world.jobs.get(job_id)
        if choice != "holder":
            return choice
        return job.last.worker if job is not None and job.last is not None else "w1"

    def lease_of(self, job_id: int, choice: str) -> str | None:
        job = self.world.jobs.get(job_id)
        if choice == "none":
            return None
        if choice == "stale":
            stale = [lease for lease, (of, _) in self.world.given_leases.items() if of == job_id]
            return stale[0] if stale else "never"
        right = job.last.lease if job is not None and job.last is not None else None
        return right if choice == "right" and right is not None else "wrong"

    def caller(self, choice: str, worker_id: str) -> tuple[Caller, w.Who]:
        worker = self.world.workers.get(worker_id)
        if choice == "own":
            choice = "admin" if worker is None else "its secret"
            if worker is not None and worker.token is not None:
                choice = TOKENS[worker.token - 1]
        if choice in TOKENS:
            token, admin = TOKENS.index(choice) + 1, choice == "admin"
            scopes = frozenset({Scope.ADMIN if admin else Scope.WORK})
            return Caller(scopes, token_id=token), w.Who(token=token, admin=admin)
        name = worker_id if choice == "its secret" else next(other for other in WORKERS if other != worker_id)
        return Caller(frozenset({Scope.WORK}), worker_id=name), w.Who(worker=name)

    # ------------------------------------------------------------------ a beginning

    @initialize()
    def two_workers_and_two_jobs(self) -> None:
        for name in TOKENS:
            scopes = frozenset({Scope.ADMIN if name == "admin" else Scope.WORK})
            self.world.tokens.add(self.say(m.CreateToken(name, hash_of(name), "bf_", scopes)).token_id)
        self.register("w1", "two", "pdf")
        self.create_worker("w2")
        self.register("w2", "own", "pdf")
        seen = m.ObjectSeen(m.Seen.VERIFIED, size=1)
        for number, type_, priority in ((0, "pdf", 3), (1, "pdf", 3), (0, "ocr", 4), (1, "tiff", 2)):
            self.submit(SOURCES[number], type_, seen, priority, None, number + 1, (), 0)

    # ------------------------------------------------------------------ time

    @seldom
    @rule(seconds=st.sampled_from([0.001, 1, 5, 60, 601, 86_400, -1, -3600]))
    def time_passes(self, seconds: float) -> None:
        self.now += round(seconds * 1000)

    # ------------------------------------------------------------------ sources

    @seldom
    @rule(
        source_hash=HASHES, type_=TYPES, source=SEEN, priority=PRIORITIES, size=SIZES,
        most=st.sampled_from([None, 1, 2]), tags=st.sampled_from([(), ("a", "b", "a")]), behind=st.integers(0, 1),
    )  # fmt: skip
    def submit(
        self, source_hash: str, type_: str, source: m.ObjectSeen, priority: int, size: int | None, most: int | None,
        tags: tuple[str, ...], behind: int,
    ) -> None:  # fmt: skip
        source = m.ObjectSeen(source.seen, source.size, source.sha256, max(0, self.epoch - behind))
        new = m.NewJob(type_, source_hash, None, size, priority, most, tags, None)
        answer = self.say(m.Submit(new, source))
        made = answer.job_id if isinstance(answer, m.Submitted) and not answer.existing else None
        self.agree(answer, self.world.submit(new, source, made, self.now))

    @rule(
        job=st.sampled_from(["apt", "apt", "1st"]), source=st.sampled_from([m.Seen.VERIFIED, m.Seen.ABSENT]),
        behind=st.integers(0, 1),
    )  # fmt: skip
    def submit_again(self, job: str, source: m.Seen, behind: int) -> None:
        found = self.world.jobs.get(self.job_id(job, "dead", "uploading"))
        if found is not None:
            seen = m.ObjectSeen(source, size=1)
            self.submit(found.hash, found.type, seen, 3, None, None, (), behind)

    @seldom
    @rule(source_hash=HASHES, size=st.integers(1, 2), verified=st.booleans(), behind=st.integers(0, 1))
    def source_arrives(self, source_hash: str, size: int, verified: bool, behind: int) -> None:
        epoch = max(0, self.epoch - behind)
        answer = self.say(m.SourceArrived(source_hash, size, verified, epoch))
        self.agree(answer, self.world.source_arrived(source_hash, size, verified, epoch))

    @seldom
    @rule(source_hash=HASHES, type_=TYPES, announced=SIZES, seen=st.sampled_from([m.Seen.PRESENT, m.Seen.UNKNOWN]))
    def a_source_too_large_to_read(self, source_hash: str, type_: str, announced: int | None, seen: m.Seen) -> None:
        self.source_is_wrong(source_hash)
        self.source_arrives(source_hash, 2, False, 0)
        self.submit(source_hash, type_, m.ObjectSeen(seen, size=2), 3, announced, None, (), 0)

    @seldom
    @rule(source_hash=HASHES)
    def source_is_wrong(self, source_hash: str) -> None:
        answer = self.say(m.SourceRejected(source_hash, "wrong bytes"))
        self.agree(answer, self.world.source_rejected(source_hash))

    @precondition(lambda self: self.has("uploading"))
    @rule(jobs=st.lists(JOBS, max_size=2))
    def uploads_expire(self, jobs: list[str]) -> None:
        ids = tuple(self.job_id(job, "uploading") for job in jobs)
        self.agree(self.say(m.ExpireUploads(ids, 60.0)), self.world.expire_uploads(ids, self.now))

    # ------------------------------------------------------------------ workers

    @seldom
    @rule(worker=st.sampled_from(WORKERS), caller=CALLERS, type_=st.sampled_from(["pdf", "ocr"]))
    def register(self, worker: str, caller: str, type_: str) -> None:
        real, who = self.caller(caller, worker)
        answer = self.say(m.Register(real, worker, type_))
        self.agree(answer, self.world.register(who, worker, type_, self.now))

    @rule(
        worker=st.sampled_from(WORKERS), caller=CALLERS,
        beats=st.lists(st.tuples(JOBS, LEASE, st.sampled_from([None, '{"percent":1}'])), max_size=3),
    )  # fmt: skip
    def heartbeat(self, worker: str, caller: str, beats: list[tuple[str, str, str | None]]) -> None:
        real, who = self.caller(caller, worker)
        named = [(self.job_id(job, "running"), lease, said) for job, lease, said in beats]
        named = [(job, self.lease_of(job, lease), said) for job, lease, said in named]
        answer = self.say(m.Heartbeat(real, worker, tuple(m.JobBeat(*each) for each in named)))
        self.agree(answer, self.world.heartbeat(who, worker, named, self.now))

    @seldom
    @rule(worker=UNLUCKY, caller=CALLERS)
    def unregister(self, worker: str, caller: str) -> None:
        worker = self.unlucky(worker)
        real, who = self.caller(caller, worker)
        self.agree(self.say(m.Unregister(real, worker)), self.world.unregister(who, worker, self.now))

    @seldom
    @rule(worker=UNLUCKY, verb=st.sampled_from(["drain", "enable", "disable", "remove", "create"]))
    def an_operator(self, worker: str, verb: str) -> None:
        worker = self.unlucky(worker)
        match verb:
            case "drain":
                self.agree(self.say(m.Drain(worker)), self.world.drain(worker))
            case "enable":
                self.agree(self.say(m.EnableWorker(worker)), self.world.enable(worker))
            case "disable":
                self.agree(self.say(m.DisableWorker(worker)), self.world.disable(worker, self.now))
            case "remove":
                self.agree(self.say(m.RemoveWorker(worker)), self.world.remove(worker, self.now))
            case _:
                self.create_worker(worker)

    def create_worker(self, worker: str) -> None:
        answer = self.say(m.CreateWorker(worker, "pdf", "secret"))
        self.agree(answer, self.world.create_worker(worker, "pdf", "secret"))

    @seldom
    @rule(worker=UNLUCKY, token=st.sampled_from([None, 2, 3]))
    def credentials_change(self, worker: str, token: int | None) -> None:
        worker = self.unlucky(worker)
        if token is None:
            self.agree(self.say(m.ReplaceSecret(worker, "newer")), self.world.replace_secret(worker, "newer"))
        else:
            self.agree(self.say(m.DeleteToken(token)), self.world.delete_token(token))
            self.register(worker, "three" if token == 2 else "two", "pdf")

    @seldom
    @rule(workers=st.lists(st.sampled_from(WORKERS), max_size=2), stale=st.booleans())
    def workers_are_silent(self, workers: list[str], stale: bool) -> None:
        beats = [
            (each, (self.world.workers[each].seen or 0) - stale) for each in workers if each in self.world.workers
        ]
        answer = self.say(m.ExpireWorkers(tuple(m.SilentWorker(*each) for each in beats)))
        self.agree(answer, self.world.expire_workers(beats))

    # ------------------------------------------------------------------ claims and attempts

    def claim(self, worker: str, caller: str, types: tuple[str, ...], limit: int, key: str | None) -> int:
        """The first job that was given, or one that is not there."""
        real, who = self.caller(caller, worker)
        answer = self.say(m.Claim(real, worker, types, limit, claim_key=key))
        self.agree(answer, self.world.claim(who, worker, types, limit, key, fresh(answer), self.now))
        return answer.jobs[0].id if isinstance(answer, m.Granted) and answer.jobs else 999

    @rule(worker=CLAIMERS, caller=CALLERS, key=st.sampled_from([None, None, "k1", "k2"]))
    def claim_one(self, worker: str, caller: str, key: str | None) -> None:
        self.claim(worker, caller, ("pdf",), 1, key)

    @rule(worker=CLAIMERS, limit=st.integers(1, 3), key=st.sampled_from([None, "k1"]))
    def claim_many(self, worker: str, limit: int, key: str | None) -> None:
        self.claim(worker, "own", ("ocr", "pdf", "tiff"), limit, key)

    @precondition(lambda self: self.has("running", "completed", "dead") or self.lost())
    @rule(
        job=JOBS, by=WHO, caller=CALLERS, lease=LEASE, output=st.sampled_from(["none", "right", "right", "former"]),
        seen=SEEN, checksum=st.sampled_from([None, hash_of("output"), hash_of("another")]), claim_next=st.booleans(),
        result=st.sampled_from([None, '{"pages":1}']),
    )  # fmt: skip
    def complete(
        self, job: str, by: str, caller: str, lease: str, output: str, seen: m.ObjectSeen, checksum: str | None,
        claim_next: bool, result: str | None,
    ) -> None:  # fmt: skip
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        found = self.world.jobs.get(job_id)
        attempt = (found.attempt if found is not None else 1) - (output == "former")
        key = None if output == "none" else w.output_of(job_id, attempt)
        message = m.Complete(
            real, worker, job_id, self.lease_of(job_id, lease), key, seen, checksum, result, claim_next
        )  # fmt: skip
        answer = self.say(message)
        following = answer.next if isinstance(answer, m.Completed) else None
        self.agree(answer, self.world.complete(message, who, fresh(following), self.now))

    @precondition(lambda self: self.has("running"))
    @rule(job=JOBS, by=WHO, caller=CALLERS, lease=LEASE, retryable=st.sampled_from([True, True, False]))
    def fail(self, job: str, by: str, caller: str, lease: str, retryable: bool) -> None:
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        message = m.Fail(real, worker, job_id, "boom", self.lease_of(job_id, lease), retryable=retryable)
        self.agree(self.say(message), self.world.fail(message, who, self.now))

    @rule(worker=CLAIMERS, ending=st.sampled_from(ENDINGS))
    def a_turn_of_work(self, worker: str, ending: str) -> None:
        """What mostly happens, all in one, so that plans get far."""
        self.register(worker, "own", "pdf")
        if not any(job.status == "pending" for job in self.world.jobs.values()):
            known = {job.hash for job in self.world.jobs.values() if job.type == "pdf"}
            source = next((each for each in SOURCES if each not in known), SOURCES[0])
            self.submit(source, "pdf", m.ObjectSeen(m.Seen.VERIFIED, size=1), 3, None, None, (), 0)
            self.retry("ended", True, None)
        job = f"#{self.claim(worker, 'own', ('ocr', 'pdf', 'tiff'), 1, None)}"
        seen = m.ObjectSeen(m.Seen.UNKNOWN if ending == "complete unseen" else m.Seen.PRESENT, size=1)
        if ending in ("lose", "late", "lost and restored"):
            self.leases_expire([job], False, False)
        if ending == "lost and restored":
            self.back_up()
            self.restore(1, 1)
        if ending == "fail":
            self.fail(job, "holder", "own", "right", True)
        elif ending not in ("none", "lose"):
            self.complete(job, "holder", "own", "right", "right", seen, None, True, None)
        if ending == "follower lost":
            self.leases_expire(["apt", "last apt"], False, False)
            self.complete(job, "holder", "own", "right", "right", seen, None, True, None)

    @precondition(lambda self: self.has("running"))
    @rule(job=JOBS, by=WHO, caller=CALLERS, lease=LEASE)
    def release(self, job: str, by: str, caller: str, lease: str) -> None:
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        message = m.Release(real, worker, job_id, self.lease_of(job_id, lease))
        self.agree(self.say(message), self.world.release(message, who, self.now))

    @precondition(lambda self: self.has("running"))
    @rule(jobs=st.lists(JOBS, min_size=1, max_size=3), former=st.booleans(), stale=st.booleans())
    def leases_expire(self, jobs: list[str], former: bool, stale: bool) -> None:
        """`former`: of the attempt before; `stale`: a heartbeat has come meanwhile."""
        found = [
            self.world.jobs[each] for each in (self.job_id(job, "running") for job in jobs) if each in self.world.jobs
        ]
        silent = [(job.id, job.attempt - former, (job.beat or 0) - stale) for job in found]
        answer = self.say(m.ExpireLeases(tuple(m.Silent(*each) for each in silent)))
        self.agree(answer, self.world.expire_leases(silent, self.now))

    @precondition(lambda self: any(not file.checked for file in self.world.files.values()))
    @rule(which=st.integers(0, 2), output=SEEN)
    def output_is_looked_for(self, which: int, output: m.ObjectSeen) -> None:
        """Of those that were accepted unseen; the look has an answer, and may come after anything else."""
        unchecked = sorted(key for key, file in self.world.files.items() if not file.checked)
        which = min(which, len(unchecked) - 1)
        if output.seen is m.Seen.UNKNOWN:
            return
        _, job_id, attempt, _ = unchecked[which].split("/")
        message = m.OutputChecked(int(job_id), int(attempt), unchecked[which], output)
        self.agree(self.say(message), self.world.output_checked(message, self.now))

    # ------------------------------------------------------------------ people

    @precondition(lambda self: self.has("dead", "cancelled", "completed", "failed"))
    @rule(job=JOBS, reset=st.booleans(), priority=st.sampled_from([None, 1, 5]))
    def retry(self, job: str, reset: bool, priority: int | None) -> None:
        job_id = self.job_id(job, "dead", "cancelled", "completed", "failed")
        self.agree(self.say(m.Retry(job_id, reset, priority)), self.world.retry(job_id, reset, priority))

    @rule(job=JOBS, undo=st.sampled_from(["", "a", "b"]))
    def cancel(self, job: str, undo: str) -> None:
        job_id = self.job_id(job, "running", "failed")
        self.agree(self.say(m.Cancel(job_id, undo)), self.world.cancel(job_id, undo, self.now))

    @seldom
    @rule(job=JOBS, priority=PRIORITIES, undo=st.sampled_from(["", "a", "b"]))
    def set_priority(self, job: str, priority: int, undo: str) -> None:
        job_id = self.job_id(job, "pending")
        answer = self.say(m.SetPriority(job_id, priority, undo))
        self.agree(answer, self.world.set_priority(job_id, priority, undo, self.now))

    @precondition(lambda self: self.world.undos)
    @rule(token=st.sampled_from(["a", "b"]), limit=st.integers(1, 3), further=st.booleans())
    def undo(self, token: str, limit: int, further: bool) -> None:
        answer = self.say(m.Undo(token, limit, further))
        self.agree(answer, self.world.undo(token, limit, further, self.now))

    @precondition(lambda self: self.has("failed"))
    @rule(jobs=st.lists(JOBS, max_size=3), former=st.booleans())
    def back_offs_end(self, jobs: list[str], former: bool) -> None:
        found = [
            self.world.jobs[each] for each in (self.job_id(job, "failed") for job in jobs) if each in self.world.jobs
        ]
        due = [(job.id, job.attempt - former) for job in found]
        answer = self.say(m.WakeRetries(tuple(m.DueRetry(*each) for each in due)))
        self.agree(answer, self.world.wake(due))

    # ------------------------------------------------------------------ housekeeping

    @rule(job=JOBS, then=st.sampled_from(["cancel", "complete"]))
    def somebody_changes_his_mind(self, job: str, then: str) -> None:
        """An undo, or a worker that was lost, comes when the job has moved on and looks as it did."""
        self.leases_expire([job], False, False)
        self.cancel(job, "a")
        self.retry("apt" if job == "none" else job, False, None)
        if then == "complete":
            self.complete(
                job, "holder", "own", "right", "right", m.ObjectSeen(m.Seen.PRESENT, size=1), None, False, None
            )
        else:
            self.now += 1
            self.cancel(job, "")
            self.undo("a", 3, True)

    @seldom
    @rule(source_hash=HASHES, outcome=st.sampled_from(["gone", "gone", "unanswered"]), behind=st.integers(0, 1))
    def a_source_is_deleted_and_sent_again(self, source_hash: str, outcome: str, behind: int) -> None:
        for job_id in [job.id for job in self.world.jobs.values() if job.hash == source_hash]:
            self.cancel(f"#{job_id}", "")
            self.delete(f"#{job_id}", True)
        self.janitor_takes(False)
        self.janitor_has_tried([outcome] * 9)
        self.submit(source_hash, "pdf", m.ObjectSeen(m.Seen.VERIFIED, size=1), 3, None, None, (), behind)

    @precondition(lambda self: self.has("dead", "cancelled", "completed", "failed"))
    @rule(job=JOBS, waits=st.booleans())
    def a_source_vanishes(self, job: str, waits: bool) -> None:
        """It is found out when the job is tried again; later the same file is sent once more."""
        found = self.world.jobs.get(self.job_id(job, "dead", "cancelled", "completed", "failed"))
        if found is None:
            return
        self.source_is_wrong(found.hash)
        self.retry(f"#{found.id}", False, None)
        if not waits:
            self.uploads_expire([f"#{found.id}"])
        self.submit(found.hash, found.type, m.ObjectSeen(m.Seen.VERIFIED, size=1), 3, None, None, (), 0)

    @seldom
    @rule(job=JOBS, objects=st.booleans())
    def delete(self, job: str, objects: bool) -> None:
        job_id = self.job_id(job, "dead", "completed", "cancelled")
        self.agree(self.say(m.DeleteJob(job_id, objects)), self.world.delete(job_id, objects, self.now))

    @seldom
    @precondition(lambda self: self.has("dead", "completed", "cancelled"))
    @rule(age=st.sampled_from([0, 60, 3600]), objects=st.booleans())
    def prune(self, age: int, objects: bool) -> None:
        before = tuple((status, self.now - age * 1000) for status in ("completed", "dead", "cancelled"))
        message = m.Prune(tuple((JobStatus(status), time) for status, time in before), objects=objects)
        self.agree(self.say(message), self.world.prune(before, objects, 200, self.now))

    @seldom
    @rule(restarted=st.booleans())
    def janitor_takes(self, restarted: bool) -> None:
        """After a restart nobody is left who looked at an object before; all caches are empty."""
        if restarted:
            self.store = Store(self.db)
        answer = self.say(m.TakeDoomed(1000, first=restarted))
        if restarted:
            self.epoch = 0
            self.deleting.clear()
        self.deleting |= set(answer.keys)
        self.agree(("ToDelete", set(answer.keys)), self.world.take_doomed(restarted, self.now))

    @seldom
    @precondition(lambda self: self.deleting)
    @rule(outcomes=st.lists(st.sampled_from(["gone", "gone", "refused", "unanswered"]), max_size=3))
    def janitor_has_tried(self, outcomes: list[str]) -> None:
        said = dict(zip(sorted(self.deleting), outcomes, strict=False))
        self.deleting -= set(said)
        lists = [tuple(key for key in said if said[key] == each) for each in ("gone", "refused", "unanswered")]
        self.epoch += len(lists[0])
        answer = self.say(m.DeletionsTried(lists[0], lists[1], lists[2], self.epoch))
        self.agree(answer, self.world.deletions_tried(said, self.epoch, self.now))

    @seldom
    @rule(source_hash=HASHES, job=JOBS, doom=st.booleans())
    def orphans_are_looked_for(self, source_hash: str, job: str, doom: bool) -> None:
        found = self.world.jobs.get(self.job_id(job, "pending", "dead"))
        keys = (w.source_of(source_hash), *(w.output_of(found.id, each) for each in (found.history if found else ())))
        answer = self.say(m.FindUnneeded(keys, doom))
        self.agree(answer, self.world.find_unneeded(keys, doom, self.now))

    @seldom
    @rule(hour=st.booleans())
    def forgets(self, hour: bool) -> None:
        """What was kept long enough goes: some each minute, some each hour."""
        if hour:
            self.say(m.Purge())
            self.world.purge_claims(self.now, RULES.idempotency_window)
        else:
            self.say(m.Sample())
            self.world.purge_undos(self.now)

    # ------------------------------------------------------------------ disasters

    @seldom
    @rule()
    def back_up(self) -> None:
        self.backups = [*self.backups[-1:], (copied(self.db), self.world.snapshot())]

    @precondition(lambda self: self.backups)
    @rule(which=st.integers(0, 1), later=st.sampled_from([1, 60, 86_400]))
    def restore(self, which: int, later: int) -> None:
        """The database is lost, and comes back as it was once; a zombie of what was lost may still call.

        Not within the same second as another restore, nor by a clock that went back since.
        """
        which = min(which, len(self.backups) - 1)
        self.now = self.restored_at = max(self.now, self.restored_at) + later * 1000
        copy, world = self.backups[which]
        overwrite(self.db, copy)
        self.store = Store(self.db)
        self.deleting.clear()
        with self.store.transaction():
            self.db.execute(sql.MARK_RESTORED, (self.now,))
        step = Step(self.store, RULES, self.now, random.Random(0))
        with self.store.transaction():
            assert settle_restore(step) is not None
        self.world.restore(world, self.now)
        self.janitor_takes(True)


def fresh(answer: Any) -> list[tuple[int, str]]:
    """Attempts and leases that an answer gives away."""
    return [(job.attempt, job.lease) for job in answer.jobs] if isinstance(answer, m.Granted) else []


def plain(answer: Any) -> Any:
    """An answer as the model gives it."""
    match answer:
        case Refusal():
            return w.No(str(answer.code))
        case m.Submitted():
            return ("Submitted", answer.job_id, answer.existing, answer.status, answer.upload)
        case m.Granted():
            return ("Granted", tuple((job.id, job.attempt, job.lease) for job in answer.jobs), answer.idle)
        case m.Completed():
            return ("Completed", answer.job_id, plain(answer.next) if answer.next is not None else None)
        case m.WorkerChanged():
            return ("WorkerChanged", answer.worker_id, answer.status, answer.returned)
        case m.Outcome():
            return (type(answer).__name__, *(getattr(answer, name) for name in answer.__struct_fields__))
        case _:
            return answer
