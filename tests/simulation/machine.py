"""The server as its operator and its clients see it: started, killed, stopped, asked.

Owns: the folder with the database, which is copied the moment that the server is killed (as a disk is then, WAL and
all), and the run of the server that is up, if any. The server is the real one, from the composition root down; only
the sockets are missing: requests go into the application as ASGI.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import trio
import trio.testing

from blobforge.config import Settings
from blobforge.objects.local import LocalStore
from blobforge.serve.parts import Parts
from blobforge.serve.server import running
from tests.fixtures.engines import Database
from tests.fixtures.local import open_local
from tests.simulation.clock import WallClock
from tests.simulation.faults import Process, StoreHop, Weather
from web.app import make_app
from web.services import Services

TOKEN = "bf_" + "5" * 43
SECRET = b"5" * 32  # of the object store's links
DRAIN = 10.0  # seconds for requests under way when the server stops


class Watcher(Protocol):
    """Who is shown what the server does (the oracle)."""

    def opened(self, database: Database) -> None: ...

    def committed(self) -> None: ...


@dataclass
class Answer:
    status: int
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def refusal(self) -> str:
        """The stable end of the problem's type, or nothing."""
        return str(self.body.get("type", "")).rpartition(":")[2] if isinstance(self.body, dict) else ""


class _Live:
    """Stands for the services of whichever server is up: an application takes longer to build than a play lasts."""

    services: Services | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.services, name)


class _Told:
    """One of the writer's listeners: told of every commit before anybody is answered."""

    heeds = None

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def post(self, _facts: object) -> None:
        self._tell()


LIVE = _Live()


@cache
def application() -> Any:
    """Built once in this process."""
    return make_app(cast(Services, LIVE))


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
                LIVE.services = parts.services
                parts.writer.sequencer.listeners.append(_Told(self._watcher.committed))
                self.parts = parts
                self.starts += 1
                self.started_at = trio.current_time()
                self._watcher.opened(self._database)
                process.ready = True
                await self._stop.wait()
                parts.broadcaster.close()
                parts.scheduler.close()
                with trio.move_on_after(DRAIN):
                    while process.requests:
                        await trio.sleep(0.01)
                for scope in process.requests:
                    scope.cancel()
                process.ready = False

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

    def stop(self) -> None:
        """SIGTERM."""
        self._stop.set()

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, gone_at: float
    ) -> Answer | None:
        """One request by a client that goes away at `gone_at`. None when there is no answer."""
        process = self.process
        if process is None or not process.ready or self._stop.is_set():
            await trio.sleep(0.01)
            return None
        sent = {"authorization": f"Bearer {TOKEN}", "host": "blobforge.test"} | (headers or {})
        data = b""
        if body is not None:
            data = msgspec.json.encode(body)
            sent |= {"content-type": "application/json", "content-length": str(len(data))}
        messages = [{"type": "http.request", "body": data, "more_body": False}]
        status, received = 0, b""

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await trio.sleep_until(gone_at)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, received
            status = message.get("status", status)
            received += message.get("body", b"")

        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("10.0.0.1", 4711), "server": ("blobforge.test", 80), "state": {}, "extensions": {},
        }  # fmt: skip
        with trio.CancelScope() as cut:
            process.requests.add(cut)
            try:
                await application()(scope, receive, send)
            finally:
                process.requests.discard(cut)
        if cut.cancelled_caught or not status or process.dead:
            return None
        return Answer(status, msgspec.json.decode(received) if received else None)


def template(folder: Path) -> Path:
    """A folder as the first start leaves it: every play begins with a copy."""

    async def first_start() -> None:
        async with open_local(folder, admin_token=TOKEN):
            pass

    trio.run(first_start, clock=trio.testing.MockClock(autojump_threshold=0))
    shutil.rmtree(folder / "objects", ignore_errors=True)
    return folder
