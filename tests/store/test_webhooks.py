"""What webhooks are told, and told again, on each engine."""

from __future__ import annotations

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
from blobforge.webhook import Tried, Webhook, WebhookEvent
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


def test_days_in_which_nothing_was_tried_disable_nothing(hooked: Book) -> None:
    """The machine was off for a week: two failures, and the endpoint was told nothing more."""
    hooked.do(submission("a"))
    (job,) = hooked.do(Claim(ADMIN, "w", ("pdf",))).jobs
    hooked.do(Fail(ADMIN, "w", job.id, "boom", retryable=False))
    (number,), tries = hooked.probe.column("webhooks", "id"), 0
    while hooked.probe.column("webhooks", "disabled_at") == [None]:
        hooked.now += 7 * DAY if tries == 1 else HOUR
        taken = hooked.do(TakeDeliveries(number, "courier", 100)).deliveries
        failed = tuple(Tried(each.id, hooked.now, 500, "it answered 500") for each in taken)
        hooked.do(TakeDeliveries(number, "courier", 0, failed))
        tries += len(taken)
    assert tries == 10
