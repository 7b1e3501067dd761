"""A server that is away: waited for at the first call as at any other, and told once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from blobforge.cli.common import CliSession
from blobforge.cli.outage import Outages
from blobforge.client import ServerUnreachable
from tests.cli.conftest import Running


def test_a_server_that_is_away_at_the_first_call(running: Running) -> None:
    document = running.folder / "a.pdf"
    document.write_text("a")
    running.kill_server()
    child = running.start("submit", Path("a.pdf"))
    time.sleep(5)  # longer than any other call is patient
    assert child.poll() is None
    running.serve()
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stderr
    assert stderr.count("trying again") == 1
    assert "1 new" in stderr


def test_a_watch_waits_for_a_server_that_is_away_at_its_first_call(running: Running) -> None:
    document = running.folder / "a.pdf"
    document.write_text("a")
    running.ok("submit", "a.pdf")
    running.kill_server()
    children = [
        running.start("jobs", "watch", "1"),
        running.start("jobs", "logs", "1", "--follow"),
        running.start("stats", "--watch", "--json"),
    ]
    time.sleep(5)  # longer than any other call is patient
    assert [child.poll() for child in children] == [None] * 3
    running.serve()
    assert "pending" in children[0].stdout.readline()  # type: ignore[union-attr]
    assert '"pending_jobs":1' in children[2].stdout.readline().replace(" ", "")  # type: ignore[union-attr]
    running.ok("jobs", "cancel", "1", "--yes")
    for child, code in ((children[0], 1), (children[1], 1)):
        _, stderr = child.communicate(timeout=60)
        assert (child.returncode, stderr.count("trying again")) == (code, 1), stderr


def test_one_outage_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    now = 1000.0
    monkeypatch.setattr(CliSession, "note", lambda _self, text: told.append(text))
    monkeypatch.setattr("time.monotonic", lambda: now)
    on_retry, error = Outages(CliSession()), ServerUnreachable("http://here", "away")
    on_retry(error, 0.5)
    assert told == [], "a moment is worth no line"
    for pause in (2.0, 0.5, 4.0, 8.0):
        on_retry(error, pause)
        now += pause
    assert len(told) == 1
    now += 100
    on_retry(error, 3.0)
    assert len(told) == 2, "another outage"
