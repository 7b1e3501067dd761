"""What the dashboard reads: charts with gaps, durations, causes, rates."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actors.effects import perform
from actors.effects.transaction import Transaction
from actors.messages import (
    Cancel,
    ChangeType,
    Claim,
    Complete,
    CreateWorker,
    DisableWorker,
    Drain,
    ExpireLeases,
    ExpireUploads,
    ExpireWorkers,
    Fail,
    Granted,
    Heartbeat,
    JobBeat,
    Purge,
    Register,
    Release,
    Retry,
    Sample,
    Silent,
    SilentWorker,
    Unregister,
    Unsent,
)
from blobforge import failures
from blobforge.forecast import Load, bucket_of
from blobforge.job import Outcome, ReleaseCause
from blobforge.jobtype import TypeChanges
from blobforge.people import AuditEntry
from blobforge.scaling import Staff
from blobforge.store import figures
from blobforge.store.figures import (
    CAUSES_A_SLOT,
    FLOWS,
    FRESH,
    KEPT,
    LEVELS,
    NARROWEST,
    NO_CAUSE,
    ONLINE,
    SPLITS_KEPT,
    WEEK,
)
from blobforge.store.filters import AuditFilter, JobFilter
from blobforge.store.lists import Cursor
from blobforge.store.reading import MOST_AHEAD, Reader
from blobforge.timerange import WINDOWS, Slots, of_window, slots_of
from blobforge.waiting import Fleet
from tests.fixtures.engines import Database, on_disk
from tests.store.making import ADMIN, T0, Book, fail_one, submission

MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture
def reader(book: Book) -> Iterator[Reader]:
    with book.reader() as opened:
        yield opened


def at(book: Book, ms: int) -> None:
    """The next transaction happens at this time."""
    book.now = ms - 1000


# ------------------------------------------------------------------ who is there


def test_the_staff_of_a_type_are_those_who_may_be_given_its_jobs(book: Book, reader: Reader) -> None:
    book.register("busy", "idle", "drains", "away", "off")
    book.do(Register(ADMIN, "other", "ocr"))
    book.do(*map(submission, range(4)), Claim(ADMIN, "other", ("ocr", "pdf"), 1), Claim(ADMIN, "busy", ("pdf",), 2))
    book.do(Claim(ADMIN, "drains", ("pdf",)), Drain("drains"), Unregister(ADMIN, "away"), DisableWorker("off"))
    assert reader.insights.staff("pdf") == Staff(online=3, busy=3, idle=["idle"])
    assert reader.insights.staff("ocr") == Staff(online=1, busy=1, idle=[])
    assert reader.insights.staff("none") == Staff(online=0, busy=0, idle=[])
    assert reader.insights.staff(None) == Staff(online=3, busy=3, idle=["idle"])


def test_what_may_run_is_known_with_what_waits(book: Book, reader: Reader) -> None:
    book.register("w")
    book.do(*(submission(number, type_=type_) for type_ in ("pdf", "ocr", "epub") for number in range(2)))
    (job,) = book.do(Claim(ADMIN, "w", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w", job.id))
    assert set(reader.insights.loads().values()) == {Load(1, 0), Load(2, 0)}
    assert reader.stats(now=book.now).seconds_left["pdf"] is not None
    book.do(ChangeType("pdf", "me", TypeChanges(paused=True)), ChangeType("ocr", "me", TypeChanges(max_running=7)))
    assert reader.insights.loads() == {"pdf": Load(1, 0, most=0), "ocr": Load(2, 0, most=7), "epub": Load(2, 0)}
    assert reader.stats(now=book.now).seconds_left["pdf"] is None, "for as long as it is paused"


# ------------------------------------------------------------------ charts


def test_a_chart_has_what_happened_and_how_deep_the_queue_was(book: Book, reader: Reader) -> None:
    start = book.now // HOUR * HOUR
    at(book, start)
    book.register("w1")
    book.do(*(submission(number) for number in range(6)), submission("x", type_="ocr"))
    for _ in range(3):
        at(book, book.now + MINUTE)
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        book.do(Sample(), Complete(ADMIN, "w1", job.id))
    found = reader.insights.history(slots("1h", book), now=book.now)
    assert found.step == 60
    assert len(found.at) == 60
    assert found.at[-1] == book.now // MINUTE * 60
    assert [each for each in found.flows["submitted"] if each] == [7]
    assert [each for each in found.flows["completed"] if each] == [1, 1, 1]
    # Nothing was kept of the minutes before the server began; the minute of the start itself has no sample.
    assert found.flows["submitted"][:-4] == [None] * 56
    assert found.levels["pending"][-4:] == [None, 6, 5, 4]
    assert found.workers[-4:] == [None, 1, 1, 1]
    one = reader.insights.history(slots("1h", book), now=book.now, type_="ocr")
    assert [each for each in one.flows["submitted"] if each] == [1]
    assert one.levels["pending"][-3:] == [1, 1, 1]
    assert one.workers[-1] == 1


def test_how_types_go_lately(book: Book, reader: Reader) -> None:
    """What is completed within the hour, in each hour of the day, and what fails: of those that are asked for."""
    at(book, book.now // HOUR * HOUR)
    book.register("w1")
    book.do(Register(ADMIN, "both", "ocr"))
    book.do(*map(submission, range(6)), submission("x", type_="ocr"), Claim(ADMIN, "both", ("pdf", "ocr")))
    assert reader.insights.workers_by_type() == {"pdf": 2, "ocr": 1}
    for _ in range(3):
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        book.do(Complete(ADMIN, "w1", job.id))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Fail(ADMIN, "w1", job.id, "no such thing"))
    at(book, book.now // HOUR * HOUR + 2 * HOUR + 30 * MINUTE)
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id))
    found = reader.insights.lately(["pdf", "ocr"], now=book.now)
    assert found["pdf"].completed == (*[0] * 21, 3, 0, 1)
    assert (found["pdf"].failed, found["pdf"].failure_rate) == (1, 0.2)
    assert 0.7 < found["pdf"].completed_per_hour <= 1, "one within four quarters and the one under way"
    assert (found["ocr"].completed_per_hour, found["ocr"].failure_rate) == (0, None)
    assert reader.insights.lately([], now=book.now) == {}


@pytest.mark.parametrize("window", WINDOWS)
def test_what_the_server_slept_through_is_a_gap(book: Book, reader: Reader, window: str) -> None:
    start = book.now // (6 * HOUR) * (6 * HOUR)
    step, count = slots(window, book).step, slots(window, book).count
    for slot in (0, 1, 2, 10, 11):
        at(book, start + slot * step * 1000)
        book.do(Sample())
    found = reader.insights.history(slots(window, book), now=book.now)
    assert len(found.at) == count
    known = [index for index, depth in enumerate(found.levels["pending"]) if depth is not None]
    assert known == [count - 12, count - 11, count - 10, count - 2, count - 1]
    assert [index for index, n in enumerate(found.flows["completed"]) if n == 0] == known


def slots(window: str, book: Book) -> Slots:
    return slots_of(of_window(window, now=book.now), KEPT, now=book.now)


class WritersBook(Book):
    """Each transaction happens at the time that the engine says, as those of the writer."""

    def _do(self, messages: Sequence[Any], tx: Transaction) -> list[Any]:
        with self.store.transaction(now=tx.now):
            tx.now = self.store.now
            return [perform(tx, message, place) for place, message in enumerate(messages)]


@pytest.fixture
def writers(database: Database) -> Iterator[WritersBook]:
    opened = WritersBook(database)
    yield opened
    opened.close()


def of_each_type(book: Book, asked: Slots) -> tuple[dict[str, list[int | None]], dict[str, list[int | None]]]:
    """What a chart of all types shows of each slot but the one under way, summed row by row."""
    flows, levels = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for slot, what, n in book.probe.rows("happenings", "slot", "what", "n", step=asked.step):
        flows[slot, what] += n
    for slot, status, n in book.probe.rows("depths", "slot", "status", "n", step=asked.step):
        levels[slot, status] += n
    sampled = {slot for slot, status in levels if status == ONLINE}
    known = {slot for slot, _ in [*flows, *levels]}
    before = list(asked.numbers)[:-1]
    return (
        {what: [flows[slot, what] if slot in known else None for slot in before] for what in FLOWS},
        {status: [levels[slot, status] if slot in sampled else None for slot in before]
         for status in (*LEVELS, ONLINE)},
    )  # fmt: skip


def of_all_types(reader: Reader, asked: Slots, now: int) -> Any:
    found = reader.insights.history(asked, now=now)
    series = {**found.levels, ONLINE: found.workers}
    return tuple({name: each[:-1] for name, each in kind.items()} for kind in (found.flows, series))


@pytest.mark.parametrize("most", [1, 8])
def test_what_all_types_have_is_the_sum_of_each(
    writers: WritersBook, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Whenever samples are made, by whichever release, and figures are forgotten; also of types that are many."""
    monkeypatch.setattr("actors.effects.periodic.SUMMED_AT_ONCE", most)
    book, dice = writers, random.Random(most)
    book.register("w")
    sums = 0
    with book.reader() as reader:
        for number in range(150):
            at(book, book.now + round(dice.choice([1, 3, 20, 400]) * MINUTE * dice.random()))
            some = [submission((number, n), type_=f"type-{dice.randrange(9)}") for n in range(dice.randrange(5))]
            job = book.do(*some, Claim(ADMIN, "w", tuple(f"type-{n}" for n in range(9))))
            for granted in job.jobs if isinstance(job, Granted) else job[-1].jobs:
                ended = dice.choice([Complete(ADMIN, "w", granted.id), Fail(ADMIN, "w", granted.id, "no such page")])
                book.do(ended)
            with monkeypatch.context() as older:
                if number % 40 > 25:  # a server of the release before keeps house
                    older.setattr(book.store.rollups, "sum_up", lambda *_, **__: False)
                for _ in range(dice.randrange(4)):
                    book.do(Sample())
            if number % 10 == 0:
                book.do(Purge())
            for window in WINDOWS:
                asked = slots(window, book)
                assert of_all_types(reader, asked, book.now) == of_each_type(book, asked), (number, window)
            assert book.database.broken() == []
            sums = max(sums, book.probe.count("happenings_of_all"))
    assert sums > 100
    for _ in range(200):
        if book.do(Sample()).wait > 1:
            break
    for table in ("happenings", "depths"):
        rows = book.probe.rows(table, "step", "slot")
        over = {(step, slot) for step, slot in rows if (slot + 1) * step * 1000 <= book.now}
        assert set(book.probe.rows(f"{table}_of_all", "step", "slot")) == over


