"""An export of ours is read into a database that never had a job, which then goes on as that installation: the same
numbers of jobs, the same keys of objects, in the same store.

State owned here: the account of one run, and which number each token and user has got. A run that is broken off
leaves whole batches; the next goes on behind them, for the database is that installation already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from blobforge import life
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.moving import lines
from blobforge.moving.account import Account, Count
from blobforge.moving.lines import Line
from blobforge.moving.mapping import WENT_BACK
from blobforge.moving.takeover import ACTOR, BATCH, OnDone
from blobforge.objects.keys import output_of
from blobforge.people import AuditEntry
from blobforge.store.errors import DatabaseError
from blobforge.store.whole import DatabaseExport, Whole
from blobforge.store.writing import Store
from blobforge.worker import WorkerStatus

MOST_RESULTS = 16 << 20  # characters of results that are kept aside, in one transaction


def survey(path: Path, known: DatabaseExport | None, *, newest: int) -> Account:
    """What a run would do. Reads the whole file: what is not whole is told before anything is done. `newest` is the
    schema that this release knows. Raises DatabaseError."""
    header, account = lines.header(path, newest=newest), Account()
    tokens: set[str] = set()
    users: set[tuple[str, str]] = set()
    workers: set[str] = set()
    if known is not None:
        refuse_another(path, header.installation, known.installation, fresh=not known.had_jobs)
        tokens = {token.hash for token in known.tokens()}
        users = {(user.issuer, user.subject) for user in known.users()}
        workers = {worker.id for worker in known.workers()}
    for line in lines.read(path):
        if (whole := line.job) is not None:
            if known is not None and known.has_job(whole.job.source_hash, whole.job.type, whole.job.options):
                account.jobs.known += 1
            else:
                account.took_job(_back(whole, now=header.exported_at).job.status)
        if line.token is not None:
            _count(account.tokens, known=line.token.hash in tokens)
        if line.user is not None:
            _count(account.users, known=(line.user.issuer, line.user.subject) in users)
        if line.worker is not None:
            _count(account.workers, known=line.worker.id in workers)
    return account


def refuse_another(path: Path, theirs: str, ours: str, *, fresh: bool) -> None:
    """Raises DatabaseError when this database has jobs of its own: keys of objects hold the installation and the
    number of the job, and two databases have given the same numbers."""
    if theirs != ours and not fresh:
        raise DatabaseError(
            f"{path} is of another installation ({theirs}), and this database ({ours}) has had jobs of its own. "
            "Import it into a new one: set BLOBFORGE_DATA_DIR or BLOBFORGE_DB_PATH"
        )


class Import:
    """One run. `newest` is the schema that this release knows; `now` is in ms since the epoch."""

    def __init__(self, store: Store, *, newest: int, now: int, on_done: OnDone) -> None:
        self.account = Account()
        self._store = store
        self._newest = newest
        self._now = now
        self._on_done = on_done
        self._subjects: dict[str, str] = {}  # submitters: as they were called there, and here

    def run(self, path: Path) -> Account:
        """Take in all that is not here yet. Raises DatabaseError, StoreUnavailable."""
        header = lines.header(path, newest=self._newest)
        refuse_another(path, header.installation, self._store.installation, fresh=self._store.is_fresh())
        for batch in _batches(lines.read(path)):
            with self._store.transaction():
                if header.installation != self._store.installation:
                    self._store.become(header.installation)
                numbers = [number for line in batch if (number := self._take(line)) is not None]
                if numbers:
                    self._store.arrivals.to_backfill(min(numbers), max(numbers))
            self._on_done(sum(line.job is not None for line in batch))
        with self._store.transaction():  # at the end: a job's own number is kept only above all that were given
            self._store.arrivals.go_on_above(header.highest_job, header.attempt_floor)
        if self.account.taken:
            taken = ", ".join(f"{count.taken} {kind}" for kind, count in self.account.kinds())
            with self._store.transaction():
                entry = AuditEntry(0, self._now, ACTOR, ACTOR, "", "database.imported", header.installation, taken)
                self._store.insert_audit(entry)
        return self.account

    def _take(self, line: Line) -> int | None:
        """The number of the job that was stored, if one was."""
        if line.job is not None:
            return self._take_job(line.job)
        if (token := line.token) is not None:
            found = self._store.token_by_hash(token.hash)
            number = found.id if found is not None else self._store.insert_token(token)
            if found is None and token.last_used_at is not None:
                self._store.touch_token(number, now=token.last_used_at)
            self._subjects[f"token:{token.id}"] = f"token:{number}"
            _count(self.account.tokens, known=found is not None)
        if (user := line.user) is not None:
            known_user = self._store.user_of(user.issuer, user.subject)
            number = known_user.id if known_user is not None else self._store.save_user(user)
            self._subjects[f"user:{user.id}"] = f"user:{number}"
            _count(self.account.users, known=known_user is not None)
        if (worker := line.worker) is not None:
            known = self._store.worker(worker.id) is not None
            if not known:
                owner = self._subjects.get(f"token:{worker.token_id}")
                token_id = int(owner.removeprefix("token:")) if owner is not None else None
                away = replace(worker, status=WorkerStatus.OFFLINE, token_id=token_id, instance=None)
                self._store.save_worker(None, away)
            _count(self.account.workers, known=known)
        return None

    def _take_job(self, whole: Whole) -> int | None:
        whole = _back(whole, now=self._now)
        job = replace(whole.job, submitter=self._subjects.get(whole.job.submitter or "", whole.job.submitter))
        stored = self._store.arrivals.add(replace(whole, job=job), now=self._now)
        if stored is None:
            self.account.jobs.known += 1
            return None
        if stored.id != job.id:  # its attempts' keys hold its number
            raise DatabaseError(f"job {job.id} cannot have its number here; import into a new database")
        if job.chain is not None and job.chain.source is not None:
            whose = output_of(job.chain.source)
            self._store.kin.lend(whose.job_id, whose.attempt, job.id)
        self.account.took_job(stored.status)
        return stored.id


def _batches(read: Iterable[Line]) -> Iterator[list[Line]]:
    """The lines in batches for one transaction each, which are smaller where results are large."""
    batch: list[Line] = []
    size = 0
    for line in read:
        batch.append(line)
        size += sum(len(result) for _, result in line.job.results) if line.job is not None else 0
        if len(batch) >= BATCH or size >= MOST_RESULTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _back(whole: Whole, *, now: int) -> Whole:
    """A job that ran goes back to the queue, at no cost: no worker holds it here."""
    if whole.job.status is not JobStatus.RUNNING:
        return whole
    job = life.take_back(whole.job, now=now)
    assert isinstance(job, Job)
    return replace(whole, job=job, attempts=tuple(_ended(attempt, now) for attempt in whole.attempts))


def _ended(attempt: Attempt, now: int) -> Attempt:
    if attempt.outcome is not None:
        return attempt
    return replace(attempt, outcome=Outcome.RELEASED, ended_at=max(now, attempt.started_at), error=WENT_BACK)


def _count(count: Count, *, known: bool) -> None:
    if known:
        count.known += 1
    else:
        count.taken += 1
