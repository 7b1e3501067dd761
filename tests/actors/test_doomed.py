"""Objects to be deleted: some come into use again, and some stores do not do as they are told. Nothing is ever taken
away from whoever needs it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from actors.effects.deletions import LONGEST_PAUSE_MS
from actors.janitor import (
    DELETIONS_AT_ONCE,
    LEAD_AGAIN,
    SIDE_BY_SIDE,
)
from actors.mailbox import ask
from actors.messages import (
    DeleteJob,
    DeletionsTried,
    FindOrphans,
    ObjectSeen,
    Seen,
    SourceArrived,
    Submit,
    Submitted,
    TakeDoomed,
)
from blobforge.job import JobStatus
from blobforge.objects import ObjectStoreError
from blobforge.objects.breaker import NotAnsweringError
from blobforge.objects.keys import mark_key, original_output_key, source_key
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.files import GONE, LATER, WAITING
from tests.actors.keeping import DAY, keeping
from tests.fixtures.local import virtual_now
from tests.store.making import Book, hash_of, submission


@pytest.mark.parametrize("seen", list(Seen))
async def test_submitted_again_before_its_turn(tmp_path: Path, autojump_clock: Any, seen: Seen) -> None:
    async with keeping(tmp_path) as kept:
        kept.shelf.error = ObjectStoreError("not now")
        job = await kept.done("a")
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(1)
        kept.shelf.error = None
        source = source_key(hash_of("a"))
        assert kept.listed() == {source: "waiting", kept.alone.book.key(job, 1): "waiting"}
        answer = await kept.alone.ask(Submit(submission("a").job, ObjectSeen(seen, 1)))
        assert isinstance(answer, Submitted)
        await trio.sleep(DAY)
        # Once more when its URLs have expired: until then a PUT may have brought it back.
        assert kept.shelf.deleted == [kept.alone.book.key(job, 1)] * 2


async def test_submitted_again_while_it_is_deleted(tmp_path: Path, autojump_clock: Any) -> None:
    """Whatever was seen: nobody is told that his source is there while it is on its way out."""
    async with keeping(tmp_path) as kept:
        job = await kept.done("a")
        kept.shelf.slow = 4.0
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(1)
        before = kept.janitor.epoch
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
        arrived = await kept.alone.ask(SourceArrived(hash_of("a"), 1, verified=True, epoch=kept.janitor.epoch))
        assert arrived.jobs == 1
        await trio.sleep(DAY)
        assert kept.shelf.deleted.count(source_key(hash_of("a"))) == 1


async def test_a_job_that_comes_between_the_list_and_the_deletion(tmp_path: Path, autojump_clock: Any) -> None:
    """The list is older than the job, by whatever way that has come about: whoever begins to delete looks again."""
    async with keeping(tmp_path, run=False) as kept:
        await kept.alone.ask(submission("a"))
        source = source_key(hash_of("a"))
        with kept.alone.book.store.transaction():
            kept.alone.book.store.doomed.add(source, WAITING, due_at=virtual_now(), again=False, over=(GONE, LATER))
        assert (await kept.alone.ask(TakeDoomed(10))).keys == ()
        assert kept.listed() == {}


async def test_what_a_put_brings_back_after_the_deletion_goes_when_no_url_is_good_any_more(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with keeping(tmp_path) as kept:
        job = await kept.done("a")
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(10)
        assert kept.shelf.objects == {}
        back = {kept.shelf.put(kept.alone.book.key(job)), kept.shelf.put(source_key(hash_of("a")))}
        await trio.sleep(3000)
        assert set(kept.shelf.objects) == back, "somebody may submit it again meanwhile"
        await trio.sleep(1000)
        assert kept.shelf.objects == {}
        await trio.sleep(1000)
        assert kept.listed() == {}


async def test_what_was_pruned_long_after_its_end_is_deleted_once(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        job = await kept.done("a")
        await trio.sleep(DAY)
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(DAY)
        assert kept.shelf.deleted.count(kept.alone.book.key(job)) == 1


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
                epoch = kept.janitor.epoch
                seen = ObjectSeen(Seen.VERIFIED if there(name) else Seen.ABSENT, 1, epoch=epoch)
                await trio.sleep(dice.random() * 0.5)  # between the look and its commit
                match await kept.alone.ask(Submit(submission(name).job, seen)):
                    case Submitted(upload=True):
                        kept.shelf.put(source_key(hash_of(name)))
                        epoch, found = kept.janitor.epoch, there(name)
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
                for digest in kept.alone.book.probe.column("jobs", "source_hash", status="pending"):
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


@pytest.mark.usefixtures("seldom")
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
        assert list(kept.listed().values()) == ["gone", "gone"]
        await kept.alone.ask(TakeDoomed(10, first=True))
        answer = await kept.alone.ask(submission("a"))
        assert answer.status is JobStatus.PENDING, "what this run sees is true"


@pytest.mark.parametrize("knew", [True, False])
async def test_sources_wait_while_it_is_not_known_who_else_needs_them(
    tmp_path: Path, autojump_clock: Any, knew: bool
) -> None:
    """Seen before: what was known at the last look, or nothing at all, was enough to delete. Outputs do not wait."""
    async with keeping(tmp_path) as kept:
        if knew:
            await trio.sleep(1)
        kept.shelf.unlisted = ObjectStoreError("no right to list")
        job = await kept.done("a")
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(3600)
        assert set(kept.shelf.objects) == {source_key(hash_of("a"))}
        if not knew:
            refused = await ask(kept.janitor.mailbox, FindOrphans(True))
            assert isinstance(refused, Refusal)
            assert refused.code is RefusalCode.UNAVAILABLE
        kept.shelf.unlisted = None
        await trio.sleep(600)
        assert kept.shelf.objects == {}


async def test_another_that_comes_keeps_sources_and_ends_a_search_that_deletes(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with keeping(tmp_path) as kept:
        await trio.sleep(1)
        job = await kept.done("a")
        kept.shelf.put(kept.alone.book.key(1000, 1))
        kept.shelf.put(source_key(hash_of("other's")))
        before = set(kept.shelf.objects)
        assert not isinstance(await ask(kept.janitor.mailbox, FindOrphans(True)), Refusal)
        kept.shelf.marks.add(mark_key("bother"))
        await kept.alone.ask(DeleteJob(job))
        await trio.sleep(3600)
        assert (kept.search().state, "bother" in (kept.search().error or "")) == (
            "failed",
            True,
        )
        assert before - set(kept.shelf.objects) == {kept.alone.book.key(job, 1)}, "of its own it is sure"


@pytest.mark.parametrize("unlisted", [None, ObjectStoreError("not now")])
async def test_a_result_that_was_taken_over_may_be_another_s_like_its_source(
    tmp_path: Path, autojump_clock: Any, unlisted: ObjectStoreError | None
) -> None:
    """It has no database in its key either: two that took over the same original have it both."""
    async with keeping(tmp_path) as kept:
        await trio.sleep(1)
        key = kept.shelf.put(original_output_key(hash_of("a")))
        kept.shelf.marks.add(mark_key("bother"))
        kept.shelf.unlisted = unlisted
        with kept.alone.book.store.transaction():
            kept.alone.book.store.doomed.add(key, WAITING, due_at=virtual_now(), again=False, over=(GONE, LATER))
        await trio.sleep(2 * 3600)
        assert key in kept.shelf.objects
        assert kept.listed() == ({} if unlisted is None else {key: "waiting"})


def test_a_clock_set_back_keeps_no_deletion_waiting(tmp_path: Path) -> None:
    """What was in deletion then was refused to everybody until the clock had caught up."""
    book = Book(tmp_path / "book.db")
    book.do(submission(1))
    book.do(DeleteJob(1))
    assert len(book.do(TakeDoomed(10)).keys) == 1  # and the server ends here
    book.now -= 86_400_000
    taken = book.do(TakeDoomed(10))
    assert taken.next_at is not None
    assert taken.next_at <= book.now + LONGEST_PAUSE_MS
    book.now += LONGEST_PAUSE_MS
    assert len(book.do(TakeDoomed(10)).keys) == 1


async def test_a_server_that_was_stopped_deletes_nothing_that_it_took_before(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Where several servers keep house in turns, another has deleted it, and a client may have sent it again."""
    async with keeping(tmp_path) as kept:
        janitor, now, key = kept.janitor, trio.current_time(), source_key(hash_of("a"))
        janitor._place = lambda: 1
        with capture_logs() as logged:
            late = await janitor._tried((key,), others_known=True, taken_at=now - LEAD_AGAIN - 1)
        assert (late.refused, late.gone, kept.shelf.deleted) == ((key,), (), [])
        assert [line for line in logged if "too long for this server" in line.get("error", "")], "it says so"
        in_time = await janitor._tried((key,), others_known=True, taken_at=now)
        assert (in_time.refused, in_time.gone) == ((), (key,))
