"""Three servers write to one PostgreSQL that is killed, stopped and cut off under them. What was acknowledged is
there, once; what was refused is not; history has no gap; and all counters are right."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import psutil
import pytest

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Rules, Transaction, transact
from actors.messages import Claim, Complete, Completed, Fail, Granted, ObjectSeen, Register, Seen, Submitted
from blobforge.events import JobCompleted, JobCreated
from blobforge.job import RetryPolicy
from blobforge.store.errors import OutcomeUnknown, StoreUnavailable
from blobforge.store.postgres import connection
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.postgres.follower import PostgresFollower
from tests.fixtures.cable import Cable
from tests.fixtures.on_postgres import PostgresDatabase
from tests.fixtures.postgres import Cluster, running_postgres
from tests.store.making import ADMIN, submission

SOAK = "SOAK" in os.environ
FAULTS = 200 if SOAK else 15
SEED = int(os.environ.get("SEED") or (time.time() if SOAK else 16))
SERVERS = ("one", "two", "three")
THERE = ObjectSeen(Seen.VERIFIED, size=1)
# Seconds, so that what takes longer than any of them is soon over.
IDLE, LOCK, ANSWER, FINDING = 0.3, 0.3, 0.6, 1.5


class Server(threading.Thread):
    """A server's writer, and clients that ask it for group commits of everything, one after the other.

    State owned here: what it has acknowledged.
    """

    def __init__(self, url: str, name: str, seed: int) -> None:
        super().__init__(name=name)
        self.engine = PostgresEngine(url, name)
        self.store = self.engine.open_store()
        self.dice = random.Random(f"{seed} {name}")
        self.rules = Rules(RetryPolicy(jitter=0, backoff=0.0))
        self.ended = threading.Event()
        self.stops = 0.0  # seconds: so long it is stopped within the next transaction
        self.submitted: dict[int, str] = {}  # id: hash of the source
        self.refused: set[str] = set()  # hashes: it is known that they were not submitted
        self.granted: list[tuple[int, int]] = []  # (job, attempt)
        self.completed: list[tuple[int, int]] = []
        self.held: list[Any] = []
        self.turns: list[int] = []
        self.outages = self.unknown = 0
        self.died: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                self.work()
        except BaseException as error:
            self.died = error
            raise

    def work(self) -> None:
        dice = self.dice
        new = [submission((self.name, dice.random())) for _ in range(dice.randrange(8))]
        claims = [Claim(ADMIN, self.name, ("pdf",), dice.randrange(1, 4)) for _ in range(dice.randrange(3))]
        mine, self.held = self.held[:6], self.held[6:]
        ends = [
            Complete(ADMIN, self.name, job.id, lease=job.lease, output=THERE)
            if dice.random() < 0.8
            else Fail(ADMIN, self.name, job.id, "bad", lease=job.lease)
            for job in mine
        ]
        messages = [Register(ADMIN, self.name, "pdf"), *new, *ends, *claims]
        dice.shuffle(messages)
        try:
            answers = self.do(messages)
        except OutcomeUnknown:
            self.unknown += 1  # what it held may be ended: others do not know it
            return
        except StoreUnavailable:
            self.outages += 1
            self.refused.update(message.job.source_hash for message in new)
            self.held += mine
            time.sleep(0.01)
            return
        for message, answer in zip(messages, answers, strict=True):
            match answer:
                case Submitted():
                    self.submitted[answer.job_id] = message.job.source_hash
                case Completed():
                    self.completed += [(job.id, job.attempt) for job in mine if job.id == answer.job_id]
                case Granted():
                    self.held += answer.jobs
                    self.granted += [(job.id, job.attempt) for job in answer.jobs]
        self.turns.append(self.store.turn)

    def do(self, messages: list[Any]) -> list[Any]:
        now = time.time_ns() // 1_000_000
        answers, _ = transact(
            lambda: Transaction(self.store, self.rules, now, self.dice), partial(self.together, messages)
        )
        return answers

    def together(self, messages: list[Any], tx: Transaction) -> list[Any]:
        needs = None if tx.careful else needs_of((message, None) for message in messages)
        with self.store.transaction(needs, tx.now):
            answers = [perform(tx, message, place) for place, message in enumerate(messages)]
            stopped, self.stops = self.stops, 0.0
            time.sleep(stopped)
            self.store.tell(tx.events, tx.facts)
        return answers


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_postgres(durable=True) as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("IDLE_WAIT", IDLE), ("LOCK_WAIT", LOCK), ("ANSWER_WAIT", ANSWER), ("FINDING_OUT", FINDING),
        ("RETRY_AFTER", 0.05), ("KEPT", 10**9), ("MOST_KEPT", 10**9),
    ):  # fmt: skip
        monkeypatch.setattr(connection, name, seconds)


@contextmanager
def serving(cluster: Cluster, database: str, cable: Cable) -> Iterator[list[Server]]:
    servers = [
        Server(cluster.url(database, port=cable.port if name == "three" else cluster.port), name, SEED)
        for name in SERVERS
    ]
    for server in servers:
        server.start()
    try:
        yield servers
    finally:
        for server in servers:
            server.ended.set()
        for server in servers:
            server.join(60)
        for server in servers:
            server.store.close()


def progress(servers: list[Server], *, more: int = 3) -> None:
    """Each of them commits again."""
    before = [len(server.turns) for server in servers]
    deadline = time.monotonic() + 60
    while any(len(server.turns) < was + more for server, was in zip(servers, before, strict=True)):
        assert time.monotonic() < deadline, [(s.name, len(s.turns), s.outages, s.unknown) for s in servers]
        assert all(server.is_alive() for server in servers), [server.died for server in servers]
        time.sleep(0.005)


class Faults:
    def __init__(self, cluster: Cluster, database: str, cable: Cable, servers: list[Server]) -> None:
        self.cluster, self.database, self.cable, self.servers = cluster, database, cable, servers
        self.dice = random.Random(SEED)

    def happens(self, number: int) -> None:
        faults: list[Callable[[], None]] = [
            self.backend_killed, self.backend_ended, self.backend_stopped, self.cluster_killed, self.cluster_stopped,
            self.cable_cut, self.cable_cut_between_bytes, self.hole, self.server_stopped,
        ]  # fmt: skip
        fault = faults[number] if number < len(faults) else self.dice.choice(faults)
        time.sleep(self.dice.random() * 0.1)
        fault()

    def backend(self) -> int:
        return self.dice.choice(self.cluster.backends(self.database))

    def backend_killed(self) -> None:
        """PostgreSQL then ends all others, too, and starts from its log."""
        os.kill(self.backend(), signal.SIGKILL)

    def backend_ended(self) -> None:
        os.kill(self.backend(), signal.SIGTERM)

    def backend_stopped(self) -> None:
        """For longer than every time-out; it may hold the turn."""
        stopped = psutil.Process(self.backend())
        with contextlib.suppress(psutil.NoSuchProcess):
            stopped.suspend()
            time.sleep(ANSWER + FINDING / 4)
            stopped.resume()

    def cluster_killed(self) -> None:
        self.cluster.kill()
        time.sleep(self.dice.random() * 0.3)
        self.cluster.start()

    def cluster_stopped(self) -> None:
        self.cluster.stop()
        self.cluster.start()

    def cable_cut(self) -> None:
        self.cable.cut()

    def cable_cut_between_bytes(self) -> None:
        for _ in range(5):
            self.cable.cut_after(self.dice.randrange(2), self.dice.randrange(20_000))
            time.sleep(0.05)
        self.cable.stay_whole()

    def hole(self) -> None:
        self.cable.swallows = True
        time.sleep(ANSWER + 0.3)
        self.cable.swallows = False

    def server_stopped(self) -> None:
        self.dice.choice(self.servers).stops = 3 * IDLE


def test_nothing_that_was_acknowledged_is_lost_or_done_twice(cluster: Cluster) -> None:
    database = cluster.database()
    with closing(Cable(cluster.port)) as cable:
        with serving(cluster, database, cable) as servers:
            faults = Faults(cluster, database, cable, servers)
            progress(servers)
            for number in range(FAULTS):
                faults.happens(number)
                progress(servers)
        assert [server.died for server in servers] == [None] * len(servers)
        check(cluster, database, servers)


def check(cluster: Cluster, database: str, servers: list[Server]) -> None:
    looked = PostgresDatabase(cluster, database)
    jobs = {id_: (hash_, status) for id_, hash_, status in looked.probe.rows("jobs", "id", "source_hash", "status")}
    hashes = {hash_ for hash_, _ in jobs.values()}
    for server in servers:
        assert {id_: jobs.get(id_, ("", ""))[0] for id_ in server.submitted} == server.submitted
        assert not server.refused & hashes
    granted = Counter(each for server in servers for each in server.granted)
    assert max(granted.values()) == 1
    completed = Counter(job_id for server in servers for job_id, _ in server.completed)
    assert max(completed.values()) == 1
    assert {jobs[job_id][1] for job_id in completed} == {"completed"}
    kept = Counter(looked.probe.column("attempts", "job_id", outcome="completed"))
    assert max(kept.values()) == 1
    assert sum(len(server.turns) for server in servers) > 3 * FAULTS
    history(cluster, database, servers, jobs)
    assert looked.broken() == []
    looked.probe.counts_are_right()
    looked.close()


def history(cluster: Cluster, database: str, servers: list[Server], jobs: dict[int, tuple[str, str]]) -> None:
    """Without a gap, each server's turns are its own, and every job is told once as made, and once as completed."""
    with closing(PostgresFollower(cluster.url(database))) as follower:
        entries = follower.read(0, 10**6)
    assert [entry.n for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    of = {entry.n: entry.server for entry in entries}
    for server in servers:
        assert server.turns == sorted(set(server.turns))
        assert {of[n] for n in server.turns} == {server.name}
    created = [event.job_id for entry in entries for event in entry.events if isinstance(event, JobCreated)]
    assert sorted(created) == sorted(jobs) == list(range(1, len(jobs) + 1))
    ended = [event.job_id for entry in entries for event in entry.events if isinstance(event, JobCompleted)]
    assert sorted(ended) == sorted(id_ for id_, (_, status) in jobs.items() if status == "completed")
