"""`python -m blobforge.demo --once`, whole, with and without pdftotext, twice in one folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blobforge.demo import pages
from blobforge.demo.samples import FOLDER, PAGED


def demo(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    return subprocess.run(
        [sys.executable, "-m", "blobforge.demo", "--once", *options],
        cwd=folder,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes whose environment names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_the_demo_converts_checks_and_cleans_up(tmp_path: Path) -> None:
    # Nothing but Python on the PATH: then pdftotext is missing, wherever it is installed.
    environment = {"BLOBFORGE_S3_ENDPOINT": "http://127.0.0.1:1", "PATH": "/x"}
    for options in ((), ("--broken",)):
        done = demo(tmp_path, *options, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        for words in ("poppler-utils", "letter.txt", "report.txt", "words, checked"):
            assert words in done.stdout
        assert ("dead after 3 tries, as it should be" in done.stdout) is bool(options)
    (run,) = (tmp_path / "data" / "demo").iterdir()  # the second run cleared away the first
    assert "Dear reader" in (run / "results" / "letter.txt").read_text()
    assert not (run / "server" / "server.json").exists()
    assert processes_of(tmp_path) == []


def test_the_demo_converts_a_document_by_its_pages_too(tmp_path: Path) -> None:
    for options in ((), ("--chain",)):
        done = demo(tmp_path, *options)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "page-002.pdf  dead after 3 tries, as it should be" in done.stdout
    assert "2 of 3 pages in their order" in done.stdout
    (run,) = (tmp_path / "data" / "demo").iterdir()
    book = (run / "results" / "book.txt").read_text()
    assert book.index("Chapter 1") < book.index("Chapter 3")
    assert "page-002.pdf" in (run / "results" / "book.manifest.json").read_text()
    assert processes_of(tmp_path) == []


def test_a_chain_goes_with_nothing_else(tmp_path: Path) -> None:
    refused = demo(tmp_path, "--chain", "--broken")
    assert (refused.returncode, "--chain goes with --once alone" in refused.stderr) == (2, True)


def test_pages_are_converted_without_pdftotext_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages.split(FOLDER / PAGED, tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: None)
    texts = tmp_path / "texts"
    texts.mkdir()
    done = [pages.page(each, texts / f"{each.stem}.txt") for each in sorted(tmp_path.glob("page-*.pdf"))]
    assert done == [0, 1, 0]
    pages.join(texts, tmp_path / "book.txt")
    assert "The last line of the last page" in (tmp_path / "book.txt").read_text()


def test_a_server_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "import sys\nsys.modules['blobforge.serve.server'] = None\n"
    )
    done = demo(tmp_path, PYTHONPATH=str(tmp_path / "broken"))
    assert done.returncode == 1
    assert "The demo failed: server ended with exit code" in done.stderr
    assert "blobforge.serve.server" in done.stderr


def test_several_servers_one_of_which_is_killed(tmp_path: Path) -> None:
    done = demo(tmp_path, "--ha")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("(server-3)", "server-2 was killed (kill -9)", "Proxy:", "report.txt"):
        assert words in done.stdout
    assert done.stdout.index("was killed") < done.stdout.index("completed"), "on the way"
    (run,) = (tmp_path / "data" / "demo").iterdir()
    assert "Dear reader" in (run / "results" / "letter.txt").read_text()
    assert not (run / "server-1" / "server.json").exists()
    assert (run / "server-2" / "server.json").exists(), "it had no time to remove it"
    assert processes_of(tmp_path) == []


def test_what_is_missing_for_it_is_said(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from blobforge.demo import several; several._POSTGRES = several.Path('/none')\n"
         "several.find_programs()"],
        env={"PATH": "/none"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "apt-get install postgresql" in found.stderr
    assert "make demo ARGS=--ha" in found.stderr
