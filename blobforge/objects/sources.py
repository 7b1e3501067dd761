"""Where the source of a job is: under its hash, or, of a job that came of an output, that very object."""

from __future__ import annotations

from blobforge.job import Job
from blobforge.objects.keys import source_key


def key_of_source(job: Job) -> str:
    """The key of the object that is the job's source."""
    if job.chain is not None and job.chain.source is not None:
        return job.chain.source
    return source_key(job.source_hash)


def version_of_source(job: Job) -> str | None:
    """Which version of it, where the store keeps each and that is known."""
    return job.chain.version if job.chain is not None else None
