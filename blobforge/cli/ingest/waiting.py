"""`--wait`: the jobs are followed to their ends."""

from __future__ import annotations

import math
from collections import deque

import click
import msgspec
import trio

from blobforge.cli import output
from blobforge.cli.ingest.report import Report
from blobforge.client import FINAL_STATUSES, AsyncClient, Job

_WINDOW = 64  # jobs that are looked at in one round: the oldest end first, the others have their turn
_SIDE_BY_SIDE = 8
_FIRST_LOOK = 0.2  # seconds; it looks again at growing intervals
_RAREST_LOOK = 3.0


async def wait_for_ends(client: AsyncClient, report: Report) -> None:
    """Look at the jobs of `report` until all have ended, and say how each did."""
    patient = client.with_patience(math.inf)
    pending = deque(dict.fromkeys(report.job_ids))
    pause = _FIRST_LOOK
    while pending:
        looked = [pending.popleft() for _ in range(min(_WINDOW, len(pending)))]
        jobs: dict[int, Job] = {}
        slots = trio.Semaphore(_SIDE_BY_SIDE)

        async def look(job_id: int, jobs: dict[int, Job] = jobs, slots: trio.Semaphore = slots) -> None:
            async with slots:
                jobs[job_id] = await patient.get_job(job_id)

        async with trio.open_nursery() as nursery:
            for job_id in looked:
                nursery.start_soon(look, job_id)
        left = [job_id for job_id in looked if jobs[job_id].status not in FINAL_STATUSES]
        for job_id in looked:
            if jobs[job_id].status in FINAL_STATUSES:
                _tell(report, jobs[job_id])
        pending.extendleft(reversed(left))
        pause = _FIRST_LOOK if len(left) < len(looked) else min(pause * 1.5, _RAREST_LOOK)
        if left:
            await trio.sleep(pause)


def _tell(report: Report, job: Job) -> None:
    if job.status == "completed":
        report.completed.append(job)
    else:
        report.unfinished += 1
    if report.session.json:
        record = {"job_id": job.id, "status": job.status, "error": job.last_error}
        click.echo(msgspec.json.encode(record))
    elif not report.session.quiet:
        reason = f"\t{output.one_line(job.last_error)}" if job.status == "dead" else ""
        click.echo(f"{job.id}\t{job.status}\t{output.one_line(job.source_path)}{reason}")
