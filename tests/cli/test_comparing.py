"""From a terminal: results are made again to be compared, and what has changed is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("comparing") / "here", {}) as running:
        yield running


def converted(local: Running, converter: str, command: str, jobs: int = 1) -> None:
    local.ok(
        "work", "--type", "txt", "--max-jobs", str(jobs), "--converter", converter, "--exec", f"sh -c '{command}'"
    )


def submitted(local: Running, path: Path, text: str, *more: str) -> int:
    path.write_text(text)
    return int(local.json("submit", str(path), "--type", "txt", *more)["job_id"])


def test_one_text_line_by_line(local: Running, tmp_path: Path) -> None:
    job_id = submitted(local, tmp_path / "a.txt", "one\ntwo\nthree\n")
    converted(local, "m 1.0", "cat {source} > {output}")
    nothing = local.blobforge("results", "diff", str(job_id))
    assert nothing.returncode != 0
    assert "keeps no former result" in nothing.stderr
    local.ok("jobs", "retry", str(job_id), "--compare")
    converted(local, "m 1.1", "sed s/two/2/ {source} > {output}")
    said = local.ok("results", "diff", str(job_id)).splitlines()
    assert "now\tattempt 2 (m 1.1)" in said
    assert "before\tattempt 1 (m 1.0)" in said
    assert "outputs\t1 changed" in said
    assert said[-5:] == ["@@ -1,3 +1,3 @@", " one", "-two", "+2", " three"]
    found = local.json("results", "diff", str(job_id))
    assert (found["change"], found["differing"][0]["size"], found["outputs"]["changed"]) == ("changed", 12, 1)


def test_several_by_name_and_many_in_counts(local: Running, tmp_path: Path) -> None:
    first = submitted(local, tmp_path / "b.txt", "b\n", "--tag", "two")
    second = submitted(local, tmp_path / "c.txt", "c\n", "--tag", "two")
    old = "cd {outputs}; echo same > x; echo old > y; printf a\\\\000 > z; echo 1 > gone"
    converted(local, "n 1.0", old, 2)
    local.ok("jobs", "retry", "--made-by", "n<2", "--compare", "--yes")
    new = "cd {outputs}; echo same > x; echo new > y; printf b\\\\000 > z; echo 2 > more"
    converted(local, "n 2.0", new)
    converted(local, "n 2.0", old)
    lines = local.ok("results", "diff", "--tag", "two").splitlines()
    assert lines[-2:] == ["2 jobs compared: 1 same, 1 changed", "9 outputs: 5 same, 2 changed, 1 gone, 1 new"]
    (changed,) = lines[:-2]
    job_id, change, counts = changed.split("\t")
    assert int(job_id) in (first, second)
    assert (change, counts) == ("changed", "1 same, 2 changed, 1 gone, 1 new")
    assert local.ok("results", "diff", "--tag", "two", "--summary").splitlines() == lines[-2:]
    *jobs, counted = map(json.loads, local.ok("results", "diff", "--tag", "two", "--json").splitlines())
    assert {each["job_id"] for each in jobs} == {first, second}
    assert counted["jobs"] == {"same": 1, "changed": 1, "gone": 0, "new": 0, "unproven": 0}
    said = local.ok("results", "diff", job_id).splitlines()
    assert {tuple(line.split("\t")) for line in said[-4:]} == {
        ("changed", "4", "4", "y"), ("changed", "2", "2", "z"), ("gone", "2", "", "gone"), ("new", "", "2", "more"),
    }  # fmt: skip
    assert local.ok("results", "diff", job_id, "--output", "y").splitlines()[2:] == ["@@ -1 +1 @@", "-old", "+new"]
    patch = local.ok("results", "diff", job_id, "--patch")
    assert "+new" in patch
    assert "z: no text; 2 bytes before, 2 now" in patch
    assert local.blobforge("results", "diff", job_id, "--output", "x").returncode == 1
    assert local.json("jobs", "list", "--compared", "--tag", "two")["total"] == 2
    assert local.json("jobs", "list", "--not-compared", "--tag", "two")["total"] == 0


def test_an_id_and_a_filter_do_not_go_together(local: Running) -> None:
    for wrong in (("17", "--type", "txt"), ("17", "--summary"), ("--patch",), ("--output", "x")):
        assert local.blobforge("results", "diff", *wrong).returncode == 2
