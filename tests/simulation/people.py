"""Those who submit documents, an operator who does to jobs and workers whatever the API allows, and a dispatcher who
pauses types and sets limits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from actors.janitor import HURRY_EVERY
from blobforge.objects import ObjectStoreError
from blobforge.objects.local import LocalStore
from tests.simulation.asgi import Answer
from tests.simulation.canaries import NEW
from tests.simulation.history import BROKEN, FLAKY, GOOD, POISON, History
from tests.simulation.network import Network, Token
from tests.simulation.receiver import CALLBACK, HOOK
from tests.simulation.workers import TRIES, Worker, whole

RATES = ({"count": 1, "seconds": 15}, {"count": 1, "seconds": 40}, {"count": 2, "seconds": 30})
REQUIRES: tuple[tuple[str, ...], ...] = ((), (), ("gpu",), ("memory_gib>=32",), ("gpu", "memory_gib>=32"))
GROUPS = (None, "a", "a", "b")
PAGE, BOOK = "page", "book"  # types of what comes of others
CHAINS: tuple[list[dict[str, Any]], ...] = (
    [{"type": PAGE}],
    [{"type": PAGE, "then": [{"type": BOOK}]}],
    [{"type": PAGE, "join": {"type": BOOK}}],
    [{"type": PAGE, "join": {"type": BOOK}}, {"type": BOOK}],
)
NATURES = (GOOD, GOOD, GOOD, GOOD, FLAKY, BROKEN, POISON)


async def insisted(say: Callable[[], Awaitable[bool]], tries: int = 2 * TRIES) -> bool:
    """Say it until it was done, each second: whether it was."""
    for _ in range(tries):
        if await say():
            return True
        await trio.sleep(1.0)
    return False


class Submitter:
    """Submits one document, sees that its source gets there, and may say everything twice."""

    def __init__(
        self,
        dice: random.Random,
        *,
        network: Network,
        objects: LocalStore,
        history: History,
        type_: str,
        requires: tuple[str, ...] = (),
        times: Mapping[str, str] | None = None,
        group: str | None = None,
        batched: bool = False,
        sound: bool = False,
        chained: bool = False,
        priority: int | None = None,
    ) -> None:
        """`times`: before which its job is not to be started, and at which it expires. `batched`: it comes to the
        batch, if there is one. `sound`: the document is good, and is there.
        `chained`: something follows it. `priority`: by chance where it is not given."""
        self._priority = priority
        self._then = dice.choice(CHAINS) if chained else None
        self._sound = sound
        self._batched = batched
        self._dice = dice
        self._group = group
        self._requires = requires
        self._times = times or {}
        self._network = network
        self._objects = objects
        self._history = history
        self._type = type_

    async def run(self, number: int, delay: float) -> None:
        await trio.sleep(delay)
        dice = self._dice
        content = f"document {number} {dice.random()}".encode()
        source = hashlib.sha256(content).hexdigest()
        self._history.documents[source] = GOOD if self._sound else dice.choice(NATURES)
        self._history.contents[source] = content
        if self._then is not None:
            self._history.chained = True
            self._history.pages[source] = dice.choice((0, 1, 2, 3))
        uploads = "before" if self._sound else dice.choice(("before", "behind", "behind", "late", "never"))
        if uploads == "before":
            await self.upload(source)
        answer = await self.submit(source, number)
        if uploads in ("behind", "late"):
            if uploads == "late":
                await trio.sleep(dice.uniform(0.0, 80.0))
            await self.upload(source)
            if answer is not None and answer.ok and dice.random() < 0.5:
                job = answer.body["job_id"]
                await self._network.call(dice, "uploaded", job, "POST", f"/api/jobs/{job}/uploaded")
        if dice.random() < 0.3:
            await trio.sleep(dice.uniform(0.0, 60.0))
            await self.submit(source, number)

    async def submit(self, source: str, number: int) -> Answer | None:
        dice = self._dice
        body: dict[str, Any] = {"type": self._type, "source_hash": source, "priority": dice.randint(1, 5)}
        if self._priority is not None:
            body["priority"] = self._priority
        if self._requires:
            body["requires"] = list(self._requires)
        body |= self._times
        if self._group is not None:
            body["group"] = self._group
        if self._then is not None:
            body["then"] = self._then
        if dice.random() < 0.3:
            body["max_attempts"] = dice.randint(1, 2)
        key = f"submit {number} {dice.random()}" if dice.random() < 0.6 else None
        if self._batched and self._history.batch is not None:
            body["batch"] = self._history.batch
        for _ in range(2 * TRIES):
            sent = dict(body)  # it may come again, as it was
            answer = await self._network.call(dice, "submit", source, "POST", "/api/jobs", sent, key=key)
            if answer is not None and answer.status == 409 and body.pop("batch", None) is not None:
                key = f"{key} alone" if key is not None else None
                continue
            if answer is not None and answer.status not in (429, 503):
                return answer
            await trio.sleep(dice.uniform(0.5, 6.0))
        return None

    async def upload(self, source: str) -> None:
        for _ in range(TRIES):
            with trio.move_on_after(20.0), suppress(ObjectStoreError):
                await self._objects.receive(
                    f"sources/{source}", whole(self._history.contents[source]), max_size=1 << 20
                )
                self._history.uploaded[source] = trio.current_time()
                return
            await trio.sleep(self._dice.uniform(0.5, 5.0))


class Clerk:
    """Makes a batch for what is submitted meanwhile, and closes it; with a `callback`, if there is who takes it."""

    def __init__(self, dice: random.Random, *, network: Network, history: History, callback: bool) -> None:
        self._callback = callback
        self._dice = dice
        self._network = network
        self._history = history

    async def run(self) -> None:
        while self._history.batch is None:
            key = "the batch" if self._dice.random() < 0.8 else None
            body: dict[str, Any] = {"name": "documents"}
            if self._callback:
                body["callback"] = CALLBACK
            answer = await self._network.call(self._dice, "batch", "new", "POST", "/api/batches", body, key=key)
            if answer is not None and answer.status in (200, 201):
                self._history.batch = answer.body["id"]
            elif answer is not None and answer.status == 409:  # it was made, and the answer was lost
                self._history.batch = 1
            else:
                await trio.sleep(self._dice.uniform(0.5, 5.0))
        await trio.sleep(self._dice.uniform(0.0, 60.0))
        batch = self._history.batch
        while True:
            path = f"/api/batches/{batch}/close"
            answer = await self._network.call(self._dice, "close", batch, "POST", path)
            if answer is not None and answer.ok:
                return
            await trio.sleep(self._dice.uniform(0.5, 5.0))


class Operator:
    """Does something now and then, to whom it may concern."""

    def __init__(
        self, dice: random.Random, *, network: Network, history: History, workers: Sequence[str], deletes: bool,
        requires: random.Random | None = None, types: Sequence[str] = (), families: random.Random | None = None,
    ) -> None:  # fmt: skip
        """`requires`: the dice for what jobs are to require; None: they are left alone. `types`: which ones jobs
        are given; none: they keep their own. `families`: the dice for which are cancelled with what came of them;
        None: each is cancelled alone."""
        self._types = types
        self._families = families
        self._requires = requires
        self._dice = dice
        self._network = network
        self._history = history
        self._workers = workers
        self._deletes = deletes

    async def run(self) -> None:
        while True:
            await trio.sleep(self._dice.expovariate(1 / 8))
            verb = self._dice.choice(
                ("cancel", "retry", "retry", "priority", "drain", "enable", "enable", "disable", "remove", "leave")
                + (("delete",) if self._deletes else ())
                + (("retype", "retype") if self._types else ())
            )
            if verb in ("cancel", "retry", "priority", "delete", "retype"):
                await self._job(verb)
            else:
                await self._worker(verb)

    async def _job(self, verb: str) -> None:
        jobs = sorted({*self._history.jobs.values(), *self._history.children})
        if not jobs:
            return
        job = self._dice.choice(jobs)
        body: dict[str, Any] = {}
        method, path = "POST", f"/api/jobs/{job}/{verb}"
        if verb == "retry":
            body = {"reset_attempts": self._dice.random() < 0.5}
        if verb == "priority":
            body = {"priority": self._dice.randint(1, 5)}
            if self._requires is not None and self._requires.random() < 0.5:
                verb, body = "requires", {"requires": list(self._requires.choice(REQUIRES))}
                path = f"/api/jobs/{job}/requires"
        if verb == "cancel" and self._families is not None and self._families.random() < 0.5:
            job = self._families.choice(sorted(self._history.jobs.values()) or [job])
            path, body = f"/api/jobs/{job}/{verb}", {"children": True}
        if verb == "retype":
            body = {"to": self._dice.choice(self._types)}
        if verb == "delete":
            method, path = "DELETE", f"/api/jobs/{job}"
            self._history.deleted.add(job)
        await self._network.call(self._dice, verb, job, method, path, body)

    async def _worker(self, verb: str) -> None:
        worker = self._dice.choice(self._workers)
        method, path = "POST", f"/api/workers/{worker}/{verb}"
        if verb in ("enable", "disable"):
            path = f"/api/admin/workers/{worker}/{verb}"
        if verb == "remove":
            method, path = "DELETE", f"/api/workers/{worker}"
        if verb == "leave":
            path = f"/api/workers/{worker}/unregister"
        if verb in ("disable", "remove", "leave"):
            self._history.taken(worker)
        await self._network.call(self._dice, verb, worker, method, path)

    async def retype(self, jobs: Sequence[int], to: str) -> None:
        for job in jobs:
            answer = None
            while answer is None or answer.status == 503:
                await trio.sleep(1.0)
                path = f"/api/jobs/{job}/retype"
                answer = await self._network.call(self._dice, "retype", job, "POST", path, {"to": to})

    async def set_right(self) -> None:
        """Before the end: who was stopped may work again."""
        for worker in self._workers:
            await insisted(partial(self._enable, worker), TRIES)

    async def _enable(self, worker: str) -> bool:
        path = f"/api/admin/workers/{worker}/enable"
        answer = await self._network.call(self._dice, "enable", worker, "POST", path)
        return answer is not None and answer.status != 503


class Inspector:
    """Puts workers into quarantine, best while they have jobs, and readmits them."""

    def __init__(self, dice: random.Random, *, network: Network, history: History, workers: Sequence[Worker]) -> None:
        self._dice = dice
        self._network = network
        self._history = history
        self._workers = workers

    async def run(self) -> None:
        while True:
            await trio.sleep(self._dice.uniform(0.0, 15.0))
            worker = self._dice.choice([each for each in self._workers if each.is_busy] or self._workers)
            await self._say("quarantine", worker.name)
            await trio.sleep(self._dice.uniform(5.0, 50.0))
            await self._say("readmit", worker.name)

    async def set_right(self) -> None:
        """Before the end: none is in quarantine."""
        for worker in self._workers:
            if await insisted(partial(self._say, "readmit", worker.name)):
                self._history.readmitted.add(worker.name)

    async def _say(self, verb: str, worker: str) -> bool:
        answer = await self._network.call(self._dice, verb, worker, "POST", f"/api/workers/{worker}/{verb}")
        return answer is not None and answer.ok


class Subscriber:
    """Makes a webhook that is told of the end of every job and batch."""

    def __init__(self, dice: random.Random, *, network: Network) -> None:
        self._dice = dice
        self._network = network

    async def run(self) -> None:
        events = ["job.completed", "job.dead", "job.cancelled", "batch.ended"]
        body = {"url": HOOK, "events": events}
        while True:
            answer = await self._network.call(self._dice, "webhook", "new", "POST", "/api/admin/webhooks", body)
            if answer is not None and answer.status in (200, 201):
                return
            await trio.sleep(self._dice.uniform(0.5, 5.0))


class Examiner:
    """Begins a canary of the new converter as soon as something was converted, and others behind it. Stops some."""

    def __init__(self, dice: random.Random, *, network: Network, history: History, types: Sequence[str]) -> None:
        self._dice = dice
        self._network = network
        self._history = history
        self._types = types

    async def run(self) -> None:
        while True:
            await trio.sleep(self._dice.uniform(0.0, 15.0))
            if (number := await self.begin()) is None:
                continue
            await trio.sleep(self._dice.choice((0.0, self._dice.uniform(0.0, 60.0))))
            if self._dice.random() < 0.4:
                path = f"/api/canaries/{number}/cancel"
                await self._network.call(self._dice, "stop canary", number, "POST", path)

    async def begin(self) -> int | None:
        """Its number, where it was begun and that was heard."""
        dice = self._dice
        self._history.examined = True
        body = {"types": list(self._types), "made_by": NEW, "sample": dice.choice((1, 2, 5))}
        body["priority"] = dice.choice((5, 5, 3, 1))
        key = f"canary {dice.random()}" if dice.random() < 0.6 else None
        answer = await self._network.call(dice, "canary", "new", "POST", "/api/canaries", body, key=key)
        return answer.body["id"] if answer is not None and answer.ok else None


class Dispatcher:
    """Pauses types, resumes them, sets limits, and how often and when a job is tried again, now and then."""

    def __init__(self, dice: random.Random, *, tries: random.Random, network: Network, types: Sequence[str]) -> None:
        self._dice = dice
        self._tries = tries
        self._network = network
        self._types = types

    async def run(self) -> None:
        while True:
            await trio.sleep(self._dice.expovariate(1 / 7))
            type_ = self._dice.choice(self._types)
            verb = self._dice.choice(("pause", "resume", "resume", "set", "set", "set"))
            await self._set(verb, type_, self._wanted() | self._patience() if verb == "set" else {})

    def _wanted(self) -> dict[str, Any]:
        if self._dice.random() < 0.3:
            return {"worker_timeout": self._dice.choice((45.0, 75.0, None))}
        if self._dice.random() < 0.5:
            return {"max_running": self._dice.choice((0, 1, 1, 2, None))}
        return {"rate": self._dice.choice((*RATES, None))}

    def _patience(self) -> dict[str, Any]:
        """With what is set otherwise."""
        wanted: dict[str, Any] = {}
        if self._tries.random() < 0.3:
            wanted["retry_backoff"] = self._tries.choice((3.0, 30.0, None))
        if self._tries.random() < 0.2:
            wanted["max_attempts"] = self._tries.choice((1, 2, 5, None))
        return wanted

    async def _set(self, verb: str, type_: str, body: dict[str, Any]) -> bool:
        method, path = ("PATCH", f"/api/types/{type_}") if verb == "set" else ("POST", f"/api/types/{type_}/{verb}")
        answer = await self._network.call(self._dice, f"type {verb}", type_, method, path, body)
        return answer is not None and answer.ok

    async def hurry(self, type_: str) -> None:
        """From now on what has waited for some seconds is urgent: some just not yet with the first look for it."""
        while not await self._set("set", type_, {"urgent_after": self._dice.choice((5.0, HURRY_EVERY + 1.0, 80.0))}):
            await trio.sleep(2.0)

    async def resume(self, type_: str) -> None:
        await self._set("resume", type_, {})

    async def set_right(self) -> None:
        """Before the end: all pauses and limits are lifted."""
        for type_ in self._types:
            body = {"paused": None, "max_running": None, "rate": None}
            await insisted(partial(self._set, "set", type_, body))


class Revoker:
    """Gives one worker a token after the other, and deletes each: while it waits, works, is silent, or crashed. It
    has a worker of each token itself, which does no work, and speaks by it in the moment in which it is deleted."""

    def __init__(self, dice: random.Random, *, network: Network, history: History, worker: Worker) -> None:
        self._dice = dice
        self._network = network
        self._history = history
        self._worker = worker

    async def run(self) -> None:
        while True:
            self._worker.token = await self._made()
            await trio.sleep(self._dice.uniform(0.0, 40.0))
            token = self._worker.token
            await self._register(token)
            await self._look(token, 3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._delete, token)
                await trio.sleep(self._dice.uniform(0.0, 1.0))  # in which the other servers hear of it
                await self._beat(token)
            await trio.sleep(0.01)
            await self._look(token, 3)
            await self._beat(token)
            # Until it has another, it goes on with this one.
            await trio.sleep(self._dice.choice((0.0, self._dice.uniform(0.0, 40.0))))

    def _own(self, token: Token) -> str:
        return f"{self._worker.name}-{token.id}"

    async def _register(self, token: Token) -> None:
        body = {"id": self._own(token), "type": "nothing"}
        await self._network.call(
            self._dice, "register", self._own(token), "POST", "/api/workers/register", body, token=token
        )

    async def _beat(self, token: Token) -> None:
        path = f"/api/workers/{self._own(token)}/heartbeat"
        await self._network.call(self._dice, "beat", self._own(token), "POST", path, {"jobs": []}, token=token)

    async def _look(self, token: Token, times: int) -> None:
        """Each time at any of the servers."""
        for _ in range(times):
            await self._network.call(self._dice, "look", token.id, "GET", "/api/auth/me", token=token)

    async def _made(self) -> Token:
        while True:
            body = {"name": "revoked", "scopes": ["work"]}
            answer = await self._network.call(self._dice, "token", "new", "POST", "/api/admin/tokens", body)
            if answer is not None and answer.ok:
                return Token(answer.body["id"], answer.body["token"])
            await trio.sleep(self._dice.uniform(0.5, 5.0))

    async def _delete(self, token: Token) -> None:
        history, path = self._history, f"/api/admin/tokens/{token.id}"
        history.revoking.add(token.id)
        history.taken(self._worker.name)
        while True:
            answer = await self._network.call(self._dice, "revoke", token.id, "DELETE", path)
            if answer is not None and (answer.ok or answer.status == 404):
                history.revoked[token.id] = trio.current_time()
                return
            await trio.sleep(self._dice.uniform(0.5, 5.0))
