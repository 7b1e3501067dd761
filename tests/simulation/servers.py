"""One of several servers that share a database and a store: started, killed at any moment, stopped, made to stand
still, asked. Its requests and streams are tasks of its own process; clients wait for them no longer than they like.

Owns: the run of this server that is up, if any.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from actors.courier import Post
from blobforge.config import Settings
from blobforge.machinery.datadir import StartError
from blobforge.objects import ObjectInfo
from blobforge.objects.local import LocalStore
from blobforge.serve.parts import Parts
from blobforge.serve.server import running
from blobforge.store.errors import DatabaseError, StoreUnavailable
from tests.fixtures.databases import ERRS, UNHEARD
from tests.simulation.asgi import TOKEN, Answer, Application
from tests.simulation.clock import WallClock
from tests.simulation.faults import Process, StoreHop, Weather
from tests.simulation.history import History
from tests.simulation.machine import SECRET, Watcher, drain
from tests.simulation.shared import SharedDatabase
from tests.simulation.standstill import Tasks

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here, between two round trips of its transaction."""


class Shelf(LocalStore):
    """The store of all of them, which vouches for no checksum: what is in it has to be read. Tells which sources
    are."""

    def __init__(self, folder: Path, hop: StoreHop, history: History) -> None:
        super().__init__(folder, SECRET, hop=hop)
        self._history = history

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        found = await super().head(key, version=version)
        return None if found is None else msgspec.structs.replace(found, sha256=None)

    async def digest(self, key: str, *, version: str | None = None) -> str | None:
        found = await super().digest(key, version=version)
        self._history.read[key] += found is not None
        return found


class Request:
    """One that a server is at, and its client waits for. `told`: who hears of its end first."""

    def __init__(self, told: Callable[[Answer | None], None]) -> None:
        self.answer: Answer | None = None
        self.over = trio.Event()
        self.left = trio.Event()  # its client has
        self._told = told

    def end(self, answer: Answer | None) -> None:
        if not self.over.is_set():
            self.answer = answer
            self.over.set()
            self._told(answer)


