"""Claims, and all that ends an attempt."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from blobforge.job import LARGEST_RESULT, ReleaseCause
from blobforge.outputs import Output
from tests.model.plans.asked import Asked, Letter, fresh
from tests.model.plans.base import Base
from tests.model.plans.choices import (
    ACCEPTS,
    CALLERS,
    CHECKSUM,
    CLAIMERS,
    CONVERTER,
    INSTANCES,
    JOBS,
    LEASE,
    NOBODY,
    OUTPUT,
    OUTPUT_IS_THERE,
    OUTPUT_SEEN,
    WHO,
    when_some,
)
from tests.model.world.things import INSTALLATION, copy_of, output_of, prefix_of

LARGE = '"%s"' % ("x" * LARGEST_RESULT)  # a result that is kept aside


class Attempts(Base):
    # ------------------------------------------------------------------ what is said

    def claiming(
        self,
        worker: str,
        caller: str,
        types: tuple[str, ...],
        limit: int,
        key: str | None,
        accepts: tuple[str, ...] = (),
        converter: str | None = None,
    ) -> Asked:
        real, who = self.caller(caller, worker)
        said = (accepts, converter)
        return Asked(
            m.Claim(real, worker, types, limit, claim_key=key, accepts=accepts, converter=converter),
            lambda answer: self.world.claim(who, worker, types, limit, key, fresh(answer), self.now, *said),
        )

    def allowed(self, worker: str, types: tuple[str, ...]) -> tuple[str, ...]:
        """Those that the worker may ask for; all where it may ask for none, so that it is refused."""
        known = self.world.workers.get(worker)
        return tuple(each for each in types if known is None or known.bound in (None, each)) or types

    def completion(
        self, job: str, by: str = "holder", caller: str = "own", lease: str = "right", output: str = "right",
        seen: m.ObjectSeen = OUTPUT_IS_THERE, checksum: str | None = None, result: str | None = None, *,
        claim_next: bool = False, accepts: tuple[str, ...] = (), converter: str | None = None,
    ) -> Asked:  # fmt: skip
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        found = self.world.jobs.get(job_id)
        attempt = (found.attempt if found is not None else 1) - (output == "former")
        key = None if output == "none" else output_of(job_id, attempt)
        message = m.Complete(
            real, worker, job_id, self.lease_of(job_id, lease), key, seen, checksum, result, claim_next,
            accepts=accepts, converter=converter,
        )  # fmt: skip

        def expect(answer: m.Completed) -> object:
            following = answer.next if isinstance(answer, m.Completed) else None
            return self.world.complete(message, who, fresh(following), self.now, self.born())

        return Asked(message, expect)

    def outputs_of(
        self, what: str, job: str, names: tuple[str, ...], size: int | None, by: str, caller: str, lease: str
    ) -> Asked:
        """Of an attempt that has several: it tells of them, or chooses them, or is completed with them."""
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        lease_of = self.lease_of(job_id, lease)
        outputs = tuple(Output(name, size) for name in names)
        if what == "tell":
            told = m.TellOutputs(real, worker, job_id, outputs, lease_of)
            return Asked(told, lambda _: self.world.tell(told, who))
        if what != "complete":
            sized = tuple(Output(name, size or 0) for name in names)
            choice = m.ChooseOutputs(real, worker, job_id, sized, what == "choose", lease_of)
            return Asked(choice, lambda _: self.world.choose(choice, who))
        found = self.world.jobs.get(job_id)
        attempt = found.attempt if found is not None else 1
        chosen = [size for size, is_ in self.world.outputs.get((job_id, attempt), {}).values() if is_]
        count = len(chosen) + (names == ())  # with no names: of more than were chosen
        several = m.Several(max(count, 1), sum(chosen))  # a completion with none of them is one with a single output
        message = m.Complete(
            real, worker, job_id, lease_of, f"{prefix_of(job_id, attempt)}a", several=several
        )  # fmt: skip
        return Asked(message, lambda _: self.world.complete(message, who, [], self.now, self.born()))

    def failure(
        self, job: str, by: str = "holder", caller: str = "own", lease: str = "right", *, retryable: bool = True
    ) -> Asked:
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        lease_of = self.lease_of(job_id, lease)
        message = m.Fail(real, worker, job_id, "boom", lease_of, "ValueError", retryable=retryable)
        return Asked(message, lambda _: self.world.fail(message, who, self.now))

    # ------------------------------------------------------------------ rules

    def claim(
        self,
        worker: str,
        caller: str,
        types: tuple[str, ...],
        limit: int,
        key: str | None,
        accepts: tuple[str, ...] = (),
        converter: str | None = None,
    ) -> int:
        """The first job that was given, or one that is not there."""
        answer = self.do(self.claiming(worker, caller, types, limit, key, accepts, converter))
        return answer.jobs[0].id if isinstance(answer, m.Granted) and answer.jobs else NOBODY

    @rule(
        worker=CLAIMERS,
        caller=CALLERS,
        key=st.sampled_from([None, None, "k1", "k2"]),
        gone=st.sampled_from([False] * 7 + [True]),
        accepts=ACCEPTS,
        converter=CONVERTER,
    )
    def claim_one(
        self, worker: str, caller: str, key: str | None, gone: bool, accepts: tuple[str, ...], converter: str | None
    ) -> None:
        """`gone`: whoever asked has left meanwhile."""
        if gone:
            self.send(Letter(self.claiming(worker, caller, ("pdf",), 1, key), gone=True))
        else:
            self.claim(worker, caller, ("pdf",), 1, key, accepts, converter)

    @rule(worker=CLAIMERS, limit=st.integers(1, 3), key=st.sampled_from([None, "k1"]), accepts=ACCEPTS)
    def claim_many(self, worker: str, limit: int, key: str | None, accepts: tuple[str, ...]) -> None:
        self.claim(worker, "own", ("ocr", "pdf", "tiff"), limit, key, accepts)

    def lost(self) -> bool:
        return any(job.status == "pending" and job.lease is not None for job in self.world.jobs.values())

    @precondition(lambda self: self.has("running", "completed", "dead") or self.lost())
    @rule(
        job=JOBS, by=WHO, caller=CALLERS, lease=LEASE, output=OUTPUT, seen=OUTPUT_SEEN, checksum=CHECKSUM,
        claim_next=st.booleans(), result=st.sampled_from([None, '{"pages":1}', LARGE]), accepts=ACCEPTS,
        converter=CONVERTER,
    )  # fmt: skip
    def complete(
        self, job: str, by: str, caller: str, lease: str, output: str, seen: m.ObjectSeen, checksum: str | None,
        claim_next: bool, result: str | None, accepts: tuple[str, ...], converter: str | None,
    ) -> None:  # fmt: skip
        more = {"claim_next": claim_next, "accepts": accepts, "converter": converter}
        self.do(self.completion(job, by, caller, lease, output, seen, checksum, result, **more))  # type: ignore[arg-type]

    @precondition(lambda self: self.has("running", "completed", "dead") or self.lost())
    @rule(
        what=st.sampled_from(["tell", "choose", "choose more", "complete"]), job=JOBS,
        names=st.sampled_from([(), ("a",), ("a", "b/c")]), size=st.sampled_from([None, 3, 5]), by=WHO,
        caller=CALLERS, lease=LEASE,
    )  # fmt: skip
    def several_outputs(
        self, what: str, job: str, names: tuple[str, ...], size: int | None, by: str, caller: str, lease: str
    ) -> None:
        self.do(self.outputs_of(what, job, names, size, by, caller, lease))

    @when_some("running")
    @rule(job=JOBS, by=WHO, caller=CALLERS, lease=LEASE, retryable=st.sampled_from([True, True, False]))
    def fail(self, job: str, by: str, caller: str, lease: str, retryable: bool) -> None:
        self.do(self.failure(job, by, caller, lease, retryable=retryable))

    @when_some("running")
    @rule(
        job=JOBS,
        by=WHO,
        caller=CALLERS,
        lease=LEASE,
        cause=st.sampled_from(["trouble", *ReleaseCause]),
        instance=INSTANCES,
    )
    def release(self, job: str, by: str, caller: str, lease: str, cause: str, instance: str | None = None) -> None:
        job_id = self.job_id(job, "running")
        worker = self.worker_of(job_id, by)
        real, who = self.caller(caller, worker)
        instance = self.instance_of(worker, instance)
        who = who._replace(instance=instance)
        right = self.lease_of(job_id, lease)
        message = m.Release(real, worker, job_id, right, "no space", ReleaseCause(cause), instance)
        self.do(Asked(message, lambda _: self.world.release(message, who, self.now)))

    @when_some("running")
    @rule(jobs=st.lists(JOBS, min_size=1, max_size=3), former=st.booleans(), stale=st.booleans())
    def leases_expire(self, jobs: list[str], former: bool, stale: bool) -> None:
        """`former`: of the attempt before; `stale`: a heartbeat has come meanwhile."""
        found = [
            self.world.jobs[each] for each in (self.job_id(job, "running") for job in jobs) if each in self.world.jobs
        ]
        silent = [(job.id, job.attempt - former, (job.beat or 0) - stale) for job in found]
        message = m.ExpireLeases(tuple(m.Silent(*each) for each in silent))
        self.do(Asked(message, lambda _: self.world.expire_leases(silent, self.now)))

    @precondition(lambda self: any(not file.checked for file in self.world.files.values()))
    @rule(which=st.integers(0, 2), output=OUTPUT_SEEN)
    def output_is_looked_for(self, which: int, output: m.ObjectSeen) -> None:
        """Of those that were accepted unseen; the look has an answer, and may come after anything else."""
        unchecked = sorted(key for key, file in self.world.files.items() if not file.checked)
        which = min(which, len(unchecked) - 1)
        if output.seen is m.Seen.UNKNOWN:
            return
        _, _, job_id, attempt, _ = unchecked[which].split("/")
        message = m.OutputChecked(int(job_id), int(attempt), unchecked[which], output)
        self.do(Asked(message, lambda _: self.world.output_checked(message, self.now)))

    @precondition(lambda self: any(file.keeping for file in self.world.files.values()))
    @rule(lost=st.booleans(), gone=st.booleans())
    def an_output_is_kept(self, lost: bool, gone: bool) -> None:
        """Or it was written over before it could be; and its job may have gone meanwhile."""
        key = min(key for key, file in self.world.files.items() if file.keeping)
        _, _, job_id, attempt, name = key.split("/")
        if gone:
            job_id = str(int(job_id) + 1000)
            key = "/".join(["outputs", INSTALLATION, job_id, attempt, name])
        missed = [(int(job_id), int(attempt), key)] if lost else []
        copies = [] if lost else [key]
        message = m.OutputsKept(
            tuple(m.KeptOutput(each, copy_of(each)) for each in copies),
            tuple(m.LostOutput(*each, "changed") for each in missed),
        )
        self.do(Asked(message, lambda _: self.world.outputs_kept(copies, missed, self.now)))
