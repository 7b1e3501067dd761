"""`blobforge serve --reload`: a change is a restart, of code that is broken and of code that is mended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from blobforge.machinery import datadir
from tests.cli.conftest import clean_environment

ROOT = Path(__file__).parents[2]


def test_a_change_starts_the_server_anew(tmp_path: Path) -> None:
    for name in ("actors", "blobforge", "web"):
        shutil.copytree(ROOT / name, tmp_path / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    address = tmp_path / "data" / "server.json"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "blobforge.cli", "serve", "--reload", "--port", "0", "--data-dir", "data"],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(tmp_path / "code")),
            stdout=log,
            stderr=log,
        )

    def other_than(before: str) -> str:
        """What the server says of itself, once it is another one."""
        while True:
            assert server.poll() is None, (tmp_path / "log").read_text()
            if address.exists() and (now := address.read_text()) not in (before, ""):
                return now
            time.sleep(0.05)

    def login(url: str) -> str:
        return urllib.request.urlopen(f"{url}/login", timeout=30).read().decode()  # type: ignore[no-any-return]

    def blobforge(*arguments: str) -> subprocess.Popen[str]:
        """A command that stays, beside all of the restarts."""
        child = subprocess.Popen(
            [sys.executable, "-m", "blobforge.cli", *arguments],
            cwd=tmp_path,
            env=clean_environment(BLOBFORGE_SERVER_URL=url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        beside.append(child)
        return child

    def watched(url: str) -> None:
        """Wait until the server has one stream of events open: a command begins slowly, and comes back later."""
        token = (tmp_path / "data" / datadir.TOKEN_FILE).read_text().strip()
        asked = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
        while "\nblobforge_event_streams 1" not in urllib.request.urlopen(asked, timeout=30).read().decode():
            time.sleep(0.05)

    beside: list[subprocess.Popen[str]] = []
    try:
        first = other_than("")
        url = json.loads(first)["url"]
        (tmp_path / "late.pdf").write_text("late")
        worker = blobforge("work", "--type", "pdf", "--exec", "cp {source} {output}", "--max-jobs", "1")
        while "registered" not in (line := worker.stdout.readline()):  # type: ignore[union-attr]
            assert line, "the worker has ended"
        watcher = blobforge("jobs", "watch", "--json")
        watched(url)
        page = tmp_path / "code" / "web" / "dashboard" / "templates" / "base.html"
        page.write_text(page.read_text() + "<!-- another -->")
        second = other_than(first)
        assert json.loads(second)["url"] == url, "at the same port"
        assert "<!-- another -->" in login(url)

        style = tmp_path / "code" / "web" / "dashboard" / "static" / "site.css"
        before = re.findall(r"site\.css\?v=\w+", login(url))
        style.write_text(style.read_text() + "/* another */")
        third = other_than(second)
        assert re.findall(r"site\.css\?v=\w+", login(url)) != before, "open pages load anew by this"

        code = tmp_path / "code" / "actors" / "janitor.py"
        whole = code.read_text()
        code.write_text("this is no Python\n")
        while address.exists():
            time.sleep(0.05)
        time.sleep(1)
        code.write_text(whole)
        other_than(third)
        assert "<!-- another -->" in login(url)

        # A long poll and a stream of events outlive them all.
        watched(url)
        assert blobforge("submit", "late.pdf", "--wait").wait(60) == 0
        assert worker.wait(60) == 0
        watcher.send_signal(signal.SIGINT)
        assert '"status":"completed"' in watcher.communicate(timeout=30)[0]
        assert "Traceback" not in (tmp_path / "log").read_text().replace("SyntaxError", "")
    finally:
        for child in beside:
            child.kill()
            child.communicate()
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert not address.exists(), "the server has ended with it"
    assert os.listdir(tmp_path / "data")
