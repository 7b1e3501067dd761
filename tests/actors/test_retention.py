"""Pruning, deleting, and what becomes of objects: without ever taking one away from whoever needs it."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.janitor import (
    DELETIONS_AT_ONCE,
    GIVE_UP_AFTER,
    JOBS_AT_ONCE,
    PAGES_AT_ONCE,
    SIDE_BY_SIDE,
    Janitor,
    Retention,
)
from actors.mailbox import ask
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    DeleteJob,
    DeletionsTried,
    FindOrphans,
    Heartbeat,
    JobBeat,
    JobDeleted,
    ObjectSeen,
    OrphanSearch,
    OutputChecked,
    Prune,
    Register,
    Release,
    Seen,
    SourceArrived,
    Submit,
    Submitted,
    TakeDoomed,
)
from blobforge.events import JobsPruned
from blobforge.job import JobStatus
from blobforge.objects import Listed, ObjectStoreError
from blobforge.objects.guard import NotAnsweringError
from blobforge.objects.keys import output_key, source_key
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store import sql
from blobforge.store.check import check
from tests.actors.alone import Alone, writer_alone
from tests.fixtures.house import EPOCH_MS, House, open_house, virtual_now
from tests.store.making import ADMIN, Book, hash_of, submission
from tests.web.calls import finish

DAY = 86_400.0


class Shelf:
    """What the janitor asks of an object store, as a test would have it answer. A deletion takes `slow` seconds, the
    second half of them after it has happened."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, float]] = {}  # key -> (size, modified)
        self.error: ObjectStoreError | None = None
        self.slow = 0.0
        self.deleted: list[str] = []
        self.unfinished = 0

    def put(self, key: str, *, size: int = 1, age: float = 2 * DAY) -> str:
        self.objects[key] = (size, virtual_now() / 1000 - age)
        return key

    async def delete(self, key: str) -> None:
        await trio.sleep(self.slow / 2)
        if self.error is not None:
            raise self.error
        self.deleted.append(key)
        self.objects.pop(key, None)
        await trio.sleep(self.slow / 2)

    async def list_page(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Listed]:
        if self.error is not None:
            raise self.error
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        return [Listed(key, *self.objects[key]) for key in keys[: min(limit, 3)]]

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        return self.unfinished


