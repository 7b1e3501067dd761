"""The courier: delivers to webhooks what the outbox holds. State owned here: which endpoints have something coming,
and what was just tried.

Each endpoint with something to be delivered has a task of its own, so that one that hangs holds up no other. The
writer says what is due (`actors/effects/webhooks.py`): what a server has taken no other one takes before its time is
over, and a server that stops in mid-delivery leaves it to be delivered again, with the same id. So a receiver gets
everything at least once, in no promised order.

It is no part of a commit: a delivery that fails costs no job anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec
import structlog
import trio

from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import DeliveriesTaken, TakeDeliveries
from blobforge.events import DeliveriesWait, Fact
from blobforge.machinery.tally import Spread
from blobforge.outward.calling import SECONDS, CallAnswer, CallError
from blobforge.refusals import Refusal
from blobforge.store.errors import DatabaseError
from blobforge.webhook import TAKEN_FOR, Delivery, Tried, Webhook, retry_after

log = structlog.get_logger("blobforge.courier")

AT_ONCE = 4  # deliveries to one endpoint, side by side
AFTER_FAILURE = 1  # to one that has taken nothing of the last ones
SIDE_BY_SIDE = 32  # to all of them
TRY_AGAIN = 5.0  # seconds after the writer could not
OTHERS_FIRST = 5.0  # seconds that what another server has committed is left to that one
LONGEST_SLEEP = 300.0  # it waits by the wall clock, which may jump
SHORTEST_SLEEP = 0.05
BEGUN_WITHIN = TAKEN_FOR / 1000 - SECONDS - 5.0  # of what was taken: later, another server may have it, too
LONGEST_ERROR = 300  # characters


class Letter(msgspec.Struct, frozen=True):
    """What is sent: to which URL, and signed."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class Post(Protocol):
    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], /) -> CallAnswer:
        """Raises CallError."""


