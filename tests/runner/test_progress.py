"""Progress as programs say it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blobforge.client import Job as JobRecord
from blobforge.runner import Command, Job, Pattern
from blobforge.runner.progress import Lines, from_line
from tests.runner.scripted import eventually


@pytest.fixture
def news() -> list[Mapping[str, Any]]:
    return []


@pytest.fixture
def job(tmp_path: Path, news: list[Mapping[str, Any]]) -> Job:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "source").touch()
    record = JobRecord(id=1, type="pdf", status="running", source_hash="0" * 64)
    return Job(record, tmp_path, tmp_path / "source", news.append)


@pytest.mark.parametrize(
    ("regex", "line", "said"),
    [
        (r"page (?P<done>\d+) of (?P<total>\d+)", "now page 3 of 12", {"done": 3, "total": 12}),
        (r"(?P<stage>\w+): (?P<percent>[\d.]+)%", "ocr: 12.5%", {"stage": "ocr", "percent": 12.5}),
        (r"(\d+)%", "12%", {"percent": 12}),
        (r"(\d+)/(\d+)", "3/12", {"done": 3, "total": 12}),
        (r"(?P<done>\S+) done", "many done", {}),
        (r"(?P<done>\S+) done", "nan done", {}),
        (r"(?P<done>\d+)(?: of (?P<total>\d+))?", "3", {"done": 3}),
        (r"(\d+)%", "nothing", None),
    ],
)
def test_what_a_line_says(regex: str, line: str, said: dict[str, Any] | None) -> None:
    assert Pattern(regex).read(line) == said


@pytest.mark.parametrize(
    ("regex", "words"),
    [("(", "no regular expression"), ("page", "named groups"), (r"(\d)(\d)(\d)", "named"), ("(?P<page>x)", "'page'")],
)
def test_a_regex_that_cannot_work_is_refused(regex: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pattern(regex)


def test_lines_come_in_any_pieces_and_a_bar_draws_over_itself(job: Job, news: list[Mapping[str, Any]]) -> None:
    lines = Lines(Pattern(r"(\d+)%"), job)
    for piece in (b"1", b"0%\n2", b"0%\r30%\r", b"x" * 100_000, b"40%\n", b"50%"):
        lines.add(piece)
    assert [said["percent"] for said in news] == [10, 20, 30]  # 40 stands behind more than a line may hold
    assert len(lines._rest) <= 4096


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("12/90", {"done": 12, "total": 90}),
        (" 12 / 90  ocr of scans ", {"done": 12, "total": 90, "stage": "ocr of scans"}),
        ("45%", {"percent": 45}),
        ("45.5 % ocr", {"percent": 45.5, "stage": "ocr"}),
        ("7", {"done": 7}),
        ('{"done": 1, "total": 2, "stage": "ocr", "message": "x", "other": []}',
         {"done": 1, "total": 2, "stage": "ocr", "message": "x"}),
        ('{"done": true, "total": 1e999}', {}),
        ("{broken", None),
        ("", None),
        ("words", None),
    ],
)  # fmt: skip
def test_what_a_progress_file_says(line: str, said: dict[str, Any] | None) -> None:
    assert from_line(line) == said


async def test_a_command_says_it_on_stdout(job: Job, news: list[Mapping[str, Any]]) -> None:
    command = Command("sh -c 'for n in 1 2 3; do echo page $n/3; done; echo x'", pattern=Pattern(r"(\d+)/(\d+)"))
    await command(job)
    assert news == [{"done": n, "total": 3} for n in (1, 2, 3)]
    assert job.life == 3, "what the pattern does not find is no sign of life"


async def test_without_a_pattern_any_output_is_a_sign_of_life(job: Job, news: list[Mapping[str, Any]]) -> None:
    await Command("echo still here")(job)
    assert job.life >= 1
    assert news == []


@pytest.mark.parametrize("how", ['"$BLOBFORGE_PROGRESS_FILE"', "{progress_file}"], ids=["environment", "placeholder"])
async def test_a_command_says_it_in_a_file(job: Job, news: list[Mapping[str, Any]], how: str) -> None:
    seen = job.workdir / "seen"
    script = f"printf '1/9\\n2/9 ocr\\n' > {how}; while [ ! -e {seen} ]; do sleep 0.02; done"

    async def notice() -> None:
        await eventually(lambda: news)
        seen.touch()

    import trio

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice)
        await Command(f"sh -c '{script.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'")(job)
    assert news == [{"done": 2, "total": 9, "stage": "ocr"}]


async def test_a_progress_file_that_is_a_trap_hangs_nobody(job: Job, news: list[Mapping[str, Any]]) -> None:
    os.mkfifo(job.workdir / "progress")
    await Command("sleep 0.7")(job)
    assert news == []
