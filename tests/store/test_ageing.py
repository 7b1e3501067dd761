"""What has been ready for longer than its type promises is urgent (`actors/effects/ageing.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.effects import ageing
from actors.messages import ChangeType, Claim, HurryJobs, SetPriority
from blobforge.job import Job
from blobforge.jobtype import TypeChanges
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, submission

pytestmark = pytest.mark.parametrize("engine", ["memory", "postgres"])
PATIENCE = 60_000


class Queue(Book):
    def submit(self, name: object, **fields: Any) -> int:
        return int(self.do(submission(name, **fields)).job_id)

    def job(self, job_id: int) -> Job:
        with self.store.transaction():
            found = self.store.job(job_id)
        assert found is not None
        return found

    def priorities(self, *jobs: int) -> list[int]:
        return [self.job(each).priority for each in jobs]


@pytest.fixture
def queue(tmp_path: Path, engine: str) -> Any:
    made = Queue(ENGINES[engine](tmp_path / "x.db"))
    made.register("w1")
    yield made
    assert made.database.broken() == []
    made.counts_are_right()
    made.close()


def promise(queue: Queue, type_: str = "pdf") -> None:
    queue.do(ChangeType(type_, "admin", TypeChanges(urgent_after=PATIENCE)))


def test_what_has_been_ready_for_too_long_comes_first(queue: Queue) -> None:
    promise(queue)
    later = (queue.now + 10 * PATIENCE, None)
    options = '{"dpi":1}'
    waiting = [
        queue.submit("plain", priority=5), queue.submit("options", priority=4, options=options),
        queue.submit("labels", requires='["gpu"]'), queue.submit("group", group="a", priority=2),
    ]  # fmt: skip
    deferred = queue.submit("deferred", not_before=later[0])
    uploading = queue.submit("uploading", ready=False)
    elsewhere = queue.submit("elsewhere", type_="ocr")
    queue.now += PATIENCE - 10_000
    young = queue.submit("young")
    assert queue.do(HurryJobs(100)).jobs == 0
    queue.now += 11_000
    done = queue.do(HurryJobs(100))
    assert (done.jobs, done.more) == (4, False)
    assert queue.priorities(*waiting, deferred, uploading, elsewhere, young) == [1, 1, 1, 1, 3, 3, 3, 3]
    (first,) = queue.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    assert first.id == waiting[0], "and not the one of priority 3"


def test_a_change_by_hand_has_it_wait_anew(queue: Queue) -> None:
    promise(queue)
    job = queue.submit("one")
    queue.now += PATIENCE
    queue.do(SetPriority(job, 5))
    queue.do(HurryJobs(100))
    assert queue.priorities(job) == [5]
    queue.now += PATIENCE
    queue.do(HurryJobs(100))
    assert queue.priorities(job) == [1]


def test_many_are_made_urgent_a_page_at_a_time(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """And of many lines some at a time, each in its turn."""
    promise(queue)
    jobs = [queue.submit(number) for number in range(5)]
    queue.now += 2 * PATIENCE
    found = [queue.do(HurryJobs(2)) for _ in range(3)]
    assert [(each.jobs, each.more) for each in found] == [(2, True), (2, True), (1, False)]
    assert queue.priorities(*jobs) == [1] * 5
    monkeypatch.setattr(ageing, "MOST_LINES", 3)
    labelled = [queue.submit(f"labelled {number}", requires=f'["l{number}"]') for number in range(3)]
    queue.now += 2 * PATIENCE
    for _ in range(3):
        queue.now += ageing.MINUTE_MS
        queue.do(HurryJobs(100))
    assert queue.priorities(*labelled) == [1] * 3


def test_without_a_promise_nothing_is_read(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.submit("one")
    queue.now += 10 * PATIENCE
    monkeypatch.setattr(type(queue.store), "ready_longest", lambda *_, **__: pytest.fail("it was read"))
    assert queue.do(HurryJobs(100)).jobs == 0
