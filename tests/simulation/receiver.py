"""A receiver of webhooks that fails in every way, and what it is told held against what the commits show.

Owns: the messages that it has taken, those that are being sent to it, and what the outbox held after the last commit.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import trio

from blobforge.outward.calling import CallAnswer, CallError
from blobforge.webhook import TAKEN_FOR
from tests.simulation.history import History
from tests.simulation.oracle import ENDED, Batch, Job

SECONDS = 20.0  # that a call may take
WAYS = ("takes", "takes", "takes", "errs", "redirects", "busy", "breaks", "hangs", "takes and breaks", "late")
OF_STATUS = {status: f"job.{status}" for status in ENDED}
SENT = "whatever a webhook asks for is sent to it, and nothing else"


class Sent(NamedTuple):
    """A row of the outbox."""

    id: int
    event: str
    about: int  # the job, or the batch
    waits: bool


class Receiver:
    """`well`: it takes everything from now on."""

    def __init__(self, dice: random.Random, history: History) -> None:
        self.well = False
        self.webhook: int | None = None  # since it is asked for
        self.taken: Counter[str] = Counter()  # by the id of the message
        self._under_way: dict[str, float] = {}
        self._dice = dice
        self._history = history
        self._outbox: dict[int, Sent] = {}

    async def call(self, _url: str, body: bytes, headers: Mapping[str, str]) -> CallAnswer:
        """In place of what calls a URL. Raises CallError."""
        id_ = headers["webhook-id"]
        now = trio.current_time()
        if now - self._under_way.get(id_, -TAKEN_FOR) < TAKEN_FOR / 1000 - 1:
            self._history.broken("a delivery is made by one server at a time", id_)
        self._under_way[id_] = now
        way = "takes" if self.well else self._dice.choice(WAYS)
        self._history.say(f"webhook {json.loads(body)['type']} ({id_}): {way}")
        answer = await self._answer(way, id_)
        self._under_way.pop(id_, None)
        if answer is None:
            raise CallError("the connection broke, in a play")
        return answer

    async def _answer(self, way: str, id_: str) -> CallAnswer | None:
        await trio.sleep(self._dice.uniform(0.0, 0.2))
        match way:
            case "errs":
                return CallAnswer(500, "out of order")
            case "redirects":
                return CallAnswer(302, "")
            case "busy":
                return CallAnswer(429, "", retry_after=str(self._dice.randint(1, 20)))
            case "breaks":
                return None
            case "hangs":
                await trio.sleep(SECONDS)
                return None
            case "takes and breaks":
                self.taken[id_] += 1
                return None
            case "late":
                await trio.sleep(self._dice.uniform(0.5, SECONDS - 1))
        self.taken[id_] += 1
        return CallAnswer(204, "")

    # --- what is there to be sent

    def committed(self, was: Mapping[int, Job], now: Mapping[int, Job], batches: Iterable[tuple[Batch | None, Batch]],
                  outbox: Mapping[int, Sent]) -> None:  # fmt: skip
        """`batches`: as they were, and are."""
        new = Counter((row.event, row.about) for number, row in outbox.items() if number not in self._outbox)
        for number in self._outbox.keys() - outbox.keys():
            self._history.broken(SENT, f"{self._outbox[number]} is gone")
        self._outbox = dict(outbox)
        for job in now.values():
            before = was.get(job.id)
            if before == job:
                continue
            told = {event: new.pop((event, job.id), 0) for event in OF_STATUS.values()}
            if job.status in ENDED and (before is None or before.status != job.status):
                if not told[OF_STATUS[job.status]]:
                    self._history.broken(SENT, f"job {job.id} is {job.status}, which is not in the outbox")
            if sum(told.values()) > 1:
                self._history.broken(SENT, f"job {job.id} was {before}, is {job}: {told}")
        for then, batch in batches:
            endings = batch.endings - (then.endings if then is not None else 0)
            if new.pop(("batch.ended", batch.id), 0) != endings:
                self._history.broken(SENT, f"{batch} has ended {endings} times more")
        if new:
            self._history.broken(SENT, f"nothing of this has happened: {dict(new)}")

    @property
    def waits(self) -> bool:
        """Whether something is still to be sent."""
        return any(row.waits for row in self._outbox.values())

    def at_the_end(self, delivered: Mapping[int, str]) -> None:
        """`delivered`: the states of all that was in the outbox."""
        ids = {_message(number) for number in delivered}
        for number, state in delivered.items():
            if state != "delivered" or not self.taken[_message(number)]:
                self._history.broken("never an event unsent", f"{self._outbox[number]} is {state}")
        if others := self.taken.keys() - ids:
            self._history.broken(SENT, f"it was sent {sorted(others)}")


def _message(number: int) -> str:
    return f"msg_{number}"
