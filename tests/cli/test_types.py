"""`blobforge types` against a real server."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Running


def test_a_type_is_set_paused_and_resumed(running: Running) -> None:
    (running.folder / "a.pdf").write_text("dear reader")
    running.ok("submit", "a.pdf")
    assert running.ok("types", "pause", "pdf", "--reason", "loses tables") == "pdf\tpaused\n"
    assert running.ok("types", "list").splitlines()[1:] == ["pdf\tpaused\t1\t0\tloses tables"]
    assert running.ok("types", "list", "--quiet") == "pdf\n"
    (listed,) = running.json("types", "list")
    assert (listed["type"], listed["paused"], listed["jobs"]) == ("pdf", True, {"pending": 1})
    done = running.blobforge("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once")
    assert "1 completed" not in done.stderr, "nothing is given out"
    assert running.ok("types", "resume", "pdf", "--quiet") == "pdf\n"
    done = running.blobforge("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once")
    assert "1 completed" in done.stderr
    shown = running.ok("types", "set", "pdf", "--max-attempts", "5", "--retry-backoff", "2m")
    assert "max attempts" in shown
    own = running.json("types", "show", "pdf")
    assert (own["max_attempts"], own["retry_backoff"], own["paused"]) == (5, 120.0, False)
    assert "urgent after\t7200 s\n" in running.ok("types", "set", "pdf", "--urgent-after", "2h")
    shown = running.ok("types", "set", "pdf", "--breaker", "10", "--own-fault", "--no-quarantine")
    assert "breaker\tafter 10 failures in a row\nown fault\ton\nquarantine\toff\n" in shown
    shown = running.ok("types", "set", "pdf", "--breaker", "0", "--unset", "own-fault", "--unset", "quarantine")
    assert "breaker\toff\nown fault\toff (as for all types)\nquarantine\ton (as for all types)\n" in shown
    own = running.json("types", "set", "pdf", "--unset", "max-attempts")
    assert (own.get("max_attempts"), own["in_force"]["max_attempts"]) == (None, 3)


def test_what_is_wrong_is_said(running: Running) -> None:
    for arguments, said in (
        (("set", "pdf"), "Say what to set"),
        (("set", "pdf", "--max-attempts", "2", "--unset", "max-attempts"), "both set and unset"),
        (("show", "none"), "There is no job of type 'none'"),
        (("set", "pdf", "--weight", "a=2", "--weight", "b=0"), "'b=0' is no weight: the number is from 1 to 1,000."),
        (("set", "pdf", "--weight", "=1001"), "'=1001' is no weight"),
        (("set", "pdf", "--weight", "b=" + "9" * 5000), "is no weight"),
        (("pause", " a"), "type"),
    ):
        done = running.blobforge("types", *arguments)
        assert done.returncode != 0
        assert said in done.stderr, done.stderr


def test_why_a_job_of_a_paused_type_does_not_run(running: Running, tmp_path: Path) -> None:
    (tmp_path / "held.pdf").write_text("held")
    running.ok("types", "pause", "held", "--reason", "no")
    running.ok("submit", str(tmp_path / "held.pdf"), "--type", "held")
    (job,) = running.json("jobs", "list", "--type", "held")["jobs"]
    said = running.ok("jobs", "why", str(job["id"]))
    assert "waits for\tpaused" in said
    assert "change it\tblobforge types resume held" in said
    assert running.json("jobs", "why", str(job["id"]))["waiting"]["code"] == "paused"
    assert "waits for\tpaused\nwhy\tType held was paused" in running.ok("jobs", "show", str(job["id"]))
    assert running.json("jobs", "show", str(job["id"]))["waiting"]["code"] == "paused"
    running.ok("jobs", "cancel", str(job["id"]))
    assert "waits for\tnothing" in running.ok("jobs", "why", str(job["id"]))
