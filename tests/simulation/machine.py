"""The server as its operator and its clients see it: started, killed, stopped, asked.

Owns: the folder with the database, which is copied the moment that the server is killed (as a disk is then, WAL and
all), and the run of the server that is up, if any. The server is the real one, from the composition root down; only
the sockets are missing: requests go into the application as ASGI.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import trio
import trio.testing

from actors.courier import Post
from blobforge.config import Settings
from blobforge.objects.local import LocalStore
from blobforge.serve.parts import Parts
from blobforge.serve.server import running
from tests.fixtures.engines import Database
from tests.fixtures.local import open_local
from tests.simulation.asgi import TOKEN, Answer, Application
from tests.simulation.clock import WallClock
from tests.simulation.faults import Process, StoreHop, Weather

SECRET = b"5" * 32  # of the object store's links
DRAIN = 10.0  # seconds for requests under way when the server stops


class Watcher(Protocol):
    """Who is shown what the server does (the oracle)."""

    def opened(self, database: Database) -> None: ...

    def committed(self) -> None: ...


class Told:
    """One of the writer's listeners: told of every commit before anybody is answered."""

    heeds = None

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def post(self, _facts: object) -> None:
        self._tell()


async def drain(process: Process, parts: Parts) -> None:
    """What a server does after a SIGTERM: requests under way are ended, or given up."""
    parts.broadcaster.close()
    parts.scheduler.close()
    with trio.move_on_after(DRAIN):
        while process.requests:
            await trio.sleep(0.01)
    for scope in process.requests:
        scope.cancel()
    process.ready = False


class Machine:
    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        *,
        weather: Weather,
        clock: WallClock,
        dice: random.Random,
        watcher: Watcher,
        nursery: trio.Nursery,
        database_at: Callable[[Path], Database],
    ) -> None:
        self.post: Post | None = None
        self.starts = 0
        self.process: Process | None = None
        self.started_at = 0.0
        self.parts: Parts | None = None
        self._root = folder
        self._folder = folder / "0"
        self._database = database_at(self._folder / "blobforge.db")
        self._settings = settings
        self._weather = weather
        self._clock = clock
        self._dice = dice
        self._watcher = watcher
        self._nursery = nursery
        self._stop = trio.Event()
        self._application = Application()
        # What clients put to and get from signed URLs.
        self.objects = self._store(StoreHop(weather, dice, nursery))

    def _store(self, hop: StoreHop) -> LocalStore:
        return LocalStore(self._root / "objects", SECRET, hop=hop)

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.ready

    async def run(self) -> None:
        """Start it whenever it is down, as a supervisor does."""
        while True:
            process = Process(self._weather, self._dice, self.kill)
            self._database.meets(process.fault)
            await self._serve(process)
            self.process = self.parts = None
            while process.requests:  # the last of what was under way is being cut off
                await trio.sleep(0.001)
            await trio.sleep(self._dice.choice((0.01, 0.5, 3.0, 20.0)))

    async def _serve(self, process: Process) -> None:
        self._stop = trio.Event()
        hop = StoreHop(self._weather, self._dice, self._nursery, lambda: not process.dead)
        given = Settings(data_dir=str(self._folder), admin_token=TOKEN, **self._settings)
        if self.starts:
            self._watcher.survived(self._database)
        with process.scope:
            self.process = process
            objects, engine = self._store(hop), self._database.engine
            async with running(given, hop=process.hop, now=self._clock, objects=objects, engine=engine) as parts:
                parts.url = "http://blobforge.test"
                parts.writer.dice = random.Random(self.starts)
                if self.post is not None:
                    parts.courier.call = self.post
                self._application.serves(parts.services)
                parts.writer.sequencer.listeners.append(Told(self._watcher.committed))
                self.parts = parts
                self.starts += 1
                self.started_at = trio.current_time()
                self._watcher.opened(self._database)
                process.ready = True
                await self._stop.wait()
                await drain(process, parts)

    def bytes_of(self, key: str) -> bytes | None:
        """What the object holds, whatever the store says just now."""
        path = self.objects._path(key)
        return path.read_bytes() if path.is_file() else None

    def kill(self) -> None:
        """kill -9: what the disk has at this moment stays."""
        if not self.up:
            return
        assert self.process is not None
        self._watcher.committed()
        after = self._root / str(self.starts)
        after.mkdir()
        for file in sorted(self._folder.iterdir()):
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, after / file.name)
        self._folder = after
        self._database = self._database.moved(after)
        self.process.ready = False
        self.process.die()

    def leave(self) -> None:
        """The play is over, and nothing runs any more."""
        self._database.close()

    def stop(self) -> None:
        """SIGTERM."""
        self._stop.set()

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, gone_at: float,
        told: Callable[[Answer | None], None],
    ) -> Answer | None:  # fmt: skip
        """One request by a client that goes away at `gone_at`. None when there is no answer; `told` hears of it
        first."""
        process = self.process
        answer = None
        try:
            if process is None or not process.ready or self._stop.is_set():
                await trio.sleep(0.01)
                return None
            with trio.CancelScope() as cut:
                process.requests.add(cut)
                try:
                    answer = await self._application.ask(method, path, body, headers=headers, gone_at=gone_at)
                finally:
                    process.requests.discard(cut)
            if process.dead:
                answer = None
        finally:
            told(answer)
        return answer


def template(folder: Path) -> Path:
    """A folder as the first start leaves it: every play begins with a copy."""

    async def first_start() -> None:
        async with open_local(folder, admin_token=TOKEN):
            pass

    trio.run(first_start, clock=trio.testing.MockClock(autojump_threshold=0))
    shutil.rmtree(folder / "objects", ignore_errors=True)
    return folder
