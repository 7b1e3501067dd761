"""Which object stands for a job's source or output, and whether it may be handed out. The one place that decides it.

An accepted output is served from the copy that no URL to upload reaches, or by its version, or, where its attempt's
URLs write over nothing, from its own key. Until a copy has been made it is compared with what was seen when it was
accepted: what a late PUT has left there is not handed out.
"""

from __future__ import annotations

import msgspec

from blobforge.job import Job
from blobforge.objects import ObjectInfo, ObjectStoreError
from blobforge.objects.sources import key_of_source, version_of_source
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.files import FileRecord
from web.services import Services


class Served(msgspec.Struct, frozen=True):
    """An object as it may be fetched. `info` is None where the store did not answer, and records have to do."""

    key: str
    version: str | None
    info: ObjectInfo | None


async def served(services: Services, job: Job, kind: str) -> Served | Refusal:
    """The object that stands for the `source` or the `output` of the job now."""
    key = key_of(job, kind)
    record = await services.reads.run(lambda reader: reader.file(key)) if key is not None else None
    return await _looked_for(services, job, kind, record)


async def served_by_record(services: Services, job: Job, kind: str, record: FileRecord | None) -> Served | Refusal:
    """The same, one of many: where all is on record, the store is not asked whether it still has the object."""
    key = key_of(job, kind)
    if key is None or record is None or record.checked_at is None or record.keeping or record.size is None:
        return await _looked_for(services, job, kind, record)
    version = record.version if kind == "output" else version_of_source(job)
    return Served(record.kept or key, version, ObjectInfo(key, record.size, record.sha256, etag=record.etag))


def key_of(job: Job, kind: str) -> str | None:
    """The key by which the object is on record; None: there is no output."""
    return key_of_source(job) if kind == "source" else job.output_key


async def _looked_for(services: Services, job: Job, kind: str, record: FileRecord | None) -> Served | Refusal:
    missing = Refusal(RefusalCode.NO_SUCH_OBJECT, f"Job {job.id} ({job.status}) has no {kind} in the store.")
    key = key_of(job, kind)
    if key is None:
        return missing
    place = record.kept or key if record is not None else key
    version = version_of_source(job) if kind == "source" else record.version if record is not None else None
    try:
        info = await services.objects.head(place, version=version)
    except ObjectStoreError as error:
        if record is None:
            return missing
        if record.keeping:
            return Refusal(RefusalCode.UNAVAILABLE, f"The object store does not answer: {error}", retry_after=5)
        return Served(place, version, None)
    if info is None:
        return missing
    if record is not None and record.keeping:
        size = record.size if record.size is not None else info.size
        if not info.same_as(ObjectInfo(key, size, record.sha256, etag=record.etag)):
            said = f"What is stored as {key!r} now is not what was accepted; the job will be tried again."
            return Refusal(RefusalCode.NO_SUCH_OBJECT, said)
    return Served(place, version, info)
