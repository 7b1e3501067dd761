"""The original's database is taken over: jobs in batches, each one transaction with a look at the store before it.

State owned here: the account of one run. A run that is broken off, by a store that does not answer for one, leaves
whole batches, and the next goes on behind them: what is known already is not looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import trio
from msgspec.structs import replace

from blobforge.access import Token
from blobforge.job import JobStatus
from blobforge.moving import mapping
from blobforge.moving.account import Account, Count
from blobforge.moving.mapping import NotTaken, TakenJob
from blobforge.objects import ObjectInfo, ObjectStore, ObjectStoreError
from blobforge.objects.keys import source_key
from blobforge.people import AuditEntry, User
from blobforge.store.files import DELETING, FileRecord
from blobforge.store.whole import DatabaseExport, Kept, Original, Whole
from blobforge.store.writing import Store
from blobforge.worker import Worker

BATCH = 200  # jobs in one transaction
AT_ONCE = 8  # looks at the store, side by side
ACTOR = "command line"
GOING = NotTaken("their source or result is just being deleted: start the server once, then import again")

OnDone = Callable[[int], None]  # so many more jobs are done
SeenObjects = dict[str, ObjectInfo]


class _Survey:
    """A look at what is here already, for a run that changes nothing. `known` is the database; None: there is
    none."""

    def __init__(self, known: DatabaseExport | None) -> None:
        self._hashes = {token.hash for token in known.tokens()} if known is not None else set()
        self._workers = {worker.id for worker in known.workers()} if known is not None else set()
        self._users = {(user.issuer, user.subject) for user in known.users()} if known is not None else set()

    def add(self, thing: Token | Worker | User) -> bool:
        """Whether it would be new."""
        match thing:
            case Token():
                return thing.hash not in self._hashes
            case Worker():
                return thing.id not in self._workers
            case User():
                return (thing.issuer, thing.subject) not in self._users


class _Writing:
    """The database as it is written to, inside a transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, thing: Token | Worker | User) -> bool:
        """Whether it was new, and is stored."""
        match thing:
            case Token():
                new = self._store.token_by_hash(thing.hash) is None
                if new:
                    number = self._store.insert_token(thing)
                    if thing.last_used_at is not None:
                        self._store.touch_token(number, now=thing.last_used_at)
            case Worker():
                new = self._store.worker(thing.id) is None
                if new:
                    self._store.save_worker(None, thing)
            case User():
                new = self._store.user_of(thing.issuer, thing.subject) is None
                if new:
                    self._store.save_user(thing)
        return new


def survey(original: Original, known: DatabaseExport | None, *, issuer: str, now: int) -> Account:
    """What a run would do, without a look at the store, or a change to anything. `known` is the database here."""
    account = Account()
    _take_people(original, _Survey(known), account, issuer, now)
    for rows in original.rows("jobs", at_once=BATCH):
        for row in rows:
            match mapping.job(row, now=now):
                case NotTaken() as why:
                    account.jobs.refuse(why)
                case TakenJob(job=job) if known is not None and known.has_job(job.source_hash, job.type, job.options):
                    account.jobs.known += 1
                case TakenJob(job=job):
                    account.took_job(job.status)
    return account


async def take_over(
    original: Original, store: Store, objects: ObjectStore, *, issuer: str, now: int, on_done: OnDone
) -> Account:
    """Take over all that is not here yet. Raises ObjectStoreError, StoreUnavailable."""
    account = Account()
    with store.transaction():
        _take_people(original, _Writing(store), account, issuer, now)
    for rows in original.rows("jobs", at_once=BATCH):
        mapped = [mapping.job(row, now=now) for row in rows]
        new = [each for each in mapped if isinstance(each, TakenJob) and not _is_known(store, each)]
        seen = await _look(objects, new)
        with store.transaction():
            numbers = []
            for each in mapped:
                if isinstance(each, NotTaken):
                    account.jobs.refuse(each)
                elif (number := _take_job(store, each, seen, account, now)) is not None:
                    numbers.append(number)
            if numbers:
                store.arrivals.to_backfill(min(numbers), max(numbers))
        on_done(len(rows))
    if account.taken:
        taken = ", ".join(f"{count.taken} {kind}" for kind, count in account.kinds())
        with store.transaction():
            store.insert_audit(
                AuditEntry(0, now, ACTOR, ACTOR, "", "database.imported", "the original BlobForge", taken)
            )
    return account


