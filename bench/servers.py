"""The servers under test, each a process of its own on loopback, ended by pid."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import psutil

from bench.plan import BenchError

ROOT = Path(__file__).parent.parent  # where `python -m bench...` is found, wherever we were started
START_SECONDS = 300  # ten million jobs on a slow disk
SPARE_FILES = 500  # beside one for each connection
SERVE = ("-m", "blobforge.cli", "serve")


class Server:
    """A running process: where it is, and what it costs."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], *, token: str = "", started: float = 0.0) -> None:
        self.url = url
        self.token = token  # an administrator's
        self.headers = f"Authorization: Bearer {token}\r\n" if token else ""  # that every request carries
        self.started = started  # seconds from the start of the process to ready
        self._process = psutil.Process(process.pid)

    def cpu(self) -> float:
        """CPU seconds, user and system, since it was started."""
        times = self._process.cpu_times()
        return times.user + times.system

    def rss_mib(self) -> float:
        return self._process.memory_info().rss / 2**20

    def at(self, number: int) -> Server:
        """Which one the client of that number asks."""
        del number
        return self


class Servers(Server):
    """Several that are one BlobForge: clients are spread over them, and their costs are added up."""

    def __init__(self, members: Sequence[Server]) -> None:
        self.members = members
        self.url, self.token, self.headers = members[0].url, members[0].token, members[0].headers
        self.started = max(member.started for member in members)

    def cpu(self) -> float:
        return sum(member.cpu() for member in self.members)

    def rss_mib(self) -> float:
        return sum(member.rss_mib() for member in self.members)

    def at(self, number: int) -> Server:
        return self.members[number % len(self.members)]


def environment(root: Path) -> dict[str, str]:
    """That of a process that runs the code of the checkout at `root`, and has no setting of ours."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    return ours | {"PYTHONPATH": str(root)}


def blobforge(folder: Path, **variables: str) -> AbstractContextManager[Server]:
    """A server on its embedded default, with `variables` beside; asked as its administrator."""
    return blobforge_of(ROOT, folder, **variables)


def spawn(root: Path, program: Sequence[str], variables: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Python, from nothing."""
    return subprocess.Popen([sys.executable, *program], cwd=root, env=variables, stdout=log, stderr=log)


@contextmanager
def blobforge_of(root: Path, folder: Path, *, program: Sequence[str] = SERVE, **variables: str) -> Iterator[Server]:
    """The same, of another checkout; `program` is what Python runs."""
    own = {"BLOBFORGE_DATA_DIR": str(folder), "BLOBFORGE_PORT": "0", "BLOBFORGE_LOG_FORMAT": "json"}
    ready = folder / "server.json"
    ready.unlink(missing_ok=True)
    with (folder / "log").open("ab") as log:
        began = time.perf_counter()
        process = spawn(root, program, environment(root) | own | variables, log)
        try:
            while not ready.exists():
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise BenchError(f"the server did not start: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.005)
            started = time.perf_counter() - began
            url = json.loads(ready.read_text())["url"]
            token = (folder / "admin-token").read_text().strip()
            yield Server(url, process, token=token, started=started)
        finally:
            _end(process)


@contextmanager
def yardstick(module: str) -> Iterator[Server]:
    """What does nothing, and is measured for comparison: `bench.null_server` and its like."""
    process = subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    with ending(process):
        yield Server(process.stdout.readline().decode().strip(), process)


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """With the block ends the process, too, which has pipes to and from it."""
    try:
        yield
    finally:
        _end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def may_open(connections: int) -> None:
    """Raise this process's limit of open files, which servers inherit. Raises BenchError when it is too low."""
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(
            f"{needed:,} open files are needed and {hard:,} allowed: raise `ulimit -Hn`, or ask for less"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