def test_a_slot_that_was_summed_goes_on_after_the_clock_was_set_back(writers: WritersBook) -> None:
    book = writers
    at(book, book.now // HOUR * HOUR)
    book.register("w")
    for number in range(20):
        at(book, book.now + MINUTE)
        book.do(submission(number), Sample())
    with book.reader() as reader:
        for back in (7, 0, 3):
            at(book, book.now - back * MINUTE)
            book.do(submission(("again", back)), submission(("other", back), type_="ocr"))
            for _ in range(2):
                asked = slots("1h", book)
                assert of_all_types(reader, asked, book.now) == of_each_type(book, asked)
                assert book.database.broken() == []
                at(book, book.now + MINUTE)
                book.do(Sample())


def test_a_clock_that_was_set_back_while_the_server_was_down_is_heeded(tmp_path: Path) -> None:
    book = WritersBook(on_disk(tmp_path / "blobforge.db"))
    for number in range(5):
        at(book, book.now + MINUTE)
        book.do(submission(number), Sample())
    summed = book.probe.count("happenings_of_all", step=60)
    book.store.close()
    book.store = book.database.engine.open_store()
    at(book, book.now - 3 * MINUTE)
    book.do(submission("again"))
    assert book.probe.count("happenings_of_all", step=60) == summed - 3
    assert book.database.broken() == []
    book.close()


def test_the_widths_agree(book: Book, reader: Reader) -> None:
    at(book, book.now // HOUR * HOUR)
    for number in range(50):
        at(book, book.now + MINUTE)
        book.do(submission(number), Sample())
    for window in WINDOWS:
        found = reader.insights.history(slots(window, book), now=book.now)
        assert sum(each or 0 for each in found.flows["submitted"]) == 50
        assert found.levels["pending"][-1] == 50


def test_what_is_kept_is_bounded(book: Book) -> None:
    """Nine days of samples and happenings leave no more than the widest chart needs."""
    book.register("w1")
    for number in range(9 * 24 * 4):
        at(book, book.now + 15 * MINUTE)
        book.do(submission(number), Sample())
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        book.do(Complete(ADMIN, "w1", job.id))
        if number % 8 == 0:
            book.do(Purge())
    book.do(Purge())
    most = 2 * 4 + 26 * 4 + 8 * 24 + 9 * 4 + 7
    assert book.probe.count("happenings") <= 2 * most
    assert book.probe.count("depths") <= 3 * most
    assert book.probe.count("splits") <= 2 * 2 * (3 * 4 + 8 * 24 + 9 * 4 + 4) + 3
    assert book.probe.count("worker_rates") <= 27
    assert book.database.broken() == []


def test_times_and_causes_are_kept_by_slot(book: Book, reader: Reader) -> None:
    """How long jobs stood in the queue, from when they came into it last, how long they ran, and why they failed: of
    a type and of all. An attempt that was given back counts for nothing."""
    start = book.now // (6 * HOUR) * (6 * HOUR)
    at(book, start)
    book.register("w1")
    book.do(submission(1), submission(2), submission("x", type_="ocr"), submission(3))
    at(book, start + 4 * MINUTE)
    first, second, third = book.do(Claim(ADMIN, "w1", ("pdf",), 3)).jobs
    book.do(Release(ADMIN, "w1", third.id, cause=ReleaseCause.SHUTDOWN))
    at(book, start + 20 * MINUTE)
    (other,) = book.do(Claim(ADMIN, "w1", ("ocr",))).jobs
    book.do(Complete(ADMIN, "w1", first.id), Fail(ADMIN, "w1", second.id, "no such page", retryable=False))
    book.do(Fail(ADMIN, "w1", other.id, "no such page", retryable=False))
    at(book, start + 40 * MINUTE)
    book.do(Retry(second.id))
    assert len(book.do(Claim(ADMIN, "w1", ("pdf",), 2)).jobs) == 2
    book.do(Complete(ADMIN, "w1", third.id), Complete(ADMIN, "w1", second.id))
    for step in SPLITS_KEPT:
        within = Slots(step, start // 1000 // step, 21_600 // step)
        pdf, all_ = (reader.insights.times_history(within, type_=type_) for type_ in ("pdf", None))
        slot = start // 1000 // step
        late = slot + 20 * 60 // step
        later = slot + 40 * 60 // step
        waited, ran = bucket_of(4 * MINUTE), bucket_of(16 * MINUTE)
        given_back, retried = bucket_of(36 * MINUTE), bucket_of(1_000)
        assert total(pdf.queued) == {waited: 2, given_back: 1, retried: 1}
        assert total(all_.queued) == {waited: 2, given_back: 1, retried: 1, bucket_of(20 * MINUTE): 1}
        assert pdf.ran[late][ran] == 1
        assert pdf.ran[later][bucket_of(1_000)] == 2
        assert all_.ran == pdf.ran
        assert all_.since == start // 1000 // 300 * 300 + 20 * 60
        (cause,) = {part for each in reader.insights.causes_history(within).n.values() for part in each}
        of_all, of_pdf = (reader.insights.causes_history(within, type_=each) for each in (None, "pdf"))
        assert (of_all.n, of_pdf.n) == ({late: {cause: 2}}, {late: {cause: 1}})
        assert of_all.causes[cause].example == "no such page"
    assert book.database.broken() == []


def total(counts: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    found: Counter[int] = Counter()
    for each in counts.values():
        found.update(each)
    return dict(found)


@pytest.mark.parametrize("piece", [2, 1000])
def test_what_is_fresh_is_shown_as_it_is_when_it_is_spread(book: Book, reader: Reader, piece: int) -> None:
    """In whatever pieces: each counts once, and in its slots alone."""
    start = book.now // (6 * HOUR) * (6 * HOUR) + 5 * HOUR
    at(book, start)
    book.register("w1")
    book.do(Register(ADMIN, "w2", "ocr"))
    for number in range(12):
        type_ = ("pdf", "ocr")[number % 2]
        book.do(submission(number, type_=type_))
        at(book, book.now + 4 * MINUTE)
        (job,) = book.do(Claim(ADMIN, f"w{1 + number % 2}", (type_,))).jobs
        at(book, book.now + 4 * MINUTE)
        failed = Fail(ADMIN, job.worker_id or "", job.id, "no such page", retryable=False)
        book.do(failed if number % 4 == 3 else Complete(ADMIN, job.worker_id or "", job.id))

    def shown() -> list[object]:
        found: list[object] = [
            {type_: known.counts for type_, known in reader.insights.durations(now=book.now).items()}
        ]
        for step in SPLITS_KEPT:
            first, number = start // 1000 // step, -(-10_800 // step)
            for before_or_after in (first - number, first + 43_200 // step):
                none = Slots(step, before_or_after, number)
                assert not total(reader.insights.times_history(none).queued)
            within = Slots(step, first, number)
            for type_ in ("pdf", "ocr", None):
                found.append(reader.insights.times_history(within, type_=type_))
                found.append(reader.insights.causes_history(within, type_=type_))
        return found

    def steps() -> set[int]:
        return set(book.probe.column("splits", "step"))

    fresh, taken = shown(), 0
    assert steps() == {FRESH}, "a completion writes no more"
    at(book, book.now + 10 * MINUTE)
    with suppress(KeyError), book.store.transaction():
        book.store.rollups.spread_splits(book.now // 1000 // NARROWEST, limit=100)
        raise KeyError
    assert steps() == {FRESH}, "all of it or nothing"
    more = True
    while more:
        with book.store.transaction():
            more = book.store.rollups.spread_splits(book.now // 1000 // NARROWEST, limit=piece)
        taken += 1
        assert shown() == fresh, taken
    assert steps() == {WEEK, *SPLITS_KEPT}
    assert (taken > 8) == (piece == 2)
    assert book.database.broken() == []


def test_a_sample_spreads_what_is_over_some_at_a_time(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.effects.periodic.SPREAD_AT_ONCE", 2)
    monkeypatch.setattr("actors.effects.periodic.SUMMED_AT_ONCE", 100)
    at(book, book.now // HOUR * HOUR)
    book.register("w1")
    book.do(*map(submission, range(3)))
    for _ in range(2):
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        book.do(Complete(ADMIN, "w1", job.id))
        at(book, book.now + 5 * MINUTE)
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id))
    under_way = sorted(book.probe.column("splits", "slot"))[-1]
    waits = [book.do(Sample()).wait for _ in range(3)]
    assert waits[0] == waits[1] == 0.25
    assert waits[2] > 1
    assert {slot for step, slot in book.probe.rows("splits", "step", "slot") if step == FRESH} == {under_way}


def test_the_slot_under_way_stays_fresh(book: Book) -> None:
    """It is written into all widths once, not with each sample or purge."""
    at(book, book.now // HOUR * HOUR)
    book.register("w1")
    book.do(submission(1))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id))
    for message in (Sample(), Purge()):
        book.do(message)
        assert set(book.probe.column("splits", "step")) == {FRESH}


def test_what_a_clock_has_counted_that_was_set_back_is_spread(book: Book) -> None:
    book.register("w1")
    book.do(submission(1))
    at(book, book.now + 9 * HOUR)
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id))
    assert set(book.probe.column("splits", "step")) == {FRESH}
    with book.store.transaction():
        assert not book.store.rollups.spread_splits((book.now - 9 * HOUR) // 1000 // NARROWEST, limit=100)
    assert set(book.probe.column("splits", "step")) == {WEEK, *SPLITS_KEPT}


def test_since_when_times_are_kept_does_not_move_on_with_the_narrowest(book: Book, reader: Reader) -> None:
    start = book.now // (6 * HOUR) * (6 * HOUR)
    at(book, start + 20 * MINUTE)
    book.register("w1")
    book.do(*map(submission, range(40)))
    for number in range(40):
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        at(book, book.now + 8 * MINUTE)
        book.do(Complete(ADMIN, "w1", job.id))
        if number % 5 == 4:
            book.do(Purge())
            since = reader.insights.times_history(Slots(3600, start // HOUR, 6)).since
            assert since is not None
            assert start // 1000 <= since < start // 1000 + 3600, number


def test_of_a_slot_that_is_over_the_most_frequent_causes_are_kept(book: Book, reader: Reader) -> None:
    start = book.now // (6 * HOUR) * (6 * HOUR)
    at(book, start)
    book.register("w1")
    causes = CAUSES_A_SLOT + 5
    numbers = [*range(causes), *range(CAUSES_A_SLOT)]
    book.do(*map(submission, range(len(numbers))))
    jobs = book.do(Claim(ADMIN, "w1", ("pdf",), len(numbers))).jobs
    book.do(*(Fail(ADMIN, "w1", job.id, "no", kind=f"E{n}") for job, n in zip(jobs, numbers, strict=True)))
    within = Slots(3600, start // HOUR, 1)
    assert len(total(reader.insights.causes_history(within).n)) == causes
    at(book, start + HOUR + MINUTE)
    book.do(Purge())
    for type_ in (None, "pdf"):
        kept = total(reader.insights.causes_history(within, type_=type_).n)
        assert kept.pop(NO_CAUSE) == 5
        assert sorted(kept.values()) == [2] * CAUSES_A_SLOT
    assert book.database.broken() == []
    before = book.probe.rows("splits", "step", "slot", "type", "part", "n")
    book.do(Purge())
    assert book.probe.rows("splits", "step", "slot", "type", "part", "n") == before


def test_a_sample_says_when_the_next_minute_begins(book: Book) -> None:
    at(book, book.now // MINUTE * MINUTE + 12_500)
    assert book.do(Sample()).wait == 47.5


# ------------------------------------------------------------------ durations


def test_durations_are_those_of_completed_attempts(book: Book, reader: Reader) -> None:
    book.register("w1")
    for number, minutes in enumerate([2, 4, 8, 16]):
        book.do(submission(number))
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        at(book, book.now + minutes * MINUTE)
        book.do(Fail(ADMIN, "w1", job.id, "no") if minutes == 16 else Complete(ADMIN, "w1", job.id))
    known = reader.insights.durations(now=book.now)["pdf"]
    assert known.n == 3
    assert abs(known.mean_ms * 3 / (14 * MINUTE) - 1) < 0.1
    later = book.now + figures.WEEKS_KEPT * 7 * 24 * HOUR
    assert reader.insights.durations(now=later) == {}
    assert reader.insights.loads()["pdf"].waiting == 1  # the failed one


# ------------------------------------------------------------------ causes


def test_failures_are_counted_under_their_cause(book: Book, reader: Reader) -> None:
    book.register("w1")
    one = fail_one(book, 1, "page 1 is damaged", kind="Damaged", retryable=False)
    fail_one(book, 2, "page 77 is damaged", kind="Damaged")
    fail_one(book, 3, "out of memory", kind="MemoryError")
    first, second = reader.insights.failures()
    assert (first.kind, first.place, first.n, first.failed, first.dead) == ("Damaged", "page # is damaged", 2, 1, 1)
    assert first.example == "page 77 is damaged"
    assert first.first_seen < first.last_seen
    assert (second.kind, second.failed, second.dead) == ("MemoryError", 1, 0)
    book.do(Retry(one))
    assert [(each.failed, each.dead) for each in reader.insights.failures() if each.id == first.id] == [(1, 0)]
    # The job still says what it last died of, until it is completed.
    page = reader.list_jobs(JobFilter(failure=first.id), limit=10, cursor=Cursor())
    assert {job.id for job in page.jobs} == {1, 2}
    book.do(Claim(ADMIN, "w1", ("pdf",)))
    book.do(Complete(ADMIN, "w1", one))
    page = reader.list_jobs(JobFilter(failure=first.id), limit=10, cursor=Cursor())
    assert [job.id for job in page.jobs] == [2]
    book.counts_are_right()


def test_a_silent_worker_and_a_source_that_never_came_are_causes(book: Book, reader: Reader) -> None:
    """A worker that was never heard of in its attempt is another cause than one that fell silent in it."""
    book.register("w1")
    book.do(submission(1), submission(2, ready=False), submission(3))
    one, three = book.do(Claim(ADMIN, "w1", ("pdf",), 2)).jobs
    book.do(Heartbeat(ADMIN, "w1", (JobBeat(three.id, three.lease),)))
    book.do(ExpireLeases((Silent(one.id, one.attempt, one.heartbeat_at), Silent(three.id, three.attempt, book.now))))
    book.do(ExpireUploads((Unsent(2),), 5.0))
    kinds = {job_id: book.probe.column("attempts", "kind", job_id=job_id) for job_id in (1, 3)}
    assert kinds == {1: [failures.WORKER_SILENT], 3: [failures.WORKER_LOST]}
    found = {each.kind: each.n for each in reader.insights.failures()}
    assert found == {failures.WORKER_SILENT: 1, failures.WORKER_LOST: 1, failures.SOURCE_MISSING: 1}


def test_causes_are_bounded(book: Book, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MOST_GROUPS", 5)
    book.register("w1")
    letters = "abcdefgh"
    for number, letter in enumerate(letters):
        fail_one(book, number, f"cause {letter}")
    found = reader.insights.failures()
    assert len(found) == 6
    other = next(each for each in found if each.fingerprint == failures.OTHER)
    assert (other.n, other.failed) == (3, 3)
    book.counts_are_right()
    # What no job shows any more makes room; what some job shows stays.
    for job_id in range(1, 5):
        book.do(Retry(job_id))
        book.do(Claim(ADMIN, "w1", ("pdf",)))
        book.do(Complete(ADMIN, "w1", job_id))
    book.do(Purge())
    assert {each.place for each in reader.insights.failures()} >= {"cause e"}
    assert len(reader.insights.failures()) == 5
    fail_one(book, "new", "cause of another kind")
    assert "cause of another kind" in {each.example for each in reader.insights.failures()}
    book.counts_are_right()


def test_an_undone_failure_leaves_no_count(book: Book) -> None:
    book.register("w1")
    book.do(submission(1))
    book.do(Claim(ADMIN, "w1", ("pdf",)))
    step = Transaction(book.store, book.rules, book.now, book.dice)

    def broken(step: Transaction, message: Fail) -> None:
        perform(step, message)
        raise RuntimeError

    with book.store.transaction(), suppress(RuntimeError):
        step.whole(0, broken, Fail(ADMIN, "w1", 1, "boom"))
    assert book.probe.count("failures") == 0
    assert book.probe.count("failure_counts") == 0


# ------------------------------------------------------------------ workers and what waits


def test_rates_of_workers(book: Book, reader: Reader) -> None:
    book.register("w1", "w2")
    for number in range(6):
        book.do(submission(number))
        (job,) = book.do(Claim(ADMIN, "w1" if number < 4 else "w2", ("pdf",))).jobs
        if number == 5:
            book.do(ExpireLeases((Silent(job.id, 1, job.heartbeat_at),)))
        elif number == 3:
            book.do(Fail(ADMIN, "w1", job.id, "no"))
        else:
            book.do(Complete(ADMIN, "w1" if number < 4 else "w2", job.id))
    rates = reader.insights.worker_rates(now=book.now)
    assert rates["w1"].outcomes == {"completed": 3, "failed": 1}
    assert rates["w2"].outcomes == {"completed": 1, "lost": 1}
    assert reader.insights.rates_of("w2", now=book.now) == rates["w2"]
    assert reader.insights.rates_among(["w2", "w1", "nobody"], now=book.now) == rates
    assert reader.insights.rates_among([], now=book.now) == {}
    assert reader.insights.rates_of("w2", now=book.now + 24 * HOUR).n(Outcome.LOST) == 0
    assert reader.insights.rates_of("nobody", now=book.now).outcomes == {}
    assert reader.insights.fleet_rates(now=book.now).outcomes == {"completed": 4, "failed": 1, "lost": 1}
    assert reader.insights.fleet_rates(now=book.now + 24 * HOUR).outcomes == {}


def test_who_takes_jobs_of_a_type(book: Book, reader: Reader) -> None:
    """By the type that it registered with, or that it has asked for since."""

    def fleet(type_: str) -> Fleet:
        book.do(submission(f"{type_} {book.now}", type_=type_))
        job = reader.job(max(book.probe.column("jobs", "id")))
        assert job is not None
        return reader.insights.surroundings(job).fleet

    assert fleet("ocr") == Fleet()
    book.register("w1", "w2", "w3", "w4", "w5")
    book.do(CreateWorker("w6", "pdf", "0" * 64))  # it has never called: nobody's worker yet
    assert fleet("pdf") == Fleet(ready=5)
    book.do(Claim(ADMIN, "w1", ("pdf", "ocr", "no such type")))
    assert fleet("ocr") == Fleet(ready=1)
    assert book.probe.rows("worker_types", "worker_id", "type") == [("w1", "ocr")]
    beat = reader.worker("w3")
    assert beat is not None
    book.do(Drain("w1"), DisableWorker("w2"), Unregister(ADMIN, "w4"))
    book.do(ExpireWorkers((SilentWorker("w3", beat.last_heartbeat or 0),)))
    assert fleet("pdf") == Fleet(ready=1, draining=1, disabled=1, offline=1)
    assert fleet("ocr") == Fleet(draining=1)
    book.do(Register(ADMIN, "w1", "pdf"))
    assert fleet("ocr") == Fleet()


def test_how_many_are_before_it(book: Book, reader: Reader) -> None:
    book.do(*(submission(number, priority=number % 3 + 1) for number in range(9)))
    book.do(submission("other", type_="ocr", priority=1))
    order = [1, 4, 7, 2, 5, 8, 3, 6, 9]
    for place, job_id in enumerate(order):
        job = reader.job(job_id)
        assert job is not None
        around = reader.insights.surroundings(job)
        assert (around.ahead, around.ahead_exact) == (place, True)


def test_what_is_before_a_job_of_a_group_is_no_less_than_what_its_group_has_there(book: Book, reader: Reader) -> None:
    """Beyond as many as are counted."""
    book.do(*(submission(number, group="a") for number in range(MOST_AHEAD + 3)))
    job = reader.job(MOST_AHEAD + 3)
    assert job is not None
    around = reader.insights.surroundings(job)
    assert (around.ahead, around.own, around.ahead_exact) == (MOST_AHEAD, MOST_AHEAD, False)


def test_queues_name_the_types_that_nobody_takes(book: Book, reader: Reader) -> None:
    book.register("w1")
    book.do(submission(1, type_="ocr"))
    book.do(submission(2))
    ocr, pdf = reader.insights.queues()
    assert (ocr.type, ocr.pending, ocr.has_worker) == ("ocr", 1, False)
    assert (pdf.type, pdf.has_worker) == ("pdf", True)
    assert (ocr.oldest_at or 0) < (pdf.oldest_at or 0)


def test_progress_is_news_when_it_is_new(book: Book) -> None:
    book.register("w1")
    book.do(submission(1))
    book.do(Claim(ADMIN, "w1", ("pdf",)))
    seen = []
    for progress in (None, '{"percent":1}', '{"percent":1}', None, '{"percent":2}'):
        book.do(Heartbeat(ADMIN, "w1", (JobBeat(1, None, progress),)))
        seen.append(book.probe.value("jobs", "progress_at"))
    first, second = seen[1], seen[4]
    assert seen == [None, first, first, first, second]
    assert second == book.now
    book.do(Complete(ADMIN, "w1", 1))
    book.do(Retry(1))
    book.do(Claim(ADMIN, "w1", ("pdf",)))
    assert book.probe.rows("jobs", "progress", "progress_at") == [(None, None)]


# ------------------------------------------------------------------ the audit log


def test_the_audit_log_by_page_and_filter(book: Book, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = []
    for number in range(60):
        action = ("job.cancel", "job.retry", "worker.drain")[number % 3]
        at = book.now + number * MINUTE - (5 * HOUR if 30 <= number < 40 else 0)  # the clock was wrong for a while
        entry = AuditEntry(0, at, f"user:{number % 2}", f"Name {number % 2}", "-", action, str(number % 5))
        with book.store.transaction():
            book.store.insert_audit(entry)
        entries.append(entry)
    for filter_, matches in (
        (AuditFilter(), lambda each: True),
        (AuditFilter(actor="user:1"), lambda each: each.actor == "user:1"),
        (AuditFilter(actor="Name 0"), lambda each: each.actor == "user:0"),
        (AuditFilter(action="job.*"), lambda each: each.action.startswith("job.")),
        (AuditFilter(None, "job.retry", "3"), lambda each: each.action == "job.retry" and each.subject == "3"),
        (AuditFilter(subject="nothing"), lambda each: False),
        (AuditFilter(since=entries[20].at), lambda each: each.at >= entries[20].at),
        (AuditFilter(until=entries[40].at), lambda each: each.at < entries[40].at),
    ):  # fmt: skip
        wanted = [each.at for each in reversed(entries) if matches(each)]
        for scan in (20_000, 7):
            monkeypatch.setattr("blobforge.store.lists.AUDIT_SCAN", scan)
            got, before = [], 2**63 - 1
            while True:
                page, more = reader.insights.audit(filter_, before=before, limit=4)
                assert len(page) <= 4
                got += [each.at for each in page]
                if more is None:
                    break
                assert more < before
                before = more
            assert got == wanted, filter_


def test_the_oldest_records_go_first_whatever_their_numbers(book: Book, reader: Reader) -> None:
    with book.store.transaction():
        for at in (50, 10, 40, 20, 30):
            book.store.insert_audit(AuditEntry(0, at, "user:1", "N", "-", "job.retry", "1"))
    left = []
    for _ in range(3):
        with book.store.transaction():
            more = book.store.prune_audit(45, limit=2)
        page, _ = reader.insights.audit(AuditFilter(), before=2**63 - 1, limit=9)
        left.append(([each.at for each in page], more))
    assert left == [([30, 40, 50], True), ([50], True), ([50], False)]


def test_a_cancelled_job_is_no_failure(book: Book, reader: Reader) -> None:
    book.register("w1")
    fail_one(book, 1, "boom")
    book.do(Cancel(1))
    assert [(each.failed, each.dead, each.n) for each in reader.insights.failures()] == [(0, 0, 1)]
    book.counts_are_right()


def test_workers_that_are_merely_away_hide_none_that_were_lost(book: Book, reader: Reader) -> None:
    """The latest hundred that fell silent were looked at, and only then those that had work."""
    book.register("w")
    book.do(submission(1))
    (job,) = book.do(Claim(ADMIN, "w", ("pdf",))).jobs
    book.do(ExpireLeases((Silent(job.id, job.attempt, job.heartbeat_at),)))
    idle = [f"idle{number}" for number in range(150)]
    for worker_id in idle:
        book.do(Register(ADMIN, worker_id, "pdf"))
    silent = [SilentWorker(*row) for row in book.probe.rows("workers", "id", "last_heartbeat")]
    book.do(ExpireWorkers(tuple(silent)))
    assert [worker.id for worker in reader.insights.lost_workers(now=book.now)] == ["w"]
    assert reader.insights.lost_workers(now=book.now + 26 * 3_600_000) == []


def test_a_minute_that_has_just_begun_does_not_lower_the_rate(book: Book, reader: Reader) -> None:
    """Ten completions a minute were nine when the minute was young."""
    minute = T0 // 60_000
    for ago in range(1, 30):
        book.probe.add("happenings", step=60, slot=minute - ago, type="pdf", what="completed", n=10)
    assert reader.stats(now=minute * 60_000).completed_per_minute == 10
    book.probe.add("happenings", step=60, slot=minute, type="pdf", what="completed", n=5)
    assert reader.stats(now=minute * 60_000 + 30_000).completed_per_minute == 10