def _take_people(original: Original, to: _Survey | _Writing, account: Account, issuer: str, now: int) -> None:
    """Tokens, workers and users: few, and in one transaction."""
    kinds: tuple[tuple[str, Count, Callable[[mapping.Fields], Token | Worker | User | NotTaken]], ...] = (
        ("api_tokens", account.tokens, partial(mapping.token, now=now)),
        ("workers", account.workers, partial(mapping.worker, now=now)),
        ("users", account.users, partial(mapping.user, issuer=issuer, now=now)),
    )
    for table, count, mapped in kinds:
        for rows in original.rows(table, at_once=BATCH):
            for thing in map(mapped, rows):
                if isinstance(thing, NotTaken):
                    count.refuse(thing)
                elif not to.add(thing):
                    count.known += 1
                else:
                    count.taken += 1
                    if isinstance(thing, Token):
                        account.review.append((thing.name, " ".join(sorted(thing.scopes))))


def _take_job(store: Store, taken: TakenJob, seen: SeenObjects, account: Account, now: int) -> int | None:
    """Store a job with what was seen of its objects; its number, or None when it is here already."""
    job, files = taken.job, []
    if not _is_known(store, taken) and any(_going(store, key) for key in (source_key(job.source_hash), taken.output)):
        account.jobs.refuse(GOING)
        return None
    result = seen.get(taken.output or "")
    if result is not None:
        files.append(Kept(result.key, None, _record(result, now)))
        job = replace(job, output_key=result.key, output_bytes=result.size)
    source = seen.get(source_key(job.source_hash)) if taken.waits else None
    if source is not None and _is_source(source, job.source_hash, job.source_size):
        files.append(Kept(source.key, None, _record(source, now)))
        job = replace(job, source_size=source.size)
    elif taken.waits:
        job = replace(job, status=JobStatus.UPLOADING, not_before=job.start, updated_at=now)
    stored = store.arrivals.add(Whole(job, taken.attempts, tuple(files), taken.results), now=now)
    if stored is None:
        account.jobs.known += 1
        return None
    account.took_job(stored.status)
    account.results += stored.output_key is not None
    account.without_result += stored.status is JobStatus.COMPLETED and stored.output_key is None
    account.without_source += stored.status is JobStatus.UPLOADING
    return stored.id


def _going(store: Store, key: str | None) -> bool:
    """Whether the store has been told to delete the object, and has not answered."""
    doom = store.doomed.get(key) if key is not None else None
    return doom is not None and doom.state == DELETING


def _is_source(info: ObjectInfo, source_hash: str, announced: int | None) -> bool:
    """Whether it may be handed out as that source: no bytes are read, the worker that fetches it hashes them."""
    return info.sha256 in (None, source_hash) and announced in (None, info.size)


def _record(info: ObjectInfo, now: int) -> FileRecord:
    return FileRecord(info.size, info.sha256, now, etag=info.etag, version=info.version)


async def _look(objects: ObjectStore, jobs: Iterable[TakenJob]) -> SeenObjects:
    """Which of the objects that these jobs need are there. Raises ObjectStoreError."""
    asked = {each.output for each in jobs if each.output is not None}
    asked |= {source_key(each.job.source_hash) for each in jobs if each.waits}
    seen: SeenObjects = {}
    failed: list[ObjectStoreError] = []
    room = trio.CapacityLimiter(AT_ONCE)

    async def look(key: str) -> None:
        async with room:
            if failed:
                return
            try:
                info = await objects.head(key)
            except ObjectStoreError as error:
                failed.append(error)
            else:
                if info is not None:
                    seen[key] = info

    async with trio.open_nursery() as nursery:
        for key in asked:
            nursery.start_soon(look, key)
    if failed:
        raise failed[0]
    return seen


def _is_known(store: Store, taken: TakenJob) -> bool:
    return store.same_job(taken.job.source_hash, taken.job.type, taken.job.options) is not None
