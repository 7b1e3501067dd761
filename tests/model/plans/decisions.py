"""What people do to jobs, what time does to those that failed, and time itself."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from tests.model.plans.asked import Asked
from tests.model.plans.base import Base
from tests.model.plans.choices import JOBS, PRIORITIES, REQUIRES, TAGS, TYPES, UNDO, seldom, when_some

_ENDED = ("dead", "cancelled", "completed", "failed")


class Decisions(Base):
    def retrying(
        self, job: str, reset: bool = False, priority: int | None = None, undo: str = "", compare: bool = False
    ) -> Asked:
        job_id = self.job_id(job, *_ENDED)
        return Asked(
            m.Retry(job_id, reset, priority, undo, compare),
            lambda _: self.world.retry(job_id, reset, priority, undo, compare, self.now),
        )

    def cancelling(self, job: str, undo: str = "") -> Asked:
        job_id = self.job_id(job, "running", "failed")
        reason = "why" if undo == "b" else None
        return Asked(m.Cancel(job_id, undo, reason), lambda _: self.world.cancel(job_id, undo, self.now, reason))

    def moving(self, job: str, priority: int, undo: str = "") -> Asked:
        job_id = self.job_id(job, "pending")
        return Asked(
            m.SetPriority(job_id, priority, undo),
            lambda _: self.world.set_priority(job_id, priority, undo, self.now),
        )

    def retyping(self, job: str, to: str, undo: str = "") -> Asked:
        job_id = self.job_id(job, "pending", "failed", "uploading")
        return Asked(m.Retype(job_id, to, undo), lambda _: self.world.retype(job_id, to, undo, self.now))

    def requiring(self, job: str, requires: str | None, undo: str = "") -> Asked:
        job_id = self.job_id(job, "pending")
        return Asked(
            m.SetRequirements(job_id, requires, undo),
            lambda _: self.world.set_requirements(job_id, requires, undo, self.now),
        )

    @seldom
    @rule(seconds=st.sampled_from([0.001, 1, 5, 60, 601, 86_400, -1, -3600]))
    def time_passes(self, seconds: float) -> None:
        self.now = self.database.time(self.now + round(seconds * 1000))

    @when_some(*_ENDED)
    @rule(job=JOBS, reset=st.booleans(), priority=st.sampled_from([None, 1, 5]), undo=UNDO, compare=st.booleans())
    def retry(self, job: str, reset: bool, priority: int | None, undo: str, compare: bool) -> None:
        self.do(self.retrying(job, reset, priority, undo, compare))

    @rule(job=JOBS, undo=UNDO)
    def cancel(self, job: str, undo: str) -> None:
        self.do(self.cancelling(job, undo))

    @seldom
    @rule(job=JOBS, priority=PRIORITIES, undo=UNDO)
    def set_priority(self, job: str, priority: int, undo: str) -> None:
        self.do(self.moving(job, priority, undo))

    @rule(job=JOBS, to=TYPES, undo=UNDO)
    def retype(self, job: str, to: str, undo: str) -> None:
        self.do(self.retyping(job, to, undo))

    @seldom
    @rule(job=JOBS, requires=REQUIRES, undo=UNDO)
    def set_requirements(self, job: str, requires: str | None, undo: str) -> None:
        self.do(self.requiring(job, requires, undo))

    @seldom
    @rule(job=JOBS, add=TAGS, remove=TAGS, undo=UNDO)
    def change_tags(self, job: str, add: tuple[str, ...], remove: tuple[str, ...], undo: str) -> None:
        job_id = self.job_id(job, "pending")
        self.do(
            Asked(
                m.ChangeTags(job_id, add, remove, undo),
                lambda _: self.world.change_tags(job_id, add, remove, undo, self.now),
            )
        )

    @precondition(lambda self: self.world.undos)
    @rule(token=st.sampled_from(["a", "b"]), limit=st.integers(1, 3), further=st.booleans())
    def undo(self, token: str, limit: int, further: bool) -> None:
        self.do(Asked(m.Undo(token, limit, further), lambda _: self.world.undo(token, limit, further, self.now)))

    @when_some("failed", "pending")
    @rule(jobs=st.lists(JOBS, max_size=3), status=st.sampled_from(["failed", "pending"]), stale=st.booleans())
    def waits_end(self, jobs: list[str], status: str, stale: bool) -> None:
        """Of a back-off, or of the time for which a job was kept from a worker. `stale`: it has moved on since."""
        found = [
            self.world.jobs[each] for each in (self.job_id(job, status) for job in jobs) if each in self.world.jobs
        ]
        due = [(job.id, (job.not_before or job.avoid_until or 0) - stale) for job in found]
        message = m.WakeJobs(tuple(m.Due(*each) for each in due))
        self.do(Asked(message, lambda _: self.world.wake(due, self.now)))
