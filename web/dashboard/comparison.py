"""What has changed in a result: on the page of its job, and line by line in a frame of that page."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from quart import Response

from blobforge.comparison import differing, lines_of, text_diff
from blobforge.job import Job
from blobforge.objects import ObjectStoreError
from blobforge.objects.keys import named_output_key, prefix_of
from blobforge.outputs import Output
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from web.api import comparison, former, outputs, wire_files
from web.dashboard.page import frame
from web.decode import query
from web.html import rendered
from web.routing import Access, Call, Route
from web.served import served

MOST_BYTES: Final = 256 * 1024  # of each text
# Lines that are not the same at either end: they are compared pair by pair, in the one thread of all previews.
MOST_LINES: Final = 1_000
CAREFUL: Final = 200
MOST_SHOWN: Final = 50  # outputs on the page of a job


class Diff(msgspec.Struct, frozen=True):
    """Lines, each with what it is (`add`, `del`, `at` or nothing), or the reason why there are none."""

    lines: list[tuple[str, str]] = []
    reason: str = ""


def of_page(reader: Reader, job: Job) -> dict[str, object]:
    """What the page of a job shows of it; nothing where no former result is kept."""
    compared = comparison.compare(reader, job)
    if compared is None:
        return {}
    shown, more = comparison.differing(reader, compared, after="", limit=MOST_SHOWN)
    return {"compared": compared, "differing": shown, "more_differing": more is not None}


async def diff(call: Call) -> Response | Refusal:
    """The lines that have changed in one output."""
    wanted = query(call.request.args, wire_files.UrlQuery)
    if isinstance(wanted, Refusal):
        return wanted
    job_id = call.params["job_id"]
    sides = [await former.job_to_name(call, job_id, former=is_former) for is_former in (True, False)]
    texts: list[list[str]] = []
    found: Diff | None = None
    for job in sides:
        if isinstance(job, Refusal):
            return job
        content = await _content(call, job, wanted.name)
        text = content if isinstance(content, Diff) else _text(content)
        if isinstance(text, Diff):
            found = text
            break
        texts.append(text)
    if found is None:
        found = await call.services.previews.in_turn(partial(_compared, *texts))
    return frame(await rendered("diff.html", found=found))


async def _content(call: Call, job: Job, name: str | None) -> bytes | Diff:
    """The bytes of the output of that name, or of the only one."""
    silent = Diff(reason="The object store does not answer; try again later.")
    named = await outputs.named(call, job, "output", name)
    try:
        if isinstance(named, Output):
            key, version, size = named_output_key(prefix_of(job.output_key or ""), named.name), None, named.size
        else:
            # One output has no name on record; two of them are compared whatever they are called.
            one = await served(call.services, job, "output")
            if isinstance(one, Refusal) or (isinstance(named, Refusal) and outputs.place(job, "output", None)):
                return Diff(reason="This output is in one of the two results only.")
            if one.info is None:
                return silent
            key, version, size = one.key, one.version, one.info.size
        if (size or 0) > MOST_BYTES:
            return Diff(reason=f"More than {MOST_BYTES >> 10} KiB: `blobforge results diff {job.id}` compares it.")
        data = await call.services.objects.beginning(key, MOST_BYTES, version=version)
    except ObjectStoreError:
        return silent
    return data if data is not None else Diff(reason="The output is not in the store.")


def _text(content: bytes) -> list[str] | Diff:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    return Diff(reason="This is no text: sizes and hashes are compared.") if "\0" in text else lines_of(text)


def _compared(was: list[str], now: list[str]) -> Diff:
    head, tail = differing(was, now)
    if max(len(was), len(now)) - head - tail > MOST_LINES:
        return Diff(reason="Too much has changed to be shown here: `blobforge results diff` compares it.")
    kinds = {"+": "add", "-": "del", "@": "at"}
    said = list(text_diff(was, now, names=("former", "now"), careful=CAREFUL))[2:]
    return (
        Diff([(kinds.get(line[:1], ""), line) for line in said]) if said else Diff(reason="The bytes are the same.")
    )


ROUTES = [
    Route("GET", "/jobs/<id:job_id>/diff", Access.READ, diff, "What has changed in an output, on that page",
          gives=str, page=True, query=wire_files.UrlQuery),
]  # fmt: skip
