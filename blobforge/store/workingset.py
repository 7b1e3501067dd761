"""The working set: all rows that a transaction needs, in memory, where the effects decide about them.

How it is begun, undone and committed is `opentransaction.py`'s; jobs and workers have modules of their own. A row
that no message has named is asked for when it is read.
"""

from __future__ import annotations

from msgspec.structs import replace

from blobforge.failures import Cause
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.people import AuditEntry
from blobforge.store.bulk import AttemptEnd, FileSeen
from blobforge.store.files import Doom, FileRecord
from blobforge.store.jobrows import JobRows
from blobforge.store.needs import Needs
from blobforge.store.tallies import Ended
from blobforge.store.workerrows import WorkerRows

_WAITED = frozenset({Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST})  # what is neither given back nor cancelled
LONGEST_EXAMPLE = 1000  # characters of an error that stand for its cause


class WorkingSet(JobRows, WorkerRows):
    """Verbs on attempts, results, files, causes, and on what may be repeated or undone."""

    # --- attempts

    @property
    def attempt_floor(self) -> int:
        """New attempts have numbers above this one."""
        return self._bulk.attempt_floor()

    @property
    def attempts_changed(self) -> bool:
        """Whether records of attempts are pending."""
        return bool(self._pending.started or self._pending.endings)

    def attempt(self, job_id: int, attempt: int) -> Attempt | None:
        key = (job_id, attempt)
        if not self._open or key not in self._rows.attempts:
            self._ask(Needs(attempts={key}), pending=self.attempts_changed)
        return self._rows.attempts[key]

    def start_attempt(self, job: Job) -> None:
        self._journal.add(self._pending.started, job)
        if self._rows.attempts:
            self._journal.drop(self._rows.attempts, (job.id, job.attempt))

    def end_attempt(
        self,
        before: Job,
        after: Job,
        outcome: Outcome,
        *,
        now: int,
        error: str | None = None,
        kind: str | None = None,
        traceback: str | None = None,
        log_tail: str | None = None,
        free: bool = False,
    ) -> None:
        """Write how the job's latest attempt ended; a late completion writes over `lost`. `before` is the job as it
        was until now. `free`: its charge is given back with it."""
        worker_id, started_at = before.worker_id, before.started_at
        if before.status is not JobStatus.RUNNING:  # it was lost before, or is revoked: only its own record knows
            ended = self.attempt(after.id, after.attempt)
            if ended is None:
                return
            worker_id, started_at = ended.worker_id, ended.started_at
        assert worker_id is not None
        assert started_at is not None
        journal, key = self._journal, (after.id, after.attempt)
        failure = after.failure if outcome in (Outcome.FAILED, Outcome.LOST) else None
        end = AttemptEnd(
            after.id,
            after.attempt,
            now,
            outcome,
            kind,
            error,
            traceback,
            log_tail,
            after.converter,
            failure,
            now if free else None,
        )
        journal.put(self._pending.endings, key, end)
        if self._rows.attempts:
            journal.drop(self._rows.attempts, key)
        if self._rows.failed:
            journal.drop(self._rows.failed, after.id)
        # Each attempt's time in the queue is counted once, when its lease ends.
        stood = before.stood_in_queue if before.status is JobStatus.RUNNING and outcome in _WAITED else None
        ran = max(0, now - started_at)
        journal.add(self._pending.ended, Ended(after.type, worker_id, outcome, ran, now, stood=stood, cause=failure))
        if outcome is Outcome.COMPLETED and self._rows.in_a_row:
            self._count_completed(after.type, now=now)

    def forget_attempt(self, job_id: int, attempt: int) -> None:
        """Its record is another than was read."""
        if self._rows.attempts:
            self._journal.drop(self._rows.attempts, (job_id, attempt))

    def count_old_attempt(self, type_: str, attempt: Attempt, *, now: int) -> None:
        """Count an attempt that ended before such were counted."""
        assert attempt.outcome is not None
        assert attempt.ended_at is not None
        ran = max(0, attempt.ended_at - attempt.started_at)
        ended = Ended(type_, attempt.worker_id, attempt.outcome, ran, attempt.ended_at, counted_late=now)
        self._journal.add(self._pending.ended, ended)

    def failed_by(self, job_id: int, *, among: int) -> tuple[str, ...]:
        """The workers that have failed a job or given it back for trouble, by the last `among` of its attempts."""
        if not self._open or job_id not in self._rows.failed:
            self._ask(Needs(failed={job_id}, among=among), pending=self.attempts_changed)
        return self._rows.failed[job_id]

    # --- results that are kept aside

    def keep_result(self, job: Job, result: str | None) -> None:
        """The result of the job's latest attempt, where it is kept aside, beside the one that it takes the place of.
        `job` is as it was until now."""
        journal = self._journal
        if job.attempt > 1:
            for key in [key for key in self._pending.results if key[0] == job.id and key[1] != job.kept_attempt]:
                journal.drop(self._pending.results, key)
            journal.put(self._pending.results_but, job.id, job.kept_attempt)
        if result is not None:
            journal.put(self._pending.results, (job.id, job.attempt), result)

    def drop_result(self, job_id: int, attempt: int) -> None:
        self._journal.drop(self._pending.results, (job_id, attempt))
        self._journal.put(self._pending.results_dropped, (job_id, attempt), True)

    # --- files

    def file(self, key: str) -> FileRecord | None:
        if not self._open or key not in self._rows.files:
            self._ask(Needs(files={key}), pending=key in self._pending.files_seen or key in self._pending.files_kept)
        return self._rows.files[key]

    def record_file(
        self,
        key: str,
        *,
        size: int | None,
        sha256: str | None,
        now: int,
        checked: bool,
        job_id: int | None = None,
        attempt: int | None = None,
        etag: str | None = None,
        version: str | None = None,
        keeping: bool = False,
    ) -> None:
        journal, seen = self._journal, now if checked else None
        if key in self._pending.files_kept:
            self.settle()
        if key in self._rows.files:
            former = self._rows.files[key]
            kept = former.kept if former is not None else None
            journal.put(self._rows.files, key, FileRecord(size, sha256, seen, etag, version, kept, keeping))
        record = FileSeen(key, size, sha256, job_id, attempt, now, seen, etag, version, keeping)
        journal.put(self._pending.files_seen, key, record)

    def keep_file(self, key: str, to: str) -> None:
        """Its copy is what is served from now on."""
        known = self._rows.files.get(key)
        if known is not None:
            self._journal.put(self._rows.files, key, replace(known, kept=to, keeping=False))
        self._journal.put(self._pending.files_kept, key, to)

    def forget_file(self, key: str) -> None:
        self._journal.drop(self._pending.files_seen, key)
        self._journal.drop(self._pending.files_kept, key)
        self._journal.put(self._pending.files_forgotten, key, True)
        self._journal.put(self._rows.files, key, None)

    def doom(self, key: str) -> Doom | None:
        """The object's place on the list of deletions, if it is on it."""
        if not self._open or key not in self._rows.dooms:
            self._ask(Needs(dooms={key}))
        return self._rows.dooms[key]

    def doom_changed(self, key: str | None = None) -> None:
        """The engine changes this entry of the list, or any of them."""
        if key is None:
            self._rows.dooms.clear()
        else:
            self._rows.dooms.pop(key, None)

    # --- causes of failures

    def cause(self, fingerprint: str) -> int | None:
        """The number of a cause of failures, if it is known."""
        if not self._open or fingerprint not in self._rows.causes:
            self._rows.causes[fingerprint] = self._bulk.cause(fingerprint)
        return self._rows.causes[fingerprint]

    def count_causes(self) -> int:
        return self._bulk.count_causes() + len(self._pending.causes_new)

    def add_cause(self, cause: Cause) -> int:
        """A cause that was not known; returns its number."""
        number = self._bulk.new_cause()
        self._journal.put(self._rows.causes, cause.fingerprint, number)
        self._journal.put(self._pending.causes_new, number, cause)
        return number

    def see_cause(self, number: int, example: str, *, now: int) -> None:
        """An attempt failed of this cause."""
        self._journal.add(self._pending.causes_seen, (number, example[:LONGEST_EXAMPLE], now))

    # --- what may be repeated, undone, or looked up

    def claimed_with(self, worker_id: str, claim_key: str) -> list[tuple[int, int]]:
        """The (job, attempt) pairs that an earlier claim with this key was given."""
        key = (worker_id, claim_key)
        if not self._open or key not in self._rows.claim_keys:
            self._ask(Needs(claim_keys={key}))
        return self._rows.claim_keys[key]

    def remember_claim(self, worker_id: str, claim_key: str, jobs: list[Job], *, now: int) -> None:
        pairs = [(job.id, job.attempt) for job in jobs]
        self._journal.put(self._rows.claim_keys, (worker_id, claim_key), pairs)
        self._journal.add(self._pending.claims_kept, (worker_id, claim_key, pairs, now))

    def remembered(self, subject: str, key: str, *, since: int) -> tuple[bytes, bytes] | None:
        """(fingerprint, outcome) of an earlier request with this idempotency key, if it is young enough."""
        repeat = (subject, key)
        if not self._open or repeat not in self._rows.repeated:
            self._ask(Needs(repeated={repeat}))
        earlier = self._rows.repeated[repeat]
        return (earlier[0], earlier[1]) if earlier is not None and earlier[2] >= since else None

    def remember(self, subject: str, key: str, fingerprint: bytes, outcome: bytes, *, now: int) -> None:
        self._journal.put(self._rows.repeated, (subject, key), (fingerprint, outcome, now))
        self._journal.add(self._pending.answers_kept, (subject, key, fingerprint, outcome, now))

    def save_undo(self, token: str, job_id: int, was: str, became: str, *, now: int) -> None:
        self._journal.add(self._pending.undos, (token, job_id, was, became, now))

    def insert_audit(self, entry: AuditEntry) -> None:
        """Append to the audit log (`id` is ignored)."""
        self._journal.add(self._pending.audit, entry)

    def note_delivery(self, webhook: int, event: str, at: int, data: str, sealed: str | None) -> None:
        """A row of the outbox, due at once."""
        self._journal.add(self._pending.deliveries, (webhook, event, at, data, at, sealed))

    def arrived(self, job: Job) -> None:
        """A job was stored as it is, by the engine: it counts."""
        self._journal.add(self._pending.arrived, job)
