"""From a terminal: a new version is tried on what the old one has converted, by a worker that does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blobforge.cli.canary import exit_code
from blobforge.client import Canary, CanaryReport
from tests.cli.conftest import Running, running_server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("canary") / "here", {}) as running:
        yield running


def work(local: Running, converter: str, command: str, *more: str) -> None:
    local.ok("work", "--type", "txt", "--converter", converter, "--exec", f"sh -c '{command}'", *more)


def test_a_planted_regression_is_found_by_a_real_worker(local: Running, tmp_path: Path) -> None:
    """Version 2 loses a word of one document, and fails another."""
    for number, text in enumerate(("one\n", "two\n", "three\n"), 1):
        path = tmp_path / f"{number}.txt"
        path.write_text(text)
        local.ok("submit", str(path), "--type", "txt")
    nothing = local.blobforge("canary", "--type", "txt", "--made-by", "m 2")
    assert nothing.returncode == 5
    assert "there is no result to compare with" in nothing.stderr
    work(local, "m 1", "cat {source} > {output}", "--max-jobs", "3")
    nobody = local.blobforge("canary", "--type", "txt", "--made-by", "m 2", "--worker-within", "0")
    assert nobody.returncode == 13
    assert "No worker of m 2 is online" in nobody.stderr

    begun = local.blobforge("canary", "--type", "txt", "--made-by", "m 2", "--no-wait")
    assert begun.stdout == "1\n"
    assert "200 documents were asked for; 3 could be taken" in begun.stderr
    assert "the canary waits for one" in begun.stderr
    other = tmp_path / "other.txt"
    other.write_text("an ordinary job\n")
    ordinary = local.json("submit", str(other), "--type", "txt", "--priority", "1")["job_id"]
    broken = "grep -v three {source} | sed s/two/2/ > {output}; test -s {output}"
    # A failure makes the worker's exit code 1.
    done = local.blobforge(
        "work", "--type", "txt", "--converter", "m 2", "--exec", f"sh -c '{broken}'", "--comparisons-only",
        "--max-jobs", "3",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert local.json("jobs", "show", str(ordinary))["status"] == "pending", "it took no ordinary job"

    shown = local.blobforge("canary", "show", "1")
    assert shown.returncode == 10
    lines = shown.stdout.splitlines()
    assert "verdict\tfailed" in lines
    assert "outcomes\t1 failed, 1 different, 1 same" in lines
    assert [line.split("\t")[:3] for line in lines[-2:]] == [["failed", "6", "3"], ["different", "5", "2"]]
    assert local.blobforge("canary", "show", "1", "--allow-failed", "34").returncode == 11
    allowed = ("--allow-failed", "34", "--allow-different", "34")
    assert local.blobforge("canary", "show", "1", *allowed).returncode == 0
    assert local.ok("canary", "show", "1", "--outcome", "different", "--quiet") == "5\n"
    assert local.json("jobs", "show", "2")["made_by"] == "m 1", "what it is compared with is as it was"
    assert [each["state"] for each in local.json("canary", "list")] == ["ended"]
    ended = local.blobforge("canary", "cancel", "1")
    assert ended.returncode == 5
    late = local.blobforge("canary", "--type", "txt", "--made-by", "m 2", "--timeout", "0", "--sample", "1")
    assert late.returncode == 14, late.stderr
    assert [each["state"] for each in local.json("canary", "list")] == ["cancelled", "ended"]
    wrong = local.blobforge("work", "--type", "txt", "--comparisons-only", "--exec", "cat {source}")
    assert wrong.returncode == 2


def found(slower: bool = False, verdict: str = "same", **outcomes: int) -> CanaryReport:
    now = datetime.now(UTC)
    canary = Canary(
        id=1, state="ended", types=["pdf"], made_by="m 2", sample=9, taken=9, slower=1.5, priority=5, by="x",
        created_at=now, until=now, jobs={}, left=0, workers=0,
    )  # fmt: skip
    return CanaryReport(
        canary=canary, verdict=verdict, outcomes=outcomes, slower=0, timed=0, is_slower=slower, worst=[]
    )


def test_the_exit_code_is_what_came_out_beyond_what_is_allowed() -> None:
    none: dict[str, Any] = {"allow_failed": 0.0, "allow_different": 0.0, "allow_slower": False}
    assert exit_code(found(same=9), none) == 0
    assert exit_code(found(same=9, failed=1, different=1), none) == 10
    assert exit_code(found(same=9, different=1), none) == 11
    assert exit_code(found(same=9, unproven=1), none) == 11, "it may be different"
    assert exit_code(found(slower=True, same=9), none) == 12
    assert exit_code(found(slower=True, same=9), none | {"allow_slower": True}) == 0
    assert exit_code(found(gone=9), none) == 5
    assert exit_code(found(verdict="running", failed=1, waiting=1), none) == 0
    assert exit_code(found(same=9, failed=1), none | {"allow_failed": 10.0}) == 0
    assert exit_code(found(same=8, failed=2), none | {"allow_failed": 10.0}) == 10
