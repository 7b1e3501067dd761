"""What a run of the demo stands on: a folder of its own, and a queue that is reached at a URL."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from blobforge.client import AsyncClient
from blobforge.demo.children import DemoProcess

ROOT = Path("data/demo")
PREFERRED_PORT = 8080
START_DEADLINE = 60.0
END_DEADLINE = 180.0
LOOK = 0.15  # seconds between two looks at the jobs


class DemoFailed(Exception):
    """The demo did not do what it should; the text says what."""


@dataclass(frozen=True)
class Stage:
    """The folders of one run. Each run has its own, so that a demo that still runs is not in the way."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"


@dataclass(frozen=True)
class Queue:
    """A queue that is ready. `on_the_way` is done while jobs run; a conversion takes `seconds_each` longer, so that
    there is something to see."""

    url: str
    token_file: Path
    link_file: Path
    on_the_way: Callable[[], Awaitable[None]] | None = None
    seconds_each: int = 0


class _Address(msgspec.Struct):
    """The content of `server.json`, which the server writes once it is ready."""

    url: str


def set_stage() -> Stage:
    """A fresh folder. Those of earlier runs go, unless the run is still on."""
    ROOT.mkdir(parents=True, exist_ok=True)
    for old in ROOT.glob("run-*"):
        if not _still_on(old):
            shutil.rmtree(old, ignore_errors=True)
    stage = Stage(Path(tempfile.mkdtemp(prefix="run-", dir=ROOT)))
    (stage.folder / "pid").write_text(str(os.getpid()))
    for folder in (stage.results, stage.logs):
        folder.mkdir()
    return stage


def _still_on(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def clean_environment() -> dict[str, str]:
    """Ours without any BLOBFORGE_ setting: the demo has its own server, not the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def preferred_port() -> int:
    """The usual port if it is free, else 0: the kernel's choice."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            return 0
    return PREFERRED_PORT


async def wait_until_ready(server: DemoProcess, data: Path) -> str:
    """The server's URL, once it answers there; `data` is its data folder. Raises ChildDied or DemoFailed."""
    address = data / "server.json"
    with trio.move_on_after(START_DEADLINE):
        while True:
            server.check()
            if address.exists():
                url = msgspec.json.decode(address.read_bytes(), type=_Address).url
                async with AsyncClient(url) as client:
                    if await client.ready():
                        return url
            await trio.sleep(0.05)
    raise DemoFailed(f"The server was not ready after {START_DEADLINE:.0f} s. It said:\n{server.log_tail()}")
