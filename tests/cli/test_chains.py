"""From a terminal: what follows a conversion is said with its submission, and its family is looked at."""

from __future__ import annotations

import json
import time

from tests.cli.conftest import Running

COPY = ("work", "--exec", "cp {source} {output}", "--once", "--output-suffix", ".md")


def proven(running: Running, job: int) -> None:
    """Until the server has read its source."""
    while running.json("jobs", "show", str(job))["status"] == "uploading":
        time.sleep(0.1)


def test_a_chain_is_submitted_and_its_family_shown(running: Running) -> None:
    (running.folder / "a.pdf").write_text("a document")
    made = running.json("submit", "a.pdf", "--then", "ocr=*.md", "--then", "summary")
    job = str(made["job_id"])
    then = [{"type": "ocr", "outputs": "*.md", "then": [{"type": "summary", "outputs": "*"}]}]
    assert running.json("jobs", "show", job)["then"] == then
    assert "ocr (*.md) -> summary (*)" in running.ok("jobs", "show", job)
    running.ok(*COPY, "--type", "pdf")
    (child,) = running.json("jobs", "show", job)["children"]
    assert (child["type"], child["job_id"]) == ("ocr", 2)
    proven(running, 2)
    running.ok(*COPY, "--type", "ocr")
    proven(running, 3)
    assert running.ok("jobs", "cancel", "1", "--children", "--dry-run") == "1\tcompleted\t1 job that came of it\n"
    assert running.ok("jobs", "cancel", "1", "--children") == "1\tcompleted\t1 job that came of it cancelled\n"
    first, second, third = running.ok("jobs", "family", "3").splitlines()
    assert first.startswith("1  pdf  completed")
    assert second.startswith("  2  ocr  completed")
    assert third.startswith("    3  summary  cancelled")
    assert third.endswith("<- stopped here")
    told = [json.loads(line) for line in running.ok("jobs", "family", "1", "--json").splitlines()]
    assert [(each["depth"], each["job_id"]) for each in told] == [(0, 1), (1, 2), (2, 3)]


def test_what_follows_a_type_is_set(running: Running) -> None:
    assert "ocr (*.md) -> summary (*)" in running.ok("types", "set", "pdf", "--then", "ocr=*.md", "--then", "summary")
    (running.folder / "chain.json").write_text('[{"type": "index"}]')
    assert running.json("types", "set", "ocr", "--then", "@chain.json")["then"] == [{"type": "index"}]
    (running.folder / "a.pdf").write_text("a document")
    (running.folder / "b.pdf").write_text("another one")
    for name, then in (("a.pdf", ()), ("b.pdf", ("--then", "[]"))):
        running.ok("submit", name, *then)
    assert "ocr (*.md) -> summary (*)" in running.ok("jobs", "show", "1")
    assert "then" not in running.json("jobs", "show", "2")
    assert "then" not in running.json("types", "set", "pdf", "--no-then")
    assert "then: both set and unset" in running.blobforge("types", "set", "pdf", "--then", "a", "--no-then").stderr


def test_what_a_completion_would_start_is_said(running: Running) -> None:
    def checked(*said: str) -> tuple[int, str]:
        done = running.blobforge("chains", "check", *said)
        return done.returncode, done.stdout + done.stderr

    (running.folder / "chain.json").write_text(
        '[{"type": "ocr", "outputs": "*.png", "options": {"dpi": 1}, "join": {"type": "book"}}]'
    )
    to_come = ("--type", "pdf", "--then", "@chain.json")
    assert checked(*to_come, "--output", "1.png", "--output", "a.md") == (
        11,
        "a pdf job starts, of 2 outputs:\n"
        '  ocr (*.png): 1 match: 1.png, with options {"dpi":1}; no worker is there\n'
        "    1 book job joins all of these; no worker is there\n",
    )
    assert checked(*to_come, "--output", "a.md")[0] == 5
    assert checked("--path", "in/a.pdf", "--then", "pdf")[0] == 10
    (running.folder / "a.pdf").write_text("a document")
    running.ok("submit", "a.pdf", "--then", "ocr")
    running.ok(*COPY, "--type", "pdf")
    assert checked("1")[1].startswith("job 1 (pdf, completed) starts, of 1 output:\n  ocr (*): 1 match: ")
    assert running.blobforge("chains", "check", "2", "--json").returncode == 5
    assert checked()[0] == checked("1", "--type", "pdf")[0] == 2


def test_steps_that_are_none_are_refused(running: Running) -> None:
    (running.folder / "a.pdf").write_text("{}")
    for said, why in (
        (("=*.md",), "'=*.md' is not TYPE or TYPE=PATTERN"),
        (("ocr=",), "'ocr=' is not TYPE or TYPE=PATTERN"),
        (("[",), "this is no JSON"),
        (("@missing.json",), "missing.json: No such file"),
        (("@a.pdf",), "steps are a JSON array"),
        (("ocr", "[]"), "steps as JSON are given once"),
        (("pdf",), "it goes in a circle: pdf -> pdf"),
    ):
        refused = running.blobforge("submit", "a.pdf", *(part for each in said for part in ("--then", each)))
        assert (refused.returncode != 0, why in refused.stderr) == (True, True), refused.stderr
    assert running.json("jobs", "list")["total"] == 0


def test_many_are_cancelled_with_what_came_of_them(running: Running) -> None:
    (running.folder / "b.pdf").write_text("another document")
    running.ok("submit", "b.pdf", "--type", "split", "--then", "ocr=*.md")
    running.ok(*COPY, "--type", "split")
    by_type = ("jobs", "cancel", "--type", "split")
    assert "came of them\t1 job that came of 1 of them" in running.ok(*by_type, "--dry-run")
    unasked = running.blobforge(*by_type, "--children")
    assert "Cancel 0 jobs, and 1 job that came of 1 of them?" in unasked.stderr
    running.ok(*by_type, "--children", "--yes")
    (child,) = running.json("jobs", "show", str(running.json("jobs", "list", "--type", "split")["jobs"][0]["id"]))[
        "children"
    ]
    assert child["status"] == "cancelled"
