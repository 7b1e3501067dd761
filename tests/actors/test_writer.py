"""The writer: group commit, answers after COMMIT, and what happens to the innocent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from actors.effects import fleet, jobs
from actors.effects.transaction import Rules, Transaction
from actors.mailbox import Envelope, Reply, ask
from actors.messages import (
    Batch,
    BatchDone,
    Cancel,
    Claim,
    Complete,
    Done,
    Drain,
    Granted,
    JobChanged,
    Ping,
    Register,
    Repeatable,
    Sample,
    SetPriority,
    Submitted,
    WorkerChanged,
)
from actors.writer import Writer
from blobforge.access import Token
from blobforge.events import JobCreated, JobReady
from blobforge.job import RetryPolicy
from blobforge.machinery.hop import in_place
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import FRESH, SPLITS_KEPT, WEEK
from blobforge.worker import WorkerStatus
from tests.actors.alone import writer_alone
from tests.fixtures.engines import ERRS, contents
from tests.fixtures.local import virtual_now
from tests.store.making import ADMIN, T0, Book, submission
from tests.store.test_counters import Plan


async def test_what_has_gathered_is_one_commit(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        answers = await alone.ask_all([submission(number) for number in range(1000)])
        assert sorted(answer.job_id for answer in answers) == list(range(1, 1001))
        assert alone.writer.committed_messages == 1000
        assert alone.writer.commits <= 4  # of 512 at most
        assert len(alone.events) == 1000
        alone.book.counts_are_right()


async def test_claims_of_many_jobs_do_not_share_a_transaction_without_end(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """What each gives waits in memory until all are committed: 300 that were repeated at once held 600 MB."""
    async with writer_alone(tmp_path) as alone:
        await alone.ask_all([submission(number) for number in range(20)])
        alone.book.register("w")
        first = await alone.ask_all([Claim(ADMIN, "w", ("pdf",), 20, claim_key="k")])
        before = alone.writer.commits
        again = await alone.ask_all([Claim(ADMIN, "w", ("pdf",), 500, claim_key="k") for _ in range(40)])
        assert all(len(answer.jobs) == len(first[0].jobs) == 20 for answer in again)
        assert alone.writer.commits - before == 20  # 512 jobs at most, or what the last one comes to beyond


# What a message can meet: the schema's no, text that is no UTF-8, and a value that is of another kind.
POISON = [
    pytest.param(SetPriority(1, 9), None, id="check constraint"),
    pytest.param(submission("x", source_path="\ud800"), UnicodeEncodeError, id="lone surrogate"),
    pytest.param(submission("x", source_size="many"), TypeError, id="wrong type"),
]


@pytest.mark.parametrize(("poison", "error"), POISON)
async def test_a_broken_effect_spoils_no_other(
    tmp_path: Path, autojump_clock: Any, poison: Any, error: type[Exception] | None
) -> None:
    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission("first"))
        before = alone.writer.commits
        answers = await alone.ask_all([submission("before"), poison, Cancel(77), submission("after")])
        assert alone.writer.commits == before + 1  # they did share a transaction
        assert alone.writer.second_tries == 2  # to see whose it was, and to do without it
        kinds = {type(answer) for answer in answers}
        assert kinds == {Submitted, error or alone.book.database.rule_broken, Refusal}
        assert alone.book.probe.count("jobs") == 3
        assert sum(isinstance(event, JobCreated) for event in alone.events) == 3
        alone.book.counts_are_right()


@pytest.mark.parametrize("engine", ["disk", "postgres"])
async def test_a_sample_that_meets_a_bug_has_spread_nothing(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Else what it had taken would be in no slot any more."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async with writer_alone(tmp_path, engine=engine) as alone:
        await alone.ask_all([Register(ADMIN, "w", "pdf"), submission("one")])
        (job,) = (await alone.ask(Claim(ADMIN, "w", ("pdf",)))).jobs
        await alone.ask(Complete(ADMIN, "w", job.id, job.lease))
        await trio.sleep(600)
        splits = alone.book.probe.rows("splits", "step", "slot", "type", "what", "part", "n")
        assert {step for step, *_ in splits} == {FRESH}
        with monkeypatch.context() as patch:
            patch.setattr(alone.book.store.rollups, "sample_depths", broken)
            failed, submitted = await alone.ask_all([Sample(), submission("another")])
        assert isinstance(failed, ZeroDivisionError)
        assert isinstance(submitted, Submitted)
        assert alone.book.probe.rows("splits", "step", "slot", "type", "what", "part", "n") == splits
        assert not isinstance(await alone.ask(Sample()), Refusal)
        assert set(alone.book.probe.column("splits", "step")) == {WEEK, *SPLITS_KEPT}
        assert alone.book.database.broken() == []


async def test_a_bug_is_undone_in_memory(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it had changed: the others are not made again."""
    cancel = jobs.cancel

    def broken(tx: Transaction, message: Cancel) -> JobChanged | Refusal:
        cancel(tx, message)
        raise ZeroDivisionError

    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission(1))
        monkeypatch.setattr(jobs, "cancel", broken)
        answers = await alone.ask_all([submission(2), Cancel(1), Cancel(99), submission(3)])
        assert {type(answer) for answer in answers} == {Submitted, ZeroDivisionError}
        assert alone.writer.second_tries == 0
        assert alone.book.probe.column("jobs", "status") == ["pending"] * 3
        assert sum(isinstance(event, JobCreated) for event in alone.events) == 3
        alone.book.counts_are_right()


