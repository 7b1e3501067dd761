"""What webhooks are told, and told again, on each engine."""

from __future__ import annotations

import itertools
import json

import pytest

from actors.messages import (
    Cancel,
    Claim,
    CreateWebhook,
    DeliverRangeAgain,
    Fail,
    Register,
    Retry,
    TakeDeliveries,
    Undo,
)
from blobforge.store.sql import webhooks
from blobforge.webhook import DISABLE_AFTER, MOST_COUNTED, Tried, Webhook, WebhookEvent
from tests.store.making import ADMIN, Book, submission

HOUR, DAY = 3_600_000, 86_400_000


def told(book: Book) -> list[str]:
    """What the webhook is given now, and takes."""
    (number,) = book.probe.column("webhooks", "id")
    taken = book.do(TakeDeliveries(number, "courier", 100)).deliveries
    book.do(TakeDeliveries(number, "courier", 0, tuple(Tried(each.id, book.now, 204) for each in taken)))
    return [each.event for each in taken]


@pytest.fixture
def hooked(book: Book) -> Book:
    book.do(Register(ADMIN, "w", "pdf"))
    book.do(CreateWebhook(Webhook(0, "https://hook.example/", tuple(WebhookEvent), sealed=b"x"), ""))
    return book


def test_that_a_retry_is_undone_is_no_other_end(hooked: Book) -> None:
    hooked.do(submission(1))
    (job,) = hooked.do(Claim(ADMIN, "w", ("pdf",))).jobs
    hooked.do(Fail(ADMIN, "w", job.id, "broken", retryable=False))
    assert told(hooked) == ["job.dead"]
    hooked.do(Retry(job.id, undo="0"))
    hooked.do(Undo("0"))
    assert told(hooked) == []
    hooked.do(Retry(job.id), Cancel(job.id))
    assert told(hooked) == ["job.cancelled"]


def test_no_secret_that_others_wrote_goes_out(hooked: Book) -> None:
    token = "bf_" + "a1" * 20
    hooked.do(submission(1, tags=("scans", token), source_path=f"{token}/{'x' * 490}.pdf"))
    (job,) = hooked.do(Claim(ADMIN, "w", ("pdf",))).jobs
    hooked.do(Fail(ADMIN, "w", job.id, f"{'y' * 490} {token}", retryable=False))
    (data,) = hooked.probe.column("deliveries", "data")
    assert "a1a1" not in data
    assert json.loads(data)["tags"] == ["scans", "[redacted]"]


def test_a_time_is_found_among_many_others(hooked: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time are passed by, whatever is to be found: the writer is held up by none of it."""
    monkeypatch.setattr(webhooks, "LOOKED_AT", 3)
    for number in range(8):
        hooked.do(submission(number))
        hooked.do(Cancel(number + 1))
    began = hooked.now + 1
    hooked.do(submission(8))
    hooked.do(Cancel(9))
    assert len(told(hooked)) == 9
    (number,), again, after = hooked.probe.column("webhooks", "id"), [], 0
    while after is not None:
        answer = hooked.do(DeliverRangeAgain(number, began, hooked.now, only_failed=False, after=after))
        again.append(answer.count)
        after = answer.following
    assert again == [0, 0, 1, 0]
    assert told(hooked) == ["job.cancelled"]


def fail(book: Book, jobs: list[int], *, most: int = 100) -> bool:
    """The webhook is told of the ends of these jobs, and so many deliveries fail: whether it is still enabled."""
    for number in jobs:
        book.do(submission(number))
        book.do(Cancel(number + 1))
    (number,) = book.probe.column("webhooks", "id")
    taken = book.do(TakeDeliveries(number, "courier", most)).deliveries
    tried = tuple(Tried(each.id, book.now, 500, "it answered 500") for each in taken)
    book.do(TakeDeliveries(number, "courier", 0, tried))
    return book.probe.column("webhooks", "disabled_at") == [None]


@pytest.mark.parametrize("before", [1, 7 * 24], ids=["at its first failure", "after many"])
def test_days_in_which_nothing_was_tried_disable_nothing(hooked: Book, before: int) -> None:
    """The machine was off for a week. A day of it counts, and no more, whatever had failed until then."""
    jobs = itertools.count()
    assert all(fail(hooked, [next(jobs)]) for _ in range(before))  # within the same moment
    hooked.now += 7 * DAY
    assert fail(hooked, [next(jobs)])
    failed = [0]
    while fail(hooked, [next(jobs)]):
        hooked.now += HOUR
        failed.append(failed[-1] + HOUR)
    assert MOST_COUNTED + failed[-1] >= DISABLE_AFTER > MOST_COUNTED + failed[-2]


def test_the_clock_that_is_set_back_counts_nothing(hooked: Book) -> None:
    jobs = itertools.count()
    fail(hooked, [next(jobs)])
    hooked.now -= 7 * DAY
    began = hooked.now
    while fail(hooked, [next(jobs)]):
        hooked.now += HOUR
    assert DISABLE_AFTER <= hooked.now - began < DISABLE_AFTER + DAY


def test_one_that_is_told_more_than_can_be_tried_is_disabled_too(hooked: Book) -> None:
    """Where it hangs, one delivery is tried at a time, and none of them often."""
    began, jobs = hooked.now, itertools.count()
    while fail(hooked, [next(jobs) for _ in range(4)], most=1):
        hooked.now += HOUR
        assert hooked.now - began <= DISABLE_AFTER + DAY
    assert set(hooked.probe.column("deliveries", "state")) == {"waiting"}, "none was tried so often as to be given up"


def test_that_it_took_one_in_between_begins_anew(hooked: Book) -> None:
    jobs = itertools.count()
    for _ in range(2):
        for _ in range(DISABLE_AFTER // HOUR):
            assert fail(hooked, [next(jobs)])
            hooked.now += HOUR
        told(hooked)
    assert hooked.probe.rows("webhooks", "failing_since", "failed_at", "failing_ms") == [(None, None, 0)]