class _Endpoint:
    """One that something is to be delivered to: when to look (trio's clock), and how its task is told to look
    earlier."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.sooner = trio.Event()


class Courier:
    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({DeliveriesWait})

    def __init__(
        self,
        writer: Mailbox[Envelope[Any]],
        *,
        write: Callable[[Webhook, Delivery], Awaitable[Letter | str]],
        post: Post,
        endpoints: Callable[[], Awaitable[Sequence[int]]],
        now: Callable[[], int],
        rank: Callable[[], int] = lambda: 0,
    ) -> None:
        """`write` makes the letter, or says why it cannot; `endpoints` reads which there are; `now` is wall time in
        ms. `rank`: servers of a higher one look a little later, and mostly find nothing left."""
        self._writer = writer
        self._write = write
        self.call = post  # another one in tests
        self._endpoints = endpoints
        self._now = now
        self._rank = rank
        self._own = secrets.token_hex(8)  # of this run of the server
        self._served: dict[int, _Endpoint] = {}
        self._told: dict[int, float] = {}  # endpoints with something new, and when to look: not seen by `run` yet
        self._wake = trio.Event()
        self._places = trio.CapacityLimiter(SIDE_BY_SIDE)
        self.delivered = 0
        self.failed = 0  # tries
        self.seconds = Spread()

    @property
    def in_hand(self) -> int:
        """Deliveries under way."""
        return self._places.borrowed_tokens

    def post(self, facts: Sequence[Fact]) -> None:
        self._note(facts, trio.current_time())

    def post_of_others(self, facts: Sequence[Fact]) -> None:
        self._note(facts, trio.current_time() + OTHERS_FIRST)

    def _note(self, facts: Sequence[Fact], at: float) -> None:
        for fact in facts:
            if isinstance(fact, DeliveriesWait):
                for webhook in fact.webhooks:
                    self._told[webhook] = min(at, self._told.get(webhook, at))
        self._wake.set()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_at_all)
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                told, self._told = self._told, {}
                for webhook, at in told.items():
                    self._serve_from(nursery, webhook, at)

    def _serve_from(self, nursery: trio.Nursery, webhook: int, at: float) -> None:
        endpoint = self._served.get(webhook)
        if endpoint is None:
            self._served[webhook] = endpoint = _Endpoint(at)
            nursery.start_soon(self._serve, webhook, endpoint)
        elif at < endpoint.at:
            endpoint.at = at
            endpoint.sooner.set()

    async def _look_at_all(self) -> None:
        """What a former run, or another server, has left."""
        while True:
            try:
                found = await self._endpoints()
            except DatabaseError:  # told by the one that read
                await trio.sleep(TRY_AGAIN)
                continue
            self._note([DeliveriesWait(tuple(found))], trio.current_time() + self._rank())
            await trio.sleep(LONGEST_SLEEP)

    async def _serve(self, webhook: int, endpoint: _Endpoint) -> None:
        """Deliver all that is due, until nothing is left for the endpoint."""
        tried: tuple[Tried, ...] = ()
        at_once = AT_ONCE
        while True:
            while trio.current_time() < endpoint.at:
                with trio.move_on_at(endpoint.at):
                    await endpoint.sooner.wait()
                endpoint.sooner = trio.Event()
            endpoint.at = trio.current_time() + LONGEST_SLEEP
            taken = await self._take(TakeDeliveries(webhook, self._own, at_once, tried))
            if taken is None:
                endpoint.at = trio.current_time() + TRY_AGAIN
                continue
            tried = ()
            if taken.webhook is not None and taken.deliveries:
                tried = await self._deliver_all(taken.webhook, taken.deliveries)
                # Where many hang, each has one of the places, and not all that there are.
                at_once = AT_ONCE if any(each.error is None for each in tried) else AFTER_FAILURE
                endpoint.at = trio.current_time()
            elif taken.next_at is not None:
                wait = (taken.next_at - self._now()) / 1000 + self._rank()
                wait = min(max(wait, SHORTEST_SLEEP), LONGEST_SLEEP)
                endpoint.at = min(endpoint.at, trio.current_time() + wait)
            elif not endpoint.sooner.is_set():
                del self._served[webhook]
                return

    async def _take(self, message: TakeDeliveries) -> DeliveriesTaken | None:
        """None: the writer could not commit, or met a bug."""
        try:
            taken = await ask(self._writer, message)
        except Exception:
            log.exception("cannot take deliveries", webhook=message.webhook_id)
            return None
        return None if isinstance(taken, Refusal) else taken

    async def _deliver_all(self, webhook: Webhook, deliveries: Sequence[Delivery]) -> tuple[Tried, ...]:
        tried: list[Tried] = []
        until = trio.current_time() + BEGUN_WITHIN

        async def one(delivery: Delivery) -> None:
            async with self._places:
                if trio.current_time() > until:
                    return  # it is given out once more when its time is over
                tried.append(await self._deliver(webhook, delivery))

        async with trio.open_nursery() as nursery:
            for delivery in deliveries:
                nursery.start_soon(one, delivery)
        return tuple(tried)

    async def _deliver(self, webhook: Webhook, delivery: Delivery) -> Tried:
        began = trio.current_time()
        tried = await self._try(webhook, delivery)
        self.seconds.add(trio.current_time() - began)
        if tried.error is None:
            self.delivered += 1
        else:
            self.failed += 1
            log.info("not delivered", webhook=webhook.id, delivery=delivery.id, reason=tried.error)
        return tried

    async def _try(self, webhook: Webhook, delivery: Delivery) -> Tried:
        at = self._now()
        try:
            letter = await self._write(webhook, delivery)
            if isinstance(letter, str):
                return Tried(delivery.id, at, error=letter)
            answer = await self.call(letter.url, letter.body, letter.headers)
        except CallError as error:
            return Tried(delivery.id, at, error=str(error)[:LONGEST_ERROR])
        except DatabaseError as error:
            return Tried(delivery.id, at, error=f"the database could not be read: {error}"[:LONGEST_ERROR])
        except Exception:
            log.exception("a delivery met a bug", webhook=webhook.id, delivery=delivery.id)
            return Tried(delivery.id, at, error="the server met a bug, which is in its log")
        text = answer.text.replace("\0", "\ufffd") or None
        if 200 <= answer.status < 300:
            return Tried(delivery.id, at, answer.status, answer=text)
        what = "it redirects, which is not followed" if 300 <= answer.status < 400 else f"it answered {answer.status}"
        wait = retry_after(answer.retry_after, now=self._now()) if answer.retry_after else None
        return Tried(delivery.id, at, answer.status, what, text, wait)
