"""Workers that crash, freeze, lose answers and repeat themselves; and, when the faults are over, good ones.

Owns, each: what it believes to hold. A worker that crashed remembers nothing; one that froze goes on as if no time
had passed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import trio

from blobforge.objects import ObjectStoreError
from blobforge.objects.keys import named_output_key, output_of, prefix_of
from blobforge.objects.local import LocalStore
from tests.simulation.asgi import Answer
from tests.simulation.history import BROKEN, FLAKY, GOOD, POISON, History
from tests.simulation.network import Network, Token

BEAT = 9.0  # seconds; about a third of the worker timeout
IDLE = 0.7  # of the heartbeats without a job that are left out: they tell little, and cost as much as others
TRIES = 8  # of one request, before a worker gives it up
# Of a worker, all of them in the last. What a job may require is in `people.py`.
LABELS: tuple[Any, ...] = (None, ["gpu"], {"memory_gib": 64, "gpu": False}, {"memory_gib": 64, "gpu": True})
OF_OUTPUTS = (GOOD, GOOD, GOOD, GOOD, FLAKY, BROKEN)  # natures, as the sources of others
OLD = 8  # leases that it had, and may still speak of


class Crash(Exception):
    """The worker's process ends without a word."""


@dataclass
class Habits:
    """Chances, for each attempt. `good`: none of them, and every answer is waited for."""

    crash: float = 0.15
    freeze: float = 0.25
    give_back: float = 0.1
    silent: float = 0.2  # a heartbeat is left out
    stale: float = 0.3  # speaks of a lease that it had
    keyless: float = 0.4  # claims that cannot be repeated
    impatient: float = 0.3  # goes away from a long poll
    tardy: float = 0.0  # has a job for long, and says so each time just before its lease would end

    @classmethod
    def good(cls) -> Habits:
        return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    @classmethod
    def late(cls) -> Habits:
        return replace(cls.good(), tardy=1.0)


@dataclass(eq=False)
class Held:
    """One attempt in this worker's hands."""

    job: int
    number: int
    lease: str
    source: str
    key: str
    abandoned: bool = False


