"""Jobs that come with their past from another database.

A job is known again by its source, type and options: what is here already stays as it is, so that a second run
adds nothing and one that was broken off goes on. Its number is kept where it has never been given here. What it has
come to before is not counted as happening now: the backfill (actors/effects/backfill.py) makes of its attempts what
charts and causes of failures need.
"""

from __future__ import annotations

from msgspec.structs import astuple, replace

from blobforge.chain import ChainPlace
from blobforge.job import Job
from blobforge.options import Lane, digest
from blobforge.requirements import in_groups, lane_of
from blobforge.store.sql import rows, sql
from blobforge.store.sql.requirementsets import Requirements
from blobforge.store.sql.running import Statements
from blobforge.store.turns import with_turn
from blobforge.store.whole import Kept, Whole
from blobforge.store.workingset import WorkingSet


class Arrivals:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements, working: WorkingSet, requirements: Requirements) -> None:
        self._do = statements
        self._requirements = requirements
        self._working = working

    def add(self, whole: Whole, *, now: int) -> Job | None:
        brought = next((kept.record.size for kept in whole.files if kept.key == whole.job.output_key), None)
        job = replace(whole.job, more_paths=len(whole.paths), output_bytes=whole.job.output_bytes or brought or 0)
        job = replace(job, batches=())  # they stay behind: their numbers are others' here
        if job.chain is not None:  # the numbers of its family, too
            job = replace(job, chain=_alone(job.chain))
        self._working.forget()
        if self._do.row(sql.SAME_JOB, (job.source_hash, job.type, digest(job.options))) is not None:
            return None
        job = replace(job, lane=self._lane(job))  # sets of requirements have other numbers here
        job = with_turn(self._working, job)  # so are their virtual times
        own = job.id if job.id > self._do.number(sql.JOB_SEQUENCE) else None
        number = self._do.insert(sql.INSERT_WHOLE_JOB, (own, *rows.job_values(job)[1:]))
        stored = replace(job, id=number)
        for tag in stored.tags:
            self._do.rows(sql.ADD_JOB_TAG, (tag, stored.id))
        for n, path in enumerate(whole.paths, 1):
            self._do.rows(sql.ADD_JOB_PATH, (stored.id, n, path))
        for attempt in whole.attempts:
            self._do.rows(sql.INSERT_WHOLE_ATTEMPT, (stored.id, *astuple(attempt)[1:]))
        for number, result in whole.results:
            self._do.rows(sql.KEEP_RESULT, (stored.id, number, result))
        for kept in whole.files:
            self._keep(kept, stored, now)
        self._working.arrived(stored)
        return stored

    def _lane(self, job: Job) -> Lane:
        """Whatever many sets there are: no job is lost for that."""
        called = in_groups(job.requires) if job.of_group is not None else job.requires
        if called is None:
            return lane_of(0, job.options)
        number = self._requirements.sets().number(job.type, called)
        return lane_of(number or self._requirements.add(job.type, called).number, job.options)

    def to_backfill(self, first: int, last: int) -> None:
        self._do.rows(sql.TO_BACKFILL, (first, last))

    def go_on_above(self, job_id: int, attempt: int) -> None:
        self._working.forget()
        self._do.rows(sql.SEED_IDS, ("jobs", "jobs"))
        self._do.rows(sql.RAISE_IDS, (job_id,))
        self._do.rows(sql.RAISE_FLOOR, (attempt,))

    def _keep(self, kept: Kept, job: Job, now: int) -> None:
        if self._do.row(sql.FILE, (kept.key,)) is not None:
            return
        record, job_id = kept.record, job.id if kept.attempt is not None else None
        self._do.rows(
            sql.RECORD_FILE,
            (
                kept.key, record.size, record.sha256, job_id, kept.attempt, now, record.checked_at, record.etag,
                record.version, int(record.keeping),
            ),
        )  # fmt: skip
        if record.kept is not None:
            self._do.rows(sql.KEEP_FILE, (record.kept, kept.key))


def _alone(place: ChainPlace) -> ChainPlace | None:
    """What follows the job, and where its source is: of its parent nothing is known here."""
    alone = replace(
        place, parent=None, family=None, depth=0, stopped=None, adopted=False, joined=False, joins=False, rest=None,
        unjoined=(),
    )  # fmt: skip
    return alone if alone.then or alone.source is not None else None
