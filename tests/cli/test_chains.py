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
    running.ok("jobs", "cancel", "3")
    first, second, third = running.ok("jobs", "family", "3").splitlines()
    assert first.startswith("1  pdf  completed")
    assert second.startswith("  2  ocr  completed")
    assert third.startswith("    3  summary  cancelled")
    assert third.endswith("<- stopped here")
    told = [json.loads(line) for line in running.ok("jobs", "family", "1", "--json").splitlines()]
    assert [(each["depth"], each["job_id"]) for each in told] == [(0, 1), (1, 2), (2, 3)]


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
