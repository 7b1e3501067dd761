"""Whether an upload to the embedded store is still wanted: its signature says what was allowed when it was made, and
the records what is so now."""

from __future__ import annotations

from blobforge.job import Job, JobStatus
from blobforge.objects.incoming import NotWantedError
from blobforge.objects.keys import SOURCES, is_source_key, name_in, output_of
from blobforge.store.reading import Reader
from web.services import Services


async def permit_upload(services: Services, key: str) -> None:
    """Raises NotWantedError for one that is not."""
    reason = await services.reads.run(lambda reader: _unwanted(reader, key))
    if reason is not None:
        raise NotWantedError(reason)


def _unwanted(reader: Reader, key: str) -> str | None:
    if is_source_key(key):
        if reader.is_doomed(key) and not reader.has_source(key.removeprefix(SOURCES)):
            return f"{key!r} was removed, as no job needs it. Submit the file again, then upload it."
        return None
    job = reader.job(output_of(key).job_id)
    if job is None:
        return f"{key!r} is the output of a job that was deleted."
    if name_in(key) is not None and not _may_come(job, output_of(key).attempt):
        return f"The attempt that {key!r} is an output of has ended. Drop the upload."
    if reader.file(key) is not None:
        return f"{key!r} was accepted as the result of job {job.id}, and is final. Drop the upload."
    return None


def _may_come(job: Job, attempt: int) -> bool:
    """Whether this attempt may still be completed."""
    late = job.lease is not None and job.status in {JobStatus.PENDING, JobStatus.DEAD}
    return job.attempt == attempt and (job.status is JobStatus.RUNNING or late)