class ServerRun(Process):
    """One run of a server. Owns: its tasks, and the requests that it is at."""

    def __init__(
        self, name: str, weather: Weather, dice: random.Random, database: SharedDatabase, watcher: Watcher
    ) -> None:
        super().__init__(weather, dice, self.die)
        self.name = name
        self.tasks = Tasks()
        self.at: dict[Request, None] = {}
        self.ended = trio.Event()
        self._database = database
        self._watcher = watcher
        self._went_on_at = 0.0

    @property
    def disturbed_until(self) -> float:
        if self.tasks.stand or self._database.is_away:
            return float("inf")
        return max(self.slow_until, self._went_on_at, self._database.back_at)

    def die(self) -> None:
        """kill -9: nothing that it was about to do is done, and its connections end."""
        self.dead, self.ready = True, False
        self.tasks.hold()
        self._database.end(self.name)
        for request in list(self.at):
            request.end(None)
        self.at.clear()
        self.ended.set()

    def stand_still(self) -> None:
        self.tasks.hold()

    def go_on(self) -> None:
        if not self.dead and self.tasks.stand:
            self._went_on_at = trio.current_time()
            self.tasks.go_on()

    async def hop(self, call: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        await self._wait()
        before = self.commits
        try:
            result = call()
        except Killed:
            self.die()
            await trio.sleep_forever()
        finally:
            if self.commits > before:  # each by itself: no other server has written since
                self._watcher.committed()
        if self.commits > before and self.ready and self._dice.random() < self._weather.killed_by_commit:
            self.die()
            await trio.sleep_forever()
        await self._wait()
        return result

    def fault(self, statement: str) -> str | None:
        weather, dice = self._weather, self._dice
        if self.ready and not self.dead and statement.startswith("COMMIT"):
            if weather.killed_in_turn and dice.random() < weather.killed_in_turn:
                raise Killed
            if weather.cut and dice.random() < weather.cut:
                if dice.random() < 0.5:
                    return ERRS
                self.commits += 1
                return UNHEARD
        return super().fault(statement)


class Server:
    def __init__(
        self,
        number: int,
        folder: Path,
        settings: dict[str, Any],
        *,
        weather: Weather,
        clock: WallClock,
        dice: random.Random,
        watcher: Watcher,
        history: History,
        nursery: trio.Nursery,
        database: SharedDatabase,
    ) -> None:
        """`folder` is that of all of them."""
        self.process: ServerRun | None = None
        self.parts: Parts | None = None
        self.post: Post | None = None
        self.starts = 0
        self.started_at = 0.0
        self.runs: list[ServerRun] = []
        self._number = number
        self._root = folder
        self._folder = folder / f"s{number}"
        self._folder.mkdir()
        (self._folder / "objects-id").write_text("one\n")  # all of them keep objects in one place
        self._settings = settings
        self._weather = weather
        self._clock = clock
        self._dice = dice
        self._watcher = watcher
        self._history = history
        self._nursery = nursery
        self._database = database
        self._application = Application(number)
        self._stop = trio.Event()
        self.objects = self._store(StoreHop(weather, dice, nursery))

    @property
    def name(self) -> str:
        return f"s{self._number}"

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.ready and not self.process.tasks.stand

    def _store(self, hop: StoreHop) -> Shelf:
        return Shelf(self._root / "objects", hop, self._history)

    def bytes_of(self, key: str) -> bytes | None:
        path = self.objects._path(key)
        return path.read_bytes() if path.is_file() else None

    # --- what becomes of it

    async def run(self) -> None:
        """Start it whenever it is down, as a supervisor does."""
        await trio.sleep(self._number / 8)
        while True:
            self.starts += 1
            self._stop = trio.Event()
            process = ServerRun(
                f"{self.name}-{self.starts}", self._weather, self._dice, self._database, self._watcher
            )
            self.process = process
            self.runs.append(process)
            process.tasks.spawn(self._nursery, self._serve, process)
            await process.ended.wait()
            self.process = self.parts = None
            await trio.sleep(self._dice.choice((0.01, 0.5, 3.0, 20.0)))

    async def _serve(self, process: ServerRun) -> None:
        hop = StoreHop(self._weather, self._dice, self._nursery, lambda: not process.dead)
        url = self._database.url
        given = Settings(
            data_dir=str(self._folder), admin_token=TOKEN, server_name=self.name, database_url=url, **self._settings
        )
        try:
            engine = self._database.engine(process.name, process.fault)
            async with running(
                given, hop=process.hop, now=self._clock, objects=self._store(hop), engine=engine
            ) as parts:
                parts.url = "http://blobforge.test"
                parts.writer.dice = random.Random(self.starts)
                if self.post is not None:
                    parts.courier.call = self.post
                self._application.serves(parts.services)
                self.parts = parts
                self.started_at = trio.current_time()
                self._history.say(f"{process.name} up")
                self._watcher.opened(self._database.looked_into)
                process.ready = True
                await self._stop.wait()
                await drain(process, parts)
        except* (DatabaseError, StartError, StoreUnavailable) as errors:
            if not process.dead:
                self._history.say(f"{process.name} cannot start: {errors.exceptions[0]}")
        process.ready = False
        process.ended.set()

    def kill(self) -> None:
        if self.process is not None and self.process.ready:
            self.process.die()

    def stop(self) -> None:
        """SIGTERM."""
        self._stop.set()

    async def stand_still(self, seconds: float) -> None:
        process = self.process
        if process is not None and process.ready:
            process.stand_still()
            await trio.sleep(seconds)
            process.go_on()

    def set_right(self) -> None:
        if self.process is not None:
            self.process.go_on()

    def end(self) -> None:
        """The play is over: what still stands is there to be cancelled."""
        for process in self.runs:
            if not process.dead and process is self.process:
                process.die()
            process.dead = True
            process.tasks.go_on()

    # --- what it is asked

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, gone_at: float,
        told: Callable[[Answer | None], None],
    ) -> Answer | None:  # fmt: skip
        """One request. What it comes to is told also where its client has gone meanwhile."""
        request, process = Request(told), self.process
        if process is None or not process.ready or self._stop.is_set():
            await _refused(request)
            return None

        async def answered() -> Answer | None:
            return await self._application.ask(
                method, path, body, headers=headers, gone_at=gone_at, left=request.left
            )

        return await self._at(process, request, answered, gone_at)

    async def stream(
        self, path: str, *, headers: dict[str, str], gone_at: float, hear: Callable[[bytes], None]
    ) -> None:
        """A response that goes on until then, or until the server ends it; told piece by piece."""
        request, process = Request(lambda _: None), self.process
        if process is None or not process.ready or self._stop.is_set():
            await _refused(request)
            return

        status = 0

        def heard(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            if status == 200 and not request.over.is_set() and not request.left.is_set():
                hear(message.get("body", b""))

        async def streamed() -> None:
            await self._application.stream(
                "GET", path, headers=headers, gone_at=gone_at, left=request.left, hear=heard
            )

        await self._at(process, request, streamed, gone_at)

    async def _at(
        self, process: ServerRun, request: Request, call: Callable[[], Any], gone_at: float
    ) -> Answer | None:
        async def served() -> None:
            with trio.CancelScope() as cut:
                process.requests.add(cut)
                try:
                    answer = await call()
                finally:
                    process.requests.discard(cut)
            process.at.pop(request, None)
            request.end(None if cut.cancelled_caught or process.dead else answer)

        process.at[request] = None
        process.tasks.spawn(self._nursery, served)
        try:
            with trio.move_on_at(gone_at):
                await request.over.wait()
        finally:
            request.left.set()
        return request.answer


async def _refused(request: Request) -> None:
    try:
        await trio.sleep(0.01)
    finally:
        request.end(None)
