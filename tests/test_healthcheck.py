"""`python -m blobforge.healthcheck`, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from blobforge import healthcheck
from blobforge.machinery import datadir
from tests.fixtures.server import ServerProcess


def ask(folder: Path) -> subprocess.CompletedProcess[str]:
    # A proxy that is set for the whole machine must not be asked about this machine's own server.
    environment = {**os.environ, "BLOBFORGE_DATA_DIR": str(folder), "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(
        [sys.executable, "-m", "blobforge.healthcheck"],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_a_ready_server_is_healthy(server: ServerProcess) -> None:
    said = ask(server.folder)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_no_server_is_not(server: ServerProcess) -> None:
    server.stop()
    said = ask(server.folder)
    assert said.returncode == 1
    assert "no server is ready" in said.stderr


def test_a_killed_server_is_not(server: ServerProcess) -> None:
    """Its address still stands in the folder."""
    server.kill()
    said = ask(server.folder)
    assert said.returncode == 1
    assert "does not answer" in said.stderr


def test_it_reads_the_file_that_the_server_writes() -> None:
    assert healthcheck.READY_FILE == datadir.READY_FILE
