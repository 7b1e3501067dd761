"""The manifest: a signed list of what jobs have made; and the key that it is signed with.

It is read page by page, by id, each page of one moment: a job that matches all the while is in it once, as it was
when its page was read. A long read transaction would keep the backup from checkpointing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any, Final

import msgspec
from quart import Response

from blobforge.canary import ordinary
from blobforge.chain import known_hash
from blobforge.installation import SigningKey, fingerprint
from blobforge.job import MOST_PATHS, Job
from blobforge.manifest import MANIFEST_TYPE, ManifestJob, ManifestOutput
from blobforge.manifest_signature import ManifestWriter
from blobforge.objects.keys import name_in
from blobforge.outputs import MOST
from blobforge.refusals import Refusal
from blobforge.store.filters import JobFilter
from blobforge.store.reading import Reader
from web.api import encode, wire_jobs, wire_status
from web.api.grants import output_name, result_members
from web.decode import query
from web.limits import SMALL
from web.long_answers import StillAllowed, long_answer
from web.routing import Access, Call, Route
from web.signing import signing

HEADERS: Final = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="manifest.ndjson"'}
PAGE: Final = 500  # jobs
MOST_OUTPUTS: Final = 10_000  # of one page, and those of its last job


async def installation(call: Call) -> wire_status.InstallationWire | Refusal:
    """Which installation this is, and the public key that proves its manifests."""
    found = await signing(call.services)
    if isinstance(found, Refusal):
        return found
    now = _known(found.key)
    return wire_status.InstallationWire(
        id=call.services.installation,
        public_key=now.public_key,
        fingerprint=now.fingerprint,
        since=now.since,
        former=[_known(each) for each in found.former],
    )


def _known(key: SigningKey) -> wire_status.FormerKey:
    return wire_status.FormerKey(key.public_key, fingerprint(key.public_key), encode.rfc3339(key.made_at))


async def manifest(call: Call) -> Response | Refusal:
    """A line of JSON for each job that matches, by id, and a last line that signs all of them."""
    wanted = query(call.request.args, wire_jobs.ManifestQuery)
    return wanted if isinstance(wanted, Refusal) else await signed(call, wanted)


async def signed(call: Call, wanted: wire_jobs.ManifestQuery) -> Response | Refusal:
    """The same of these jobs."""
    if call.request.method == "HEAD":  # also where the key cannot be had
        return Response(b"", headers=HEADERS, content_type=MANIFEST_TYPE)
    found = await signing(call.services)
    if isinstance(found, Refusal):
        return found
    writer = ManifestWriter(
        found.private.key(),
        installation=call.services.installation,
        began=encode.rfc3339(call.services.now()),
        filter_={name: value for name, value in msgspec.to_builtins(wanted).items() if value is not None},
    )
    return long_answer(call, lambda room: _stream(call, wanted, writer, room), headers=HEADERS, type_=MANIFEST_TYPE)


async def _stream(
    call: Call, wanted: wire_jobs.ManifestQuery, writer: ManifestWriter, room: ExitStack
) -> AsyncIterator[bytes]:
    with room:
        filter_ = encode.job_filter(wanted, priority=wanted.priority)
        since = encode.ms_or_none(wanted.completed_since)
        yield writer.head
        allowed = StillAllowed(call)
        after: int | None = 0
        while after is not None:
            if not await allowed.look():
                return  # without a last line: it proves nothing
            jobs, after = await call.services.reads.moment(_page(filter_, since, after))
            for chunk in _chunks(writer, jobs):
                yield chunk
        yield writer.end(ended=encode.rfc3339(call.services.now()))


def _chunks(writer: ManifestWriter, jobs: list[ManifestJob]) -> Iterator[bytes]:
    """The lines of some jobs, in pieces that no reader is held to be slow for."""
    lines = bytearray()
    for job in jobs:
        for line in writer.job(job):
            lines += line
        while len(lines) >= SMALL:
            yield bytes(lines[:SMALL])
            del lines[:SMALL]
    if lines:
        yield bytes(lines)


def _page(filter_: JobFilter, since: int | None, after: int) -> Any:
    def read(reader: Reader) -> tuple[list[ManifestJob], int | None]:
        found, following = reader.jobs_by_id(filter_, after=after, limit=PAGE)
        jobs = [job for job in found if since is None or (job.output_key and (job.completed_at or 0) >= since)]
        begun = reader.attempts_of([job.id for job in jobs])
        options = reader.options_of([job.id for job in jobs])
        single = _single_outputs(reader, [job for job in jobs if not _has_several(job)])
        entries: list[ManifestJob] = []
        many = 0
        for job in jobs:
            if many >= MOST_OUTPUTS:
                return entries, entries[-1].job_id
            outputs = _several_outputs(reader, job) if _has_several(job) else single.get(job.id, [])
            paths = [path for _, path in reader.paths(job.id, limit=MOST_PATHS)] if job.more_paths else []
            entries.append(_entry(job, options.get(job.id), begun.get(job.id, 0), outputs, paths))
            many += len(outputs) + len(paths)
        return entries, following

    return read


def _has_several(job: Job) -> bool:
    return job.output_key is not None and name_in(job.output_key) is not None


def _several_outputs(reader: Reader, job: Job) -> list[ManifestOutput]:
    assert job.result_attempt is not None, "it has a result"
    found = reader.outputs.page(job.id, job.result_attempt, after="", limit=MOST)
    return [ManifestOutput(each.name, each.size, each.sha256, each.media_type) for each in found]


def _single_outputs(reader: Reader, jobs: list[Job]) -> dict[int, list[ManifestOutput]]:
    named = reader.jobs_to_name([job.id for job in jobs if job.output_key is not None])
    files = reader.files([job.output_key for job in named.values() if job.output_key is not None])
    found = {}
    for job in named.values():
        record = files.get(job.output_key or "")
        media_type = result_members(job).get("content_type")
        found[job.id] = [
            ManifestOutput(
                output_name(job),
                record.size if record is not None else None,
                record.sha256 if record is not None else None,
                media_type if isinstance(media_type, str) else None,
            )
        ]
    return found


def _entry(job: Job, options: str | None, begun: int, outputs: list[ManifestOutput], paths: list[str]) -> ManifestJob:
    return ManifestJob(
        job_id=job.id,
        type=ordinary(job.type),
        status=job.status,
        source_hash=known_hash(job.source_hash),
        source_path=job.source_path,
        source_size=job.source_size,
        paths=paths,
        options=encode.raw(options),
        attempts=begun,
        made_by=job.made_by,
        created_at=encode.rfc3339(job.created_at),
        started_at=encode.time_or_none(job.started_at),
        completed_at=encode.time_or_none(job.completed_at),
        outputs_total=len(outputs),
        outputs=outputs,
    )


ROUTES = [
    Route("GET", "/api/installation", Access.ANYONE_KNOWN, installation,
          "Which installation this is, and the public key that its manifests are signed with",
          gives=wire_status.InstallationWire),
    Route("GET", "/api/results/manifest", Access.READ, manifest,
          "What the jobs that match have made: JSON lines, the last of which signs all of them",
          gives=str, kinds=(MANIFEST_TYPE,), query=wire_jobs.ManifestQuery),
]  # fmt: skip
