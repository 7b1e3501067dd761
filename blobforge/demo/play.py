"""The demo itself, from an empty folder to checked results."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence

import trio

from blobforge.client import FINAL_STATUSES, AsyncClient, Job, submit_file
from blobforge.demo import chained
from blobforge.demo.children import Children, children
from blobforge.demo.samples import BROKEN, DAMAGED_PAGE, FOLDER, PAGED, PHRASES, missing_phrases
from blobforge.demo.screen import Screen
from blobforge.demo.several import open_several
from blobforge.demo.stage import (
    END_DEADLINE,
    LOOK,
    DemoFailed,
    Queue,
    Stage,
    clean_environment,
    preferred_port,
    set_stage,
    wait_until_ready,
)

WORKERS = 2


async def play(*, once: bool, broken: bool, ha: bool, chain: bool, screen: Screen, finished: trio.Event) -> None:
    """Run the demo; `finished` is set when all was converted and checked, and with `once` it then returns.

    `broken`: a document that cannot be converted is submitted, too. `ha`: with several servers, one of which is
    killed. `chain`: one document, by its pages. Raises DemoFailed or ChildDied.
    """
    stage = set_stage()
    async with children(stage.logs) as started:
        queue = await (open_several(started, stage, screen.say) if ha else _open_one(started, stage, screen))
        token = queue.token_file.read_text().strip()
        async with AsyncClient(queue.url, token=token) as client:
            if chain:
                await _play_chain(client, queue, started, stage, screen)
            else:
                await _play_samples(client, queue, started, stage, screen, broken=broken)
            finished.set()
        if not once:
            screen.say(f"\nDashboard: {queue.link_file.read_text().strip()}")
            screen.say(f"(that link signs you in, once; later, {queue.url}/ and the token in {queue.token_file})")
            screen.say("The server and its workers stay up until you press Ctrl-C.")
            while True:
                started.check()
                await trio.sleep(1)


async def _play_samples(
    client: AsyncClient, queue: Queue, started: Children, stage: Stage, screen: Screen, *, broken: bool
) -> None:
    command, _ = converter_command()
    if queue.seconds_each:
        command = (
            f"sh -c {shlex.quote(f'sleep {queue.seconds_each}; ' + _in_a_shell(command))} - {{source}} {{output}}"
        )
    await _start_workers(started, client, ("pdf",), command)
    screen.say(f"Workers:   {WORKERS}, each running: {command}")
    names = [*PHRASES, BROKEN] if broken else list(PHRASES)
    more = ", the last of them broken on purpose" if broken else ""
    screen.say(f"Documents: {len(names)}, from {FOLDER}{more}\n")
    with screen:
        jobs = await _convert_all(client, names, queue, started, screen)
    await _check_results(client, names, jobs, stage, screen)


async def _play_chain(client: AsyncClient, queue: Queue, started: Children, stage: Stage, screen: Screen) -> None:
    await _start_workers(started, client, chained.TYPES, chained.COMMAND)
    screen.say(f"Workers:   {WORKERS}, each splits, converts pages, and joins: {chained.COMMAND}")
    screen.say(f"Document:  {FOLDER / PAGED}; its page {DAMAGED_PAGE} is damaged on purpose\n")
    with screen:
        jobs = await chained.convert_in_pages(client, started, screen)
    await chained.check_book(client, jobs, stage, screen)


async def _open_one(started: Children, stage: Stage, screen: Screen) -> Queue:
    """One server, on its embedded default."""
    data = stage.folder / "server"
    data.mkdir()
    environment = clean_environment() | {
        "BLOBFORGE_HOST": "127.0.0.1",
        "BLOBFORGE_PORT": str(preferred_port()),
        "BLOBFORGE_DATA_DIR": str(data),
        "BLOBFORGE_RETRY_BACKOFF": "1",  # seconds: the broken document should not hold up the demo
    }
    url = await wait_until_ready(await started.start("server", ["serve"], environment), data)
    screen.say(f"Server:    {url} (log and data in {stage.folder})")
    return Queue(url, data / "admin-token", data / "sign-in-link")


def converter_command() -> tuple[str, str]:
    """The command to convert with, and a word to the user about it (empty when there is nothing to say)."""
    if shutil.which("pdftotext"):
        return "pdftotext -layout {source} {output}", ""
    return (
        f"{shlex.quote(sys.executable)} -m blobforge.demo.convert {{source}} {{output}}",
        "pdftotext is not installed (Debian, Ubuntu: apt-get install poppler-utils); pypdf converts instead.",
    )


async def _start_workers(started: Children, client: AsyncClient, types: Sequence[str], command: str) -> None:
    """Start the workers with a token that may do their work and nothing else."""
    token = await client.create_token("demo workers", scopes=["work"])
    environment = clean_environment() | {
        "BLOBFORGE_SERVER_URL": client.base_url,
        "BLOBFORGE_API_TOKEN": token.token,
    }
    for number in range(1, WORKERS + 1):
        name = f"demo-worker-{number}"
        of_types = [part for type_ in types for part in ("--type", type_)]
        arguments = ["work", *of_types, "--exec", command, "--worker-id", name, "--output-suffix", ".txt"]
        await started.start(name, arguments, environment)


def _in_a_shell(command: str) -> str:
    return command.replace("{source}", '"$1"').replace("{output}", '"$2"')


async def _convert_all(
    client: AsyncClient, names: list[str], queue: Queue, started: Children, screen: Screen
) -> list[Job]:
    """Submit the samples and follow them until all have ended. What is to happen on the way does once one runs."""
    on_the_way = queue.on_the_way
    job_ids = [(await submit_file(client, FOLDER / name, "pdf", tags=["demo"])).job_id for name in names]
    with trio.move_on_after(END_DEADLINE):
        while True:
            started.check()
            jobs = [await client.get_job(job_id) for job_id in job_ids]
            screen.show(jobs)
            if on_the_way is not None and any(job.status == "running" for job in jobs):
                await on_the_way()
                on_the_way = None
            if all(job.status in FINAL_STATUSES for job in jobs):
                return jobs
            await trio.sleep(LOOK)
    raise DemoFailed(f"The jobs have not ended after {END_DEADLINE:.0f} s.")


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
