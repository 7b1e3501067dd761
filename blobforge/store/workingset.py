"""The working set: all rows that a transaction needs, in memory, where the effects decide about them.

State owned here: whether a transaction is open, and the journal by which an effect is undone. The rows as they are in
it are `knownrows.py`'s, what has changed is `pending.py`'s. What is not there is asked for when it is read; what has
changed is written at the end, or before the engine is asked for more than single rows (`settle`). What was written
cannot be undone here: then the whole transaction is to be made again (`Unrecoverable`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import msgspec
from msgspec.structs import replace

from blobforge.events import Event, Fact
from blobforge.failures import Cause
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.options import QueueLine
from blobforge.people import AuditEntry
from blobforge.store.bulk import AttemptEnd, BulkAccess, FileSeen
from blobforge.store.claim_order import ClaimOrder, is_kept, is_ready, place
from blobforge.store.errors import StaleState, StoreUnavailable
from blobforge.store.files import Doom, FileRecord
from blobforge.store.following import Entry
from blobforge.store.journal import Journal
from blobforge.store.knownrows import MOST_AHEAD, KnownRows
from blobforge.store.needs import Needs
from blobforge.store.pending import Pending
from blobforge.store.tallies import Ended
from blobforge.worker import Worker

ONLINE_LOOKED_AT = 64  # workers that are online for a type, to see whether there is another one
LONGEST_EXAMPLE = 1000  # characters of an error that stand for its cause


class Unrecoverable(Exception):
    """Something is to be undone that has been written already: only the transaction as a whole can be."""


class Unwritable(Exception):
    """What was pending could not be written, for the reason that is the cause of this: a bug, of one of the effects.
    The transaction is lost."""


class Mark(msgspec.Struct, frozen=True):
    """A moment in a transaction: how far the journal was, and how much the engine had changed by itself."""

    journal: int
    direct: int


class WorkingSet:
    """Used by one thread at a time: the writer's."""

    def __init__(self, bulk: BulkAccess) -> None:
        self._bulk = bulk
        # Rows were read while no transaction was open; whether the last transaction changed anything.
        self._open = self._read_outside = self.wrote = False
        # `settled`: how much of what was written in the transaction was pending before, and how far the journal was.
        self._settled = self._settled_at = 0
        self.commit_seconds = 0.0  # of the last COMMIT alone
        self._journal = Journal()
        self._rows = KnownRows(bulk)
        self._pending = Pending()

    # --- transactions

    @contextmanager
    def transaction(self, needs: Needs | None = None, now: int = 0) -> Iterator[None]:
        """All or nothing. Raises StoreUnavailable when the engine cannot begin or commit."""
        if self._read_outside:
            self._reset()
        self.wrote = False
        before = self._bulk.written
        self._bulk.begin(now)
        self._open = True
        try:
            if needs is not None:
                self._rows.load_ahead(needs)
            yield
            self._write()
            self.wrote = self._bulk.written != before
            self.commit_seconds = self._bulk.commit()
        except BaseException:
            self._bulk.rollback()
            raise
        finally:
            self._open = False
            self._reset()

    @property
    def now(self) -> int:
        """The time of the transaction (ms)."""
        return self._bulk.now

    @property
    def server(self) -> str:
        """What this server is called in the history."""
        return self._bulk.server

    @property
    def turn(self) -> int:
        """The number of the last transaction that changed anything."""
        return self._bulk.turn

    @property
    def missed(self) -> Sequence[Entry]:
        """Of what others have committed before this transaction."""
        return self._bulk.missed

    def tell(self, events: Sequence[Event], facts: Sequence[Fact]) -> None:
        """What has happened in the transaction, for other servers to know of once it is committed."""
        self._bulk.tell(events, facts)

    def mark(self) -> Mark:
        """Where the transaction stands, to go back to."""
        return Mark(len(self._journal), self._bulk.written - self._settled)

    def undo(self, mark: Mark) -> None:
        """All since then has not happened. Raises Unrecoverable where some of it has been written."""
        if self._settled_at > mark.journal or self._bulk.written - self._settled != mark.direct:
            raise Unrecoverable
        self._journal.undo(mark.journal)
        for lines in (self._rows.ready, self._rows.kept):
            for line in lines.values():
                line.rewind()

    def settle(self) -> None:
        """Write what is pending, so that the engine sees all that has happened in the transaction. Raises
        Unwritable."""
        if self._write():
            self._pending.clear()

    def _write(self) -> bool:
        """What is pending, if anything is; it still stands as pending."""
        # Nothing changes but by the journal; what was undone has left it.
        if (at := len(self._journal)) <= self._settled_at:
            return False
        before, self._settled_at = self._bulk.written, at
        try:
            self._bulk.write(self._pending.changes(self._rows.jobs, self._rows.workers))
        except StoreUnavailable:
            raise
        except Exception as error:
            raise Unwritable from error
        self._settled += self._bulk.written - before
        return True

    def ensure(self) -> None:
        """Write what is pending now, also where the engine would wait with it. Raises Unwritable."""
        self.settle()
        try:
            self._bulk.ensure()
        except (StoreUnavailable, Unwritable):
            raise
        except Exception as error:
            raise Unwritable from error

    def forget(self) -> None:
        """The engine is about to change rows by itself: write what is pending, and believe nothing that was read."""
        self.settle()
        self._bulk.doubt()
        self._rows.forget()

    def known(self, jobs: list[Job]) -> list[Job]:
        """Jobs that the engine has just read, once what was pending is written."""
        for job in jobs:
            self._rows.jobs.setdefault(job.id, job)
        return jobs

    def _reset(self) -> None:
        self._rows.clear()
        self._pending.clear()
        self._journal.clear()
        self._settled = self._settled_at = 0
        self._read_outside = False

    # --- loading

    def _ask(self, needs: Needs, *, pending: bool = False) -> None:
        """Ask for rows that no message has named before. `pending`: what has changed may be a part of the answer."""
        if not self._open:
            self._reset()  # what was read before may have changed
            self._read_outside = True
        elif pending:
            self.settle()
        self._rows.take_in(needs, self._bulk.load(needs))

    # --- jobs

    def job(self, job_id: int) -> Job | None:
        if not self._open or job_id not in self._rows.jobs:
            self._ask(Needs(jobs={job_id}))
        return self._rows.jobs[job_id]

    def same_job(self, source_hash: str, type_: str, options: str | None) -> Job | None:
        """The job of this source and type, with these options."""
        for job in self.jobs_by_hash(source_hash):
            if job.type == type_ and job.options == options:
                return job
        return None

    def jobs_by_hash(self, source_hash: str) -> list[Job]:
        """All jobs of one source, whatever their type."""
        if not self._open or source_hash not in self._rows.by_hash:
            self._ask(Needs(sources={source_hash}), pending=True)
        found = (self._rows.jobs[job_id] for job_id in self._rows.by_hash[source_hash])
        return [job for job in found if job is not None]

    def has_source(self, source_hash: str) -> bool:
        """Whether there is a job of this source."""
        return bool(self.jobs_by_hash(source_hash))

    def jobs_of_worker(self, worker_id: str) -> list[Job]:
        """The jobs that this worker runs now."""
        if not self._open or worker_id not in self._rows.running_of:
            self._ask(Needs(running_of={worker_id}), pending=True)
        found = (self._rows.jobs[job_id] for job_id in sorted(self._rows.running_of[worker_id]))
        return [job for job in found if job is not None]

    def pick_ready(self, lines: tuple[QueueLine, ...], limit: int) -> list[Job]:
        """The next jobs that any worker may have: urgent first, then the oldest, over all `lines` together."""
        if limit == 1 and self._open:
            lines = tuple([line for line in lines if not self._is_empty(line)])
            if not lines:
                return []
            if len(lines) == 1 and (order := self._rows.ready.get(lines[0])) is not None:
                first = order.first()
                if first is not None or order.whole:
                    return [first] if first is not None else []
        wanted = dict.fromkeys(lines)
        if not self._open:
            self._reset()
            self._read_outside = True
        while True:
            missing = {line: self._ahead_of(line, limit) for line in wanted if line not in self._rows.ready}
            if missing:
                self._ask(Needs(ready=missing), pending=True)
            orders = [_to_the_end_of(self._rows.ready[line]) for line in wanted]
            try:
                return list(islice(orders[0] if len(orders) == 1 else heapq.merge(*orders, key=place), limit))
            except _Short:
                # Only now is it known: those that were read are given out. The others are read from the start.
                for line in wanted:
                    del self._rows.ready[line]

    def _is_empty(self, line: QueueLine) -> bool:
        """Whether no job stands in it, as is known."""
        return (order := self._rows.ready.get(line)) is not None and order.whole and not order

    def _ahead_of(self, line: QueueLine, limit: int) -> int:
        return max(limit, min(MOST_AHEAD, self._rows.ahead.get(line, 0)))

    def pick_kept(self, line: QueueLine, limit: int) -> list[Job]:
        """The next jobs of a line that are kept from some workers, in the same order."""
        if not self._open:
            self._reset()
            self._read_outside = True
        while True:
            if (order := self._rows.kept.get(line)) is not None and order.whole and not order:
                return []
            if order is None:
                self._ask(Needs(ready={line: 0}, kept=limit), pending=True)
            try:
                return list(islice(_to_the_end_of(self._rows.kept[line]), limit))
            except _Short:
                del self._rows.kept[line]

    def knows_type(self, type_: str) -> bool:
        """Whether there is a job of this type (or was, until a moment ago)."""
        return type_ in self._bulk.known_types() or type_ in self._rows.new_types

    def count_types(self) -> int:
        return len(self._bulk.known_types() | self._rows.new_types.keys())

    def insert_jobs(self, jobs: list[Job]) -> list[Job]:
        """Store new jobs (their `id` is ignored), and return them with the ids that they got, in their order."""
        return [self._insert(job) for job in jobs]

    def _insert(self, job: Job) -> Job:
        given = self._rows.ids_given.get("", 0)
        if given == len(self._rows.new_ids):
            self._rows.take_in(asked := Needs(new_jobs=1), self._bulk.load(asked))
        stored = replace(job, id=self._rows.new_ids[given])
        journal = self._journal
        journal.put(self._rows.ids_given, "", given + 1)
        journal.put(self._pending.jobs_were, stored.id, None)
        journal.put(self._rows.jobs, stored.id, stored)
        journal.put(self._pending.made, stored.id, stored)
        if not self.knows_type(stored.type):
            journal.put(self._rows.new_types, stored.type, True)
        if (of := self._rows.by_hash.get(stored.source_hash)) is not None:
            journal.put(self._rows.by_hash, stored.source_hash, (*of, stored.id))
        self._line_up(stored)
        return stored

    def save_job(self, before: Job, after: Job) -> None:
        """A transition, guarded by the state that it started from. Raises StaleState, now or when it is written."""
        current = self._unchanged(before)
        journal = self._journal
        if before.id not in self._pending.jobs_were:
            journal.put(self._pending.jobs_were, before.id, current)
        journal.put(self._rows.jobs, before.id, after)
        if self._rows.running_of:
            self._hold(current, after)
        if after.status is JobStatus.PENDING:
            self._line_up(after)

    def delete_job(self, job: Job) -> None:
        """Remove the job with its tags, its results and the records of its attempts. Raises StaleState."""
        current = self._unchanged(job)
        journal = self._journal
        if job.id not in self._pending.jobs_were:
            journal.put(self._pending.jobs_were, job.id, current)
        journal.put(self._rows.jobs, job.id, None)
        if (of := self._rows.by_hash.get(job.source_hash)) is not None:
            journal.put(self._rows.by_hash, job.source_hash, tuple(each for each in of if each != job.id))
        self._hold(current, None)

    def beat_job(self, job: Job, *, progress: str | None, now: int) -> None:
        """Renew the lease of a running attempt and keep its progress, where it sent any. Raises StaleState."""
        current = self._unchanged(job)
        if current.status is not JobStatus.RUNNING:
            raise StaleState(f"job {job.id} was no longer running attempt {job.attempt}")
        if progress is None or progress == current.progress:
            self.save_job(current, replace(current, heartbeat_at=now, updated_at=now))
        else:
            self.save_job(
                current, replace(current, heartbeat_at=now, updated_at=now, progress=progress, progress_at=now)
            )

    def _unchanged(self, job: Job) -> Job:
        """The job as it is now. Raises StaleState when it has moved on from what was read."""
        current = self._rows.jobs.get(job.id)
        if current is None:
            current = self.job(job.id)
        if current is None or current.status is not job.status or current.attempt != job.attempt:
            raise StaleState(f"job {job.id} was no longer {job.status} (attempt {job.attempt})")
        return current

    def _line_up(self, job: Job) -> None:
        lines = self._rows.ready if is_ready(job) else self._rows.kept
        line = lines.get(job.line)
        if line is not None and (lines is self._rows.ready or is_kept(job)):
            line.enter(job)

    def _hold(self, before: Job, after: Job | None) -> None:
        if (
            before.status is JobStatus.RUNNING
            and (held := self._rows.running_of.get(before.worker_id or "")) is not None
        ):
            self._journal.put(self._rows.running_of, before.worker_id, held - {before.id})
        if after is None or after.status is not JobStatus.RUNNING:
            return
        if (held := self._rows.running_of.get(after.worker_id or "")) is not None:
            self._journal.put(self._rows.running_of, after.worker_id, held | {after.id})

    # --- further paths of a source

    def has_path(self, job: Job, path: str) -> bool:
        """Whether this is one of the job's paths."""
        if path == job.source_path or job.more_paths == 0:
            return path == job.source_path
        key = (job.source_hash, path)
        if not self._open or key not in self._rows.paths:
            self._ask(Needs(paths={key}), pending=bool(self._pending.paths_new))
        return job.id in self._rows.paths[key]

    def add_path(self, job: Job, path: str) -> None:
        """A further one, the last that `job.more_paths` counts."""
        key = (job.source_hash, path)
        if key in self._rows.paths:
            self._journal.put(self._rows.paths, key, self._rows.paths[key] | {job.id})
        self._journal.add(self._pending.paths_new, (job.id, job.more_paths, path))

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
    ) -> None:
        """Write how the job's latest attempt ended; a late completion writes over `lost`. `before` is the job as it
        was until now."""
        worker_id, started_at = before.worker_id, before.started_at
        if before.status is not JobStatus.RUNNING:  # it was lost before, or is revoked: only its own record knows
            ended = self.attempt(after.id, after.attempt)
            if ended is None:
                return
            worker_id, started_at = ended.worker_id, ended.started_at
        assert worker_id is not None
        assert started_at is not None
        journal, key = self._journal, (after.id, after.attempt)
        end = AttemptEnd(after.id, after.attempt, now, outcome, kind, error, traceback, log_tail, after.converter)
        journal.put(self._pending.endings, key, end)
        if self._rows.attempts:
            journal.drop(self._rows.attempts, key)
        if self._rows.failed:
            journal.drop(self._rows.failed, after.id)
        journal.add(self._pending.ended, Ended(after.type, worker_id, outcome, max(0, now - started_at), now))

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

    # --- workers

    def worker(self, worker_id: str) -> Worker | None:
        if not self._open or worker_id not in self._rows.workers:
            self._ask(Needs(workers={worker_id}))
        return self._rows.workers[worker_id]

    def save_worker(self, before: Worker | None, after: Worker) -> None:
        """Insert or change a worker; `before` is what was read, None for a new one."""
        current = self.worker(after.id)
        if current is None or _stands_otherwise(current, after):
            self._another_may_be_there()
        self._change_worker(after.id, current, after)

    def beat_worker(self, worker: Worker, *, now: int) -> None:
        """Write a sign of life that changes nothing else."""
        current = self.worker(worker.id)
        if current is not None:
            self._change_worker(worker.id, current, replace(current, last_heartbeat=now, updated_at=now))

    def delete_worker(self, worker: Worker) -> None:
        self._change_worker(worker.id, self.worker(worker.id), None)
        self.forget_types(worker.id)

    def _change_worker(self, worker_id: str, current: Worker | None, after: Worker | None) -> None:
        if worker_id not in self._pending.workers_were:
            self._journal.put(self._pending.workers_were, worker_id, current)
        self._journal.put(self._rows.workers, worker_id, after)

    def note_types(self, worker: Worker, types: tuple[str, ...]) -> None:
        """The worker asks for jobs of these types."""
        if types == (worker.type,):
            return
        anew = worker.id in self._pending.types_forgotten
        known = self._bulk.asked_types(worker.id) if not anew else frozenset[str]()
        for type_ in types:
            asked = (worker.id, type_)
            if type_ != worker.type and type_ not in known and asked not in self._pending.types_asked:
                self._journal.put(self._pending.types_asked, asked, True)
                self._another_may_be_there()

    def forget_types(self, worker_id: str) -> None:
        """It starts anew, or is no more."""
        for asked in [asked for asked in self._pending.types_asked if asked[0] == worker_id]:
            self._journal.drop(self._pending.types_asked, asked)
        self._journal.put(self._pending.types_forgotten, worker_id, True)
        self._another_may_be_there()

    def another_worker(self, type_: str, but: tuple[str, ...]) -> bool:
        """Whether a worker that is online takes jobs of this type, and is none of those."""
        most, online = self._rows.online.get(type_, (0, frozenset[str]())) if self._open else (0, frozenset[str]())
        if most <= len(but):
            if (
                self._pending.types_asked
                or self._pending.types_forgotten
                or any(map(self._stands_otherwise_now, self._pending.workers_were))
            ):
                self.settle()
            most = max(ONLINE_LOOKED_AT, len(but) + 1)
            online = self._bulk.online_workers(type_, most)
            self._rows.online[type_] = (most, online)
        return not online.issubset(but)

    def _stands_otherwise_now(self, worker_id: str) -> bool:
        before, after = self._pending.workers_were[worker_id], self._rows.workers[worker_id]
        return before is None or after is None or _stands_otherwise(before, after)

    def _another_may_be_there(self) -> None:
        for type_ in list(self._rows.online):
            self._journal.drop(self._rows.online, type_)

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

    def arrived(self, job: Job) -> None:
        """A job was stored as it is, by the engine: it counts."""
        self._journal.add(self._pending.arrived, job)

    # --- writing


class _Short(Exception):
    """The line is longer than what was read of it."""


def _to_the_end_of(line: ClaimOrder) -> Iterator[Job]:
    yield from line
    if not line.whole:
        raise _Short


def _stands_otherwise(before: Worker, after: Worker) -> bool:
    """Whether the change is one of what the worker may be given."""
    return (before.status, before.enabled, before.type) != (after.status, after.enabled, after.type)
