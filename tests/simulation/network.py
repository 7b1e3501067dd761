"""Between the clients and the server: requests that get lost, come late or twice, answers that nobody hears.

Owns nothing. Each request goes on record before it is sent, and each answer is judged before its client hears of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import trio

from tests.simulation.answers import Answers
from tests.simulation.asgi import Answer
from tests.simulation.faults import Weather
from tests.simulation.history import Ask, History


class Token(NamedTuple):
    id: int
    secret: str


class Run(Protocol):
    """One run of a server: when what it cannot help has kept it waiting last."""

    @property
    def disturbed_until(self) -> float: ...


class Asked(Protocol):
    """A server, as its clients see it."""

    @property
    def process(self) -> Run | None: ...

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, gone_at: float,
        told: Callable[[Answer | None], None],
    ) -> Answer | None: ...  # fmt: skip


class Network:
    """Each request goes to any of the servers. `patience`: so many seconds, beside those for which it is to wait
    itself, a client waits for an answer."""

    def __init__(
        self, servers: Sequence[Asked], weather: Weather, history: History, answers: Answers, *,
        patience: float = math.inf,
    ) -> None:  # fmt: skip
        self._servers = servers
        self._patience = patience
        self._weather = weather
        self._history = history
        self._answers = answers
        self._count = 0

    async def call(
        self,
        dice: random.Random,
        verb: str,
        subject: Any,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        identity: str | None = None,
        patience: float = math.inf,
        token: Token | None = None,
    ) -> Answer | None:
        """One request, to which the weather may do things. None: no answer came, nobody knows what was done.

        `identity` is the same for what is meant to be done once; `patience`: its client goes after so many seconds.
        """
        self._count += 1
        name = identity or f"request {self._count}"
        ask = (dice, verb, subject, method, path, body or {}, key, name, token)
        if dice.random() >= self._weather.network:
            return await self._send(*ask, patience)
        match dice.choice(("lost", "unheard", "late", "twice", "gone")):
            case "lost":
                return None
            case "unheard":
                await self._send(*ask, patience)
                return None
            case "late":
                await trio.sleep(dice.uniform(0.1, 40.0))
                return await self._send(*ask, patience)
            case "twice":
                return await self._twice(dice, ask, patience)
            case _:
                return await self._send(*ask, dice.choice((0.0, 0.001, dice.uniform(0.0, 5.0))))

    async def _twice(self, dice: random.Random, ask: Any, patience: float) -> Answer | None:
        answers: list[Answer | None] = []

        async def one(after: float) -> None:
            await trio.sleep(after)
            answers.append(await self._send(*ask, patience))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0.0)
            nursery.start_soon(one, dice.choice((0.0, dice.uniform(0.0, 10.0))))
        return dice.choice(answers)

    async def _send(
        self,
        dice: random.Random,
        verb: str,
        subject: Any,
        method: str,
        path: str,
        body: dict[str, Any],
        key: str | None,
        identity: str,
        token: Token | None,
        patience: float,
    ) -> Answer | None:
        server = self._servers[0] if len(self._servers) == 1 else dice.choice(self._servers)
        process = server.process
        now = trio.current_time()
        gone_at = now + min(patience, body.get("wait", 0) + self._patience)
        record = Ask(verb, subject, body, now, gone_at, identity=identity, server=process)
        record.token = token.id if token is not None else None
        record.repeatable = key is not None or "claim_key" in body or verb == "complete"
        if not record.repeatable:  # said twice, it is meant twice
            record.identity = f"{identity}, {len(self._history.asks)}"
        self._history.ask(record)
        headers = {"idempotency-key": key} if key else {}
        if token is not None:
            headers["authorization"] = f"Bearer {token.secret}"

        def told(answer: Answer | None) -> None:
            del self._history.open[record]
            record.ended_at = trio.current_time()
            if answer is None:
                record.gone_at = min(record.gone_at, trio.current_time())
            outcome = f"{answer.status} {answer.refusal}" if answer else "no answer"
            self._history.say(f"{verb} {_named(subject, self._history)} ({identity}): {outcome}")
            if answer is not None:
                disturbed = process is None or process.disturbed_until >= record.sent_at
                self._answers.judge(record, answer, calm=self._weather.slow == 0 and not disturbed)

        try:
            return await server.ask(method, path, body or None, headers=headers, gone_at=record.gone_at, told=told)
        finally:  # where its client ends itself, the server may still be at it
            if record in self._history.open:
                record.gone_at = min(record.gone_at, trio.current_time())


def _named(subject: Any, history: History) -> Any:
    """Leases are made by chance: the trace names their attempts."""
    return history.leases.get(subject, subject) if isinstance(subject, str) else subject
