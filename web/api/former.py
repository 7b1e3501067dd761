"""The former result of a job: what is served beside its own while the two are compared."""

from __future__ import annotations

from blobforge.job import Job, no_such_job
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from web.routing import Call


def no_former(job_id: int) -> Refusal:
    said = f"Job {job_id} keeps no former result. It is kept where the job was retried with `compare`, for a while."
    return Refusal(RefusalCode.NO_SUCH_OBJECT, said)


def missing(reader: Reader, job_id: int, *, former: bool) -> Refusal:
    """Why there is no such job, or none with a former result."""
    return no_former(job_id) if former and reader.job_in_short(job_id) is not None else no_such_job(job_id)


async def job_to_name(call: Call, job_id: int, *, former: bool) -> Job | Refusal:
    """The job to serve an output of: as it is, or with its former result in the place of its own."""

    def look(reader: Reader) -> Job | Refusal:
        return reader.job_to_name(job_id, former=former) or missing(reader, job_id, former=former)

    return await call.services.reads.moment(look)
