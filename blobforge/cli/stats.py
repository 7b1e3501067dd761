"""`blobforge stats`: the queue in numbers."""

from __future__ import annotations

import click

from blobforge.cli import output
from blobforge.cli.common import Session, pass_session, session_options


@click.command()
@session_options
@pass_session
def stats(session: Session) -> None:
    """Show the queue in numbers: jobs by status, workers, how fast it goes."""
    found = session.run(lambda client: client.stats())
    if session.json:
        output.print_json(found)
        return
    rate = found.jobs_per_minute
    output.print_fields(
        [
            ("pending", found.pending_jobs),
            ("running", found.running_jobs),
            ("completed", found.completed_jobs),
            ("failed", found.failed_jobs),
            ("dead", found.dead_jobs),
            ("cancelled", found.cancelled_jobs),
            ("uploading", found.uploading_jobs),
            ("total", found.total_jobs),
            ("workers online", found.online_workers),
            ("workers draining", found.draining_workers),
            ("workers offline", found.offline_workers),
            ("oldest pending", output.duration(found.oldest_pending_seconds)),
            ("jobs per minute", f"{rate:.1f}" if rate is not None else None),
            ("done in about", output.duration(found.eta_seconds)),
        ]
    )
