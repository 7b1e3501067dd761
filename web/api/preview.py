"""The preview of a job's source, or of an output."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from blobforge.job import Job
from blobforge.objects import ObjectStoreError
from blobforge.objects.keys import named_output_key, prefix_of
from blobforge.outputs import Output
from blobforge.refusals import Refusal, RefusalCode
from web import preview as rendering
from web.api import former, outputs
from web.api.grants import last_part, output_name, result_members, source_name
from web.api.wire_insights import PreviewQuery, PreviewWire
from web.decode import query
from web.preview import MOST_BYTES, Preview
from web.routing import Access, Call, Route
from web.served import served

SILENT = Preview(reason="The object store does not answer; try again later.")


class PreviewSubject(msgspec.Struct, frozen=True):
    """The object that is shown: where it is, its size in bytes, what it is said to be, and the name that it has."""

    key: str
    version: str | None
    size: int
    content_type: str | None
    filename: str

    @property
    def kind(self) -> str | None:
        return rendering.kind_of(self.content_type, self.filename)


async def subject(call: Call, job: Job, wanted: PreviewQuery) -> PreviewSubject | Preview:
    """The source or output that is asked for; or why there is none. Never raises for what the store does."""
    if wanted.of == "output" and job.output_key is None:
        return Preview(reason=f"There is no output: the job is {job.status}.")
    name = wanted.name if wanted.of == "output" else None
    named = await outputs.named(call, job, wanted.of, name)
    if isinstance(named, Refusal):
        return Preview(reason=named.detail)
    if isinstance(named, Output) and named.size is not None:
        key = named_output_key(prefix_of(job.output_key or ""), named.name)
        return PreviewSubject(key, None, named.size, named.media_type, last_part(named.name))
    try:
        found = await served(call.services, job, wanted.of)
    except ObjectStoreError:
        return SILENT
    if isinstance(found, Refusal):
        return SILENT if found.code is RefusalCode.UNAVAILABLE else Preview(reason=found.detail)
    info = found.info
    if info is None:
        return SILENT
    if wanted.of == "source":
        return PreviewSubject(found.key, found.version, info.size, info.content_type, source_name(job))
    kind = info.content_type or _text_or_none(result_members(job).get("content_type"))
    return PreviewSubject(found.key, found.version, info.size, kind, output_name(job))


async def _shown(call: Call, job: Job, wanted: PreviewQuery) -> Preview:
    """Its beginning, made safe to show; or the reason why there is none."""
    found = await subject(call, job, wanted)
    if isinstance(found, Preview):
        return found
    about = {"size": found.size, "content_type": found.content_type, "filename": found.filename}
    if found.kind is None and found.size:
        return rendering.preview(b"", **about)  # type: ignore[arg-type]
    try:
        data = await call.services.objects.beginning(found.key, MOST_BYTES, version=found.version)
    except ObjectStoreError:
        return SILENT
    if data is None:
        return Preview(reason=f"The {wanted.of} is not in the store.")
    return await call.services.previews.show(data, **about)  # type: ignore[arg-type]


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def find_preview(call: Call) -> tuple[PreviewQuery, Preview] | Refusal:
    """What the address asks for, and its preview."""
    wanted = query(call.request.args, PreviewQuery)
    if isinstance(wanted, Refusal):
        return wanted
    of_former = wanted.former and wanted.of == "output"
    job = await former.job_to_name(call, call.params["job_id"], former=of_former)
    return job if isinstance(job, Refusal) else (wanted, await _shown(call, job, wanted))


async def preview(call: Call) -> PreviewWire | Refusal:
    found = await find_preview(call)
    if isinstance(found, Refusal):
        return found
    _, shown = found
    if shown.html is None and shown.reason is None:
        shown = replace(shown, reason="It has no HTML: fetch it by its URL.")
    return PreviewWire(shown.kind, shown.html, shown.cut, shown.reason)


ROUTES = [
    Route("GET", "/api/jobs/<id:job_id>/preview", Access.READ, preview,
          "The beginning of a source or an output, if it is text, Markdown, JSON or CSV, as safe HTML",
          gives=PreviewWire, query=PreviewQuery),
]  # fmt: skip
