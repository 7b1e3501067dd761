"""Signed URLs of sources and outputs. No credential signs a key outside its own job or source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import trio

from blobforge.access import Scope
from blobforge.job import Job
from blobforge.objects.keys import SOURCES, is_source_key, source_key
from blobforge.objects.sources import key_of_source, version_of_source
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.files import FileRecord
from blobforge.store.reading import Reader
from web.api import former, outputs, wire_common, wire_files
from web.api.grants import absolute, output_name, source_name
from web.api.held import held_attempt
from web.decode import query
from web.problems import item_problem
from web.routing import Access, Call, Route
from web.served import Served, key_of, served, served_by_record

_ASKED_SIDE_BY_SIDE: Final = 16  # objects that the store is asked for, of one request


async def download(call: Call) -> wire_files.Url | Refusal:
    """A URL to fetch the source or the output of a job, under a name that says what it is."""
    job_id, kind = call.params["job_id"], call.params["kind"]
    wanted = query(call.request.args, wire_files.UrlQuery)
    if isinstance(wanted, Refusal):
        return wanted
    job = await former.job_to_name(call, job_id, former=wanted.former and kind == "output")
    if isinstance(job, Refusal):
        return job
    named = await outputs.named(call, job, kind, wanted.name)
    if isinstance(named, Refusal):
        return named
    if named is not None:
        return wire_files.Url(outputs.signed_download(call, job, named))
    found = await served(call.services, job, kind)
    if isinstance(found, Refusal):
        return found
    return wire_files.Url(_signed_download(call, job, kind, found))


async def download_many(call: Call, body: wire_files.WantedUrls) -> wire_common.Items:
    """URLs of many files, item by item: `GET /api/files/{job_id}/{kind}/url` for each of them in one request."""

    def look(reader: Reader) -> tuple[list[Job | Refusal], dict[str, FileRecord], outputs.Named]:
        with reader.snapshot():
            jobs = _jobs(reader, body.items)
            there = [(job, each) for job, each in zip(jobs, body.items, strict=True) if not isinstance(job, Refusal)]
            keys = {key_of(job, each.kind) for job, each in there}
            records = reader.files([key for key in keys if key is not None])
            asked = [outputs.place(job, each.kind, each.name) for job, each in there]
            return jobs, records, reader.outputs.these([each for each in asked if each is not None])

    jobs, records, named = await call.services.reads.run(look)
    answers: list[dict[str, Any]] = [{} for _ in body.items]
    asking = trio.CapacityLimiter(_ASKED_SIDE_BY_SIDE)

    async def answer(place: int, each: wire_files.WantedUrl) -> None:
        async with asking:
            found = await _file_url(call, each, jobs[place], records, named)
        asked = {"job_id": each.job_id, "kind": each.kind}
        answers[place] = asked | item_problem(found) if isinstance(found, Refusal) else msgspec.to_builtins(found)

    async with trio.open_nursery() as nursery:
        for place, each in enumerate(body.items):
            nursery.start_soon(answer, place, each)
    return wire_common.Items(answers)


def _jobs(reader: Reader, wanted: Sequence[wire_files.WantedUrl]) -> list[Job | Refusal]:
    """The job that each is about, or why there is none."""
    known = reader.jobs_to_name({each.job_id for each in wanted})
    found: list[Job | Refusal] = []
    for each in wanted:
        of_former = each.former and each.kind == "output"
        job = reader.job_to_name(each.job_id, former=True) if of_former else known.get(each.job_id)
        found.append(job or former.missing(reader, each.job_id, former=of_former))
    return found


async def _file_url(
    call: Call, wanted: wire_files.WantedUrl, job: Job | Refusal, records: dict[str, FileRecord], named: outputs.Named
) -> wire_files.FileUrl | Refusal:
    if isinstance(job, Refusal):
        return job
    place = outputs.place(job, wanted.kind, wanted.name)
    if place is not None and (output := named.get(place)) is not None:
        return outputs.file_url(call, job, output)
    if wanted.name is not None:
        return outputs.no_such_output(job, wanted.kind, wanted.name)
    key = key_of(job, wanted.kind)
    found = await served_by_record(call.services, job, wanted.kind, records.get(key or ""))
    if isinstance(found, Refusal):
        return found
    assert key is not None
    info = found.info
    return wire_files.FileUrl(
        job_id=job.id,
        kind=wanted.kind,
        url=_signed_download(call, job, wanted.kind, found),
        filename=_name(job, wanted.kind),
        key=key,
        size=info.size if info is not None else None,
        sha256=info.sha256 if info is not None else None,
    )


def _name(job: Job, kind: str) -> str:
    return source_name(job) if kind == "source" else output_name(job)


def _signed_download(call: Call, job: Job, kind: str, found: Served) -> str:
    lifetime = round(call.services.settings.url_lifetime)
    objects = call.services.objects
    name = _name(job, kind)
    url = objects.sign_download(found.key, expires_in=lifetime, filename=name, version=found.version)
    return absolute(call, url)


async def source_url(call: Call, body: wire_files.SourceUrlBody) -> wire_files.Url | Refusal:
    """A fresh URL of the source, as its claim gave one. Whether the object is there is for the store to say."""
    held = await held_attempt(call, body)
    if isinstance(held, Refusal):
        return held
    lifetime = round(call.services.settings.url_lifetime)
    job = held.job
    url = call.services.objects.sign_download(
        key_of_source(job), expires_in=lifetime, filename=source_name(job), version=version_of_source(job)
    )
    return wire_files.Url(absolute(call, url))


async def upload_url(
    call: Call, body: wire_files.UploadBody
) -> wire_files.UploadAnswer | wire_files.UploadUrls | Refusal:
    """Signed URLs to upload to: a submitter's source, or the outputs of a worker's own attempt."""
    if body.job_id is None:
        if body.names is not None:
            said = "Outputs have names, and belong to an attempt: send job_id and lease."
            return Refusal(RefusalCode.INVALID, said, field="names")
        return await _source_url(call, body)
    if body.names is not None:
        return await outputs.upload_urls(call, body, body.names)
    held = await held_attempt(call, body)
    if isinstance(held, Refusal):
        return held
    job = held.job
    key = job.upload_key
    assert key is not None, "it has been claimed"
    if body.key not in (None, key):
        return Refusal(RefusalCode.KEY_NOT_ALLOWED, f"This attempt writes to {key!r} and nowhere else.")
    if job.write_once and not body.write_once:
        said = "This attempt was claimed with write_once: send it here, too, and the headers with the PUT."
        return Refusal(RefusalCode.INVALID, said, field="write_once")
    # What was claimed so stays so, also where a server that has just started does not know yet what the store can do.
    once = job.write_once or (body.write_once and call.services.objects.write_once)
    return _signed(call, body, key, checksum=body.checksum, write_once=once)


async def _source_url(call: Call, body: wire_files.UploadBody) -> wire_files.UploadAnswer | Refusal:
    """Bound to its checksum, an upload goes to the source's own key.

    Else, where the store does not check what comes in, to a place from which it is taken when its bytes have been
    read: no header is signed that was not asked for. Clients know the source by its key in either case.
    """
    key = _sources_key(call, body)
    if isinstance(key, Refusal):
        return key
    name = key.removeprefix(SOURCES)
    if body.checksum not in (None, name):
        return Refusal(RefusalCode.INVALID, "A source's checksum is its name, and this is another.", field="checksum")
    place = key if body.checksum is not None else call.services.objects.plain_source_key(name)
    return msgspec.structs.replace(_signed(call, body, place, checksum=body.checksum), key=key)


def _signed(
    call: Call, body: wire_files.UploadBody, key: str, *, checksum: str | None, write_once: bool = False
) -> wire_files.UploadAnswer:
    upload = call.services.objects.sign_upload(
        key,
        expires_in=round(call.services.settings.url_lifetime),
        content_type=body.content_type,
        sha256=checksum,
        write_once=write_once,
    )
    return wire_files.UploadAnswer(absolute(call, upload.url), key, upload.headers)


def _sources_key(call: Call, body: wire_files.UploadBody) -> str | Refusal:
    if not call.caller.may(Scope.SUBMIT):
        return Refusal(RefusalCode.KEY_NOT_ALLOWED, "A worker asks with job_id and lease, for its own output only.")
    if body.source_hash is not None:
        key = source_key(body.source_hash)
        if body.key not in (None, key):
            return Refusal(RefusalCode.INVALID, "key and source_hash name different objects.", field="key")
        return key
    if body.key is None:
        return Refusal(
            RefusalCode.INVALID, "Send source_hash, or key (sources/<64 hex digits>).", field="source_hash"
        )
    if not is_source_key(body.key):
        return Refusal(
            RefusalCode.KEY_NOT_ALLOWED, "Only sources/<64 hex digits> may be asked for; outputs belong to attempts."
        )
    return body.key


ROUTES = [
    Route("GET", "/api/files/<id:job_id>/<any(source,output):kind>/url", Access.READ, download,
          "A signed URL to download a job's source or output (of several, the main one, or the one of that `name`)",
          gives=wire_files.Url, query=wire_files.UrlQuery),
    Route("POST", "/api/files/urls", Access.READ, download_many,
          "Signed URLs to download many files, answered item by item",
          body=wire_files.WantedUrls, gives=wire_common.Items, writes=False),
    Route("POST", "/api/files/source-url", Access.WORK, source_url,
          "A fresh signed URL to download the source of an attempt that the caller holds",
          body=wire_files.SourceUrlBody, gives=wire_files.Url, writes=False),
    Route("POST", "/api/files/upload-url", Access.UPLOAD, upload_url,
          "A signed URL to upload a source, or the output of an attempt that the caller holds",
          body=wire_files.UploadBody, gives=(wire_files.UploadAnswer, wire_files.UploadUrls), writes=False, hot=True),
]  # fmt: skip
