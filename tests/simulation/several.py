"""One play with two or three servers on one PostgreSQL: whom a client asks is by chance, and each may be killed,
stand still or stop while the others go on; the database, too, may be away.

python -m tests.simulation.several SEED        prints what happened
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import trio

from actors.follower import FOLLOW
from blobforge.store.postgres import connection
from tests.fixtures.postgres import shared_cluster
from tests.simulation.answers import Answers
from tests.simulation.chaos import KINDS, OF_CLIENTS, OF_SEVERAL, Chaos, ChaosOfSeveral
from tests.simulation.clock import dice
from tests.simulation.listeners import Listener, agree
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle
from tests.simulation.people import Submitter
from tests.simulation.play import OnStage, Play, run, stage
from tests.simulation.replay import KEPT, KEPT_MS, PRUNED_EACH, SeenLog
from tests.simulation.servers import Server
from tests.simulation.shared import SharedDatabase
from tests.simulation.standstill import prepare
from tests.simulation.watch import Watch
from tests.simulation.workers import Habits
from web.presence import TELL

PATIENCE = 15.0  # seconds: who is not answered asks again, and maybe another one
LISTENERS = 3
TARDY, SLOW = "tardy", "slow"


class SeveralPlay(Play):
    command, engine = "tests.simulation.several", "postgres"
    revoking = 0.8
    chained = 0.5
    subscribed = 0.5
    ageing = 0.3
    examined = 0.3
    able = (*Play.able, TARDY)
    expected_errors = Play.expected_errors | {
        "cannot read",
        f"cannot {FOLLOW}",
        f"cannot {TELL}",
    }  # the database is away

    def _build(self, folder: Path, engine: str) -> None:
        prepare()
        # Time stands still while it is tried again: once more, and then it is not known.
        self._left.enter_context(mock.patch.object(connection, "FINDING_OUT", 0.0))
        self._database = SharedDatabase(shared_cluster())
        self._left.callback(self._database.close)
        pruned = dice(self._seed, "pruned").random() < 0.7
        if pruned:
            for name, much in (("KEPT", KEPT), ("KEPT_MS", KEPT_MS), ("_PRUNED_EACH", PRUNED_EACH)):
                self._left.enter_context(mock.patch.object(connection, name, much))
        self._oracle = Oracle(self.history, self._limits, self._clock, beside_others=True)
        self._log = SeenLog(self.history, self._oracle, pruned=pruned)
        count = dice(self._seed, "servers").choice((2, 3, 3))
        self._sharing = [self._server(number, folder) for number in range(1, count + 1)]
        self._servers: Sequence[OnStage] = self._sharing
        answers = Answers(self.history, self._oracle, beside_others=True)
        self._network = Network(self._servers, self._weather, self.history, answers, patience=PATIENCE)
        self._watch = Watch(self.history, self._oracle, self._servers, self._weather, self._clock)
        self._listeners = [
            Listener(dice(self._seed, f"listener {n}"), self._sharing, self._log, self.history)
            for n in range(LISTENERS)
        ]

    def _server(self, number: int, folder: Path) -> Server:
        return Server(
            number,
            folder,
            self._settings,
            weather=self._weather,
            clock=self._clock,
            dice=dice(self._seed, f"server {number}"),
            watcher=self._log,
            history=self.history,
            nursery=self._nursery,
            database=self._database,
        )

    def _be_late(self) -> None:
        """A worker whose signs of life come so late that not every server has heard of them in time; also when the
        faults are over."""
        late = self._worker(TARDY, (SLOW,))
        late.habits = Habits.late()
        self._nursery.start_soon(late.run)
        for number in (90, 91):
            submitter = Submitter(
                dice(self._seed, f"submitter {number}"),
                network=self._network,
                objects=self._objects,
                history=self.history,
                type_=SLOW,
                sound=True,
            )
            self._nursery.start_soon(self._submit, submitter, number, 1.0)

    def _chaos(self) -> Chaos:
        return ChaosOfSeveral(
            dice(self._seed, "chaos"),
            servers=self._sharing,
            database=self._database,
            weather=self._weather,
            clock=self._clock,
            history=self.history,
            kinds=self._kinds(OF_CLIENTS if self._undisturbed else KINDS + OF_SEVERAL),
        )

    @property
    def _undisturbed(self) -> bool:
        """Whether all servers are well all the time. Then it is counted what one of them does for all."""
        return dice(self._seed, "undisturbed").random() < 0.2

    async def run(self) -> None:
        for listener in self._listeners:
            self._nursery.start_soon(listener.run)
        if self._seed % 2 == 0:  # not by dice: of the few seeds in the suite, too
            self._be_late()
        await super().run()
        await agree(self._listeners, self._log, self.history)
        for key, times in self.history.read.items():
            # Of what is pruned there may be another job, and of an output several.
            once = key.startswith("sources/") and not self._limits.kept
            if times > 1 and self._undisturbed and once:
                self.history.broken("a source is read once, and not by each server", f"{key}: {times} times")

    async def _start(self) -> None:
        """The first one has looked what its store holds, before any client puts something there."""
        first, *others = self._sharing
        self._nursery.start_soon(first.run)
        while not first.up:
            await trio.sleep(0.01)
        for server in others:
            self._nursery.start_soon(server.run)

    def _set_right(self) -> None:
        super()._set_right()
        self._database.come_back()
        for server in self._sharing:
            server.set_right()

    def close(self) -> None:
        self._database.come_back()
        for server in self._sharing:
            server.end()


if __name__ == "__main__":
    with stage() as scene:
        for line in run(int(sys.argv[1]), scene, "postgres", SeveralPlay):
            print(line)
