"""One play: a seed, a folder, everybody on stage; its faults, then its end, in virtual time.

python -m tests.simulation.play SEED [ENGINE]        prints what happened
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol
from unittest import mock

import structlog
import trio
import trio.testing

from actors.courier import Post
from actors.effects import families, joining
from blobforge.canary import ONLY_COMPARISONS
from blobforge.objects.local import LocalStore
from tests.fixtures.engines import ENGINES
from tests.simulation import chaos
from tests.simulation.answers import Answers
from tests.simulation.canaries import CONVERTERS, NEW
from tests.simulation.chaos import KINDS, Chaos
from tests.simulation.clock import WallClock, determined, dice
from tests.simulation.faults import Weather
from tests.simulation.history import History, Violation
from tests.simulation.machine import Machine, template
from tests.simulation.network import Asked, Network
from tests.simulation.oracle import ENDED, URGENT, Limits, Oracle
from tests.simulation.people import (
    BOOK,
    GROUPS,
    PAGE,
    REQUIRES,
    Clerk,
    Dispatcher,
    Examiner,
    Inspector,
    Operator,
    Revoker,
    Submitter,
    Subscriber,
)
from tests.simulation.receiver import Receiver
from tests.simulation.watch import Watch, Watched
from tests.simulation.workers import Habits, Worker
from web.api import canaries

LIMITS = Limits(
    worker_timeout=30.0,
    upload_timeout=60.0,
    retry_backoff=8.0,
    retry_backoff_max=20.0,
    max_losses=2,
    max_releases=1,
)
SETTINGS = {
    "worker_timeout": LIMITS.worker_timeout,
    "upload_timeout": LIMITS.upload_timeout,
    "retry_backoff": LIMITS.retry_backoff,
    "retry_backoff_max": LIMITS.retry_backoff_max,
    "retry_jitter": 0.0,
    "max_losses": LIMITS.max_losses,
    "max_releases": LIMITS.max_releases,
    "callback_hosts": "receiver.test",
}
FAULTS = (30.0, 110.0)  # seconds, from and to, that a play has its faults
DRAINED_WITHIN = 3600.0  # seconds after the last fault
AGEING = "ageing"
APART = "apart"  # a worker that takes comparisons alone
LAST = "last"  # a good worker that comes when the faults are over
SHOWN = 100  # lines of the trace that a failure shows


class OnStage(Asked, Watched, chaos.Server, Protocol):
    objects: LocalStore
    post: Post | None  # in place of what calls webhooks

    async def run(self) -> None: ...


class Play:
    command, engine = "tests.simulation.play", "disk"
    revoking = 0.4  # of the plays in which tokens are revoked
    chained = 0.25  # in which results start other jobs
    subscribed = 0.15  # in which a webhook is told of ends
    ageing = 0.1  # in which a job becomes urgent
    examined = 0.05  # in which documents are converted once more by a new converter, to compare
    able: tuple[str, ...] = (LAST, AGEING)  # workers that have all labels, for some jobs have no other one
    # What the server may log as an error: each is a fault that the play itself has made.
    expected_errors = frozenset({"cannot commit"})

    def __init__(self, seed: int, folder: Path, nursery: trio.Nursery, engine: str) -> None:
        self._seed = seed
        self._nursery = nursery
        self.history = History()
        self._weather = Weather()
        self._clock = WallClock()
        kept = self._kept_for(dice(seed, "kept"))
        self._limits = replace(LIMITS, kept=kept)
        self._settings = SETTINGS | {"breaker": 2 if dice(seed, "breaker").random() < 0.7 else 0}
        self._settings |= {f"retention_{status}": seconds for status, seconds in kept.items()}
        self._settings["retention_objects"] = bool(kept) and dice(seed, "kept objects").random() < 0.5
        self._left = ExitStack()
        self._build(folder, engine)
        self._cast = dice(seed, "cast")
        self._submitting = 0
        self._labelled = dice(seed, "labels").random() < 0.5
        # Where somebody sets the clock back, a time to start may be hours off.
        self._timed = dice(seed, "times").random() < 0.4 and "clock" not in self._chaos().kinds
        self._in_groups = dice(seed, "groups").random() < 0.5
        self._batched = dice(seed, "batches").random() < 0.5
        self._chained = dice(seed, "chains").random() < self.chained
        self._examined = dice(seed, "canaries").random() < self.examined
        self._receiver = self._be_told() if dice(seed, "webhooks").random() < self.subscribed else None

    @staticmethod
    def _kept_for(who: random.Random) -> dict[str, float]:
        """Which jobs that have ended are kept for how long (s); all others are for ever."""
        if who.random() >= 0.25:
            return {}
        return {status: who.choice((1.0, 30.0)) for status in ENDED if who.random() < 0.6}

    def _build(self, folder: Path, engine: str) -> None:
        self._oracle = Oracle(self.history, self._limits, self._clock)
        machine = Machine(
            folder,
            self._settings,
            weather=self._weather,
            clock=self._clock,
            dice=dice(self._seed, "machine"),
            watcher=self._oracle,
            nursery=self._nursery,
            database_at=ENGINES[engine],
        )
        self._left.callback(machine.leave)
        self._servers: Sequence[OnStage] = [machine]
        answers = Answers(self.history, self._oracle)
        self._network = Network(self._servers, self._weather, self.history, answers)
        self._watch = Watch(self.history, self._oracle, self._servers, self._weather, self._clock)

    async def _start(self) -> None:
        for server in self._servers:
            self._nursery.start_soon(server.run)

    @property
    def _objects(self) -> LocalStore:
        """What clients put to and get from signed URLs."""
        return self._servers[0].objects

    async def run(self) -> None:
        cast = self._cast
        types = cast.choice((("pdf",), ("pdf", "epub")))
        served = (*types, PAGE, BOOK) if self._chained else types
        names = [f"w{number}" for number in range(1, cast.randint(1, 3) + 1)]
        workers = [self._worker(name, served) for name in names]
        if self._examined and dice(self._seed, "apart").random() < 0.5:
            workers.append(self._worker(APART, types))
        for worker in workers:
            self._nursery.start_soon(worker.run)
        await self._start()
        self._nursery.start_soon(self._watch.run)
        for number in range(cast.randint(1, 4)):
            who = dice(self._seed, f"submitter {number}")
            submitter = Submitter(
                who,
                network=self._network,
                objects=self._objects,
                history=self.history,
                type_=cast.choice(types),
                requires=dice(self._seed, f"requires {number}").choice(REQUIRES) if self._labelled else (),
                times=self._times(number) if self._timed else None,
                group=self._group_of(number),
                batched=self._batched and number % 3 < 2,
                chained=self._chained and number % 2 == 0,
            )
            self._nursery.start_soon(self._submit, submitter, number, cast.choice((0.1, cast.uniform(0.0, 50.0))))
        if self._batched:
            told = self._receiver is not None
            clerk = Clerk(dice(self._seed, "clerk"), network=self._network, history=self.history, callback=told)
            self._nursery.start_soon(self._submit_batch, clerk)
        operator = self._operator(names, types, cast)
        inspector = Inspector(
            dice(self._seed, "inspector"), network=self._network, history=self.history, workers=workers
        )
        limits = dice(self._seed, "limits").random() < 0.4
        if limits:
            self._crowd(types)
        tries = dice(self._seed, "tries")
        dispatcher = Dispatcher(dice(self._seed, "dispatcher"), tries=tries, network=self._network, types=types)
        if dice(self._seed, "ageing").random() < self.ageing:
            self._nursery.start_soon(self._age, dispatcher, operator)
        with trio.move_on_after(cast.uniform(*FAULTS)):
            async with trio.open_nursery() as trouble:
                trouble.start_soon(self._chaos().run)
                if cast.random() < 0.4:
                    trouble.start_soon(operator.run)
                if limits:
                    trouble.start_soon(dispatcher.run)
                if self._examined:
                    trouble.start_soon(self._examiner(types).run)
                if dice(self._seed, "quarantines").random() < 0.25:
                    trouble.start_soon(inspector.run)
                revoker = dice(self._seed, "revoker")
                if revoker.random() < self.revoking:
                    worker = revoker.choice(workers)
                    by = Revoker(revoker, network=self._network, history=self.history, worker=worker)
                    trouble.start_soon(by.run)
        await self._end(workers, (operator, dispatcher, inspector))
        if self._examined and not self._oracle.canaries.begun:
            await self._examiner(types).begin()
            await self._drain(dispatcher)
        self._oracle.invariants()
        self._watch.at_the_end()
        if self._receiver is not None:
            self._receiver.at_the_end()

    async def _age(self, dispatcher: Dispatcher, operator: Operator) -> None:
        """A document of a type that is worked at only when it has become urgent; or that it is then of no more."""
        submitter = Submitter(
            dice(self._seed, "submitter of what ages"),
            network=self._network,
            objects=self._objects,
            history=self.history,
            type_=AGEING,
            group=self._group_of(80),
            sound=True,
            priority=dice(self._seed, "priority of what ages").randint(2, 5),
        )
        self._nursery.start_soon(self._submit, submitter, 80, 0.1)
        await dispatcher.hurry(AGEING)
        while not any(job.type == AGEING and job.priority == URGENT for job in self._oracle.now.jobs.values()):
            await trio.sleep(3.0)
            ended = any(job.type == AGEING and job.status in ENDED for job in self._oracle.now.jobs.values())
            if ended or self._clock.was_set:  # by hand; or it may be hours until then
                break
        if dice(self._seed, "retyped").random() < 0.5:
            await operator.retype([job.id for job in self._oracle.now.jobs.values() if job.type == AGEING], "pdf")
        late = self._worker(AGEING, (AGEING,))
        late.habits = Habits.good()
        self._nursery.start_soon(late.run)

    def _times(self, number: int) -> dict[str, str]:
        who = dice(self._seed, f"times {number}")
        start = who.choice((None, -5.0, 20.0, 60.0, 150.0))
        end = who.choice((None, None, 61.0, 100.0)) if start is None else who.choice((None, start + 60.0))
        times = {"not_before": start, "expires_at": end}
        return {name: self._clock.rfc3339(ahead) for name, ahead in times.items() if ahead is not None}

    def _be_told(self) -> Receiver:
        receiver = Receiver(dice(self._seed, "receiver"), self.history, self._clock)
        for server in self._servers:
            server.post = receiver.call
        self._oracle.receiver = receiver
        self._nursery.start_soon(Subscriber(dice(self._seed, "subscriber"), network=self._network).run)
        return receiver

    async def _submit(self, submitter: Submitter, number: int, delay: float) -> None:
        self._submitting += 1
        await submitter.run(number, delay)
        self._submitting -= 1

    async def _submit_batch(self, clerk: Clerk) -> None:
        self._submitting += 1
        await clerk.run()
        self._submitting -= 1

    def _crowd(self, types: tuple[str, ...]) -> None:
        """More documents, so that a limit is in the way of some."""
        crowd = dice(self._seed, "crowd")
        for number in range(10, 10 + crowd.randint(3, 6)):
            submitter = Submitter(
                dice(self._seed, f"submitter {number}"),
                network=self._network,
                objects=self._objects,
                history=self.history,
                type_=crowd.choice(types),
                group=self._group_of(number),
                batched=self._batched,
            )
            self._nursery.start_soon(self._submit, submitter, number, crowd.uniform(0.0, 40.0))

    def _group_of(self, number: int) -> str | None:
        return dice(self._seed, f"group {number}").choice(GROUPS) if self._in_groups else None

    def _worker(self, name: str, types: tuple[str, ...]) -> Worker:
        who, trial = dice(self._seed, name), name in (LAST, APART)
        return Worker(
            name,
            who,
            network=self._network,
            objects=self._objects,
            history=self.history,
            types=types if who.random() < 0.7 or name == LAST else (who.choice(types),),
            timeout=LIMITS.worker_timeout,
            labels=dice(self._seed, f"labels of {name}") if name not in self.able else None,
            converter=partial(dice(self._seed, f"converter of {name}").choice, (NEW,) if trial else CONVERTERS)
            if self._examined
            else None,
            accepts=(ONLY_COMPARISONS,) if name == APART else (),
        )

    def _examiner(self, types: tuple[str, ...]) -> Examiner:
        return Examiner(dice(self._seed, "examiner"), network=self._network, history=self.history, types=types)

    def _operator(self, workers: list[str], types: tuple[str, ...], cast: random.Random) -> Operator:
        deletes = cast.random() < 0.3
        return Operator(
            dice(self._seed, "operator"),
            network=self._network,
            history=self.history,
            workers=workers,
            deletes=deletes,
            requires=dice(self._seed, "operator's requires") if self._labelled else None,
            types=types if len(types) > 1 and dice(self._seed, "retypes").random() < 0.6 else (),
            families=dice(self._seed, "families") if self._chained else None,
        )

    def _chaos(self) -> Chaos:
        return Chaos(
            dice(self._seed, "chaos"),
            servers=self._servers,
            weather=self._weather,
            clock=self._clock,
            history=self.history,
            kinds=self._kinds(KINDS),
        )

    def _kinds(self, kinds: Sequence[str]) -> Sequence[str]:
        """Where jobs are pruned nobody sets the clock: it is believed when a server starts."""
        return tuple(kind for kind in kinds if kind != "clock") if self._limits.kept else kinds

    async def _end(self, workers: list[Worker], people: tuple[Operator, Dispatcher, Inspector]) -> None:
        """Faults off. Now everything drains."""
        self.history.say("no more faults")
        self._set_right()
        self._oracle.invariants()
        if self._receiver is not None:
            self._receiver.well = True
        last = self._worker(LAST, ("pdf", "epub", PAGE, BOOK) if self._chained else ("pdf", "epub"))
        last.habits = Habits.good()
        for worker in workers:
            worker.habits = Habits.good()
            worker.token = None
        self._nursery.start_soon(last.run)
        for each in people:
            await each.set_right()
        await self._drain(people[1])

    async def _drain(self, dispatcher: Dispatcher) -> None:
        with trio.move_on_after(DRAINED_WITHIN):
            while self._submitting or not self._watch.drained():
                await trio.sleep(5.0)
                # Where nothing but bad documents is left, no success ends the pause.
                for type_, each in self._oracle.now.types.items():
                    if each.by_breaker and each.paused_at is not None:
                        await dispatcher.resume(type_)

    def _set_right(self) -> None:
        self._weather.clear()

    def close(self) -> None:
        """It is over, whatever has happened; who is on stage is cancelled behind it."""

    def leave(self) -> None:
        """Nobody is on stage any more: what the play has taken is given back."""
        self._left.close()


def play(seed: int, folder: Path, engine: str, kind: type[Play] = Play) -> list[str]:
    """Run one seed in an empty folder, from a template beside it; returns the trace. Raises Violation."""
    start = _template(folder.parent / "template")
    shutil.copytree(start, folder / "0")
    plays: list[Play] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            one = kind(seed, folder, nursery, engine)
            plays.append(one)
            try:
                with one.history.over:
                    await one.run()
            finally:
                one.close()
            nursery.cancel_scope.cancel()

    def broken(what: str) -> Violation:
        lines = [line for one in plays for line in one.history.trace][-SHOWN:]
        again = f"{kind.command} {seed}" + ("" if engine == kind.engine else f" {engine}")
        return Violation("\n".join(lines) + f"\n\nseed {seed}: {what}\nTo see it again: .venv/bin/python -m {again}")

    met: BaseException | None = None
    # In some plays a message joins no stage by itself: an operation does.
    work = 0 if dice(seed, "joined late").random() < 0.4 else joining.MOST_WORK
    late = mock.patch.object(joining, "MOST_WORK", work)
    # In some what came of a job is cancelled one by one, and others do something in between.
    turn = 1 if dice(seed, "walks").random() < 0.5 else families.A_TURN
    walks = mock.patch.object(families, "A_TURN", turn)
    # The documents that a canary takes are drawn.
    sampled = mock.patch.object(canaries, "random", SimpleNamespace(Random=partial(random.Random, seed)))
    with structlog.testing.capture_logs() as logged, determined(seed), late, walks, sampled:
        try:
            try:
                trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
            finally:
                for one in plays:
                    one.leave()
        except* Exception as bugs:
            met = bugs
    if met is not None:
        raise broken("the server met a bug") from met
    history = plays[0].history
    for entry in logged:
        if entry["log_level"] in ("error", "critical") and entry["event"] not in kind.expected_errors:
            history.found.append(f"the server logs no error: {entry}")
    if history.found:
        raise broken(history.found[0])
    return history.trace


def _template(folder: Path) -> Path:
    return folder if folder.exists() else template(folder)


@contextmanager
def stage() -> Iterator[Path]:
    """A folder for plays, in memory where the machine has such a place: nothing in a play depends on the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="blobforge-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def run(seed: int, place: Path, engine: str = "disk", kind: type[Play] = Play) -> list[str]:
    """One seed on an engine, in a folder of its own below `place`, which is removed again."""
    folder = place / str(seed)
    try:
        return play(seed, folder, engine, kind)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with stage() as scene:
        for line in run(int(sys.argv[1]), scene, *sys.argv[2:]):
            print(line)
