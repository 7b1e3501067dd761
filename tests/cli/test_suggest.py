"""The shell's completion asks the server, is quick about it, and never says a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blobforge.cli.suggest import KEPT
from tests.cli.conftest import Running, running_server
from tests.cli.test_usage import nobody

__all__ = ["nobody"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with two jobs of two types, and two workers."""
    with running_server(tmp_path_factory.mktemp("suggest") / "here", {}) as running:
        for name in ("a.pdf", "b.epub"):
            (running.folder / name).write_text(name)
        running.ok("submit", "a.pdf", "--tag", "scan-2026")
        running.ok("submit", "b.epub", "--tag", "books")
        for worker in ("gpu-1", "box-2"):
            running.ok("workers", "create", worker, "--type", "pdf")
        yield running


def completed(running: Running, *words: str, **environment: str) -> list[str]:
    """What bash is told for these words, of which the last is being typed."""
    typed = " ".join(("blobforge", *words))
    asked = {"_BLOBFORGE_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words))}
    done = running.blobforge(**(asked | environment))
    assert done.stderr == ""
    return sorted(line.partition(",")[2] for line in done.stdout.splitlines() if line)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("jobs list --type ", ["epub", "pdf"]),
        ("jobs list --type e", ["epub"]),
        ("jobs cancel --tag s", ["scan-2026"]),
        ("jobs watch --worker ", ["box-2", "gpu-1"]),
        ("jobs show ", ["1", "2"]),
        ("jobs retry 1 ", ["2"]),
        ("workers show g", ["gpu-1"]),
        ("workers remove gpu-1 ", ["box-2"]),
        ("work --type p", ["pdf"]),
        ("ingest --type ", ["epub", "pdf"]),
        ("submit --tag b", ["books"]),
    ],
)
def test_words_of_the_server(local: Running, typed: str, expected: list[str]) -> None:
    assert completed(local, *typed.split(" ")) == expected


def test_answers_are_kept_for_some_seconds(local: Running) -> None:
    cache = local.folder.parent / "kept"
    assert completed(local, "jobs", "list", "--type", "", XDG_CACHE_HOME=str(cache)) == ["epub", "pdf"]
    (kept,) = (cache / "blobforge" / "completion").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_text('[["kept", ""]]')
    assert completed(local, "jobs", "list", "--type", "", XDG_CACHE_HOME=str(cache)) == ["kept"]
    kept.write_text("no JSON")
    assert completed(local, "jobs", "list", "--type", "", XDG_CACHE_HOME=str(cache)) == ["epub", "pdf"]
    kept.write_text('[["kept", ""]]')
    old = time.time() - KEPT - 1
    os.utime(kept, (old, old))
    assert completed(local, "jobs", "list", "--type", "", XDG_CACHE_HOME=str(cache)) == ["epub", "pdf"]


def test_a_strangers_tag_is_a_word_and_no_command(local: Running) -> None:
    """Bash inserts what it is given as it stands, and the next key runs it."""
    cache, made = local.folder.parent / "strange", local.folder.parent / "made"
    assert completed(local, "jobs", "list", "--tag", "", XDG_CACHE_HOME=str(cache))
    (kept,) = (cache / "blobforge" / "completion").iterdir()
    tags = [
        f"$(touch {made})",
        f"`touch {made}`",
        "two words",
        "it's",
        'a"b',
        "a\\b",
        "*",
        "~",
        "#1",
        "{a,b}",
        "größe:1",
    ]
    kept.write_text(json.dumps([[tag, ""] for tag in tags]))
    script = """
        eval "$(blobforge completion bash)"
        COMP_WORDS=(blobforge jobs list --tag "") COMP_CWORD=4
        _blobforge_completion blobforge
        eval "printf '%s\\n' ${COMPREPLY[*]}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    typed = subprocess.run(
        ["bash", "-c", script],
        cwd=local.folder,
        env=local.environment(PATH=path, XDG_CACHE_HOME=str(cache)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert typed.stdout.splitlines() == tags
    assert not made.exists()


def test_silent_where_there_is_nothing_to_ask(local: Running, nobody: str, tmp_path: Path) -> None:
    for environment in (
        {"BLOBFORGE_SERVER_URL": nobody},
        {"BLOBFORGE_API_TOKEN": "bf_wrong"},
        {"BLOBFORGE_API_TOKEN": "no token at all"},
        {"BLOBFORGE_SERVER_URL": "not a url"},
    ):
        cache = str(tmp_path / "cache")
        assert completed(local, "jobs", "list", "--tag", "", XDG_CACHE_HOME=cache, **environment) == []
    unwritable = tmp_path / "file"
    unwritable.write_text("")
    found = completed(local, "jobs", "list", "--tag", "", XDG_CACHE_HOME=str(unwritable))
    assert found == ["books", "scan-2026"]
