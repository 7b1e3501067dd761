"""Pages of lists, against the plain way to make them: filter everything, sort it, cut it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from actors.messages import Cancel, Claim, Complete, Fail
from blobforge.job import Job, JobStatus
from blobforge.store import lists
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor, Page
from blobforge.store.reading import Reader
from blobforge.store.sorting import LARGE, JobSort
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, T0, Book, submission

JOBS = 300
STATUSES = (None, JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.DEAD)
FILTERS = [
    JobFilter(*parts)
    for parts in itertools.product(
        STATUSES, (None, "a", "nothing"), (None, "half", "rare"), (None, "w1"), (None, "REPORT-1")
    )
]
# Submissions are a second apart from T0 on: hours begin within them.
HOUR = 3_600_000
OTHERS = [
    JobFilter(JobStatus.DEAD, failure=1), JobFilter(failure=1), JobFilter(failure=2, type="a"), JobFilter(failure=99),
    JobFilter(priority=2), JobFilter(JobStatus.PENDING, "b", priority=2), JobFilter(priority=1, worker="w1"),
    JobFilter(created_since=T0 + 100_000), JobFilter(created_until=T0 + 100_000), JobFilter(created_since=T0 + HOUR),
    JobFilter(created_since=T0 + 50_000, created_until=T0 + 90_000, priority=3), JobFilter(created_until=T0),
    JobFilter(created_until=T0 + 10 * HOUR),
    JobFilter(updated_since=T0 + 310_000), JobFilter(JobStatus.PENDING, updated_until=T0 + 200_000, tag="half"),
    JobFilter(failure=1, created_since=T0 + 20_000, updated_until=T0 + 350_000),
]  # fmt: skip


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def filters(engine: str) -> list[JobFilter]:
    """The way that pages are put together is the same for all engines; where each page is a round trip to another
    process, every fifth filter has to do, which are of all kinds."""
    return [*FILTERS[:: 5 if engine == "postgres" else 1], *OTHERS]


@pytest.fixture(scope="module")
def filled(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """A few hundred jobs of three types in all statuses, tagged, made once for this module."""
    dice = random.Random(4)
    book = Book(ENGINES[engine](tmp_path_factory.mktemp("lists") / "x.db"))
    book.register("w1", "w2")
    for number in range(JOBS):
        tags = ("half",) * (dice.random() < 0.5) + ("rare",) * (number % 40 == 0) + ("other", "Half")
        book.do(
            submission(
                number,
                type_=dice.choice("abc"),
                ready=dice.random() < 0.9,
                priority=dice.randint(1, 5),
                tags=tags,
                source_path=f"in/Report-{number}.pdf" if number % 7 else None,
                source_size=number % 13 * 100,
                options='{"pages":[1]}' if number % 11 == 5 else None,
            )
        )
    for _ in range(JOBS // 3):
        worker = dice.choice(["w1", "w2"])
        (job,) = book.do(Claim(ADMIN, worker, ("a", "b", "c"))).jobs
        match dice.randrange(4):
            case 0:
                book.do(Complete(ADMIN, worker, job.id))
            case 1:
                book.do(Fail(ADMIN, worker, job.id, dice.choice(["boom", "bang"]), retryable=dice.random() < 0.5))
            case 2:
                book.do(Cancel(job.id))
    for number in range(1, JOBS + 1, 3):
        book.probe.change("jobs", {"source_size": number % 13 << 20, "attempts": number % 5}, id=number)
    yield book
    book.close()


@pytest.fixture(params=["tags by index", "tags on the way", "short scans"])
def reader(filled: Book, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """The three ways that a page is found: bounds are made small, so that a few hundred jobs meet them all."""
    if request.param != "tags by index":
        monkeypatch.setattr(lists, "SMALL", 3)
    if request.param == "short scans":
        monkeypatch.setattr(lists, "SCAN_LIMIT", 17)
        monkeypatch.setattr(lists, "SORTED_AT_ONCE", 17)
    with filled.reader() as opened:
        yield opened


@pytest.fixture(scope="module")
def jobs(filled: Book) -> list[Job]:
    """All of them, in the list's own order."""
    with filled.reader() as opened:
        found = [opened.job(id_) for id_ in filled.probe.column("jobs", "id")]
    assert len(found) == JOBS
    return sorted((job for job in found if job), key=lambda job: (job.priority, -job.id))