class Worker:
    def __init__(
        self,
        name: str,
        dice: random.Random,
        *,
        network: Network,
        objects: LocalStore,
        history: History,
        types: tuple[str, ...],
        timeout: float,
        labels: random.Random | None = None,
        converter: Callable[[], str] | None = None,
        accepts: Sequence[str] = (),
    ) -> None:
        """`converter`: what each of its processes says that it converts with; None: it says nothing of it."""
        self.name = name
        self.habits = Habits()
        self.token: Token | None = None  # None: the administrator's own
        self._dice = dice
        self._network = network
        self._objects = objects
        self._history = history
        self._types = types
        self._timeout = timeout
        self._labels = labels  # the dice for those that each of its processes has; None: all there are
        self._converter = converter
        self._accepts = list(accepts)
        self._held: list[Held] = []
        self._old: list[Held] = []
        self._thawed_at = 0.0
        self._heard_at = 0.0  # when it was last given a job, or heard with one
        self._count = 0
        self._instance = ""
        self._replaces: str | None = None  # what its disk has of the process before

    @property
    def is_busy(self) -> bool:
        return bool(self._held)

    async def run(self) -> None:
        """One process of this worker after the other."""
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    self._instance = f"{self.name} {self._dice.random()}"
                    await self._register()
                    nursery.start_soon(self._beats)
                    await self._work()
            except* Crash:
                pass
            self._history.say(f"{self.name} crashed")
            self._old = [*self._old, *self._held][-OLD:]
            self._held = []
            await trio.sleep(self._dice.choice((0.1, 5.0, self._dice.uniform(0.0, 2 * self._timeout))))

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    async def _say(self, verb: str, subject: Any, path: str, body: dict[str, Any], **options: Any) -> Answer | None:
        await self._awake()
        return await self._network.call(self._dice, verb, subject, "POST", path, body, token=self.token, **options)

    async def _until_answered(
        self, verb: str, subject: Any, path: str, body: dict[str, Any], **options: Any
    ) -> Answer | None:
        """Say it again until there is an answer that settles it, or patience ends."""
        for _ in range(TRIES):
            answer = await self._say(verb, subject, path, body, **options)
            if answer is not None and answer.status not in (429, 503):
                return answer
            await trio.sleep(self._dice.uniform(0.5, 6.0))
        return None

    async def _awake(self) -> None:
        while trio.current_time() < self._thawed_at:
            await trio.sleep_until(self._thawed_at)

    async def _register(self) -> None:
        body: dict[str, Any] = {"id": self.name, "type": self._types[0], "instance": self._instance}
        if (labels := LABELS[-1] if self._labels is None else self._labels.choice(LABELS)) is not None:
            body["labels"] = labels
        if self._converter is not None:
            body["converter"] = self._converter()
        if self._replaces is not None and self._chance(0.8):
            body["replaces"] = self._replaces
        self._history.taken(self.name)  # of another process of it, the server takes what that one has
        while (
            answer := await self._until_answered("register", self.name, "/api/workers/register", body)
        ) is None or (not answer.ok):
            await trio.sleep(self._dice.uniform(1.0, 10.0))
        self._replaces = self._instance

    # --- signs of life

    async def _beats(self) -> None:
        while True:
            await trio.sleep(BEAT * self._dice.uniform(0.8, 1.2))
            if self._chance(self.habits.silent):
                # At any time, or just when the lease is about to end.
                late = self._timeout - BEAT + self._dice.uniform(-2.0, 3.0)
                await trio.sleep(self._dice.choice((self._dice.uniform(0.0, 1.5 * self._timeout), late)))
            while self._held and self._chance(self.habits.tardy) and trio.current_time() < self._almost_over():
                await trio.sleep_until(self._almost_over())
            named = list(self._held)
            if not named and self._chance(IDLE):
                continue
            body: dict[str, Any] = {
                "instance": self._instance,
                "jobs": [{"job_id": each.job, "lease": each.lease} for each in named],
            }
            if named and self._chance(0.3):
                body["jobs"][0]["progress"] = {"percent": self._dice.randrange(100)}
            answer = await self._say("beat", self.name, f"/api/workers/{self.name}/heartbeat", body)
            if answer is None:
                continue
            if answer.status == 404:
                await self._register()
            elif answer.ok:
                self._heard_at = trio.current_time()
                for each in named:
                    each.abandoned = each.abandoned or each.job in answer.body["abandon"]

    def _almost_over(self) -> float:
        """A moment before the leases of what it has would end. Another server may not hear of it by then."""
        return self._heard_at + self._timeout - self._dice.uniform(0.01, 0.8)

    # --- work

    async def _work(self) -> None:
        while True:
            for held in await self._claim():
                await self._attempt(held)
            if self._old and self._chance(self.habits.stale):
                await self._speak_of_old(None)

    async def _claim(self) -> list[Held]:
        self._count += 1
        key = None if self._chance(self.habits.keyless) else f"{self.name} {self._count} {self._dice.random()}"
        wait = self._dice.choice((0, 5, 20, 60)) if self.habits.stale else 60
        body: dict[str, Any] = {"worker_id": self.name, "wait": wait, "instance": self._instance}
        options: dict[str, Any] = {}
        if self._accepts:
            body["accepts"] = self._accepts
        if len(self._types) > 1:
            body["job_types"] = list(self._types)
        else:
            body["job_type"] = self._types[0]
        if self._chance(0.2):
            body["limit"] = self._dice.choice((1, 2, 3))
        if key is not None:
            options["identity"] = f"claim {key}"
            if self._chance(0.5):
                body["claim_key"] = key
            else:
                options["key"] = key
        if self._chance(self.habits.impatient):
            options["patience"] = self._dice.uniform(0.0, self._dice.choice((wait, 4.0)))
        if key is None:
            answer = await self._say("claim", self.name, "/api/jobs/claim", body, **options)
        else:
            answer = await self._until_answered("claim", self.name, "/api/jobs/claim", body, **options)
        if answer is None or not answer.ok:
            await trio.sleep(self._dice.uniform(0.5, 5.0))
            if answer is not None and (
                answer.status == 404 or (self.token is not None and answer.status in (401, 403))
            ):
                await self._register()
            return []
        grants = answer.body["jobs"] if "limit" in body else [answer.body]
        held = [taken for grant in grants if (taken := self._take(grant)) is not None]
        if not held and not wait:
            await trio.sleep(self._dice.uniform(0.5, 5.0))
        return held

    def _take(self, grant: dict[str, Any]) -> Held | None:
        if grant.get("job") is None:
            return None
        key = grant["output_key"]
        held = Held(grant["job"]["id"], output_of(key).attempt, grant["lease"], grant["job"]["source_hash"], key)
        if any(each.lease == held.lease for each in self._held):
            return None
        if held.source not in self._history.contents:
            self._history.children.add(held.job)
        self._held.append(held)
        self._heard_at = trio.current_time()
        return held

    async def _attempt(self, held: Held) -> None:
        nature = self._history.documents.get(held.source, GOOD)  # a manifest is
        await trio.sleep(self._dice.choice((0.1, self._dice.uniform(0.0, 10.0), self._dice.uniform(0.0, 60.0))))
        if self._chance(self.habits.tardy):
            await trio.sleep(self._dice.uniform(2.0, 4.0) * self._timeout)
        if self._old and self._chance(self.habits.stale):
            await self._speak_of_old(held.job)
        if nature == POISON or self._chance(self.habits.crash):
            raise Crash
        if self._chance(self.habits.freeze):
            pause = self._dice.uniform(0.0, 3 * self._timeout)
            self._history.say(f"{self.name} freezes for {pause:.1f} s")
            self._thawed_at = trio.current_time() + pause
            await self._awake()
        if held.abandoned and self._chance(0.7):
            self._let_go(held)
            return
        if self._chance(self.habits.give_back):
            said = self._dice.choice(({}, {"cause": "preempted"}, {"cause": "shutdown"}, {"cause": "trouble"}))
            await self._end(held, "release", {"reason": "no space left"} | said)
        elif nature == BROKEN or (nature == FLAKY and held.number == 1):
            await self._fail(held)
        else:
            await self._complete(held)

    async def _end(self, held: Held, verb: str, said: dict[str, Any]) -> Answer | None:
        body = {"worker_id": self.name, "lease": held.lease, "instance": self._instance} | said
        options: dict[str, Any] = {"key": f"{verb} {held.lease}"} if self._chance(0.3) else {}
        if verb == "complete":
            options["identity"] = f"complete {held.job}/{held.number}"
        answer = await self._until_answered(verb, held.lease, f"/api/jobs/{held.job}/{verb}", body, **options)
        self._let_go(held)
        return answer

    def _let_go(self, held: Held) -> None:
        if held in self._held:
            self._held.remove(held)
        self._old = [*self._old[-OLD:], held]

    async def _fail(self, held: Held) -> None:
        said: dict[str, Any] = {"error": "it cannot be converted", "kind": "BadDocument"}
        if self._chance(0.15):
            said["retryable"] = False
            self._history.gave_up(held.job)
        await self._end(held, "fail", said)

    async def _complete(self, held: Held) -> None:
        names = [f"{page}.txt" for page in range(1, self._history.pages.get(held.source, 0) + 1)]
        keys = [named_output_key(prefix_of(held.key), name) for name in names] or [held.key]
        for key in keys:
            if not await self._upload(held, key):
                await self._end(held, "release", {"reason": "the object store does not take the output"})
                return
        said: dict[str, Any] = {"output_key": held.key, "result": {"pages": held.number}}
        if names:
            said = {"outputs": [{"name": name} for name in names], "result": said["result"]}
            self._history.names[held.job, held.number] = tuple(names)
        if self._chance(0.3):
            said |= {"claim_next": True} | ({"accepts": self._accepts} if self._accepts else {})
        answer = await self._end(held, "complete", said)
        if answer is not None and answer.ok and "next" in answer.body:
            following = self._take(answer.body["next"])
            if following is not None:
                await self._attempt(following)

    async def _upload(self, held: Held, key: str) -> bool:
        content = f"{key} by {self.name}: {held.source}".encode()
        self._history.documents.setdefault(hashlib.sha256(content).hexdigest(), self._dice.choice(OF_OUTPUTS))
        for _ in range(TRIES):
            await self._awake()
            with trio.move_on_after(20.0):
                try:
                    await self._objects.receive(key, whole(content), max_size=1 << 20)
                except ObjectStoreError:
                    pass
                else:
                    self._history.outputs[key] = content
                    return True
            await trio.sleep(self._dice.uniform(0.5, 5.0))
        return False

    async def _speak_of_old(self, job: int | None) -> None:
        """What was said long ago comes again, or only now; best of a job that it has again in its hands."""
        held = self._dice.choice([old for old in self._old if old.job == job] or self._old)
        verb = self._dice.choice(("complete", "fail", "release"))
        body = {"worker_id": self.name, "lease": held.lease}
        if verb == "complete":
            body["output_key"] = held.key
        await self._say(verb, held.lease, f"/api/jobs/{held.job}/{verb}", body)


async def whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
