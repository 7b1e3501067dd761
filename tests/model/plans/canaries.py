"""Canaries are begun, cancelled, and go; what becomes of their jobs is chosen as of any others."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from blobforge.canary import CanaryPlan
from blobforge.job import ReleaseCause
from tests.model.plans.asked import Asked
from tests.model.plans.choices import ACCEPTS, GROUPS, OPTIONS, REQUIRES, SOURCES, seldom
from tests.model.plans.stories import Stories

CANARIES = st.integers(1, 3)


class Canaries(Stories):
    def pairs(self, canary_id: int) -> dict[int, int]:
        rows = self.database.probe.rows("canary_jobs", "canary_id", "original_id", "job_id")
        return {original: job for of, original, job in rows if of == canary_id}

    def begin_canary(self, types: tuple[str, ...], made_by: str, priority: int, need: bool) -> None:
        plan = CanaryPlan(types, made_by, None, 5, 1.5, priority, need)
        jobs = tuple(sorted(self.world.jobs))

        def expect(answer: Any) -> Any:
            new_id = answer.canary_id if isinstance(answer, m.CanaryBegun) else None
            return self.world.begin_canary(plan, jobs, new_id, self.pairs(new_id or 0), self.now)

        self.do(Asked(m.BeginCanary(plan, jobs, "token:1"), expect))

    @seldom
    @rule(
        types=st.sampled_from([("pdf",), ("ocr", "pdf")]), made_by=st.sampled_from(["marker 1.2", "marker 1.3"]),
        priority=st.sampled_from([1, 3, 5]), need=st.booleans(),
    )  # fmt: skip
    def a_canary_is_begun(self, types: tuple[str, ...], made_by: str, priority: int, need: bool) -> None:
        self.begin_canary(types, made_by, priority, need)

    @rule(
        priority=st.sampled_from([1, 3, 5]), accepts=ACCEPTS, limit=st.integers(1, 3), requires=REQUIRES,
        group=GROUPS,
        set_to=st.sampled_from(["any", "any", "one", "slow", "pause", "tries", "fragile"]), options=OPTIONS,
        ending=st.sampled_from(["complete", "unseen", "fail", "lose", "release", "cancel", "go", "change"]),
    )  # fmt: skip
    def a_canary_and_its_jobs(
        self, priority: int, accepts: tuple[str, ...], limit: int, requires: str | None, group: str | None,
        set_to: str, options: str | None, ending: str,
    ) -> None:  # fmt: skip
        """Documents are converted, and once more, beside others and within the limits of their type."""
        for what in ("any", "resume"):
            self.a_type_is_set("pdf", what)
        self.register("w1", "own", "pdf", labels='["gpu"]')
        for number, source in enumerate(SOURCES):
            self.do(self.submission(source, "pdf", options=options if number else None, requires=requires))
        for _ in SOURCES:
            job = self.claim("w1", "own", self.allowed("w1", ("pdf",)), 1, None, accepts=("options",))
            self.do(self.completion(f"#{job}", converter=None))
        self.register("w2", "own", "pdf", converter="marker 1.3", labels='["gpu"]')
        self.do(self.claiming("w2", "own", self.allowed("w2", ("pdf",)), limit, None, accepts=accepts))
        self.begin_canary(("pdf",), "marker 1.3", priority, need=False)
        self.do(self.submission(SOURCES[0], "pdf", options='{"dpi":2}', group=group))
        self.a_type_is_set("pdf", set_to)
        for _ in range(2):
            self.do(self.claiming("w2", "own", self.allowed("w2", ("pdf",)), limit, None, accepts=accepts))
        running = [f"#{job.id}" for job in self.world.jobs.values() if job.status == "running"][-2:]
        seen = m.ObjectSeen(m.Seen.UNKNOWN if ending == "unseen" else m.Seen.PRESENT, size=1)
        for job in running:
            if ending in ("complete", "unseen"):
                self.do(self.completion(job, seen=seen, claim_next=True, accepts=accepts))
            elif ending == "fail":
                self.do(self.failure(job))
            elif ending == "lose":
                self.leases_expire([job], False, False)
            elif ending == "release":
                self.release(job, "holder", "own", "right", ReleaseCause.TROUBLE)
            elif ending == "change":
                for change in (self.retrying(job), self.moving(job, 1, "a"), self.retyping(job, "ocr", "a")):
                    self.do(change)
                self.cancel(job, "a")
                self.undo("a", 3, True)
        if ending == "cancel":
            self.a_canary_is_cancelled(len(self.world.canaries))
        if ending == "go":
            self.canaries_go(0, 1)
        self.a_type_is_set("pdf", "any")
        self.a_type_is_set("pdf", "resume")

    @precondition(lambda self: self.world.canaries)
    @rule(choice=CANARIES)
    def a_canary_is_cancelled(self, choice: int) -> None:
        canary_id = ([*sorted(self.world.canaries), 999] * 9)[choice - 1]
        canary = self.world.canaries.get(canary_id)
        jobs = tuple(sorted(canary.jobs)) if canary is not None else ()
        self.do(Asked(m.CancelCanary(canary_id, jobs), lambda _: self.world.cancel_canary(canary_id, self.now)))

    @precondition(lambda self: self.world.canaries)
    @rule(age=st.sampled_from([0, 0, 3600]), limit=st.sampled_from([1, 200]))
    def canaries_go(self, age: int, limit: int) -> None:
        before = self.now - age * 1000
        begun_at = dict(self.database.probe.rows("canaries", "id", "created_at"))
        message = m.Prune((), limit=limit, canaries_before=before)
        self.do(
            Asked(
                message,
                lambda _: ("Pruned", 0, self.world.keep_canaries(before, begun_at, limit, self.now), 0),
            )
        )