@pytest.mark.parametrize("end", [ZeroDivisionError(), Refusal(RefusalCode.JOB_ENDED, "after all")])
async def test_what_was_written_is_undone_with_all_the_others(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    """The transaction is made again without the culprit, which alone is told."""
    drained: list[str] = []

    def written(tx: Transaction, message: Drain) -> Any:
        drained.append(message.worker_id)
        tx.store.insert_token(Token(0, message.worker_id, message.worker_id, "bf", frozenset(), tx.now))
        if message.worker_id == "bad":
            if isinstance(end, Exception):
                raise end
            return end
        return WorkerChanged(message.worker_id, WorkerStatus.DRAINING)

    async with writer_alone(tmp_path) as alone:
        monkeypatch.setattr(fleet, "drain", written)
        answers = await alone.ask_all([submission(1), Drain("good"), Drain("bad"), Drain("better"), submission(2)])
        assert {type(answer) for answer in answers} == {Submitted, WorkerChanged, type(end)}
        assert alone.writer.second_tries == 1
        assert drained.count("bad") == 1
        assert alone.book.probe.column("tokens", "name") == ["better", "good"]
        assert alone.book.probe.count("jobs") == 2
        alone.book.counts_are_right()


async def test_who_refuses_after_a_write_leaves_nothing_behind(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No effect does so now; one that will must not be believed to have done nothing."""
    cancel = jobs.cancel

    def late(tx: Transaction, message: Cancel) -> JobChanged | Refusal:
        cancel(tx, message)
        return Refusal(RefusalCode.JOB_ENDED, "after all")

    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission(1))
        monkeypatch.setattr(jobs, "cancel", late)
        answers = await alone.ask_all([Batch((submission(2), Cancel(1), submission(3)))])
        assert [type(item) for item in answers[0].items] == [Submitted, Refusal, Submitted]
        assert alone.writer.second_tries == 0
        assert alone.book.probe.column("jobs", "status") == ["pending"] * 3
        assert sum(isinstance(event, JobCreated) for event in alone.events) == 3
        alone.book.counts_are_right()


@pytest.mark.parametrize("seed", range(2))
def test_each_by_itself_and_all_together_come_to_the_same(tmp_path: Path, seed: int) -> None:
    """Any messages in any grouping, a bug among them now and then: state, counters, events, facts, answers. Whether
    what they need is read ahead and what they changed is written at the end, or each is read and written alone."""
    rules = Rules(RetryPolicy(max_losses=2, jitter=0))
    books = [Book(tmp_path / f"{name}.db", rules=rules, seed=seed) for name in ("each", "all")]
    plans = [Plan(book, seed) for book in books]
    writers = [Writer(book.store, rules, now=virtual_now, sink=Nobody(), dice=book.dice) for book in books]
    for book in books:
        book.register("w1", "w2", "w3")
        book.do(submission("first"))
    for now in range(T0 + 5000, T0 + 85_000, 1000):
        batches: list[list[Envelope[Any]]] = []
        for book, plan in zip(books, plans, strict=True):
            book.now = now
            messages = [plan.message() for _ in range(plan.dice.randint(1, 4))]
            if now % 10_000 == 0:
                messages.insert(1, SetPriority(1, 9))  # the schema says no
            batches.append([Envelope(message, Reply()) for message in messages])
        with capture_logs():  # a traceback on the terminal takes longer than all the rest
            one = writers[0]._transact(batches[0], now, 0, careful=True)
            other = writers[1]._transact(batches[1], now, 0)
        assert (one.events, one.facts, one.wrote) == (other.events, other.facts, other.wrote)
        assert [type(answer) for answer in one.answers] == [type(answer) for answer in other.answers]
        assert held(books[0]) == held(books[1])
        books[1].counts_are_right()
    assert 14 < writers[1].second_tries < 80
    for book in books:
        book.close()


def held(book: Book) -> dict[str, list[Any]]:
    """All that the database holds but the leases, which are drawn, and counters that stand at zero."""
    found = contents(book.database, but=("lease",))
    counts = [table for table in found if table.endswith("_counts")]
    return found | {table: [row for row in found[table] if row[-1] != 0] for table in counts}


class Nobody:
    """Who is told of events."""

    async def publish(self, events: object, turn: int | None = None) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_refused_item_of_a_batch_spoils_no_other(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        done = await alone.ask(Batch((submission(1), Cancel(99), submission(1, priority=1), Cancel(1), Cancel(1))))
        assert isinstance(done, BatchDone)
        kinds = [type(item) for item in done.items]
        assert kinds == [Submitted, Refusal, Submitted, JobChanged, Refusal]
        assert alone.book.probe.column("jobs", "status") == ["cancelled"]
        alone.book.counts_are_right()


async def test_answers_come_after_the_commit(tmp_path: Path, autojump_clock: Any) -> None:
    """Seen from outside: at no moment is somebody answered, or an event told, while the row is not on the disk."""
    moments: list[tuple[str, int, int, int]] = []
    answered: list[Any] = []

    async def watched(call: Callable[[], Any], /) -> Any:
        await trio.sleep(1)
        moments.append(("before", count(), len(answered), len(told)))
        result = call()
        moments.append(("after", count(), len(answered), len(told)))
        await trio.sleep(1)
        moments.append(("still in the hop", count(), len(answered), len(told)))
        return result

    async with writer_alone(tmp_path, hop=watched) as alone:
        told = alone.events
        count = partial(alone.book.probe.count, "jobs")
        answered.append(await alone.ask(submission(1)))
        assert count() == 1
    assert moments == [("before", 0, 0, 0), ("after", 1, 0, 0), ("still in the hop", 1, 0, 0)]


async def test_facts_are_posted_before_anybody_is_answered(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        known: list[bool] = []

        class Asker(Reply[Any]):
            def settle(self, outcome: Any) -> None:
                known.append(any(isinstance(fact, JobReady) for fact in alone.facts))
                super().settle(outcome)

        asker = Asker()
        await alone.writer.mailbox.put(Envelope(submission(1), asker))
        await asker.wait()
        assert known == [True]


async def test_a_disk_that_is_full_refuses_all_and_comes_back(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission("before"))
        events = len(alone.events)
        many = [submission(number, metadata="x" * 2000) for number in range(100)]
        with alone.book.database.full():
            answers = await alone.ask_all([Cancel(1), *many])
        assert {answer.code for answer in answers} == {RefusalCode.UNAVAILABLE}
        assert all(answer.retry_after for answer in answers)
        assert alone.writer.failing
        assert len(alone.events) == events
        assert alone.book.probe.column("jobs", "status") == ["pending"]
        answers = await alone.ask_all([Cancel(1), *many])
        assert not any(isinstance(answer, Refusal) for answer in answers)
        assert not alone.writer.failing
        alone.book.counts_are_right()


async def test_an_abandoned_claim_is_not_made(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        await alone.ask_all([Register(ADMIN, "w", "pdf"), submission(1)])
        gone: Reply[Granted] = Reply()
        gone.abandoned = True
        await alone.writer.mailbox.put(Envelope(Claim(ADMIN, "w", ("pdf",)), gone))
        assert await alone.ask(Ping()) == Done()
        assert alone.book.probe.rows("jobs", "status", "attempt") == [("pending", 0)]
        # Whereas what tells us something is done, whether somebody waits for it or not.
        also_gone: Reply[JobChanged] = Reply()
        also_gone.abandoned = True
        await alone.writer.mailbox.put(Envelope(Cancel(1), also_gone))
        await alone.ask(Ping())
        assert alone.book.probe.column("jobs", "status") == ["cancelled"]


async def test_who_leaves_while_waiting_is_marked(tmp_path: Path, autojump_clock: Any) -> None:
    reply: Reply[Done] = Reply()
    with trio.move_on_after(1):
        await reply.wait()
    assert reply.abandoned


async def test_stop_serves_what_was_sent_before_it(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path, hop=in_place) as alone:
        replies: list[Reply[Any]] = [Reply() for _ in range(700)]
        for number, reply in enumerate(replies):
            await alone.writer.mailbox.put(Envelope(submission(number), reply))
    for reply in replies:
        assert isinstance(await reply.wait(), Submitted)


async def test_a_full_mailbox_makes_the_sender_wait(tmp_path: Path, autojump_clock: Any) -> None:
    async def slow(call: Callable[[], Any], /) -> Any:
        await trio.sleep(10)
        return call()

    async with writer_alone(tmp_path, hop=slow) as alone:
        mailbox = alone.writer.mailbox
        await mailbox.put(Envelope(Ping(), Reply()))
        await trio.sleep(1)  # that one is in its hop
        while mailbox.offer(Envelope(Ping(), Reply())):
            pass
        started = trio.current_time()
        assert await ask(mailbox, Ping()) == Done()
        assert trio.current_time() - started > 9


async def test_a_disk_that_errs_is_nobodys_bug(tmp_path: Path, autojump_clock: Any) -> None:
    """An I/O error outside of any effect, in the look for an earlier answer, was answered as a bug of the request
    (500), and what else was in the transaction was committed: nobody may be told less than that nothing was done."""

    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission("first"))
        alone.book.database.meets(lambda statement: ERRS if "FROM idempotency" in statement else None)
        replies: list[Reply[Any]] = [Reply() for _ in range(3)]
        # The one in the middle is a bug, so that all of it is made once more, message by message.
        messages = [submission("before"), SetPriority(1, 9), submission("repeatable")]
        repeats = [None, None, Repeatable("token 1", "key", b"print")]
        for message, reply, repeat in zip(messages, replies, repeats, strict=True):
            assert alone.writer.mailbox.offer(Envelope(message, reply, repeat))
        answers = [await reply.wait() for reply in replies]
        alone.book.database.meets(None)
        assert [answer.code for answer in answers] == [RefusalCode.UNAVAILABLE] * 3
        assert alone.book.probe.count("jobs") == 1
        alone.book.counts_are_right()
