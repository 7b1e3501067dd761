"""The sample PDFs are what they should be, in the repository and when written anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blobforge.demo.make_samples import make
from blobforge.demo.samples import BROKEN, FOLDER, PHRASES, missing_phrases


def convert(command: list[str], name: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, str(FOLDER / name), str(tmp_path / "text")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


CONVERTERS = {
    "pypdf": [sys.executable, "-m", "blobforge.demo.convert"],
    "pdftotext": ["pdftotext", "-layout"],
}


@pytest.fixture(params=CONVERTERS)
def converter(request: pytest.FixtureRequest) -> list[str]:
    command = CONVERTERS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: poppler-utils)")
    return command


@pytest.mark.parametrize("name", sorted(PHRASES))
def test_a_good_sample_says_its_phrases(name: str, converter: list[str], tmp_path: Path) -> None:
    assert convert(converter, name, tmp_path).returncode == 0
    assert missing_phrases(name, (tmp_path / "text").read_text(encoding="utf-8")) == []


def test_the_broken_sample_fails_with_a_reason(converter: list[str], tmp_path: Path) -> None:
    done = convert(converter, BROKEN, tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip()


def test_a_missing_phrase_is_noticed() -> None:
    assert missing_phrases("letter.pdf", "Dear\n   reader,") == [
        "each job is handed out, worked on and completed once"
    ]


def test_samples_are_small_and_written_the_same_each_time(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    names = sorted([*PHRASES, BROKEN])
    assert sorted(path.name for path in FOLDER.iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (FOLDER / name).stat().st_size < 30_000
