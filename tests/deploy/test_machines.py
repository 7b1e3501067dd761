"""The commands that make a machine a worker: each is taken by what it is for, with exactly what was asked for."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from blobforge.cli import main as blobforge
from blobforge.machines import LONGEST_SLUG, NO_TOKEN, UNIT, Machine, NoMachine
from tests.deploy.compose import DEPLOY
from tests.deploy.test_kubernetes import VERSIONS

PLAIN = Machine("https://queue.example", "pdf", "pdftotext -layout {source} {output}", ("gpu",), token="bf_x")
# Everything that a shell, systemd, YAML or Kubernetes would take for something else.
HOSTILE = Machine(
    "http://queue.example:8080/a$b'c\"(d)",
    "'; rm -rf / #\u00e9 $(x)",
    """sh -c "cat {source} | tr a-z A-Z > {output}; echo '$HOME' $(BLOBFORGE_API_TOKEN) \\`id\\` %i END" """.strip(),
    ("zone=a b", "it's=$x", 'quoted="yes"', "back\\slash"),
    "registry.example:5000/mine/worker@sha256:0123",
    "bf_$(x)'\"",
)
BOTH = pytest.mark.parametrize("machine", [PLAIN, HOSTILE], ids=["plain", "hostile"])


def parsed(command: list[str]) -> dict[str, Any]:
    """What `blobforge work` understands of its arguments."""
    assert command[0] == "work"
    context = click.Context(blobforge)
    found = blobforge.get_command(context, "work")
    assert found is not None
    return found.make_context("work", command[1:], parent=context).params


def assert_asked_for(machine: Machine, command: list[str]) -> None:
    found = parsed(command)
    said = {"types": (machine.type,), "template": machine.command, "labels": machine.labels}
    assert {name: found[name] for name in said} == said


def run(script: str, folder: Path, *programs: str) -> None:
    """In a shell, with programs that only write down how they were called: what of it, a line for each argument."""
    (folder / "bin").mkdir()
    for name in programs:
        program = folder / "bin" / name
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/{name}.arguments\nenv > {folder}/{name}.environment\n'
            f"[ -t 0 ] || cat > {folder}/{name}.input\n"
        )
        program.chmod(0o755)
    path = f"{folder}/bin:/usr/bin:/bin"
    subprocess.run(
        ["/bin/sh", "-eu"], input=script, text=True, check=True, cwd=folder, env={"PATH": path, "HOME": "/none"}
    )


@BOTH
def test_a_shell_starts_it(machine: Machine, tmp_path: Path) -> None:
    run(machine.once(), tmp_path, "uvx")
    arguments = (tmp_path / "uvx.arguments").read_text().splitlines()
    assert arguments[:3] == ["--from", "blobforge-server", "blobforge"]
    assert_asked_for(machine, arguments[3:])
    environment = (tmp_path / "uvx.environment").read_text().splitlines()
    assert f"BLOBFORGE_SERVER_URL={machine.server}" in environment
    assert f"BLOBFORGE_API_TOKEN={machine.token}" in environment


@BOTH
def test_docker_runs_it(machine: Machine, tmp_path: Path) -> None:
    run(machine.docker(), tmp_path, "docker")
    arguments = (tmp_path / "docker.arguments").read_text().splitlines()
    assert not [each for each in arguments if machine.token in each], "others on the machine see arguments"
    assert f"BLOBFORGE_API_TOKEN={machine.token}" in (tmp_path / "docker.environment").read_text().splitlines()
    before, _, command = " ".join(arguments), "", arguments[arguments.index(machine.image) + 1 :]
    assert before.startswith("run --detach --init --restart unless-stopped --name blobforge-worker-")
    assert f"--env BLOBFORGE_SERVER_URL={machine.server} --env BLOBFORGE_API_TOKEN " in before
    assert_asked_for(machine, command)  # the image's entry point is `blobforge`


def test_the_images_entry_point_is_the_command_line() -> None:
    worker = (DEPLOY.parent / "Containerfile").read_text().split("AS worker")[1].split("FROM")[0]
    assert 'ENTRYPOINT ["blobforge"]' in worker


@BOTH
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(machine: Machine, version: str) -> None:
    text = machine.kubernetes().partition("<<'END'\n")[2]
    assert text.endswith("\nEND\n")
    secret, deployment = yaml.safe_load_all(text.removesuffix("END\n"))
    for manifest in (secret, deployment):
        kubernetes_validate.validate(manifest, version, strict=True)
    assert secret["stringData"] == {"BLOBFORGE_API_TOKEN": machine.token}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["shareProcessNamespace"], "what a converter leaves behind is buried"
    [container] = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    assert container["image"] == machine.image
    assert_asked_for(machine, [_expanded(each) for each in container["args"]])
    assert _expanded(container["env"][0]["value"]) == machine.server


def _expanded(value: str) -> str:
    """As Kubernetes fills variables in: `$$` is a dollar, and `$(NAME)` a variable."""
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", value), "a variable of theirs"
    return value.replace("$$", "$")


@BOTH
def test_systemd_starts_it(machine: Machine, tmp_path: Path) -> None:
    script = machine.systemd().replace(" /etc/", f" {tmp_path}/etc/").replace("/opt/", f"{tmp_path}/opt/")
    pip = tmp_path / "opt" / "blobforge" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.symlink_to("/bin/true")
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    run(script, tmp_path, "python3", "systemctl")
    kept = tmp_path / "etc" / "blobforge"
    assert (kept / "worker.env").stat().st_mode & 0o777 == 0o600
    assert _settings(kept / "worker.env") == {
        "BLOBFORGE_SERVER_URL": machine.server,
        "BLOBFORGE_API_TOKEN": machine.token,
    }
    found = _settings(kept / f"worker-{machine.slug}.env")
    assert_asked_for(
        machine, ["work", "--type", found["TYPE"], "--exec", found["CONVERT"], *shlex.split(found["OPTIONS"])]
    )
    unit = (tmp_path / "etc" / "systemd" / "system" / "blobforge-worker@.service").read_text()
    assert unit.replace(f"{tmp_path}", "") == UNIT
    assert "restart" in (tmp_path / "systemctl.arguments").read_text()


def _settings(path: Path) -> dict[str, str]:
    """As systemd reads it: between double quotes a backslash takes the meaning of one of four characters."""
    found = dict(line.split("=", 1) for line in path.read_text().splitlines())
    return {
        name: re.sub(r'\\(["\\`$])', r"\1", value[1:-1]) if value.startswith('"') else value
        for name, value in found.items()
    }


def test_its_unit_is_the_one_of_the_repository() -> None:
    text = (DEPLOY / "systemd" / "blobforge-worker@.service").read_text()
    assert text[text.index("[Unit]") :] == UNIT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("server", "queue.example"), ("server", "ftp://x"), ("server", "http://a b"), ("server", " ")),
        *(("type", ""), ("command", "a\nEND\nb"), ("command", "x" * 2001), ("command", "a\u202eb"), ("image", "-v")),
        *(("image", "a b"), ("token", ""), ("labels", ("memory_gib>=4",)), ("labels", ("",)), ("labels", ("a\n",))),
        ("labels", ("a",) * 51),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(NoMachine) as refused:
        Machine(**{"server": "http://x", "type": "pdf", field: value})
    assert refused.value.field == field
    assert field in str(refused.value)


def test_names_that_are_made_of_types() -> None:
    slugs = {type_: Machine("http://x", type_).slug for type_ in ("pdf", "\u00c4 B_c", "???", "x-" * 50)}
    assert slugs == {"pdf": "pdf", "\u00c4 B_c": "b-c", "???": "jobs", "x-" * 50: ("x-" * 20).strip("-")}
    assert all(len(slug) <= LONGEST_SLUG for slug in slugs.values())


def test_addresses_that_no_other_machine_has() -> None:
    local = ("http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080", "http://localhost")
    assert all(Machine(each, "pdf").is_local for each in local)
    assert not any(Machine(each, "pdf").is_local for each in ("https://queue.example", "http://localhost.example"))
    assert NO_TOKEN in Machine("http://x", "pdf").docker()