def matching(jobs: list[Job], wanted: JobFilter) -> list[Job]:
    """Spelt out, and not by the filter's own method."""
    return [
        job
        for job in jobs
        if wanted.status in (None, job.status)
        and wanted.type in (None, job.type)
        and (wanted.tag is None or wanted.tag in job.tags)
        and wanted.worker in (None, job.worker_id)
        and (wanted.q is None or wanted.q.lower() in (job.source_path or "").lower())
        and wanted.priority in (None, job.priority)
        and wanted.failure in (None, job.failure)
        and (wanted.created_since or 0) <= job.created_at < (wanted.created_until or job.created_at + 1)
        and (wanted.updated_since or 0) <= job.updated_at < (wanted.updated_until or job.updated_at + 1)
    ]


def pages(reader: Reader, wanted: JobFilter, limit: int) -> list[Page]:
    found, cursor = [], Cursor()
    for _ in range(2000):
        page = reader.list_jobs(wanted, limit=limit, cursor=cursor)
        found.append(page)
        if page.next is None:
            return found
        assert (page.next.priority, -page.next.id) > (cursor.priority, -cursor.id)  # each page gets further
        cursor = page.next
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
def test_pages_are_what_sorting_gives(jobs: list[Job], reader: Reader, filters: list[JobFilter], limit: int) -> None:
    for wanted in filters[:: {1: 7, 7: 3}.get(limit, 1)]:  # small pages are many
        expected = matching(jobs, wanted)
        got = pages(reader, wanted, limit)
        assert [job.id for page in got for job in page.jobs] == [job.id for job in expected], wanted
        assert all(len(page.jobs) <= limit for page in got)
        for number, page in enumerate(got):
            if page.exact:
                assert page.total == len(expected), (wanted, number)
            else:
                assert page.total <= len(expected), (wanted, number)
        if wanted.counted:
            assert all(page.exact for page in got)


