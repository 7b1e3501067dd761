"""The preview of a job's output."""

from __future__ import annotations

from blobforge.job import Job, no_such_job
from blobforge.objects import ObjectStoreError
from blobforge.refusals import Refusal, RefusalCode
from web import preview as rendering
from web.api.grants import output_name, result_members
from web.api.wire_insights import PreviewWire
from web.preview import MOST_BYTES, Preview
from web.routing import Access, Call, Route
from web.served import served
from web.services import Services


async def _read_preview(services: Services, job: Job) -> Preview:
    """The beginning of the job's output, made safe to show; or the reason why there is none. Never raises for what
    the store does or holds."""
    if job.output_key is None:
        return Preview(reason=f"There is no output: the job is {job.status}.")
    name = output_name(job)
    try:
        found = await served(services, job, "output")
        if isinstance(found, Refusal):
            silent = found.code is RefusalCode.UNAVAILABLE
            return Preview(reason="The object store does not answer; try again later." if silent else found.detail)
        info = found.info
        if info is None:
            return Preview(reason="The object store does not answer; try again later.")
        kind = info.content_type or _text_or_none(result_members(job).get("content_type"))
        if rendering.kind_of(kind, name) is None and info.size:
            return rendering.preview(b"", size=info.size, content_type=kind, filename=name)
        data = await services.objects.beginning(found.key, MOST_BYTES, version=found.version)
    except ObjectStoreError:
        return Preview(reason="The object store does not answer; try again later.")
    if data is None:
        return Preview(reason="The output is not in the store.")
    return await services.previews.show(data, size=info.size, content_type=kind, filename=name)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def find_preview(call: Call) -> Preview | Refusal:
    """That of the job which the address names."""
    job_id = call.params["job_id"]
    job = await call.services.reads.run(lambda reader: reader.job_to_name(job_id))
    return await _read_preview(call.services, job) if job is not None else no_such_job(job_id)


async def preview(call: Call) -> PreviewWire | Refusal:
    found = await find_preview(call)
    return PreviewWire(found.kind, found.html, found.cut, found.reason) if isinstance(found, Preview) else found


ROUTES = [
    Route("GET", "/api/jobs/<id:job_id>/preview", Access.READ, preview,
          "The beginning of a text or Markdown output as safe HTML", gives=PreviewWire),
]  # fmt: skip
