"""docs/scripting.md: each of its examples is run as it stands, against a real server with workers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from blobforge.client import Client
from tests.cli.conftest import Running, running_server

PAGE = Path(__file__).parent.parent.parent / "docs" / "scripting.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("scripts") / "here", {}) as running:
        running.start("work", "--type", "pdf", "--exec", "cp {source} {output}")
        running.start("work", "--type", "html", "--exec", "sed -e s/h1/b/g -e 'w {output}' {source}")
        running.start("work", "--type", "scan", "--exec", "sh -c 'echo disk full >&2; exit 1'")
        yield running


@pytest.fixture
def here(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a script is run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOBFORGE_SERVER_URL", running.url)
    monkeypatch.setenv("BLOBFORGE_API_TOKEN", (running.folder / "data" / "admin-token").read_text().strip())
    (tmp_path / "inbox").mkdir()
    for name in "ab":
        (tmp_path / "inbox" / f"{name}.pdf").write_text(f"page {name}")
    (tmp_path / "report.pdf").write_text("a report")
    return tmp_path


def run(example: int, capsys: pytest.CaptureFixture[str]) -> str:
    code = compile(EXAMPLES[example], f"example {example}", "exec")
    ended: list[object] = []
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as end:
        ended.append(end.code)
    assert ended in ([], [0])
    return capsys.readouterr().out


def test_there_are_six_whole_ones() -> None:
    assert len(EXAMPLES) == 6


def test_the_first_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(0, capsys).strip()
    assert path.startswith("results/")
    assert (here / path).read_text() == "a report"


def test_a_folder_and_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(run(1, capsys).splitlines()) == ["a.pdf: completed", "b.pdf: completed"]
    rows = list(csv.DictReader(StringIO(run(3, capsys))))
    assert sorted((row["source"], row["bytes"]) for row in rows) == [("inbox/a.pdf", "6"), ("inbox/b.pdf", "6")]
    assert all(re.fullmatch("[0-9a-f]{64}", row["sha256"]) for row in rows)


def test_from_bytes_to_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(2, capsys).strip() == "<b>Minutes</b>"
    assert run(2, capsys).splitlines() == ["these bytes were converted before", "<b>Minutes</b>"]


def test_trying_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Client() as client:
        scans = [client.submit(f"scan {n}".encode(), name=f"{n}.scan", max_attempts=1) for n in range(2)]
        assert {job.status for job in client.wait_each(scans)} == {"dead"}
        out = run(4, capsys)
        assert out.startswith("2 times: ")
        assert "disk full" in out
        assert {job.attempts for job in client.wait_each(scans)} == {1}, "from the start"
        assert len(client.get_job(scans[0].job_id).attempt_history or []) == 2


def test_many_at_a_time(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = run(5, capsys).split()
    assert sorted((here / path).read_text() for path in paths) == ["page a", "page b"]