SORTED = [
    *FILTERS[:: len(FILTERS) // 14],
    *OTHERS[::10],
    JobFilter(JobStatus.COMPLETED),
    JobFilter(),
    JobFilter(worker="w2"),
]


@pytest.mark.parametrize("sort", JobSort)
def test_other_orders_are_what_sorting_gives(jobs: list[Job], reader: Reader, engine: str, sort: JobSort) -> None:
    """Few at once, or from an index; those without a key behind all others, as the list's own order has them."""
    keys: dict[str, Callable[[Job], int | None]] = {
        "created": lambda job: job.id,
        "ended": lambda job: job.completed_at,
        "duration": lambda job: job.completed_at and job.completed_at - (job.started_at or 0)
        if job.status is JobStatus.COMPLETED else None,
        "size": lambda job: job.source_size,
        "tries": lambda job: job.attempts if job.attempts > 1 else None,
    }  # fmt: skip
    key, sign = keys[sort.removeprefix("-")], -1 if sort.startswith("-") else 1
    assert sum(key(job) is not None for job in jobs) > 10 or sort is JobSort.MOST_TRIED
    for number, wanted in enumerate(SORTED[::-2] if engine == "postgres" else SORTED):
        matched = matching(jobs, wanted)
        with_key = sorted((sign * at, sign * job.id, job) for job in matched if (at := key(job)) is not None)
        expected = [job.id for *_, job in with_key] + [job.id for job in matched if key(job) is None]
        limit, found, cursor = (7, 50, 1000)[number % 3], [], Cursor()
        for _ in range(2000):
            page = reader.sorted_jobs(wanted, sort, limit=limit, cursor=cursor)
            found += [job.id for job in page.jobs]
            assert len(page.jobs) <= limit
            assert page.total == len(expected) if page.exact else page.total <= len(expected)
            if page.next is None:
                break
            cursor = page.next
        if sort is JobSort.LARGEST and found != expected:  # of many, an index has the large ones
            large = [job.id for at, _, job in with_key if -at >= LARGE]
            expected = large + [job.id for job in matched if job.id not in large]
            assert len(large) < len(with_key)
        assert found == expected, (wanted, limit)


@pytest.mark.parametrize("sort", JobSort)
def test_no_job_is_left_out_where_few_become_many_or_many_few(
    jobs: list[Job], reader: Reader, sort: JobSort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs come and go between two pages, and so both ways of an order go on from each other's pages."""
    wanted = JobFilter(tag="half")
    for turns in ((0, JOBS), (JOBS, 0)):
        for before in (1, 4):
            found, cursor = [], Cursor()
            for number in range(2000):
                monkeypatch.setattr(lists, "SORTED_AT_ONCE", turns[number >= before])
                page = reader.sorted_jobs(wanted, sort, limit=30, cursor=cursor)
                found += [job.id for job in page.jobs]
                if page.next is None:
                    break
                cursor = page.next
            assert set(found) == {job.id for job in matching(jobs, wanted)}, (turns, before)


@pytest.mark.parametrize("limit", [7, 500])
def test_jobs_by_id_are_what_sorting_gives(
    jobs: list[Job], reader: Reader, filters: list[JobFilter], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "WALKED_AT_ONCE", 23)
    for wanted in filters[:: 1 if limit > 7 else 3]:
        ids: list[int] = []
        after: int | None = 0
        while after is not None:
            before, (found, after) = after, reader.jobs_by_id(wanted, after=after, limit=limit)
            assert len(found) <= limit
            assert after is None or after > before, "each page gets further"
            ids += [job.id for job in found]
        assert ids == sorted(job.id for job in matching(jobs, wanted)), wanted
    begun = {job.id: reader.count_attempts(job.id) for job in jobs}
    with_options = {job.id: whole.options for job in jobs if (whole := reader.job(job.id)) and whole.options}
    assert reader.options_of([*begun, 10**12]) == with_options
    assert with_options
    assert reader.attempts_of([*begun, 10**12]) == {id_: many for id_, many in begun.items() if many}


def test_many_are_found_as_each_alone_is(filled: Book, reader: Reader) -> None:
    asked = [*range(1, JOBS + 400), 5, 10**12]  # more than one statement takes
    alone = {number: reader.job_to_name(number) for number in range(1, JOBS + 1)}
    short = {"metadata": None, "last_error": None, "replaced": None, "result": None, "options": None}
    found_of_jobs = reader.jobs_to_name(asked)
    assert {number: replace(job, **short) for number, job in found_of_jobs.items()} == {
        number: replace(job, **short) for number, job in alone.items() if job is not None
    }
    assert all(job.metadata is None for job in found_of_jobs.values())
    keys = [*(f"sources/{job.source_hash}" for job in alone.values() if job is not None), "sources/none"]
    found = {key: reader.file(key) for key in keys}
    assert reader.files(keys) == {key: record for key, record in found.items() if record is not None}
    assert reader.jobs_to_name([]) == reader.files([]) == {}


def test_an_offset_skips(jobs: list[Job], reader: Reader, filters: list[JobFilter]) -> None:
    for wanted in filters[::3]:
        expected = matching(jobs, wanted)
        for offset in (0, 1, 13, 299, 5000):
            page = reader.list_jobs(wanted, limit=10, cursor=Cursor(), offset=offset)
            ids = [job.id for job in page.jobs]
            while len(ids) < 10 and page.next is not None:  # a short scan ended early: go on from there
                skipped = _before(jobs, wanted, page.next)
                page = reader.list_jobs(wanted, limit=10, cursor=page.next, offset=max(0, offset - skipped))
                ids += [job.id for job in page.jobs]
            assert ids[:10] == [job.id for job in expected[offset : offset + 10]], (wanted, offset)


def _before(jobs: list[Job], wanted: JobFilter, cursor: Cursor) -> int:
    return sum((job.priority, -job.id) <= (cursor.priority, -cursor.id) for job in matching(jobs, wanted))


def test_stats_are_the_counts(jobs: list[Job], reader: Reader) -> None:
    stats = reader.stats(now=0)
    assert stats.jobs == {status: sum(job.status is status for job in jobs) for status in JobStatus}
    pending = [job for job in jobs if job.status is JobStatus.PENDING]
    assert stats.oldest_pending_at == min(job.created_at for job in pending)
    for type_, by_status in stats.by_type.items():
        of_type = [job for job in jobs if job.type == type_]
        assert sum(by_status.values()) == len(of_type)
    assert sum(n for by_status in stats.by_priority.values() for n in by_status.values()) == JOBS
