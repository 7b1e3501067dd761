"""What goes wrong is told in sentences: misspelt commands, missing rights, and bugs of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import clean_environment
from tests.cli.test_usage import blobforge

BROKEN = """
import sys
from blobforge.cli import main, stats
def broken(found):
    raise KeyError("a bug")
stats._fields = broken
class Stats: by_type = None
import blobforge.cli.common
blobforge.cli.common.Session.run = lambda self, work: Stats()
main(sys.argv[1:], prog_name="blobforge")
"""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["jbos"], "'jobs'"),
        (["jobs", "lst"], "'list'"),
        (["worker", "list"], "'workers'"),
        (["tokens", "crate"], "'create'"),
    ],
)
def test_a_misspelt_command(typed: list[str], meant: str, tmp_path: Path) -> None:
    done = blobforge(*typed, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command" in done.stderr
    assert f"Did you mean {meant}" in done.stderr


def test_a_command_like_no_other_gets_no_advice(tmp_path: Path) -> None:
    done = blobforge("xyzzy", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean" not in done.stderr


@pytest.mark.parametrize(("option", "variable"), [("", ""), ("--debug", ""), ("", "1")])
def test_a_bug_of_ours_is_a_sentence_and_a_traceback_for_who_asks(option: str, variable: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, "stats", *([option] if option else [])],
        cwd=tmp_path,
        env=clean_environment(BLOBFORGE_DEBUG=variable),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "This is a bug in blobforge: KeyError: 'a bug'" in done.stderr
    assert "Please report it" in done.stderr
    assert ("Traceback" in done.stderr) == bool(option or variable)
    assert ("--debug" in done.stderr) != bool(option or variable)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(shell: str, tmp_path: Path) -> None:
    done = blobforge("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert "_BLOBFORGE_COMPLETE" in done.stdout


def test_completion_completes(tmp_path: Path) -> None:
    words = {"_BLOBFORGE_COMPLETE": "bash_complete", "COMP_WORDS": "blobforge jobs wa", "COMP_CWORD": "2"}
    done = blobforge(cwd=tmp_path, **words)
    assert done.stdout.split() == ["plain,watch"]


def test_the_installed_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("blobforge")
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("blobforge 0.")
