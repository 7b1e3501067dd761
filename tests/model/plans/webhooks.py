"""Endpoints, and the courier that delivers to them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from blobforge.webhook import Tried, Webhook
from tests.model.plans.asked import Asked
from tests.model.plans.base import Base
from tests.model.plans.choices import TAGS, seldom
from tests.model.world.things import No
from tests.model.world.webhooks import about

ALL = (
    "job.completed", "job.dead", "job.cancelled", "type.paused", "type.resumed", "worker.lost", "worker.quarantined",
    "backup.drill_failed", "batch.ended",
)  # fmt: skip
EVENTS = st.sampled_from([ALL, ALL, ("job.completed",), ("job.dead", "job.cancelled")])
MOST = 1000


class Webhooks(Base):
    """State owned here: what each courier has taken and has not told of."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[int, int, str]] = []  # delivery, endpoint, courier

    @seldom
    @precondition(lambda self: len(self.world.hooks) < 3)
    @rule(events=EVENTS, types=st.sampled_from([(), (), ("pdf",)]), tags=TAGS)
    def create_webhook(self, events: tuple[str, ...], types: tuple[str, ...], tags: tuple[str, ...]) -> None:
        asked = Webhook(0, "https://x.example/", events, types, tags, sealed=b"sealed")
        self.do(
            Asked(
                m.CreateWebhook(asked, "salt"),
                lambda answer: self.world.create_webhook(answer.webhook.id, events, types, tags),
            )
        )

    @seldom
    @precondition(lambda self: self.there())
    @rule(at=st.integers(0, 2), what=st.sampled_from(["enable", "enable", "disable", "delete"]))
    def change_webhook(self, at: int, what: str) -> None:
        number = self.hook(at)
        if what == "delete":
            if "host" in self.world.hooks[number]:
                self.do(Asked(m.DeleteWebhook(number), lambda _: No("invalid")))
                return
            self.do(Asked(m.DeleteWebhook(number), lambda _: self.world.delete_webhook(number)))
            return
        enabled = what == "enable"
        message = m.ChangeWebhook(number, m.WebhookChanges(enabled=enabled), "token:1")
        self.do(Asked(message, lambda _: self.world.enable_webhook(number, enabled)))

    @precondition(lambda self: self.world.hooks)
    @rule(
        at=st.integers(0, 2),
        courier=st.sampled_from(["one", "one", "two"]),
        good=st.sampled_from([True, True, False, None]),
    )
    def deliver(self, at: int, courier: str, good: bool | None) -> None:
        """`good`: what was taken last was delivered, or was not; None: its courier stopped in between."""
        number = self.hook(at) if self.there() else min(self.world.hooks)
        mine = [each for each in self.taken if each[1:] == (number, courier)] if good is not None else []
        known = {row["id"] for row in self.world.outbox}
        mine = [each for each in mine if each[0] in known]  # a restore may have lost it
        error = None if good else "it answered 500"
        tried = tuple(Tried(id_, self.now, 204 if good else 500, error) for id_, _, _ in mine)
        message = m.TakeDeliveries(number, courier, MOST, tried)

        def expect(answer: Any) -> Any:
            given = [(each.id, each.event, about(each.event, each.data)) for each in answer.deliveries]
            outcomes = [(id_, good is True) for id_, _, _ in mine]
            return self.world.take_deliveries(number, courier, outcomes, given, self.now)

        taken = self.do(Asked(message, expect))
        self.taken = [each for each in self.taken if each not in mine]
        self.taken += [(each.id, number, courier) for each in taken.deliveries]

    def there(self) -> list[int]:
        return [number for number, hook in sorted(self.world.hooks.items()) if not hook["deleted"]]

    def hook(self, at: int) -> int:
        found = self.there()
        return found[min(at, len(found) - 1)]
