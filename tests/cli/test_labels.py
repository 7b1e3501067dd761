"""From a terminal: a worker with labels gets what requires them, and what none has is said."""

from __future__ import annotations

from tests.cli.conftest import Running


def test_from_a_submission_to_the_worker_that_has_it(running: Running) -> None:
    for name in ("a", "b"):
        (running.folder / f"{name}.pdf").write_text(name)
    command = ("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once")
    number = running.json("submit", "a.pdf", "--requires", "memory_gib >= 32", "--requires", "gpu")["job_id"]
    assert running.json("jobs", "show", str(number))["requires"] == ["gpu", "memory_gib>=32"]
    assert "gpu, memory_gib>=32" in running.ok("jobs", "show", str(number))
    done = running.blobforge(*command, "--label", "memory_gib=64")
    assert "1 completed" not in done.stderr
    done = running.blobforge(*command, "--label", "memory_gib=64", "--label", "gpu")
    assert "1 completed" in done.stderr
    number = running.json("ingest", ".", "--requires", "zone=eu", "--include", "b.pdf", "--group", "acme")["job_id"]
    shown = running.json("jobs", "show", str(number))
    assert (shown["requires"], shown["group"]) == (["zone=eu"], "acme")
    assert "1 job of type pdf requires zone=eu" in running.blobforge("doctor").stdout
    assert running.ok("jobs", "list", "--requiring", "zone", "--quiet").split() == [str(number)]
    assert running.ok("jobs", "list", "--group", "acme", "--quiet").split() == [str(number)]
    again = running.blobforge("submit", "b.pdf", "--group", "other", "--requires", "zone=eu")
    assert "1 known already (kept as it was: group of 1)" in again.stderr
    running.ok("jobs", "require", str(number), "--requires", "gpu")
    assert running.json("jobs", "show", str(number))["requires"] == ["gpu"]
    assert running.json("jobs", "require", "--type", "pdf", "--nothing", "--dry-run")["changed"] == 2, (
        "what has ended, too"
    )
    running.ok("jobs", "require", "--type", "pdf", "--status", "pending", "--nothing", "--yes")
    done = running.blobforge(*command)
    assert "1 completed" in done.stderr


def test_what_is_wrong_is_said_before_anything_is_asked(running: Running) -> None:
    for arguments, said in (
        (("submit", "a.pdf", "--requires", "a>=b"), "neither a number nor a version"),
        (("submit", "a.pdf", "--requires", "a b"), "is no requirement"),
        (("work", "--type", "pdf", "--exec", "true", "--label", "memory_gib>=32"), "is no label"),
        (("work", "--type", "pdf", "--exec", "true", "--label", "=5"), "is no label"),
        (("jobs", "require", "1"), "Say what they are to require"),
        (("jobs", "require", "1", "--requires", "gpu", "--nothing"), "Say what they are to require"),
    ):
        done = running.blobforge(*arguments)
        assert done.returncode == 2
        assert said in done.stderr, done.stderr
