"""Between the clients and the server: requests that get lost, come late or twice, answers that nobody hears.

Owns nothing. Each request goes on record before it is sent, and each answer is judged before its client hears of it.
"""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

import trio

from tests.simulation.answers import Answers
from tests.simulation.faults import Weather
from tests.simulation.history import Ask, History
from tests.simulation.machine import Answer, Machine


class Token(NamedTuple):
    id: int
    secret: str


class Network:
    def __init__(self, machine: Machine, weather: Weather, history: History, answers: Answers) -> None:
        self._machine = machine
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
        ask = (verb, subject, method, path, body or {}, key, name, token)
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
        now = trio.current_time()
        record = Ask(verb, subject, body, now, now + patience, identity=identity, start=self._machine.starts)
        record.token = token.id if token is not None else None
        record.repeatable = key is not None or "claim_key" in body or verb == "complete"
        if not record.repeatable:  # said twice, it is meant twice
            record.identity = f"{identity}, {len(self._history.asks)}"
        self._history.ask(record)
        headers = {"idempotency-key": key} if key else {}
        if token is not None:
            headers["authorization"] = f"Bearer {token.secret}"
        process = self._machine.process
        answer: Answer | None = None
        try:
            answer = await self._machine.ask(method, path, body or None, headers=headers, gone_at=record.gone_at)
        finally:
            del self._history.open[record]
            record.ended_at = trio.current_time()
            if answer is None:
                record.gone_at = min(record.gone_at, trio.current_time())
        outcome = f"{answer.status} {answer.refusal}" if answer else "no answer"
        self._history.say(f"{verb} {_named(subject, self._history)} ({identity}): {outcome}")
        if answer is None:
            return None
        calm = process is not None and self._weather.slow == 0 and process.slow_until < record.sent_at
        self._answers.judge(record, answer, calm=calm)
        return answer


def _named(subject: Any, history: History) -> Any:
    """Leases are made by chance: the trace names their attempts."""
    return history.leases.get(subject, subject) if isinstance(subject, str) else subject
