"""From a terminal: a job that is not to be started before a time, as a person types it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cli.conftest import Running

DOCS = Path(__file__).parents[2] / "docs" / "submitting.md"


def test_a_time_is_said_as_a_moment_or_as_how_far_ahead_it_is(running: Running) -> None:
    for name in ("a", "b"):
        (running.folder / f"{name}.pdf").write_text(name)
    job = running.json("submit", "a.pdf", "--not-before", "+2h")["job_id"]
    start = datetime.fromisoformat(running.json("jobs", "show", str(job))["not_before"])
    assert timedelta(hours=1) < start - datetime.now(UTC) < timedelta(hours=3)
    assert "not before" in running.ok("jobs", "show", str(job))
    day = (datetime.now() + timedelta(days=3)).replace(microsecond=0)
    job = running.json("ingest", ".", "--include", "b.pdf", "--not-before", day.isoformat())["job_id"]
    assert datetime.fromisoformat(running.json("jobs", "show", str(job))["not_before"]) == day.astimezone()
    (running.folder / "c.pdf").write_text("c")
    job = running.json("submit", "c.pdf", "--not-before", "+2h", "--expires-at", "+1d")["job_id"]
    end = datetime.fromisoformat(running.json("jobs", "show", str(job))["expires_at"])
    assert timedelta(hours=23) < end - datetime.now(UTC) < timedelta(hours=25)
    assert "expires" in running.ok("jobs", "why", str(job))
    done = running.blobforge("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once")
    assert "1 completed" not in done.stderr
    for wrong in ("later", "+h", "+2y", "+-5h"):
        failed = running.blobforge("submit", "a.pdf", "--not-before", wrong)
        assert failed.returncode == 2
        assert "is no time" in failed.stderr


def test_what_cron_is_to_run_is_a_command(running: Running) -> None:
    (line,) = re.findall(r"^0 22 \* \* \*  blobforge (.*)$", DOCS.read_text(), re.MULTILINE)
    (running.folder / "new.pdf").write_text("new")
    command = [str(running.folder) if word == "/srv/scans" else word for word in line.split()]
    assert running.blobforge(*command).returncode == 0
    assert running.blobforge(*command).returncode == 0
    assert running.json("jobs", "list")["total"] == 1, "the second night finds nothing new"
