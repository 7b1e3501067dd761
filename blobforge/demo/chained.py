"""The demo of a chain: a PDF is split into pages, each is converted, and what comes of them is joined. One page is
damaged on purpose, and costs that page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import trio

from blobforge.client import AsyncClient, Job, submit_file
from blobforge.demo.children import Children
from blobforge.demo.samples import DAMAGED_PAGE, FOLDER, PAGED, PHRASES
from blobforge.demo.screen import Screen
from blobforge.demo.stage import END_DEADLINE, LOOK, DemoFailed, Stage

TYPES: Final = ("split", "page", "book")
THEN: Final[Sequence[Mapping[str, Any]]] = (
    {"type": "page", "outputs": "page-*.pdf", "join": {"type": "book"}},
)  # fmt: skip
COMMAND: Final = f"{shlex.quote(sys.executable)} -m blobforge.demo.pages"
_MISSING = f"page-{DAMAGED_PAGE:03}.pdf"


class _Missing(msgspec.Struct):
    name: str


class _Manifest(msgspec.Struct):
    """The source of the job that joins, as far as it is looked at."""

    inputs: list[_Missing]
    missing: list[_Missing]


async def convert_in_pages(client: AsyncClient, started: Children, screen: Screen) -> list[Job]:
    """Submit the document with all that follows it, in a batch, and follow that to its end. Raises DemoFailed."""
    batch = await client.make_batch("demo")
    await submit_file(client, FOLDER / PAGED, "split", tags=["demo"], batch=batch.id, then=THEN, name=PAGED)
    await client.close_batch(batch.id)
    with trio.move_on_after(END_DEADLINE):
        while True:
            started.check()
            ended = (await client.get_batch(batch.id)).ended
            jobs = sorted((await client.list_jobs(batch=batch.id, limit=100)).jobs, key=lambda job: job.id)
            screen.show(jobs)
            if ended:
                return jobs
            await trio.sleep(LOOK)
    raise DemoFailed(f"The chain has not ended after {END_DEADLINE:.0f} s.")


async def check_book(client: AsyncClient, jobs: Sequence[Job], stage: Stage, screen: Screen) -> None:
    """All pages but the damaged one are in the book, in their order, and that one is told to be missing. Raises
    DemoFailed."""
    screen.say(f"\nResults, in {stage.results}:")
    bad = [job for job in jobs if (job.source_path or "").endswith(_MISSING)]
    if [job.status for job in bad] != ["dead"] or not bad[0].last_error:
        raise DemoFailed(f"{_MISSING} is {bad[0].status if bad else 'not there'}; it should be dead, with a reason")
    books = [job for job in jobs if job.type == "book"]
    if [job.status for job in books] != ["completed"]:
        raise DemoFailed("The pages were not joined.")
    text_file, manifest_file = stage.results / "book.txt", stage.results / "book.manifest.json"
    await client.download((await client.download_url(books[0].id, "output")).url, text_file)
    await client.download((await client.download_url(books[0].id, "source")).url, manifest_file)
    text = " ".join(text_file.read_text(encoding="utf-8").split())
    places = [text.find(phrase) for phrase in PHRASES[PAGED]]
    if -1 in places or places != sorted(places) or "Chapter 2" in text:
        raise DemoFailed(f"{text_file.name} does not have its other pages, in their order")
    manifest = msgspec.json.decode(manifest_file.read_bytes(), type=_Manifest)
    if [each.name for each in manifest.missing] != [_MISSING]:
        raise DemoFailed(f"{manifest_file.name} does not say that {_MISSING} is missing")
    screen.say(f"  {_MISSING}  dead after {bad[0].attempts} tries, as it should be: {bad[0].last_error}")
    pages, words = len(manifest.inputs), len(text.split())
    screen.say(f"  {text_file.name:12}  {pages} of {pages + 1} pages in their order, {words} words, checked")
    screen.say(f"  {manifest_file.name}  says that {_MISSING} is missing")
