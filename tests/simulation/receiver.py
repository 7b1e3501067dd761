"""A receiver of webhooks that fails in every way, and what it is told held against what the commits show.

Owns: the messages that it has taken, those that are being sent to it, and what the outbox held after the last commit.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import trio

from blobforge.canary import is_comparison
from blobforge.outward.calling import CallAnswer, CallError
from blobforge.webhook import TAKEN_FOR
from tests.fixtures.probe import Probe
from tests.simulation.clock import WallClock
from tests.simulation.history import History

if TYPE_CHECKING:
    from tests.simulation.oracle import Look

ENDED = ("completed", "dead", "cancelled")
SECONDS = 20.0  # that a call may take
SLOW = 10.0  # seconds that the commit takes, at most, by which a server has taken what it delivers then
WAYS = ("takes", "takes", "takes", "errs", "redirects", "busy", "breaks", "hangs", "takes and breaks", "late")
OF_STATUS = {status: f"job.{status}" for status in ENDED}
HOOK = "https://receiver.test/hook"
CALLBACK = {"url": "https://receiver.test/callback", "secret": "whsec_" + 32 * "c"}
CALLED = "the callback of a batch is told each of its ends, once, and nothing else"
SENT = "whatever a webhook asks for is sent to it, and nothing else"


class Sent(NamedTuple):
    """A row of the outbox."""

    event: str
    about: int  # the job, or the batch
    state: str


class Receiver:
    """`well`: it takes everything from now on."""

    def __init__(self, dice: random.Random, history: History, clock: WallClock) -> None:
        self._clock = clock
        self.well = False
        self.webhook: int | None = None  # since it is asked for
        self.taken: Counter[int] = Counter()  # by the number of the delivery, which is in the message's id
        self._under_way: dict[int, float] = {}
        self._dice = dice
        self._history = history
        self._outbox: dict[int, Sent] = {}
        self._called: dict[int, Sent] = {}  # the same, of the callback of the batch

    async def call(self, url: str, body: bytes, headers: Mapping[str, str]) -> CallAnswer:
        """In place of what calls a URL. Raises CallError."""
        said = json.loads(body)["type"]
        if url not in (HOOK, CALLBACK["url"]) or (url != HOOK and said != "batch.ended"):
            self._history.broken(CALLED, f"{said} is told to {url}")
        id_ = int(headers["webhook-id"].rpartition("_")[2])
        now = trio.current_time()
        if now - self._under_way.get(id_, -TAKEN_FOR) < TAKEN_FOR / 1000 - SLOW and not self._clock.was_set:
            self._history.broken("a delivery is made by one server at a time", f"delivery {id_}")
        self._under_way[id_] = now
        way = "takes" if self.well else self._dice.choice(WAYS)
        self._history.say(f"webhook {said} ({id_}): {way}")
        answer = await self._answer(way, id_)
        self._under_way.pop(id_, None)
        if answer is None:
            raise CallError("the connection broke, in a play")
        return answer

    async def _answer(self, way: str, id_: int) -> CallAnswer | None:
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

    def committed(self, probe: Probe, was: Look, now: Look) -> None:
        asked = self.webhook is not None
        endpoints = probe.rows("webhooks", "id", "host", order="id")
        self._callbacks(probe, [number for number, host in endpoints if host is not None], was, now)
        if not asked and (made := [number for number, host in endpoints if host is None]):
            self.webhook = made[0]
        if not asked:  # it is told of what happens after it was made
            return
        # It may have been made twice, where the answer was lost: each is told of everything.
        rows = probe.rows("deliveries", "id", "event", "data", "state", order="id", webhook=self.webhook)
        outbox = {number: _sent(event, data, state) for number, event, data, state in rows}
        new = Counter((row.event, row.about) for number, row in outbox.items() if number not in self._outbox)
        for number in self._outbox.keys() - outbox.keys():
            self._history.broken(SENT, f"{self._outbox[number]} is gone")
        self._outbox = outbox
        for job in now.jobs.values():
            before = was.jobs.get(job.id)
            if before == job or is_comparison(job.type):
                continue
            told = {event: new.pop((event, job.id), 0) for event in OF_STATUS.values()}
            ended = job.status in ENDED and (before is None or before.status != job.status)
            if ended and not told[OF_STATUS[job.status]]:
                self._history.broken(SENT, f"job {job.id} is {job.status}, which is not in the outbox")
            if sum(told.values()) > 1:
                self._history.broken(SENT, f"job {job.id} was {before}, is {job}: {told}")
        for batch in now.batches.values():
            then = was.batches.get(batch.id)
            endings = batch.endings - (then.endings if then is not None else 0)
            if new.pop(("batch.ended", batch.id), 0) != endings:
                self._history.broken(SENT, f"{batch} has ended {endings} times more")
        for (event, about), many in new.items():
            if many and (about not in self._history.deleted or event == "batch.ended"):
                self._history.broken(SENT, f"nothing like {event} of {about} has happened")

    def _callbacks(self, probe: Probe, endpoints: list[int], was: Look, now: Look) -> None:
        """Each end of a batch that was made with one is told to it, once, and nothing else is."""
        if not endpoints:
            return
        wanted = {number for number, to in probe.rows("batches", "id", "callback_to") if to is not None}
        rows = probe.rows("deliveries", "id", "event", "data", "state", order="id", webhook=endpoints[0])
        outbox = {number: _sent(event, data, state) for number, event, data, state in rows}
        new = Counter((row.event, row.about) for number, row in outbox.items() if number not in self._called)
        self._called = outbox
        for batch in now.batches.values():
            then = was.batches.get(batch.id)
            endings = batch.endings - (then.endings if then is not None else 0)
            if new.pop(("batch.ended", batch.id), 0) != (endings if batch.id in wanted else 0):
                self._history.broken(CALLED, f"{batch} has ended {endings} times more")
        for what in new:
            self._history.broken(CALLED, f"it is told {what}")

    @property
    def waits(self) -> bool:
        """Whether something is still to be sent."""
        return any(row.state == "waiting" for row in (*self._outbox.values(), *self._called.values()))

    def at_the_end(self) -> None:
        for number, row in (*self._outbox.items(), *self._called.items()):
            if row.state != "delivered" or not self.taken[number]:
                self._history.broken("never an event unsent", f"{row}, taken {self.taken[number]} times")


def _sent(event: str, data: str, state: str) -> Sent:
    about = json.loads(data)
    return Sent(event, about["batch"] if event == "batch.ended" else about["job_id"], state)
