"""Submissions, and what becomes of their sources."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from blobforge.chain import Step
from tests.model.plans.asked import Asked
from tests.model.plans.base import Base
from tests.model.plans.choices import (
    BATCHES,
    ENDS,
    GROUPS,
    HASHES,
    JOBS,
    OPTIONS,
    PRIORITIES,
    REQUIRES,
    SEEN,
    SIZES,
    SOURCE_IS_THERE,
    STARTS,
    THEN,
    TYPES,
    seldom,
    when_some,
)
from tests.model.world.things import kind_of


class Sources(Base):
    def submission(
        self, source_hash: str, type_: str, source: m.ObjectSeen = SOURCE_IS_THERE, *, priority: int = 3,
        size: int | None = None, most: int | None = None, tags: tuple[str, ...] = (), behind: int = 0,
        options: str | None = None, requires: str | None = None, group: str | None = None, start: int | None = None,
        end: int | None = None, batch: str | None = None, then: tuple[Step, ...] | None = None,
    ) -> Asked:  # fmt: skip
        """`behind`: somebody looked for the source before the last so many deletions had ended. `start`, `end`:
        in so many ms."""
        source = m.ObjectSeen(source.seen, source.size, source.sha256, max(0, self.epoch - behind))
        more = {"options": options, "requires": requires, "group": group}
        number = self.batch_id(batch) if batch is not None else None
        new = m.NewJob(type_, source_hash, None, size, priority, most, tags, **more, batch=number, then=then)
        if start is not None:
            new = msgspec.structs.replace(new, not_before=self.now + start)
        if end is not None:
            new = msgspec.structs.replace(new, expires_at=self.now + end)

        def expect(answer: m.Submitted) -> object:
            made = answer.job_id if isinstance(answer, m.Submitted) and not answer.existing else None
            return self.world.submit(new, source, made, self.now)

        return Asked(m.Submit(new, source), expect)

    def arrival(self, source_hash: str, size: int, verified: bool, behind: int) -> Asked:
        epoch = max(0, self.epoch - behind)
        return Asked(
            m.SourceArrived(source_hash, size, verified, epoch),
            lambda _: self.world.source_arrived(source_hash, size, verified, epoch, self.now),
        )

    @seldom
    @rule(
        source_hash=HASHES, type_=TYPES, source=SEEN, priority=PRIORITIES, size=SIZES,
        most=st.sampled_from([None, 1, 2]), tags=st.sampled_from([(), ("a", "b", "a")]), behind=st.integers(0, 1),
        options=OPTIONS, requires=REQUIRES, group=GROUPS, start=STARTS, end=ENDS, batch=BATCHES,
        then=THEN,
    )  # fmt: skip
    def submit(
        self, source_hash: str, type_: str, source: m.ObjectSeen, priority: int, size: int | None, most: int | None,
        tags: tuple[str, ...], behind: int, options: str | None, requires: str | None, group: str | None,
        start: int | None, end: int | None, batch: str | None, then: tuple[Step, ...] | None,
    ) -> None:  # fmt: skip
        self.do(
            self.submission(
                source_hash,
                type_,
                source,
                priority=priority,
                size=size,
                most=most,
                tags=tags,
                behind=behind,
                options=options,
                requires=requires,
                start=start,
                group=group,
                end=end,
                batch=batch,
                then=then,
            )
        )

    @precondition(lambda self: any(job.not_before or job.expires_at for job in self.world.jobs.values()))
    @rule(limit=st.integers(1, 3))
    def times_are_heeded(self, limit: int) -> None:
        self.do(Asked(m.HeedTimes(limit), lambda _: self.world.heed_times(limit, self.now)))

    @rule(
        job=st.sampled_from(["apt", "apt", "1st"]), source=st.sampled_from([m.Seen.VERIFIED, m.Seen.ABSENT]),
        behind=st.integers(0, 1), batch=BATCHES,
    )  # fmt: skip
    def submit_again(self, job: str, source: m.Seen, behind: int, batch: str | None) -> None:
        found = self.world.jobs.get(self.job_id(job, "dead", "uploading"))
        if found is not None and not found.hash.startswith("unproven/"):
            seen = m.ObjectSeen(source, size=1)
            # No client can name the type of a comparison.
            self.do(self.submission(found.hash, kind_of(found.type), seen, behind=behind, batch=batch))

    @seldom
    @rule(source_hash=HASHES, size=st.integers(1, 2), verified=st.booleans(), behind=st.integers(0, 1))
    def source_arrives(self, source_hash: str, size: int, verified: bool, behind: int) -> None:
        self.do(self.arrival(source_hash, size, verified, behind))

    @seldom
    @rule(source_hash=HASHES, type_=TYPES, announced=SIZES, seen=st.sampled_from([m.Seen.PRESENT, m.Seen.UNKNOWN]))
    def a_source_too_large_to_read(self, source_hash: str, type_: str, announced: int | None, seen: m.Seen) -> None:
        self.source_is_wrong(source_hash)
        self.source_arrives(source_hash, 2, False, 0)
        self.do(self.submission(source_hash, type_, m.ObjectSeen(seen, size=2), size=announced))

    @seldom
    @rule(source_hash=HASHES)
    def source_is_wrong(self, source_hash: str) -> None:
        message = m.SourceRejected(source_hash, "wrong bytes")
        self.do(Asked(message, lambda _: self.world.source_rejected(source_hash, self.now)))

    @precondition(lambda self: any(job.waits_for_proof for job in self.world.jobs.values()))
    @rule(which=st.integers(0, 2), sha256=HASHES, there=st.sampled_from([True, True, True, False]))
    def an_output_is_read(self, which: int, sha256: str, there: bool) -> None:
        """One that is the source of a job; or the former one of a job that is served from a copy now."""
        waiting = [job for job in self.world.jobs.values() if job.waits_for_proof]
        job = waiting[min(which, len(waiting) - 1)]
        assert job.chain is not None
        found = m.ObjectSeen(m.Seen.VERIFIED, 2, sha256) if there else m.ObjectSeen(m.Seen.ABSENT)
        message = m.ChildSourceRead(job.id, job.chain.source or "", found)
        self.do(Asked(message, lambda _: self.world.child_read(message, self.now)))

    @when_some("uploading")
    @rule(jobs=st.lists(JOBS, max_size=2))
    def uploads_expire(self, jobs: list[str]) -> None:
        ids = tuple(self.job_id(job, "uploading") for job in jobs)
        uploads = tuple(m.Unsent(id_) for id_ in ids)
        self.do(Asked(m.ExpireUploads(uploads, 60.0), lambda _: self.world.expire_uploads(ids, self.now)))
