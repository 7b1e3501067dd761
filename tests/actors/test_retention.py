"""Pruning and deleting: jobs, the audit log, and the pages of the file."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.effects.periodic import UNDO_MS, UNDOS_AT_ONCE
from actors.janitor import (
    JOBS_AT_ONCE,
    PAGES_AT_ONCE,
)
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    DeleteJob,
    Heartbeat,
    JobBeat,
    JobDeleted,
    ObjectSeen,
    OutputChecked,
    Prune,
    Purge,
    Sample,
    Seen,
)
from blobforge.events import JobsPruned
from blobforge.job import JobStatus
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal, RefusalCode
from tests.actors.keeping import DAY, keeping
from tests.fixtures.local import EPOCH_MS, LocalServer, open_local, virtual_now
from tests.store.making import ADMIN, T0, Book, hash_of, submission
from tests.web.calls import finish

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


@pytest.mark.usefixtures("seldom")
async def test_nothing_is_pruned_by_default(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        job = await kept.done("a")
        await trio.sleep(2 * DAY)
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
            assert book.probe.count(table) == 0, table
        book.counts_are_right()
        assert kept.shelf.objects == {}
        assert set(kept.listed().values()) <= {"gone"}
        await trio.sleep(5400)
        assert kept.listed() == {}, "and what was gone is forgotten"


async def test_a_source_stays_while_another_job_has_it(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, completed=DAY, objects=True) as kept:
        await kept.done("a")
        await kept.alone.ask(submission("a", type_="png"))
        await trio.sleep(2 * DAY)
        source = source_key(hash_of("a"))
        assert kept.jobs() == [2]
        assert list(kept.shelf.objects) == [source]
        assert kept.alone.book.probe.column("files", "key") == [source]


async def test_the_audit_log_is_pruned_by_age(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, audit=DAY) as kept:
        probe, who = kept.alone.book.probe, {"actor": "a", "name": "a", "address": "a", "subject": ""}
        for number in range(3 * JOBS_AT_ONCE):
            probe.add("audit", at=EPOCH_MS, action=str(number), **who)
        probe.add("audit", at=EPOCH_MS + 5_000_000_000, action="young", **who)
        await trio.sleep(DAY + 100)
        assert probe.column("audit", "action") == ["young"]


@pytest.mark.usefixtures("seldom")
async def test_a_wall_clock_set_forward_costs_no_results(tmp_path: Path, autojump_clock: Any) -> None:
    ahead = 0

    def now() -> int:
        return virtual_now() + ahead

    async with keeping(tmp_path, now=now, completed=2 * DAY) as kept:
        job = await kept.done("a")
        ahead = round(365 * DAY * 1000)
        await trio.sleep(DAY)
        assert kept.jobs() == [job]
        await trio.sleep(2 * DAY)
        assert kept.jobs() == []


def fill(book: Book, jobs: int) -> None:
    """So many completed jobs, each with an attempt, and the counters that belong to them."""
    at = EPOCH_MS - 10 * round(DAY * 1000)
    ended = {"status": "completed", "type": "pdf", "priority": 3}
    each = {"created_at": at, "updated_at": at, "max_attempts": 3, "attempts": 1, "attempt": 1}
    ran = {"worker_id": "w1", "started_at": at}
    alike = ended | each | ran
    numbers = range(1, jobs + 1)
    book.probe.add_all(
        "jobs",
        ("id", "source_hash", "lease", "completed_at", *alike),
        ((n, f"{n:064x}", f"l{n}", at + n, *alike.values()) for n in numbers),
    )
    book.probe.add_all(
        "attempts",
        ("job_id", "lease", "ended_at", "attempt", "outcome", *ran),
        ((n, f"l{n}", at + n, 1, "completed", *ran.values()) for n in numbers),
    )
    book.probe.add("job_counts", **ended, n=jobs)


async def test_pruning_a_hundred_thousand_jobs_lets_everybody_else_through(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Between two requests of a worker at most one small batch is pruned, however much there is to prune."""
    async with keeping(tmp_path, run=False, completed=DAY) as kept:
        book = kept.alone.book
        fill(book, 100_000)
        left: list[int] = []

        def count() -> int:
            return int(book.probe.value("job_counts", "n", status="completed"))

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
        await kept.alone.ask(OutputChecked(job, 1, kept.alone.book.key(job, 1), ObjectSeen(Seen.PRESENT, 1)))
        assert kept.alone.book.probe.count("files") == 0


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


# ------------------------------------------------------------------ the whole server


async def test_the_server_prunes_with_its_objects(tmp_path: Path, autojump_clock: Any) -> None:
    settings = {"retention_completed": DAY, "retention_objects": True, "worker_timeout": 10 * DAY}
    async with open_local(tmp_path / "data", **settings) as local:
        await local.register()
        await local.submit()
        await finish(local)
        assert len(list((local.folder / "objects").rglob("*"))) > 6
        await trio.sleep(DAY + 100)
        assert (await local.call("GET", "/api/jobs/1"))[0] == 404
        left = [path.parent.name for path in (local.folder / "objects").rglob("*") if path.is_file()]
        assert set(left) == {"installations"}
        assert (await local.call("GET", "/api/stats"))[1]["total_jobs"] == 0


async def test_the_server_finds_old_files_that_nobody_knows(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit()
    await finish(local)
    stray = await local.source(b"never submitted")
    folder = local.folder / "objects"
    (folder / "incoming" / "left over").write_bytes(b"half")
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (EPOCH_MS / 1000 - 2 * DAY,) * 2)
    assert await local.call("POST", "/api/admin/orphans", {}) == (200, {"status": "searching"})
    await trio.sleep(5)
    _, ended = await local.call("GET", "/api/admin/orphans")
    assert (ended["state"], ended["orphans"], ended["unfinished"]) == ("done", 1, 1)
    assert ended["examples"] == [f"sources/{stray}"]
    assert (await local.call("POST", "/api/admin/orphans", {"dry_run": False}))[0] == 200
    await trio.sleep(5)
    kept = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    assert len(kept) == 4, "source, output, its copy, and the mark of the installation"
    assert stray not in kept


def test_undos_are_forgotten_a_few_at_a_time(tmp_path: Path) -> None:
    """A million of them at once kept the writer for three seconds."""
    book = Book(tmp_path / "book.db")
    undos = (("ab", number, "3", "1", T0) for number in range(UNDOS_AT_ONCE + 10))
    book.probe.add_all("undos", ("token", "job_id", "was", "became", "at"), undos)
    book.do(Purge(1.0), Sample())
    assert book.probe.count("undos") == UNDOS_AT_ONCE + 10
    for left in (10, 0):
        book.now += UNDO_MS
        book.do(Sample())
        assert book.probe.count("undos") == left
