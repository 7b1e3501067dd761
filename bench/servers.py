"""The servers under test, each a process of its own on loopback, ended by pid."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.effects import perform
from actors.effects.step import Rules, Step
from actors.messages import NewJob, ObjectSeen, Seen, Submit
from blobforge.clock import wall_ms
from blobforge.store.database import open_writer
from blobforge.store.store import Store

START_SECONDS = 60


def fill(database: Path, jobs: int, type_: str) -> None:
    """Put pending jobs into a database that no server has open, through the real effects."""
    store = Store(open_writer(database))
    dice = random.Random(1)
    for start in range(0, jobs, 5000):
        with store.transaction():
            step = Step(store, Rules(), wall_ms(), dice)
            for number in range(start, min(start + 5000, jobs)):
                digest = hashlib.sha256(f"{number}".encode()).hexdigest()
                perform(step, Submit(NewJob(type_, digest), ObjectSeen(Seen.VERIFIED, 1, digest)))
    store.close()


@contextmanager
def blobforge(folder: Path, **variables: str) -> Iterator[tuple[str, str]]:
    """A server on its embedded default; (URL, administrator's token)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    environment |= {"BLOBFORGE_DATA_DIR": str(folder), "BLOBFORGE_PORT": "0", "BLOBFORGE_LOG_FORMAT": "json"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "blobforge.cli", "serve"], env=environment | variables, stdout=log, stderr=log
        )
        try:
            ready = folder / "server.json"
            deadline = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield json.loads(ready.read_text())["url"], (folder / "admin-token").read_text().strip()
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def null() -> Iterator[str]:
    """The null endpoint; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.null_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()
