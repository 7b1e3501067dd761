"""The demo itself, from an empty folder to checked results."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from blobforge.client import FINAL_STATUSES, AsyncClient, Job, submit_file
from blobforge.demo.children import Children, DemoProcess, children
from blobforge.demo.samples import BROKEN, FOLDER, PHRASES, missing_phrases
from blobforge.demo.screen import Screen

ROOT = Path("data/demo")
PREFERRED_PORT = 8080
WORKERS = 2
_START_DEADLINE = 60.0
_END_DEADLINE = 180.0
_LOOK = 0.15  # seconds between two looks at the jobs


class DemoFailed(Exception):
    """The demo did not do what it should; the text says what."""


@dataclass(frozen=True)
class Stage:
    """The folders of one run. Each run has its own, so that a demo that still runs is not in the way."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "server"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def token_file(self) -> Path:
        return self.data / "admin-token"

    @property
    def link_file(self) -> Path:
        return self.data / "sign-in-link"


class _Address(msgspec.Struct):
    """The content of `server.json`, which the server writes once it is ready."""

    url: str


async def play(*, once: bool, broken: bool, screen: Screen, finished: trio.Event) -> None:
    """Run the demo; `finished` is set when all was converted and checked, and with `once` it then returns.

    `broken`: a document that cannot be converted is submitted, too. Raises DemoFailed or ChildDied.
    """
    stage = _set_stage()
    async with children(stage.logs) as started:
        server = await _start_server(started, stage)
        url = await _wait_until_ready(server, stage)
        screen.say(f"Server:    {url} (log and data in {stage.folder})")
        token = stage.token_file.read_text().strip()
        async with AsyncClient(url, token=token) as client:
            converter = await _start_workers(started, client)
            screen.say(f"Workers:   {WORKERS}, each running: {converter}")
            names = [*PHRASES, BROKEN] if broken else list(PHRASES)
            more = ", the last of them broken on purpose" if broken else ""
            screen.say(f"Documents: {len(names)}, from {FOLDER}{more}\n")
            with screen:
                jobs = await _convert_all(client, names, started, screen)
            await _check_results(client, names, jobs, stage, screen)
            finished.set()
        if not once:
            screen.say(f"\nDashboard: {stage.link_file.read_text().strip()}")
            screen.say(f"(that link signs you in, once; later, {url}/ and the token in {stage.token_file})")
            screen.say("The server and its workers stay up until you press Ctrl-C.")
            while True:
                started.check()
                await trio.sleep(1)


def _set_stage() -> Stage:
    """A fresh folder. Those of earlier runs go, unless the run is still on."""
    ROOT.mkdir(parents=True, exist_ok=True)
    for old in ROOT.glob("run-*"):
        if not _still_on(old):
            shutil.rmtree(old, ignore_errors=True)
    stage = Stage(Path(tempfile.mkdtemp(prefix="run-", dir=ROOT)))
    (stage.folder / "pid").write_text(str(os.getpid()))
    for folder in (stage.data, stage.results, stage.logs):
        folder.mkdir()
    return stage


def _still_on(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _clean_environment() -> dict[str, str]:
    """Ours without any BLOBFORGE_ setting: the demo is the embedded default, not the user's own server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


async def _start_server(started: Children, stage: Stage) -> DemoProcess:
    environment = _clean_environment() | {
        "BLOBFORGE_HOST": "127.0.0.1",
        "BLOBFORGE_PORT": str(_free_port()),
        "BLOBFORGE_DATA_DIR": str(stage.data),
        "BLOBFORGE_RETRY_BACKOFF": "1",  # seconds: the broken document should not hold up the demo
    }
    return await started.start("server", ["serve"], environment)


def _free_port() -> int:
    """The usual port if it is free, else 0: the server takes a free one and says which."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            return 0
    return PREFERRED_PORT


async def _wait_until_ready(server: DemoProcess, stage: Stage) -> str:
    """The server's URL, once it answers there. Raises ChildDied or DemoFailed."""
    address = stage.data / "server.json"
    with trio.move_on_after(_START_DEADLINE):
        while True:
            server.check()
            if address.exists():
                url = msgspec.json.decode(address.read_bytes(), type=_Address).url
                async with AsyncClient(url) as client:
                    if await client.ready():
                        return url
            await trio.sleep(0.05)
    raise DemoFailed(f"The server was not ready after {_START_DEADLINE:.0f} s. It said:\n{server.log_tail()}")


def converter_command() -> tuple[str, str]:
    """The command to convert with, and a word to the user about it (empty when there is nothing to say)."""
    if shutil.which("pdftotext"):
        return "pdftotext -layout {source} {output}", ""
    return (
        f"{shlex.quote(sys.executable)} -m blobforge.demo.convert {{source}} {{output}}",
        "pdftotext is not installed (Debian, Ubuntu: apt-get install poppler-utils); pypdf converts instead.",
    )


async def _start_workers(started: Children, client: AsyncClient) -> str:
    """Start the workers with a token that may do their work and nothing else; return their command."""
    command, _ = converter_command()
    token = await client.create_token("demo workers", scopes=["work"])
    environment = _clean_environment() | {
        "BLOBFORGE_SERVER_URL": client.base_url,
        "BLOBFORGE_API_TOKEN": token.token,
    }
    for number in range(1, WORKERS + 1):
        name = f"demo-worker-{number}"
        arguments = ["work", "--type", "pdf", "--exec", command, "--worker-id", name, "--output-suffix", ".txt"]
        await started.start(name, arguments, environment)
    return command


async def _convert_all(client: AsyncClient, names: list[str], started: Children, screen: Screen) -> list[Job]:
    """Submit the samples and follow them until all have ended."""
    job_ids = [(await submit_file(client, FOLDER / name, "pdf", tags=["demo"])).job_id for name in names]
    with trio.move_on_after(_END_DEADLINE):
        while True:
            started.check()
            jobs = [await client.get_job(job_id) for job_id in job_ids]
            screen.show(jobs)
            if all(job.status in FINAL_STATUSES for job in jobs):
                return jobs
            await trio.sleep(_LOOK)
    raise DemoFailed(f"The jobs have not ended after {_END_DEADLINE:.0f} s.")


async def _check_results(
    client: AsyncClient, names: list[str], jobs: list[Job], stage: Stage, screen: Screen
) -> None:
    """Fetch every result and look for the words that must be in it. Raises DemoFailed with all that is wrong."""
    wrong = []
    screen.say(f"\nResults, in {stage.results}:")
    for name, job in zip(names, jobs, strict=True):
        if name == BROKEN:
            if job.status == "dead" and job.last_error:
                screen.say(f"  {name:12}  dead after {job.attempts} tries, as it should be: {job.last_error}")
            else:
                wrong.append(f"{name} is {job.status} ({job.last_error}); it should be dead, with a reason")
            continue
        if job.status != "completed":
            wrong.append(f"{name} is {job.status}: {job.last_error}")
            continue
        text_file = (stage.results / name).with_suffix(".txt")
        await client.download((await client.download_url(job.id, "output")).url, text_file)
        text = text_file.read_text(encoding="utf-8")
        missing = missing_phrases(name, text)
        if missing:
            wrong.append(f"{text_file.name} lacks {', '.join(map(repr, missing))}")
        else:
            screen.say(f"  {text_file.name:12}  {len(text.split())} words, checked")
    if wrong:
        raise DemoFailed("\n".join(wrong))
