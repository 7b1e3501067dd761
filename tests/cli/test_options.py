"""From a terminal: options of a file reach the command that converts it, and what made a result is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("options") / "here", {}) as running:
        yield running


def submitted(local: Running, path: Path, *more: str) -> int:
    return int(local.json("submit", str(path), "--type", "txt", *more)["job_id"])


def worked(local: Running, converter: str) -> None:
    command = "sh -c 'cat {options} > {output}; cat $BLOBFORGE_OPTIONS >> {output}'"
    local.ok("work", "--type", "txt", "--once", "--converter", converter, "--exec", command)


def test_from_a_submission_to_the_command_and_again_by_version(local: Running, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("a document")
    plain = submitted(local, source)
    options = ("--option", "dpi=300", "--option", "lang=de")
    job_id = submitted(local, source, *options)
    assert job_id != plain
    assert submitted(local, source, "--options", '{"lang": "de", "dpi": 300.0}') == job_id
    (tmp_path / "options.json").write_text('{"lang": "de"}')
    assert submitted(local, source, "--options", f"@{tmp_path / 'options.json'}", "--option", "dpi=300") == job_id
    worked(local, "marker 1.2")
    worked(local, "marker 1.3")
    local.ok("results", "download", "--layout", "id", "--made-by", "marker<1.3", "--to", str(tmp_path / "old"))
    assert {each.parent.name for each in (tmp_path / "old").rglob("*") if each.is_file()} == {str(plain)}
    local.ok("results", "download", "--layout", "id", "--to", str(tmp_path / "all"))
    (result,) = (tmp_path / "all" / str(job_id)).iterdir()
    assert result.read_text() == 2 * '{"dpi":300,"lang":"de"}'
    (result,) = (tmp_path / "all" / str(plain)).iterdir()
    assert result.read_text() == "{}{}"
    assert local.ok("jobs", "retry", "--made-by", "marker<1.3", "--type", "txt", "--dry-run").startswith(
        "would change\t1 of 2\n"
    )
    listed = local.json("jobs", "list", "--made-by", "marker")["jobs"]
    assert {(each["id"], each["made_by"]) for each in listed} == {(plain, "marker 1.2"), (job_id, "marker 1.3")}
    local.ok("replay", str(job_id), "--fetch-only", "--to", str(tmp_path / "replay"))
    assert json.loads((tmp_path / "replay" / "options.json").read_text()) == {"dpi": 300, "lang": "de"}


@pytest.mark.parametrize(
    "wrong", [("--option", "dpi"), ("--options", "[]"), ("--options", "{"), ("--options", "@not/there")]
)
def test_what_is_no_option_is_wrong_usage(local: Running, tmp_path: Path, wrong: tuple[str, str]) -> None:
    (tmp_path / "a.txt").write_text("a")
    said = local.blobforge("submit", str(tmp_path / "a.txt"), *wrong)
    assert (said.returncode, wrong[0] in said.stderr) == (2, True)


def test_what_is_no_converter_is_told_at_the_start(local: Running) -> None:
    said = local.blobforge("work", "--type", "txt", "--once", "--converter", "marker", "--exec", "true")
    assert said.returncode == 2
    assert "--converter" in said.stderr
    assert "marker 1.3.2" in said.stderr
