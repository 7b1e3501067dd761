"""The page with the family of a job: all that came of one document by its chain, as a graph and as a list."""

from __future__ import annotations

from typing import Final

from quart import Response

from blobforge.job import Job, no_such_job
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from web.dashboard.familygraph import (
    HEIGHT,
    MOST_LISTED,
    MOST_READ,
    WIDTH,
    Family,
    changing,
    graph_of,
    read_family,
)
from web.dashboard.page import framed, page
from web.events import MOST_JOBS
from web.routing import Access, Call, Route

MOST_WATCHED: Final = min(MOST_JOBS, 90)  # ids of up to 19 digits, in an address of bounded length


async def shown(call: Call) -> Response | Refusal:
    job_id = call.params["job_id"]

    def read(reader: Reader) -> tuple[Job, Family] | None:
        job = reader.job_in_short(job_id)
        return (job, read_family(reader, job, most=MOST_READ)) if job is not None else None

    totals, found = await framed(call, read)
    if found is None:
        return no_such_job(job_id)
    job, family = found
    return await page(
        call, "family.html", title=f"Family of job {job_id}", place="/jobs", totals=totals, job=job, family=family,
        graph=graph_of(family, job_id), watched_jobs=changing(family, job_id, MOST_WATCHED), width=WIDTH,
        height=HEIGHT, most_listed=MOST_LISTED,
    )  # fmt: skip


ROUTES = [
    Route("GET", "/jobs/<id:job_id>/family", Access.READ, shown, "The family of a job, as a graph",
          gives=str, page=True),
]  # fmt: skip
