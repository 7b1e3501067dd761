"""`--wait`: the jobs are followed to their ends."""

from __future__ import annotations

import math

import click
import msgspec

from blobforge.cli import output
from blobforge.cli.following import in_vain, sum_up, until_ended
from blobforge.cli.ingest.report import Report
from blobforge.client import AsyncClient, Job


async def wait_for_ends(client: AsyncClient, report: Report) -> None:
    """Look at the jobs of `report` until all have ended, and say how each did."""
    async for job in client.with_patience(math.inf).wait_each(report.job_ids):
        _tell(report, job)


async def wait_for_batch(client: AsyncClient, report: Report, number: int) -> None:
    """Look at the batch until it has ended, as a whole: one bar, and not a line a job."""
    ended = await until_ended(report.session, client, number)
    report.unfinished = in_vain(ended)
    if not report.session.json:
        report.session.note(sum_up(ended))


def _tell(report: Report, job: Job) -> None:
    if job.status != "completed":
        report.unfinished += 1
    elif report.keep_completed:
        report.completed.append(job)
    if report.session.json:
        record = {"job_id": job.id, "status": job.status, "error": job.last_error}
        click.echo(msgspec.json.encode(record))
    elif not report.session.quiet:
        reason = f"\t{output.one_line(job.last_error)}" if job.status == "dead" else ""
        click.echo(f"{job.id}\t{job.status}\t{output.one_line(job.source_path)}{reason}")
