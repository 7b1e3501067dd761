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
def broken(*found):
    raise KeyError("a bug")
stats._fields = broken
import blobforge.cli.common
blobforge.cli.common.CliSession.run = lambda self, work: (None, None)
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


@pytest.mark.parametrize("name", ["-name.pdf", "-quarter.pdf", "--report.pdf"])
def test_a_name_that_begins_with_a_dash(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    done = blobforge("submit", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"A name that begins with a dash stands after --: `-- {name}`." in done.stderr
    assert blobforge("submit", "--dry-run", "--", name, cwd=tmp_path).stdout.startswith(f"pdf\t{name}\t")


@pytest.mark.parametrize("typed", [["stats", "-z"], ["submit", "--tga", "x", "a.pdf"]])
def test_a_misspelt_option_is_not_taken_for_a_name(typed: list[str], tmp_path: Path) -> None:
    done = blobforge(*typed, cwd=tmp_path)
    assert done.returncode == 2
    assert "begins with a dash" not in done.stderr


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


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ("http://[::1", "not a URL"),
        ("http://localhost:abc", "not a URL"),
        ("http://localhost\r", "not a URL"),
        ("http://a..b", "there can be no host of that name"),
    ],
    ids=["brackets", "port", "line-end", "host"],
)
def test_a_server_that_cannot_be_one(server: str, told: str, tmp_path: Path) -> None:
    done = blobforge("stats", cwd=tmp_path, BLOBFORGE_SERVER_URL=server)
    assert done.returncode in (2, 3)
    assert told in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("token", ["bf_x\r", "bf_é", "bf_\udcff", " "], ids=["line-end", "accent", "byte", "space"])
def test_a_token_that_cannot_be_one(token: str, tmp_path: Path) -> None:
    done = blobforge("stats", cwd=tmp_path, BLOBFORGE_API_TOKEN=token)
    assert done.returncode == 2
    assert "What --token or BLOBFORGE_API_TOKEN gives is no token." in done.stderr


def test_what_is_typed_and_is_no_text(tmp_path: Path) -> None:
    done = blobforge("workers", "show", "\udcff", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "Error: Not UTF-8 text: '\\udcff'\n")


def test_a_stdout_that_takes_no_such_letter_and_none_at_all(tmp_path: Path) -> None:
    program = (
        "import sys, blobforge.cli as cli, blobforge.cli.selection as s, blobforge.cli.jobs as jobs\n"
        "from blobforge.client import Job, JobPage\n"
        "page = JobPage(jobs=[Job(id=1, type='pdf', status='pending', source_hash='', source_path='e\\u0301')])\n"
        "jobs.CliSession.run = lambda session, work: None\n"
        "jobs._Shown.end = lambda shown: shown.page(page)\n"
        "cli.main(['jobs', 'list'], prog_name='blobforge')\n"
    )
    environment = clean_environment(PYTHONIOENCODING="latin-1")
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "e\\u0301" in done.stdout
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *run]
    done = subprocess.run(closed, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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
