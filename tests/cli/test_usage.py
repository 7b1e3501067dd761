"""The command line without a server: help, usage errors, exit codes, and how fast it starts."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, clean_environment
from tests.fixtures.forked import Done, run

HEAVY = ("httpx", "trio", "rich", "msgspec", "boto3", "quart", "hypercorn", "apsw", "tenacity", "humanize", "keyring")


def blobforge(*arguments: str | Path, cwd: Path, **environment: str) -> Done:
    """Run the command in a folder and an environment without anything of ours."""
    return run([*map(str, arguments)], environment=clean_environment(**environment), folder=cwd)


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port that nobody listens on, and that nobody else can take while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    script = f"""
import sys
from blobforge.cli import main
try:
    main(["--help"])
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr == "[]\n"
    assert "Exit codes" in done.stdout


def test_version(tmp_path: Path) -> None:
    installed = [*COMMAND, "--version"]  # and not as the other tests run it
    done = subprocess.run(
        installed, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (blobforge("--version", cwd=tmp_path).stdout, "")
    assert done.stdout.startswith("blobforge 0.")


def test_every_command_has_help(tmp_path: Path) -> None:
    from click import Context, Group

    from blobforge.cli import main

    def walk(group: Group, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for name in group.list_commands(Context(group)):
            command = group.get_command(Context(group), name)
            assert command is not None
            found += walk(command, (*path, name)) if isinstance(command, Group) else [(*path, name)]
            assert command.help, f"{path} {name} says nothing about itself"
        return found

    commands = walk(main, ())
    assert ("jobs", "list") in commands
    assert ("workers", "rotate") in commands
    for command in (("jobs", "list"), ("work",)):
        done = blobforge(*command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "--server" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit"], "at least one file or folder"),
        (["submit", "missing.pdf"], "missing.pdf: no such file or folder"),
        (["submit", "empty"], "empty: no .pdf file in this folder"),
        (["submit", "noname"], "give --type"),
        (["submit", "a.pdf", "--priority", "6"], "--priority"),
        (["submit", "a.pdf", "--metadata", "x"], "is not NAME=VALUE"),
        (["ingest", "missing"], "missing"),
        (["ingest", "empty", "--type", "epub"], "no .epub file"),
        (["jobs", "show"], "ID"),
        (["jobs", "show", "x"], "x"),
        (["jobs", "list", "--status", "lost"], "lost"),
        (["jobs", "retry"], "Give ids"),
        (["tokens", "create", "me", "--scope", "all"], "--scope"),
        (["work"], "--type"),
        (["work", "--type", "pdf"], "--exec"),
        (["work", "--type", "pdf", "--exec", "no-such-program"], "'no-such-program' is not found"),
        (["work", "--type", "pdf", "--exec", "true", "--poll-wait", "61"], "--poll-wait"),
        (["work", "--type", "pdf", "--exec", "true", "--output-suffix", "../x"], "--output-suffix"),
        (["work", "--type", "pdf", "--exec", "true", "--timeout", "soon"], "'soon' is no duration"),
        (["work", "--type", "pdf", "--exec", "true", "--timeout", "0"], "--timeout"),
        (["work", "--type", "pdf", "--exec", "true", "--stall-timeout", "0s"], "stall"),
        (["work", "--type", "pdf", "--exec", "true", "--run-window", "22-6"], "'22-6' is no run window"),
        (["work", "--type", "pdf", "--exec", "true", "--progress-regex", "page"], "named groups"),
        (["work", "--type", "pdf", "--exec", "true", "--min-free", "much"], "'much' is no size"),
        (["work", "--type", "pdf", "--exec", "true", "--max-jobs", "0"], "--max-jobs"),
        (["nonsense"], "nonsense"),
        (["stats", "--server", "localhost:8080"], "It looks like http://localhost:8080"),
        (["serve", "--port", "70000"], "--port"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "noname").touch()
    (tmp_path / "a.pdf").touch()
    done = blobforge(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "config"])
def test_a_wrong_setting_is_one_clear_line(command: str, tmp_path: Path) -> None:
    done = blobforge(command, cwd=tmp_path, BLOBFORGE_WORKER_TIMEOUT="soon")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "BLOBFORGE_WORKER_TIMEOUT" in line
    assert "soon" in line


def test_a_misspelt_variable_is_told_at_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that the start goes no further
        port = str(taken.getsockname()[1])
        done = blobforge("serve", cwd=tmp_path, BLOBFORGE_PORT=port, BLOBFORGE_WORKER_TIMEOUTS="60")
    assert done.returncode == 1
    assert "BLOBFORGE_WORKER_TIMEOUTS is no variable of BlobForge" in done.stderr
    assert "cannot listen" in done.stderr


def test_config_masks_secrets(tmp_path: Path) -> None:
    token = "bf_" + "s" * 30
    done = blobforge("config", cwd=tmp_path, BLOBFORGE_ADMIN_TOKEN=token, BLOBFORGE_PORT="8123")
    assert done.returncode == 0
    assert token not in done.stdout
    assert "8123" in done.stdout
    listed = json.loads(blobforge("config", "--json", cwd=tmp_path, BLOBFORGE_PORT="8123").stdout)
    assert {"BLOBFORGE_PORT": "8123"}.items() <= {row["name"]: row["value"] for row in listed}.items()


@pytest.mark.parametrize(
    "arguments", [["stats"], ["jobs", "list"], ["work", "--type", "pdf", "--exec", "true", "--once"]]
)
def test_an_unreachable_server_is_exit_code_3(arguments: list[str], tmp_path: Path, nobody: str) -> None:
    done = blobforge(*arguments, cwd=tmp_path, BLOBFORGE_SERVER_URL=nobody)
    assert done.returncode == 3
    assert done.stdout == ""
    assert f"cannot reach {nobody}" in done.stderr
    assert "connection refused" in done.stderr
    assert "blobforge serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_secret_needs_its_id(tmp_path: Path) -> None:
    done = blobforge("work", "--type", "pdf", "--exec", "true", cwd=tmp_path, BLOBFORGE_WORKER_SECRET="bfw_x")
    assert done.returncode == 2
    assert "--worker-id" in done.stderr
