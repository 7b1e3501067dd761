"""What endpoints are told of: all that has happened, where one asked for it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.model.world.state import State
from tests.model.world.things import DAYS_MS, TAKEN_MS, ended, is_compared

Failing = tuple[int | None, int | None, int]  # since when, when last, and how much of the time between counts (ms)
NOT_FAILING: Failing = (None, None, 0)
A_WAIT_MS = 95_040_000  # between two failures: a day, and a tenth of it


class Webhooks(State):
    def create_webhook(self, number: int, events: Sequence[str], types: Sequence[str], tags: Sequence[str]) -> Any:
        self.hooks[number] = {
            "events": list(events), "types": list(types), "tags": list(tags), "enabled": True, "failing": NOT_FAILING,
            "deleted": False,
        }  # fmt: skip
        return ("WebhookStands", number, True)

    def callbacks_to(self, host: str, number: int) -> None:
        """The endpoint of this host, which is made for the first batch that calls it."""
        new = {"events": [], "types": [], "tags": [], "enabled": True, "failing": NOT_FAILING, "deleted": False}
        hook = self.hooks.setdefault(number, new | {"host": host})
        assert hook.get("host") == host
        assert sum(each.get("host") == host for each in self.hooks.values()) == 1, "a host has two endpoints"

    def enable_webhook(self, number: int, enabled: bool) -> Any:
        hook = self.hooks[number]
        if enabled != hook["enabled"]:
            hook["failing"] = NOT_FAILING
        hook["enabled"] = enabled
        return ("WebhookStands", number, enabled)

    def delete_webhook(self, number: int) -> Any:
        self.hooks[number]["deleted"] = True
        return ("Done",)

    def tell_webhooks(self, now: int) -> None:
        """Of all that one message has brought about."""
        latest = {each[1]: each for each in ended}  # those that were brought back at once are told of to nobody
        stand = [each for each in latest.values() if each[1] not in self.jobs or self.jobs[each[1]].status == each[0]]
        told = [*self.happened, *((f"job.{status}", *about) for status, *about in stand)]
        self.happened.clear()
        ended.clear()
        for event, about, type_, tags in told:
            if type_ is not None and is_compared(type_):
                continue
            for number, hook in self.hooks.items():
                if not hook["enabled"] or hook["deleted"] or event not in hook["events"]:
                    continue
                if hook["types"] and type_ not in hook["types"]:
                    continue
                if hook["tags"] and not set(hook["tags"]) & set(tags):
                    continue
                self._put_out(number, event, about, now)
            if event == "batch.ended" and (callback := self.batches[about].callback) is not None:
                self._put_out(callback, event, about, now)

    def _put_out(self, number: int, event: str, about: Any, now: int) -> None:
        self.outbox.append({
            "id": None, "hook": number, "event": event, "about": about, "state": "waiting", "tries": 0,
            "courier": None, "until": now,
        })  # fmt: skip

    def take_deliveries(
        self, number: int, courier: str, tried: Sequence[tuple[int, bool]], taken: Sequence[Any], now: int
    ) -> Any:
        """`taken`: what was given out. It must be what is due, and what another one has is not. How long one waits
        that has failed is taken as it is."""
        hook = self.hooks[number]
        for id_, good in tried:
            row = next(row for row in self.outbox if row["id"] == id_)
            if row["state"] != "waiting" or (row["courier"] != courier and not good):
                continue
            row["tries"], row["courier"] = row["tries"] + 1, None
            if good:
                row["state"], hook["failing"] = "delivered", NOT_FAILING
            else:
                row["until"] = None
                if hook["enabled"] and not hook["deleted"]:
                    hook["failing"] = once_more(hook["failing"], now)
                    hook["enabled"] = "host" in hook or hook["failing"][2] < DAYS_MS
        given = []
        if hook["enabled"] and not hook["deleted"]:
            waiting = [row for row in self.outbox if row["hook"] == number and row["state"] == "waiting"]
            for id_, event, about in taken:
                row = next(
                    (row for row in waiting if row["id"] == id_),
                    next(
                        (row for row in waiting
                         if row["id"] is None and (row["event"], row["about"]) == (event, about)), None,
                    ),
                )  # fmt: skip
                if row is None or not may_be_due(row, now):
                    return ("nothing of the kind was due", id_, event, about)
                row["id"], row["courier"], row["until"] = id_, courier, now + TAKEN_MS
                given.append(id_)
            late = [row for row in waiting if row["until"] is not None and may_be_due(row, now)]
            if late:
                return ("it was due, and not given out", late)
        return ("DeliveriesTaken", tuple(given))


def once_more(failing: Failing, now: int) -> Failing:
    since, last, counted = failing
    if since is None or last is None:
        return (now, now, 0)
    return (since, now, counted + min(max(0, now - last), A_WAIT_MS))


def may_be_due(row: dict[str, Any], now: int) -> bool:
    """How long one waits that has failed is not known here. What is further ahead than it was put waits by a clock
    that has been set back since, and is not waited for."""
    longest = 0 if row["courier"] is None else TAKEN_MS
    return row["until"] is None or not 0 < row["until"] - now <= longest


def about(event: str, data: str) -> Any:
    """What it tells of."""
    said = json.loads(data)
    return said.get(
        {"job": "job_id", "batch": "batch", "type": "type", "worker": "worker_id"}.get(event.partition(".")[0], "")
    )
