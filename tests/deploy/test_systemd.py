"""The systemd units: accepted by systemd itself, closed off, and in step with the code."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import click
import pytest

from blobforge.cli import main as blobforge
from tests.deploy.compose import DEPLOY
from tests.fixtures.server import ServerProcess

UNITS = DEPLOY / "systemd"
SERVER, WORKER = UNITS / "blobforge.service", UNITS / "blobforge-worker@.service"
WORST_EXPOSURE = 2.0  # of 10, as `systemd-analyze security` counts

analyzed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze here (Debian: systemd)"
)


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of [Service]; a setting may come more than once."""
    section = path.read_text().replace("\\\n", "").split("[Service]")[1].split("[Install]")[0]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def installed(path: Path, folder: Path) -> Path:
    """The unit as it would be installed: an instance of its own, with a program that is there."""
    copy = folder / path.name.replace("@.", "@pdf.")
    copy.write_text(path.read_text().replace("/opt/blobforge/bin/blobforge", "/bin/true"))
    return copy


@analyzed
@pytest.mark.parametrize("path", [SERVER, WORKER], ids=lambda path: path.stem)
def test_systemd_accepts_it(path: Path, tmp_path: Path) -> None:
    said = subprocess.run(
        ["systemd-analyze", "verify", installed(path, tmp_path)], check=False, capture_output=True, text=True
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@analyzed
@pytest.mark.parametrize("path", [SERVER, WORKER], ids=lambda path: path.stem)
def test_it_is_closed_off(path: Path, tmp_path: Path) -> None:
    asked = ["systemd-analyze", "security", "--offline=true", "--no-pager", installed(path, tmp_path)]
    said = subprocess.run(asked, check=True, capture_output=True, text=True)
    exposure = re.search(r"exposure level for .*: ([\d.]+)", said.stdout)
    assert exposure, said.stdout
    assert float(exposure[1]) <= WORST_EXPOSURE


def test_the_commands_parse() -> None:
    context = click.Context(blobforge)
    given = {"${TYPE}": "pdf", "${CONVERT}": "'pdftotext -layout {source} {output}'", "%H-%i": "box-pdf"}
    given |= {"$OPTIONS": "--output-suffix .txt --concurrency 2", "%C/blobforge-worker-%i": "/tmp"}
    for path in (SERVER, WORKER):
        (line,) = unit(path)["ExecStart"]
        for there, ours in given.items():
            line = line.replace(there, ours)
        program, name, *arguments = shlex.split(line)
        assert program == "/opt/blobforge/bin/blobforge"
        found = blobforge.get_command(context, name)
        assert found is not None
        found.make_context(name, arguments, parent=context)


def test_exit_codes_that_no_restart_cures_are_those_of_the_command_line() -> None:
    told = dict(re.findall(r"  (\d+)  (\w+)", blobforge.help or ""))
    assert told["2"] == "wrong"
    assert told["4"] == "not"
    assert unit(SERVER)["RestartPreventExitStatus"] == ["2"]
    assert unit(WORKER)["RestartPreventExitStatus"] == ["2 4 6"]
    assert told["6"] == "another"


def test_a_signal_goes_to_the_first_process_alone() -> None:
    """The server stops Litestream itself, last; the worker gives its job back."""
    for path in (SERVER, WORKER):
        assert unit(path)["KillMode"] == ["mixed"]


def test_the_user_of_the_server_is_made_by_the_file_for_sysusers() -> None:
    (line,) = [line for line in (UNITS / "blobforge.sysusers").read_text().splitlines() if line[0] != "#"]
    kind, name, _, _, home = shlex.split(line)
    assert (kind, name) == ("u", unit(SERVER)["User"][0])
    assert home == "/var/lib/" + unit(SERVER)["StateDirectory"][0]


def test_the_server_says_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    assert unit(SERVER)["Type"] == ["notify"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        server = ServerProcess(tmp_path / "data")
        server.folder.mkdir()
        server.variables["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        try:
            server.start()
            assert manager.recv(100) == b"READY=1"
            assert server.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"
        finally:
            server.close()