class Keeping:
    """A writer and a janitor by themselves."""

    def __init__(self, alone: Alone, shelf: Shelf, retention: Retention, now: Callable[[], int]) -> None:
        self.alone, self.shelf = alone, shelf
        store: Any = shelf
        self.janitor = Janitor(alone.writer.mailbox, store, retention=retention, now=now)
        alone.writer.listeners.append(self.janitor.board)

    async def done(self, name: str, *, end: str = "complete") -> int:
        """A job that has ended, its source and its output in the store."""
        submitted = await self.alone.ask(submission(name))
        job_id = submitted.job_id
        self.shelf.put(source_key(hash_of(name)))
        if end == "cancel":
            await self.alone.ask(Cancel(job_id))
            return int(job_id)
        (job,) = (await self.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
        key = self.shelf.put(output_key(job.id, job.attempt))
        seen = ObjectSeen(Seen.PRESENT, 1)
        await self.alone.ask(Complete(ADMIN, "w1", job.id, output_key=key, output=seen))
        return int(job.id)

    def jobs(self) -> list[int]:
        return [row[0] for row in self.alone.book.rows("SELECT id FROM jobs ORDER BY id")]

    def listed(self) -> dict[str, str]:
        return dict(self.alone.book.rows("SELECT key, state FROM doomed_objects"))  # type: ignore[arg-type]


@asynccontextmanager
async def keeping(
    folder: Path, *, now: Callable[[], int] = virtual_now, run: bool = True, **retention: Any
) -> AsyncIterator[Keeping]:
    async with writer_alone(folder, now=now) as alone:
        await alone.ask(Register(ADMIN, "w1", "pdf"))
        kept = Keeping(alone, Shelf(), Retention(**retention), now)
        async with trio.open_nursery() as nursery:
            if run:
                nursery.start_soon(kept.janitor.run)
            yield kept
            nursery.cancel_scope.cancel()
        assert check(alone.book.path) == []


# ------------------------------------------------------------------ retention


async def test_each_status_has_its_own_time(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, completed=2 * DAY, cancelled=DAY) as kept:
        completed, cancelled = await kept.done("a"), await kept.done("b", end="cancel")
        waiting = (await kept.alone.ask(submission("c"))).job_id
        await trio.sleep(DAY - 10)
        assert kept.jobs() == [completed, cancelled, waiting]
        await trio.sleep(100)
        assert kept.jobs() == [completed, waiting]
        await trio.sleep(DAY)
        assert kept.jobs() == [waiting], "what has not ended is kept for ever"
        assert [event.count for event in kept.alone.events if isinstance(event, JobsPruned)] == [1, 1]
        assert kept.shelf.deleted == [], "objects stay unless told otherwise"


async def test_nothing_is_pruned_by_default(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        job = await kept.done("a")
        await trio.sleep(20 * DAY)
        assert kept.jobs() == [job]


async def test_everything_of_a_pruned_job_goes(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, completed=DAY, objects=True) as kept:
        book = kept.alone.book
        await kept.alone.ask(submission("a", tags=("x", "y")))
        (first,) = (await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
        await kept.alone.ask(Cancel(first.id))
        await kept.alone.ask(DeleteJob(first.id))
        await kept.done("a")
        await trio.sleep(DAY + 100)
        for table in ("jobs", "job_tags", "attempts", "files"):
            assert book.rows(f"SELECT * FROM {table}") == [], table
        book.counts_are_right()
        assert kept.shelf.objects == {}
        assert set(kept.listed().values()) <= {"gone"}
        await trio.sleep(3600)
        assert kept.listed() == {}, "and what was gone is forgotten"


async def test_a_source_stays_while_another_job_has_it(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, completed=DAY, objects=True) as kept:
        await kept.done("a")
        await kept.alone.ask(submission("a", type_="png"))
        await trio.sleep(2 * DAY)
        source = source_key(hash_of("a"))
        assert kept.jobs() == [2]
        assert list(kept.shelf.objects) == [source]
        assert kept.alone.book.rows("SELECT key FROM files") == [(source,)]


async def test_the_audit_log_is_pruned_by_age(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, audit=DAY) as kept:
        insert = "INSERT INTO audit (at, actor, name, address, action, subject) VALUES (?, 'a', 'a', 'a', ?, '')"
        for number in range(3 * JOBS_AT_ONCE):
            kept.alone.book.rows(insert, (EPOCH_MS, str(number)))
        kept.alone.book.rows(insert, (EPOCH_MS + 5_000_000_000, "young"))
        await trio.sleep(DAY + 100)
        assert kept.alone.book.rows("SELECT action FROM audit") == [("young",)]


async def test_a_wall_clock_set_forward_costs_no_results(tmp_path: Path, autojump_clock: Any) -> None:
    ahead = 0

    def now() -> int:
        return virtual_now() + ahead

    async with keeping(tmp_path, now=now, completed=5 * DAY) as kept:
        job = await kept.done("a")
        ahead = round(365 * DAY * 1000)
        await trio.sleep(DAY)
        assert kept.jobs() == [job]
        await trio.sleep(5 * DAY)
        assert kept.jobs() == []


def fill(book: Book, jobs: int) -> None:
    """So many completed jobs, each with an attempt, and the counters that belong to them."""
    book.db.execute("BEGIN")
    book.db.execute(
        """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
           INSERT INTO jobs (type, status, priority, source_hash, created_at, updated_at, max_attempts, attempts,
                             attempt, worker_id, lease, started_at, completed_at)
           SELECT 'pdf', 'completed', 3, printf('%064x', i), ?2, ?2, 3, 1, 1, 'w1', 'l' || i, ?2, ?2 + i FROM n""",
        (jobs, EPOCH_MS - 10 * round(DAY * 1000)),
    )
    book.db.execute(
        """INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ended_at, outcome)
           SELECT id, 1, worker_id, lease, started_at, completed_at, 'completed' FROM jobs"""
    )
    book.db.execute(
        "INSERT INTO job_counts SELECT status, type, priority, count(*) FROM jobs GROUP BY status, type, priority"
    )
    book.db.execute("COMMIT")


async def test_pruning_a_hundred_thousand_jobs_lets_everybody_else_through(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Between two requests of a worker at most one small batch is pruned, however much there is to prune."""
    async with keeping(tmp_path, run=False, completed=DAY) as kept:
        book = kept.alone.book
        fill(book, 100_000)
        left: list[int] = []

        def count() -> int:
            return int(book.rows("SELECT n FROM job_counts WHERE status = 'completed'")[0][0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.janitor.run)
            for number in range(60):
                await kept.alone.ask(submission(number))
                (job,) = (await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
                await kept.alone.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
                await kept.alone.ask(Complete(ADMIN, "w1", job.id, job.lease))
                left.append(count() - number - 1)
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        steps = [before - after for before, after in pairwise(left)]
        assert max(steps) <= JOBS_AT_ONCE
        assert sum(steps) >= 20 * JOBS_AT_ONCE, "and it does get on"


def test_what_is_to_be_pruned_is_found_by_an_index(tmp_path: Path) -> None:
    book = Book(tmp_path / "x.db")
    fill(book, 1000)
    plans = [
        (sql.ENDED_BEFORE, ("completed", EPOCH_MS, 10), "jobs_ended"),
        (sql.DUE_DOOMS, ("waiting", EPOCH_MS, 10), "doomed_objects_due"),
        (sql.NEXT_DOOM, ("waiting",), "doomed_objects_due"),
        (sql.HAS_SOURCE, (hash_of(1),), "jobs_by_source"),
    ]
    for statement, values, index in plans:
        ((*_, plan),) = book.rows(f"EXPLAIN QUERY PLAN {statement}", values)
        assert plan.startswith("SEARCH"), (statement, plan)
        assert index in plan
    assert book.store.ended_before(JobStatus.COMPLETED, EPOCH_MS, limit=3)[0].id == 1, "the oldest first"
    book.close()


async def test_one_broken_job_does_not_keep_the_others(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, run=False) as kept:
        for name in "abc":
            await kept.done(name)
        kept.alone.book.rows(
            "CREATE TRIGGER no BEFORE DELETE ON jobs WHEN old.id = 1 BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        later = EPOCH_MS + 1000
        pruned = await kept.alone.ask(Prune(((JobStatus.COMPLETED, later),), limit=3))
        assert (pruned.jobs, pruned.more, kept.jobs()) == (2, True, [1])
        pruned = await kept.alone.ask(Prune(((JobStatus.COMPLETED, later),), limit=3))
        assert (pruned.jobs, pruned.more) == (0, False), "and it does not go round in circles"


# ------------------------------------------------------------------ deleting by hand


async def test_a_running_job_is_not_deleted(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        await kept.alone.ask(submission("a"))
        await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))
        refused = await kept.alone.ask(DeleteJob(1))
        assert isinstance(refused, Refusal)
        assert refused.code is RefusalCode.JOB_RUNNING
        await kept.alone.ask(Cancel(1))
        assert await kept.alone.ask(DeleteJob(1)) == JobDeleted(1)
        late = await kept.alone.ask(Complete(ADMIN, "w1", 1))
        assert late.code is RefusalCode.NO_SUCH_JOB
        seen = await kept.alone.ask(Heartbeat(ADMIN, "w1", (JobBeat(1),)))
        assert seen.abandon == (1,)
        again = (await kept.alone.ask(submission("a"))).job_id
        assert again == 2, "its number is never given again"


async def test_an_unchecked_output_that_is_found_after_its_job_went_leaves_no_record(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with keeping(tmp_path, run=False) as kept:
        job = await kept.done("a")
        await kept.alone.ask(DeleteJob(job))
        await kept.alone.ask(OutputChecked(job, 1, output_key(job, 1), ObjectSeen(Seen.PRESENT, 1)))
        assert kept.alone.book.rows("SELECT * FROM files") == []


# ------------------------------------------------------------------ objects that come into use again


@pytest.mark.parametrize("seen", list(Seen))
async def test_submitted_again_before_its_turn(tmp_path: Path, autojump_clock: Any, seen: Seen) -> None:
    async with keeping(tmp_path) as kept:
        kept.shelf.error = ObjectStoreError("not now")
        job = await kept.done("a")
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(1)
        kept.shelf.error = None
        source = source_key(hash_of("a"))
        assert kept.listed() == {source: "waiting", output_key(job, 1): "waiting"}
        answer = await kept.alone.ask(Submit(submission("a").job, ObjectSeen(seen, 1)))
        assert isinstance(answer, Submitted)
        await trio.sleep(DAY)
        assert kept.shelf.deleted == [output_key(job, 1)]


async def test_submitted_again_while_it_is_deleted(tmp_path: Path, autojump_clock: Any) -> None:
    """Whatever was seen: nobody is told that his source is there while it is on its way out."""
    async with keeping(tmp_path) as kept:
        job = await kept.done("a")
        kept.shelf.slow = 4.0
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(1)
        before = kept.janitor.deletions
        message = Submit(submission("a").job, ObjectSeen(Seen.VERIFIED, 1, epoch=before))
        for _ in range(2):  # before it has happened, and when it has, and nobody knows yet
            refused = await kept.alone.ask(message)
            assert isinstance(refused, Refusal)
            assert (refused.code, refused.retry_after) == (RefusalCode.BEING_REMOVED, 2)
            arrived = await kept.alone.ask(SourceArrived(hash_of("a"), 1, verified=True, epoch=before))
            assert arrived.code is RefusalCode.BEING_REMOVED
            await trio.sleep(2)
        await trio.sleep(1)
        # It was seen before it went: that is not believed any more, and the client is asked to send it.
        answer = await kept.alone.ask(message)
        assert (answer.status, answer.upload) == (JobStatus.UPLOADING, True)
        arrived = await kept.alone.ask(SourceArrived(hash_of("a"), 1, verified=True, epoch=before))
        assert arrived.code is RefusalCode.BEING_REMOVED
        # What is seen from now on is.
        arrived = await kept.alone.ask(SourceArrived(hash_of("a"), 1, verified=True, epoch=kept.janitor.deletions))
        assert arrived.jobs == 1
        await trio.sleep(DAY)
        assert kept.shelf.deleted.count(source_key(hash_of("a"))) == 1


async def test_a_job_that_comes_between_the_list_and_the_deletion(tmp_path: Path, autojump_clock: Any) -> None:
    """The list is older than the job, by whatever way that has come about: whoever begins to delete looks again."""
    async with keeping(tmp_path, run=False) as kept:
        await kept.alone.ask(submission("a"))
        source = source_key(hash_of("a"))
        with kept.alone.book.store.transaction():
            kept.alone.book.store.doomed.add(source, now=virtual_now())
        assert (await kept.alone.ask(TakeDoomed(10))).keys == ()
        assert kept.listed() == {}


async def test_random_interleavings_never_lose_a_source(tmp_path: Path, autojump_clock: Any) -> None:
    """People submit, upload and delete the same few sources, at random moments of slow deletions and slow looks. A
    job that may be claimed has its source in the store, at every moment."""
    async with keeping(tmp_path) as kept:
        dice = random.Random(4)
        kept.shelf.slow = 0.3
        met: set[str] = set()

        def there(name: int) -> bool:
            return source_key(hash_of(name)) in kept.shelf.objects

        async def person() -> None:
            for _ in range(60):
                name = dice.randrange(4)
                epoch = kept.janitor.deletions
                seen = ObjectSeen(Seen.VERIFIED if there(name) else Seen.ABSENT, 1, epoch=epoch)
                await trio.sleep(dice.random() * 0.5)  # between the look and its commit
                match await kept.alone.ask(Submit(submission(name).job, seen)):
                    case Submitted(upload=True):
                        kept.shelf.put(source_key(hash_of(name)))
                        epoch, found = kept.janitor.deletions, there(name)
                        await trio.sleep(dice.random() * 0.3)
                        if found:
                            await kept.alone.ask(SourceArrived(hash_of(name), 1, verified=True, epoch=epoch))
                        met.add("upload")
                    case Submitted(existing=True):
                        met.add("existing")
                    case Submitted():
                        met.add("there")
                    case Refusal(code=code):
                        met.add(code)
                await trio.sleep(dice.random() * 0.3)

        async def remover() -> None:
            for _ in range(400):
                jobs = kept.jobs()
                if jobs:
                    await kept.alone.ask(DeleteJob(dice.choice(jobs)))
                await trio.sleep(dice.random() * 0.1)

        async def watcher() -> None:
            while True:
                for (digest,) in kept.alone.book.rows("SELECT source_hash FROM jobs WHERE status = 'pending'"):
                    assert source_key(digest) in kept.shelf.objects, "a job may be claimed, and its source is gone"
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher)
            async with trio.open_nursery() as people:
                for _ in range(6):
                    people.start_soon(person)
                people.start_soon(remover)
            nursery.cancel_scope.cancel()
        assert met == {"upload", "existing", "there", RefusalCode.BEING_REMOVED}, "the plan went everywhere"


# ------------------------------------------------------------------ a store that does not do as it is told


@pytest.mark.parametrize(
    ("error", "state"),
    [(ObjectStoreError("403"), "waiting"), (NotAnsweringError("no answer"), "deleting")],
    ids=["refuses", "hangs"],
)
async def test_a_store_that_fails_only_delays_it(
    tmp_path: Path, autojump_clock: Any, error: ObjectStoreError, state: str
) -> None:
    async with keeping(tmp_path) as kept:
        kept.shelf.error = error
        for number in range(DELETIONS_AT_ONCE):
            await kept.alone.ask(DeleteJob(await kept.done(str(number))))
        for _ in range(100):
            await trio.sleep(60)
            states = list(kept.listed().values())
            assert len(states) == 2 * DELETIONS_AT_ONCE
            # Few are begun while it fails: whoever submits one of the others anew is not refused.
            assert states.count("deleting") == (SIDE_BY_SIDE if state == "deleting" else 0)
        kept.shelf.error = None
        await trio.sleep(900)
        assert kept.shelf.objects == {}
        if state == "waiting":
            assert len(kept.shelf.deleted) == len(set(kept.shelf.deleted))


async def test_a_store_that_may_not_delete_blocks_no_submission(tmp_path: Path, autojump_clock: Any) -> None:
    """A key pair without the right to delete: its refusals are certain, and sources stay usable."""
    async with keeping(tmp_path) as kept:
        kept.shelf.error = ObjectStoreError("403")
        await kept.alone.ask(DeleteJob(await kept.done("a")))
        await trio.sleep(DAY)
        answer = await kept.alone.ask(submission("a"))
        assert answer.status is JobStatus.PENDING
        await trio.sleep(DAY)
        assert source_key(hash_of("a")) not in kept.listed()


async def test_what_was_begun_before_a_crash_is_ended_after_it(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, run=False) as kept:
        job = await kept.done("a")
        await kept.alone.ask(DeleteJob(job))
        taken = await kept.alone.ask(TakeDoomed(10))
        assert len(taken.keys) == 2
        # Killed here. The next run does not know how far it came.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.janitor.run)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert kept.shelf.objects == {}


async def test_what_was_gone_once_is_doubted_although_it_was_spared_the_second_time(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with keeping(tmp_path, run=False) as kept:
        old = ObjectSeen(Seen.VERIFIED, 1, epoch=0)
        await kept.alone.ask(DeleteJob(await kept.done("a")))
        taken = await kept.alone.ask(TakeDoomed(10))
        await kept.alone.ask(DeletionsTried(taken.keys, (), (), 1))
        await kept.alone.ask(Submit(submission("a").job, ObjectSeen(Seen.VERIFIED, 1, epoch=1)))
        await kept.alone.ask(DeleteJob(2))
        assert (await kept.alone.ask(submission("a", ready=False))).status is JobStatus.UPLOADING
        assert (await kept.alone.ask(TakeDoomed(10))).keys == ()
        answer = await kept.alone.ask(Submit(submission("a", type_="png").job, old))
        assert answer.status is JobStatus.UPLOADING


async def test_epochs_of_a_former_run_say_nothing(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, run=False) as kept:
        await kept.alone.ask(DeleteJob(await kept.done("a")))
        taken = await kept.alone.ask(TakeDoomed(10))
        await kept.alone.ask(DeletionsTried(taken.keys, (), (), 77))
        assert list(kept.listed().values()) == ["gone"]
        await kept.alone.ask(TakeDoomed(10, first=True))
        answer = await kept.alone.ask(submission("a"))
        assert answer.status is JobStatus.PENDING, "what this run sees is true"


# ------------------------------------------------------------------ objects that nobody needs


async def found(kept: Keeping, *, delete: bool = False) -> OrphanSearch:
    begun = await ask(kept.janitor.mailbox, FindOrphans(delete))
    assert isinstance(begun, OrphanSearch)
    while kept.janitor.search.state == "running":
        await trio.sleep(1)
    return kept.janitor.search


async def furnish(kept: Keeping) -> tuple[set[str], set[str]]:
    """A store with all that there can be in it; returns what is needed, and what is not."""
    shelf = kept.shelf
    done = await kept.done("done")
    needed = {source_key(hash_of("done")), output_key(done, 1)}
    await kept.alone.ask(submission("busy"))
    (first,) = (await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
    await kept.alone.ask(Release(ADMIN, "w1", first.id))
    orphans = {shelf.put(output_key(first.id, 1), size=10)}  # of an attempt that lost
    (busy,) = (await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
    needed |= {shelf.put(output_key(busy.id, 2)), shelf.put(source_key(hash_of("busy")))}
    orphans |= {shelf.put(source_key(hash_of("nobody's")), size=100), shelf.put(output_key(99, 1), size=1000)}
    needed |= {shelf.put(source_key(hash_of("young")), age=3600), shelf.put(output_key(98, 1), age=3600)}
    needed |= {shelf.put("sources/readme.txt"), shelf.put("outputs/1/1/.output.json")}  # none of ours
    return needed, orphans


async def test_orphans_are_counted_and_nothing_is_touched(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        needed, orphans = await furnish(kept)
        kept.shelf.unfinished = 3
        search = await found(kept)
        assert (search.state, search.objects, search.orphans) == ("done", len(needed | orphans), len(orphans))
        assert (search.bytes, search.unfinished, set(search.examples)) == (1110, 3, orphans)
        await trio.sleep(DAY)
        assert set(kept.shelf.objects) == needed | orphans


async def test_orphans_are_deleted_and_nothing_else(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        needed, orphans = await furnish(kept)
        search = await found(kept, delete=True)
        assert search.orphans == len(orphans)
        await trio.sleep(3600)
        assert set(kept.shelf.objects) == needed
        await trio.sleep(DAY)
        assert (await found(kept)).orphans == 2, "the young ones are more than a day old by now"


async def test_two_searches_at_once(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        for number in range(30):
            kept.shelf.put(output_key(1000 + number, 1))
        first = await ask(kept.janitor.mailbox, FindOrphans(False))
        again = await ask(kept.janitor.mailbox, FindOrphans(False))
        assert isinstance(first, OrphanSearch)
        assert isinstance(again, OrphanSearch)
        assert again.started_at == first.started_at
        other = await ask(kept.janitor.mailbox, FindOrphans(True))
        assert isinstance(other, Refusal)
        assert other.code is RefusalCode.SEARCH_RUNNING


async def test_a_search_outlasts_a_store_that_stumbles_and_gives_up_on_one_that_is_gone(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with keeping(tmp_path) as kept:
        for number in range(30):
            kept.shelf.put(output_key(1000 + number, 1))
        await ask(kept.janitor.mailbox, FindOrphans(False))
        await trio.sleep(0.05)
        kept.shelf.error = NotAnsweringError("away")
        await trio.sleep(100)
        assert (kept.janitor.search.state, kept.janitor.search.error) == ("running", "away")
        kept.shelf.error = None
        await trio.sleep(100)
        assert (kept.janitor.search.state, kept.janitor.search.orphans) == ("done", 30)
        kept.shelf.error = NotAnsweringError("away")
        began = trio.current_time()
        search = await found(kept)
        assert (search.state, search.error, search.ended_at is not None) == ("failed", "away", True)
        assert trio.current_time() - began < 31 * GIVE_UP_AFTER


# ------------------------------------------------------------------ the file


async def test_the_file_shrinks_in_small_steps(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, completed=DAY) as kept:
        book = kept.alone.book
        fill(book, 20_000)
        before = book.db.pragma("page_count")
        sizes = [before]
        for _ in range(2000):
            await trio.sleep(0.01)
            sizes.append(book.db.pragma("page_count"))
        assert max(a - b for a, b in pairwise(sizes)) <= PAGES_AT_ONCE + 8  # and pages that map them
        assert sizes[-1] < before / 2


async def test_a_file_with_little_to_give_is_left_alone(tmp_path: Path, autojump_clock: Any) -> None:
    """What is free is used again: giving a few pages back and taking them anew would cost twice."""
    async with keeping(tmp_path, completed=DAY) as kept:
        book = kept.alone.book
        fill(book, 500)
        before = book.db.pragma("page_count")
        await trio.sleep(DAY)
        assert kept.jobs() == []
        assert book.db.pragma("page_count") >= before


# ------------------------------------------------------------------ the whole house


async def test_the_house_prunes_with_its_objects(tmp_path: Path, autojump_clock: Any) -> None:
    settings = {"retention_completed": DAY, "retention_objects": True, "worker_timeout": 10 * DAY}
    async with open_house(tmp_path / "data", **settings) as house:
        await house.register()
        await house.submit()
        await finish(house)
        assert len(list((house.folder / "objects").rglob("*"))) > 6
        await trio.sleep(DAY + 100)
        assert (await house.call("GET", "/api/jobs/1"))[0] == 404
        assert [path for path in (house.folder / "objects").rglob("*") if path.is_file()] == []
        assert (await house.call("GET", "/api/stats"))[1]["total_jobs"] == 0


async def test_the_house_finds_old_files_that_nobody_knows(house: House, autojump_clock: Any) -> None:
    await house.register()
    await house.submit()
    await finish(house)
    stray = await house.source(b"never submitted")
    folder = house.folder / "objects"
    (folder / "incoming" / "left over").write_bytes(b"half")
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (EPOCH_MS / 1000 - 2 * DAY,) * 2)
    assert await house.call("POST", "/api/admin/orphans", {}) == (200, {"status": "searching"})
    await trio.sleep(5)
    _, ended = await house.call("GET", "/api/admin/orphans")
    assert (ended["state"], ended["orphans"], ended["unfinished"]) == ("done", 1, 1)
    assert ended["examples"] == [f"sources/{stray}"]
    assert (await house.call("POST", "/api/admin/orphans", {"dry_run": False}))[0] == 200
    await trio.sleep(5)
    kept = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    assert len(kept) == 2
    assert stray not in kept
