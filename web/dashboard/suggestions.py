"""What a filter of the jobs page may be about, as it is typed: tags, workers, converters, groups, batches.

The fields of the page begin with a few of each; its script asks for those that go on from what was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec
from quart import Response

from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from blobforge.worker import WorkerFilter
from web.html import html, rendered
from web.routing import Access, Call, Route

MOST: Final = 12
MOST_TYPED: Final = 200  # characters
LOOKED_AT: Final = 200  # newest batches whose names are looked at


class Suggestion(msgspec.Struct, frozen=True):
    """A value of the field, and what it stands for where the value does not say that."""

    value: str
    label: str = ""


def _tags(reader: Reader, text: str) -> list[Suggestion]:
    return [Suggestion(tag) for tag in reader.tags_beginning(text, limit=MOST)]


def _groups(reader: Reader, text: str) -> list[Suggestion]:
    return [Suggestion(group) for group in reader.groups_beginning(text, limit=MOST)]


def _workers(reader: Reader, text: str) -> list[Suggestion]:
    found, _ = reader.roster.by_id(WorkerFilter(q=text or None), after="", limit=MOST)
    return [Suggestion(worker.id, worker.name or "") for worker, _ in found]


def _converters(reader: Reader, text: str) -> list[Suggestion]:
    return [Suggestion(each) for each in reader.converters_beginning(text, limit=MOST)]


def _batches(reader: Reader, text: str) -> list[Suggestion]:
    found = reader.batches.page(limit=LOOKED_AT if text else MOST, name=None, going=False)
    said = [(each, f"{each.id} {each.name}".casefold()) for each in found]
    return [Suggestion(str(each.id), each.name) for each, words in said if text.casefold() in words][:MOST]


FIELDS: Final[Mapping[str, Callable[[Reader, str], list[Suggestion]]]] = {
    "tag": _tags,
    "worker": _workers,
    "made_by": _converters,
    "group": _groups,
    "batch": _batches,
}


def first(reader: Reader) -> dict[str, list[Suggestion]]:
    """Those with which the fields of a page begin."""
    return {field: find(reader, "") for field, find in FIELDS.items()}


async def suggest(call: Call) -> Response | Refusal:
    """The list of one field, for what was typed."""
    field, text = call.request.args.get("field", ""), call.request.args.get("q", "")[:MOST_TYPED]
    if field not in FIELDS or "\0" in text:
        return Refusal(RefusalCode.INVALID, f"There is no such list. There are {', '.join(FIELDS)}.", field="field")
    found = await call.services.reads.moment(partial(_find, field, text))
    return html(await rendered("suggestions.html", field=field, found=found))


def _find(field: str, text: str, reader: Reader) -> list[Suggestion]:
    return FIELDS[field](reader, text)


ROUTES = [
    Route("GET", "/jobs/suggestions", Access.READ, suggest, "What a filter of jobs may be about, as it is typed",
          gives=str, page=True),
]  # fmt: skip
