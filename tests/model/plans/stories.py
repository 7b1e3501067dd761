"""Several messages that follow each other, so that plans get far and come to where faults were found before."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from actors import messages as m
from blobforge.chain import Step
from tests.model.plans.asked import Asked
from tests.model.plans.choices import (
    BATCHES,
    CLAIMERS,
    GROUPS,
    HASHES,
    JOBS,
    JOINED,
    SOURCE_IS_THERE,
    SOURCES,
    THEN,
    TOKENS,
    TYPES,
    seldom,
    when_some,
)
from tests.model.plans.disasters import Disasters
from tests.model.plans.fleet import Fleet
from tests.model.plans.many import Many
from tests.model.world.things import kind_of
from tests.store.making import hash_of

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


class Stories(Many, Fleet, Disasters):
    @initialize(group=GROUPS, then=THEN)
    def two_workers_and_some_jobs(self, group: str | None, then: tuple[Step, ...] | None) -> None:
        for name in TOKENS:
            self.create_token(name, admin=name == "admin")
        self.register("w1", "two", "pdf")
        self.create_worker("w2")
        self.register("w2", "own", "pdf")
        for number, type_, priority in ((0, "pdf", 3), (1, "pdf", 3), (0, "ocr", 4), (1, "tiff", 2)):
            more = {"group": group, "then": then if type_ == "pdf" else ()}
            self.do(self.submission(SOURCES[number], type_, priority=priority, most=number + 1, **more))

    @precondition(lambda self: any(job.waits_for_proof for job in self.world.jobs.values()))
    @rule(same=st.booleans(), there=st.sampled_from([True] * 5 + [False]))
    def a_source_is_proven(self, same: bool, there: bool) -> None:
        """Once it is beyond the reach of URLs; it may be that of a job that is there already."""
        while any(file.keeping for file in self.world.files.values()):
            self.an_output_is_kept(False, False)
        waiting = [job for job in self.world.jobs.values() if job.waits_for_proof]
        if waiting:
            known = [
                job.hash for job in self.world.jobs.values()
                if job.type == waiting[0].type and not job.hash.startswith("unproven/")
            ]  # fmt: skip
            self.an_output_is_read(0, known[-1] if same and known else hash_of(waiting[0].hash), there)

    @precondition(lambda self: self.steps % 2 == 0)
    @rule(
        source_hash=HASHES, names=st.sampled_from([(), ("a",), ("a", "b")]), batch=BATCHES, put=st.booleans(),
        pages=st.lists(st.sampled_from(["complete"] * 3 + ["fail", "delete"]), min_size=2, max_size=3),
    )  # fmt: skip
    def a_stage_is_joined(
        self, source_hash: str, names: tuple[str, ...], batch: str | None, put: bool, pages: list[str]
    ) -> None:
        """As far as the other plans let it: a document is split, or split anew, and each of its pages is read."""
        self.register("w1", "own", "pdf")
        split = {"priority": 1, "options": '{"split":1}', "then": (JOINED,), "batch": batch}
        document = self.do(self.submission(source_hash, "pdf", **split))
        if isinstance(document, m.Submitted):
            self.do(self.retrying(f"#{document.job_id}", reset=True))
        job = f"#{self.claim('w1', 'own', self.allowed('w1', ('pdf',)), 1, None, accepts=('options',))}"
        if names:
            for what in ("tell", "choose", "complete"):
                self.do(self.outputs_of(what, job, names, 1, "holder", "own", "right"))
        else:
            self.do(self.completion(job))
        for page in pages:
            if any(job.waits_for_proof for job in self.world.jobs.values()):
                self.a_source_is_proven(False, True)
            if page == "delete":
                self.delete("last apt", True)
                continue
            job = f"#{self.claim('w1', 'own', self.allowed('w1', ('ocr',)), 1, None)}"
            self.do(self.completion(job) if page == "complete" else self.failure(job, retryable=False))
        joining = [job for job in self.world.jobs.values() if job.chain and job.chain.joins]
        if put and joining:
            self.do(self.arrival(joining[-1].hash, joining[-1].size or 0, True, 0))

    @rule(worker=CLAIMERS, ending=st.sampled_from(ENDINGS))
    def a_turn_of_work(self, worker: str, ending: str) -> None:
        """What mostly happens, all in one."""
        self.register(worker, "own", "pdf")
        if not self.has("pending"):
            known = {job.hash for job in self.world.jobs.values() if job.type == "pdf"}
            source = next((each for each in SOURCES if each not in known), SOURCES[0])
            self.do(self.submission(source, "pdf"))
            self.do(self.retrying("ended", reset=True))
        job = f"#{self.claim(worker, 'own', self.allowed(worker, ('ocr', 'pdf', 'tiff')), 1, None)}"
        seen = m.ObjectSeen(m.Seen.UNKNOWN if ending == "complete unseen" else m.Seen.PRESENT, size=1)
        if ending in ("lose", "late", "lost and restored"):
            self.leases_expire([job], False, False)
        if ending == "lost and restored":
            self.back_up()
            self.restore(1, 1)
        if ending == "fail":
            self.do(self.failure(job))
        elif ending not in ("none", "lose"):
            self.do(self.completion(job, seen=seen, claim_next=True))
        if ending == "follower lost":
            self.leases_expire(["apt", "last apt"], False, False)
            self.do(self.completion(job, seen=seen, claim_next=True))

    @seldom
    @rule(
        groups=st.lists(GROUPS, min_size=4, max_size=6), limit=st.integers(1, 3),
        between=st.sampled_from(["nothing", "retry", "priority", "weights", "fail", "urgent"]),
    )  # fmt: skip
    def groups_take_turns(self, groups: list[str | None], limit: int, between: str) -> None:
        """Jobs of some, with and without options, of one type that nothing is set for."""
        for job_id in [job.id for job in self.world.jobs.values() if job.type == "pdf"]:
            self.cancel(f"#{job_id}", "")
            self.delete(f"#{job_id}", False)
        self.a_type_is_set("pdf", "any")
        self.a_type_is_set("pdf", "resume")
        self.register("w1", "own", "pdf")
        if between == "weights":
            self.a_type_is_set("pdf", "weights")
        for number, group in enumerate(groups):
            options = '{"dpi":1}' if number >= len(SOURCES) else None
            self.do(self.submission(SOURCES[number % len(SOURCES)], "pdf", options=options, group=group))
        for number in range(4):
            self.do(self.claiming("w1", "own", self.allowed("w1", ("pdf",)), limit, None, accepts=("options",)))
            if number == 0 and between == "retry":
                self.do(self.completion("last apt"))
                self.do(self.retrying("last apt"))
            elif number == 0 and between == "priority":
                self.do(self.moving("last apt", 2, "a"))
                self.undo("a", 1, True)
            elif number == 0 and between == "fail":
                self.do(self.failure("last apt"))
            elif number == 0 and between == "urgent":
                self.what_waits_is_urgent(limit, "pdf")

    @seldom
    @rule(limit=st.integers(1, 3), type_=TYPES)
    def what_waits_is_urgent(self, limit: int, type_: str) -> None:
        self.a_type_is_set(type_, "urgent at once")
        self.now = self.latest + 1000  # so that all that waits was changed before
        self.do(Asked(m.HurryJobs(limit), lambda _: self.world.hurry(limit, self.now)))

    @seldom
    @rule(ending=st.sampled_from(["complete", "fail", "lose", "beside", "resume", "pause", "nothing"]))
    def everybody_fails_a_type(self, ending: str) -> None:
        for job_id in [job.id for job in self.world.jobs.values() if job.type == "pdf"]:
            self.cancel(f"#{job_id}", "")
            self.delete(f"#{job_id}", True)
        for what in ("any", "resume", "fragile"):
            self.a_type_is_set("pdf", what)
        jobs = []
        for number, worker in enumerate(("w1", "w2", "w1")):
            self.register(worker, "two" if worker == "w1" else "own", "pdf")
            self.do(self.submission(SOURCES[number], "pdf"))
            jobs.append(f"#{self.claim(worker, 'own', self.allowed(worker, ('pdf',)), 1, None)}")
        for job in jobs[:2]:
            self.do(self.failure(job))
        if ending == "beside":
            self.do(self.completion(jobs[2], claim_next=True))
            return
        self.do(self.failure(jobs[2]))
        self.now += 60_000
        self.waits_end(jobs, "failed", False)
        probe = f"#{self.claim('w1', 'own', self.allowed('w1', ('pdf',)), 1, None)}"
        if ending == "lose":
            self.leases_expire([probe], False, False)
        elif ending in ("resume", "pause"):
            self.a_type_is_set("pdf", ending)
        elif ending == "complete":
            self.do(self.completion(probe, claim_next=True))
        elif ending == "fail":
            self.do(self.failure(probe))
            self.now += 120_000
            self.claim("w2", "own", self.allowed("w2", ("pdf",)), 2, None)

    @rule(job=JOBS, then=st.sampled_from(["cancel", "complete"]))
    def somebody_changes_his_mind(self, job: str, then: str) -> None:
        """An undo, or a worker that was lost, comes when the job has moved on and looks as it did."""
        self.leases_expire([job], False, False)
        self.cancel(job, "a")
        self.do(self.retrying("apt" if job == "none" else job))
        if then == "complete":
            self.do(self.completion(job))
        else:
            self.now += 1
            self.cancel(job, "")
            self.undo("a", 3, True)

    @when_some("completed")
    @rule(ending=st.sampled_from(["seen", "unseen", "unseen and lost", "failed before"]), objects=st.booleans())
    def a_result_is_made_again_to_be_compared(self, ending: str, objects: bool) -> None:
        """And the former one is kept for its time, unless it is needed again before."""
        before = self.world.jobs[self.job_id("apt", "completed")]
        job = f"#{before.id}"
        self.do(self.retrying(job, compare=True))
        if ending == "failed before":
            self.do(self.claiming("w1", "own", self.allowed("w1", (before.type,)), 9, None, accepts=("options",)))
            self.do(self.failure(job))
            self.do(self.retrying(job, reset=True))
        self.register("w1", "own", "pdf")
        self.claim("w1", "own", self.allowed("w1", (before.type,)), 9, None, accepts=("options",))
        seen = m.Seen.UNKNOWN if ending.startswith("unseen") else m.Seen.PRESENT
        self.do(self.completion(job, seen=m.ObjectSeen(seen, size=1)))
        self.comparisons_end(objects, later=True)
        if ending == "unseen and lost" and any(not file.checked for file in self.world.files.values()):
            self.output_is_looked_for(2, m.ObjectSeen(m.Seen.ABSENT))
        self.janitor_takes(False)

    @when_some("running")
    @rule(objects=st.booleans(), names=st.sampled_from([("a",), ("a", "b/c")]), taken=st.booleans())
    def a_job_goes_that_has_told_of_outputs(self, objects: bool, names: tuple[str, ...], taken: bool) -> None:
        """Their records go with their objects, or, where these stay, piece by piece."""
        job = f"#{self.world.jobs[self.job_id('last apt', 'running')].id}"
        self.do(self.outputs_of("tell", job, names, 3, "holder", "own", "right"))
        self.cancel(job, "")
        self.delete(job, objects)
        if taken:
            self.janitor_takes(False)

    @rule(source_hash=HASHES, given=st.booleans())
    def a_job_is_of_use_for_two_seconds(self, source_hash: str, given: bool) -> None:
        self.do(self.submission(source_hash, "pdf", priority=1, end=2000))
        if given:
            self.claim("w1", "own", self.allowed("w1", ("pdf",)), 9, None, accepts=("options",))
        self.now += 2000
        self.times_are_heeded(3)

    @seldom
    @rule(source_hash=HASHES, outcome=st.sampled_from(["gone", "gone", "unanswered"]), behind=st.integers(0, 1))
    def a_source_is_deleted_and_sent_again(self, source_hash: str, outcome: str, behind: int) -> None:
        for job_id in [job.id for job in self.world.jobs.values() if job.hash == source_hash]:
            self.cancel(f"#{job_id}", "")
            self.delete(f"#{job_id}", True)
        self.janitor_takes(False)
        self.janitor_has_tried([outcome] * 9)
        self.do(self.submission(source_hash, "pdf", behind=behind))

    @when_some("dead", "cancelled", "completed", "failed")
    @rule(job=JOBS, waits=st.booleans())
    def a_source_vanishes(self, job: str, waits: bool) -> None:
        """It is found out when the job is tried again; later the same file is sent once more."""
        found = self.world.jobs.get(self.job_id(job, "dead", "cancelled", "completed", "failed"))
        if found is None or (found.chain is not None and found.chain.source is not None):
            return  # one that is an output is no upload
        self.source_is_wrong(found.hash)
        self.do(self.retrying(f"#{found.id}"))
        if not waits:
            self.uploads_expire([f"#{found.id}"])
        self.do(self.submission(found.hash, kind_of(found.type), SOURCE_IS_THERE))  # no client names a canary's type
