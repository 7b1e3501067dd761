"""A container without an engine: the image's own configuration, in namespaces that `unshare` makes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSIDE = Path(__file__).with_name("inside.py")
START_SECONDS = 60


@dataclass
class Container:
    """An image, its volumes and the environment given to it; `start` runs its own entrypoint and command."""

    root: Path
    config: Mapping[str, Any]
    folder: Path
    network: str = "own"
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def volume(self, target: str) -> Path:
        """The folder mounted at `target`; a fresh one is a copy of what the image has there, as engines make it."""
        path = self.folder / target.strip("/").replace("/", "-")
        if not path.exists():
            shutil.copytree(self.root / target.strip("/"), path)
            there = (self.root / target.strip("/")).stat()
            os.chown(path, there.st_uid, there.st_gid)
        return path

    def start(self, *arguments: str, volumes: tuple[str, ...] = ("/app/data",)) -> None:
        """Start it, by default with the command of the image."""
        namespaces = ["--mount", "--pid", "--fork", "--kill-child"] + (["--net"] if self.network == "own" else [])
        mounts = ",".join(f"{self.volume(target)}:{target}" for target in volumes)
        command = [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        inside = [sys.executable, INSIDE, self.root, self.network, self.config["User"], mounts, "--", *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", *namespaces, *inside],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._first_process()

    def run(self, *command: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """`docker exec`: a command beside the first process."""
        uid, gid = (user or self.config["User"]).split(":")
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd"]
        return subprocess.run(
            [*enter, f"--setuid={uid}", f"--setgid={gid}", "--", *command],
            check=False,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def healthy(self) -> bool:
        """What HEALTHCHECK says."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*command).returncode == 0

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            assert self.process is not None
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.logged()}"
            assert time.monotonic() < deadline, f"it did not become healthy:\n{self.logged()}"
            time.sleep(0.1)

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code of its first process."""
        assert self.process is not None
        return self.process.wait(60)

    def stop(self) -> int:
        self.signal()
        return self.wait()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            # The first process, and with it all in its namespace. Not left to --kill-child: the kernel forgets that
            # when the process changes its user.
            with suppress(ProcessLookupError):
                os.kill(self.pid or self.process.pid, signal.SIGKILL)
            self.process.wait()

    def status(self) -> dict[str, str]:
        """/proc/PID/status of the first process, seen from outside."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def logged(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def _environment(self) -> dict[str, str]:
        own = dict(pair.split("=", 1) for pair in self.config["Env"])
        return {**own, "PWD": self.config["WorkingDir"], **self.environment}

    def _first_process(self) -> int:
        """Its number outside. Only `unshare` knows it, by its being the one child."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.01)
        raise AssertionError(f"it did not start:\n{self.logged()}")


@contextmanager
def container(root: Path, config: Mapping[str, Any], folder: Path, **more: Any) -> Iterator[Container]:
    """A container in `folder`, ended whatever happens."""
    folder.mkdir(exist_ok=True)
    made = Container(root, config, folder, **more)
    try:
        yield made
    finally:
        made.close()
