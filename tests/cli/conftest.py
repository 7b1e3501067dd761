"""A real server, run as its users run it, and the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blobforge.cli.common import CliSession
from blobforge.cli.fetch.fetching import ResultFilter
from blobforge.cli.fetch.report import FetchReport
from blobforge.cli.fetch.run import Into, fetch_matching
from tests.fixtures.forked import Done, Forked, run
from tests.fixtures.seaweed import Seaweed

LONGEST = 900 if "SOAK" in os.environ else 90  # seconds that a command may take
COMMAND = [str(Path(sys.executable).with_name("blobforge"))]  # as it was installed


def clean_environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    # Nobody's own login is used, and nobody's keyring is asked.
    private = {"XDG_CONFIG_HOME": "/nonexistent", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    return {**kept, **private, **more}


@dataclass
class Running:
    """A server, and ways to talk to it. Commands run in its folder: they find the admin token by themselves."""

    folder: Path
    settings: dict[str, str]
    url: str = ""
    installed: bool = False  # run the installed command, from nothing, and no fork of a process that has it loaded
    server: Forked | None = None
    children: list[Forked] = field(default_factory=list)

    def serve(self) -> None:
        """Start the server and wait until it is ready; started again, it comes back at the same port."""
        address = self.folder / "data" / "server.json"
        address.unlink(missing_ok=True)  # what a killed one left
        port = self.url.rpartition(":")[2] or "0"
        with (self.folder.parent / "server.log").open("ab") as log:
            environment = clean_environment(**self.settings, BLOBFORGE_PORT=port)
            self.server = Forked(["serve"], environment=environment, folder=self.folder, output=log, errors=log)
        while not address.exists():
            assert self.server.poll() is None, (self.folder.parent / "server.log").read_text()
            time.sleep(0.02)
        self.url = json.loads(address.read_text())["url"]

    def kill_server(self) -> None:
        """kill -9, as the machine's end would do it."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def environment(self, **more: str) -> dict[str, str]:
        cache = str(self.folder.parent / "cache")
        return clean_environment(**{"BLOBFORGE_SERVER_URL": self.url, "XDG_CACHE_HOME": cache} | more)

    def blobforge(self, *arguments: str | Path, **environment: str) -> Done:
        """Run a command to its end."""
        if self.installed:
            return subprocess.run(
                [*COMMAND, *map(str, arguments)],
                cwd=self.folder,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        environment = self.environment(**environment)
        return run([*map(str, arguments)], environment=environment, folder=self.folder, timeout=LONGEST)

    def ok(self, *arguments: str | Path, **environment: str) -> str:
        """The stdout of a command that succeeds."""
        done = self.blobforge(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    def start(self, *arguments: str | Path, **environment: str) -> Forked:
        """Start a command that stays; it is ended with the test at the latest."""
        child = Forked(
            [*map(str, arguments)],
            environment=self.environment(**environment),
            folder=self.folder,
            output=subprocess.PIPE,
            errors=subprocess.PIPE,
        )
        self.children.append(child)
        return child

    def wait_for(self, job_id: int, status: str) -> Any:
        """The job, once it is in `status`; the test's own timeout is the limit."""
        while True:
            job = self.json("jobs", "show", str(job_id))
            if job["status"] == status:
                return job
            time.sleep(0.05)


def s3_settings(seaweed: Seaweed, prefix: str) -> dict[str, str]:
    """What makes a server keep its objects in SeaweedFS, as variables of the environment."""
    return {f"BLOBFORGE_{name.upper()}": value for name, value in seaweed.settings(prefix).items()}


SETTINGS = {"BLOBFORGE_RETRY_BACKOFF": "0.05", "BLOBFORGE_HEARTBEAT_INTERVAL": "0.2"}


@contextmanager
def running_server(folder: Path, settings: dict[str, str]) -> Iterator[Running]:
    """A server with its data in `folder`, ended afterwards with all that was started beside it."""
    folder.mkdir()
    running = Running(folder, SETTINGS | settings)
    try:
        running.serve()
        yield running
    finally:
        for child in (*running.children, running.server):
            if child is not None:
                _end(child)


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """A server on its embedded default; an indirect parameter adds settings."""
    with running_server(tmp_path / "here", getattr(request, "param", {})) as running:
        yield running


def _end(child: Forked) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


@pytest.fixture
def fetch_here(archive: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], FetchReport]:
    """`results download` of an archive (test_results.py), in this process; the answer is how it went."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(archive.root.parent / "cache"))
    session = CliSession(archive.running.url, archive.token, quiet=True)
    wanted = ResultFilter({"tag": archive.tag, "status": "completed"})

    def fetch() -> FetchReport:
        report = FetchReport(session)
        session.run(lambda client: fetch_matching(client, wanted, Into(archive.root), report))
        return report

    return fetch
