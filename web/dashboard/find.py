"""Finding: pages, a job by its id, jobs by their text, workers and types by a part of their name, batches by their
whole name, and the newest by a part of it. It is a page, and what the dialog of Ctrl-K shows."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec
from quart import Response

from blobforge.access import Scope
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from blobforge.texts import job_id
from blobforge.worker import WorkerFilter
from web.dashboard.admin import TABS
from web.dashboard.page import framed, page
from web.html import places_of
from web.routing import Access, Call, Route

MOST = 5  # of each kind
MOST_TYPED = 200  # characters
BATCHES_LOOKED_AT = 200  # the newest ones, for a part of their name


class Match(msgspec.Struct, frozen=True):
    """One thing that may be meant: its kind, its name, where it is, and a word about it."""

    kind: str
    name: str
    url: str
    note: str = ""


async def find(call: Call) -> Response | Refusal:
    text = call.request.args.get("q", "").strip()[:MOST_TYPED]
    totals, found = await framed(call, lambda reader: _in_database(reader, text) if text else [])
    places = [Match("Page", name, url) for name, url in _places(call) if text.casefold() in name.casefold()]
    return await page(
        call,
        "find.html",
        title="Find",
        place="/find",
        totals=totals,
        q=text,
        found=[*found, *places],
        most=MOST_TYPED,
    )


def _places(call: Call) -> list[tuple[str, str]]:
    """The pages that the caller may look at."""
    places = places_of(call.caller)
    places.insert(3, ("Dead jobs", "/jobs?status=dead"))
    places.append(("Canaries", "/canaries"))
    if call.caller.may(Scope.ADMIN):
        places += [(f"Admin: {name}", url) for name, url in TABS]
    return places


def _in_database(reader: Reader, text: str) -> list[Match]:
    low = text.casefold()
    found = []
    number = job_id(text)
    job = reader.job_in_short(number) if number is not None else None
    if job is not None:
        found.append(Match("Job", f"Job {job.id}", f"/jobs/{job.id}", f"{job.status}, {job.source_path or job.type}"))
    batch = reader.batches.get(number) if number is not None else None
    called = [batch] if batch is not None else []
    called += reader.batches.page(limit=MOST, name=text, going=False)
    newest = reader.batches.page(limit=BATCHES_LOOKED_AT, name=None, going=False)
    called += [each for each in newest if low in each.name.casefold()]
    batches = list({each.id: each for each in called}.values())[:MOST]  # each once
    workers, _ = reader.roster.by_id(WorkerFilter(q=text), after="", limit=MOST)
    settings, counted = reader.types.known()
    types = sorted(each for each in {*settings, *counted} if low in each.casefold())[:MOST]
    return [
        *found,
        Match("Jobs", f"Jobs with “{text}”", f"/jobs?{urlencode({'q': text})}", "in a path or a tag"),
        *(Match("Worker", each.id, f"/workers/{quote(each.id, safe='')}", each.name or "") for each, _ in workers),
        *(Match("Type", each, f"/types/{quote(each, safe='')}") for each in types),
        *(Match("Batch", each.name, f"/batches/{each.id}", f"batch {each.id}") for each in batches),
    ]


ROUTES = [
    Route("GET", "/find", Access.READ, find, "Finds pages, jobs, workers, types and batches", gives=str, page=True),
]  # fmt: skip
