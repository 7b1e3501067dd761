"""The work behind `submit`: a few files side by side, a line of data for each as it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import msgspec
import trio

from blobforge.cli import common, output
from blobforge.cli.common import Session
from blobforge.cli.progress import Progress
from blobforge.client import FINAL_STATUSES, Client, ServerUnreachable, Submitted, submit_file

if TYPE_CHECKING:
    from blobforge.cli.find import Candidate

SIDE_BY_SIDE = 4
_FIRST_LOOK = 0.2  # seconds; --wait looks again at growing intervals
_RAREST_LOOK = 3.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every submitted job is given."""

    priority: int | None = None
    max_attempts: int | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


@dataclass
class Report:
    """What became of the files. `new + existing + failed` is their number; `code` is the first failure's."""

    new: int = 0
    existing: int = 0
    failed: int = 0
    uploaded: int = 0
    bytes: int = 0
    unfinished: int = 0
    code: int = 0
    job_ids: list[int] = field(default_factory=list)


async def submit_all(
    client: Client, session: Session, files: Sequence[Candidate], options: Options, *, wait: bool
) -> Report:
    """Submit all, then with `wait` follow the jobs to their ends.

    One file's error is told and counted. ServerUnreachable ends the whole: the next file would fare no better.
    """
    report = Report()
    slots = trio.CapacityLimiter(SIDE_BY_SIDE)
    with Progress(len(files), shown=not session.quiet) as progress:

        async def one(file: Candidate) -> None:
            try:
                done = await submit_file(
                    client,
                    file.path,
                    file.type,
                    priority=options.priority,
                    max_attempts=options.max_attempts,
                    tags=options.tags,
                    metadata=options.metadata,
                    on_bytes=progress.on_bytes,
                )
            except ServerUnreachable:
                raise
            except Exception as error:
                _count_failure(session, report, file, error)
            else:
                _count(session, report, done)
            finally:
                slots.release_on_behalf_of(file)
                progress.file_done()

        async with trio.open_nursery() as nursery:
            for file in files:
                await slots.acquire_on_behalf_of(file)
                nursery.start_soon(one, file)
    if wait and report.job_ids:
        await _wait(client, session, report)
    return report


def _count(session: Session, report: Report, done: Submitted) -> None:
    if done.existing:
        report.existing += 1
    else:
        report.new += 1
    if done.uploaded:
        report.uploaded += 1
        report.bytes += done.size
    report.job_ids.append(done.job_id)
    _say(session, msgspec.to_builtins(done), f"{done.job_id}\t{done.status}\t{output.one_line(done.path)}")


def _count_failure(session: Session, report: Report, file: Candidate, error: Exception) -> None:
    told = common.as_cli_error(error)
    if told is None:
        raise error
    report.failed += 1
    report.code = report.code or told.exit_code
    click.echo(f"{file.path}: {told.message}", err=True)
    hint = getattr(told, "hint", "")
    if hint and report.failed == 1:
        click.echo(hint, err=True)
    if session.json:
        click.echo(msgspec.json.encode({"path": str(file.path), "error": told.message}))


def _say(session: Session, record: dict[str, Any], line: str) -> None:
    if session.json:
        click.echo(msgspec.json.encode(record))
    elif session.quiet:
        click.echo(str(record["job_id"]))
    else:
        click.echo(line)


async def _wait(client: Client, session: Session, report: Report) -> None:
    """Look at the jobs until all have ended, and say how each did."""
    pending = list(dict.fromkeys(report.job_ids))
    pause = _FIRST_LOOK
    while pending:
        left = []
        for job_id in pending:
            job = await client.with_patience(60).get_job(job_id)
            if job.status not in FINAL_STATUSES:
                left.append(job_id)
                continue
            if job.status != "completed":
                report.unfinished += 1
            record = {"job_id": job.id, "status": job.status, "error": job.last_error}
            if session.json or not session.quiet:
                reason = f"\t{output.one_line(job.last_error)}" if job.status == "dead" else ""
                _say(session, record, f"{job.id}\t{job.status}\t{output.one_line(job.source_path)}{reason}")
        pause = _FIRST_LOOK if len(left) < len(pending) else min(pause * 1.5, _RAREST_LOOK)
        pending = left
        if pending:
            await trio.sleep(pause)
