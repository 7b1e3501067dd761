"""The receivers of docs/webhooks.md are run as they stand there: each takes what the server sends, and refuses what
was signed with another secret."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from blobforge.machinery.clock import wall_ms
from blobforge.outward.addresses import Allowed
from blobforge.outward.calling import CallError, Outward
from web import letters

PAGE = Path(__file__).parent.parent / "docs" / "webhooks.md"
TOLD = {"type": "job.completed", "timestamp": "2026-11-29T10:00:00.000Z", "data": {"job_id": 7, "name": "größe"}}
# Runs a CGI script at any address: what a web server does for the shell's receiver.
CGI = """
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        given = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in self.headers.items()}
        given["CONTENT_LENGTH"] = self.headers["Content-Length"]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        done = subprocess.run([sys.argv[1]], input=body, stdout=subprocess.PIPE, env=os.environ | given)
        self.send_response(int(done.stdout.split()[1]))
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def receiver(name: str) -> str:
    found = re.search(rf"<!-- receiver {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, name
    return found[1]


def command(name: str, folder: Path) -> list[str]:
    script = folder / "receiver"
    script.write_text(receiver(name))
    if name == "node":
        return ["node", str(script)]
    if name == "python":
        return [sys.executable, str(script)]
    script.chmod(0o700)
    return [sys.executable, "-c", CGI, str(script)]


@asynccontextmanager
async def running(name: str, secret: str, folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """Its URL, and where it writes what it took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    took = folder / "took"
    took.touch()
    environment = os.environ | {"SECRET": secret, "PORT": str(port), "LOG": str(took)}
    with took.open("ab") as out:
        process = subprocess.Popen(command(name, folder), stdout=out, env=environment)
    try:
        yield f"http://127.0.0.1:{port}/", took
    finally:
        process.kill()
        process.wait()


async def sent(url: str, secret: bytes) -> int:
    """As the server sends it; tried again until the receiver listens."""
    body = json.dumps(TOLD).encode()
    with trio.fail_after(60):
        while True:
            signed = letters.headers("msg_1", body, [secret], now=wall_ms())
            try:
                return (await Outward(Allowed(loopback=True)).post(url, body, signed)).status
            except CallError:
                await trio.sleep(0.05)


@pytest.mark.parametrize("name", ["python", "node", "shell"])
async def test_a_receiver_takes_what_is_signed_with_its_secret_and_nothing_else(name: str, tmp_path: Path) -> None:
    secret = secrets.token_bytes(32)
    async with running(name, letters.shown(secret), tmp_path) as (url, took):
        assert await sent(url, secret) == 204
        assert await sent(url, secrets.token_bytes(32)) == 401
        said = took.read_text()
    assert said.count("job.completed") == 1
    assert "größe" in said
