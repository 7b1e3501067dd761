"""`blobforge backup`: how the backup is, whether it can be restored, and restoring it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.outage import PATIENCE, Outages

if TYPE_CHECKING:
    from blobforge.backup.restore import NoBackup, Restored
    from blobforge.client import AsyncClient, BackupReport, Drill

_LOOK_EVERY = 0.5  # seconds between two looks at a drill


@click.group(cls=CommandGroup)
def backup() -> None:
    """See how the backup is, prove that it can be restored, restore it."""


@backup.command("status")
@session_options
@pass_session
def status(session: CliSession) -> None:
    """Show how far the backup is behind, and until when it was proven recoverable.

    Exit code 1 when it is behind, has failed, or was not proven; 0 when it is healthy, or backups are off.
    """
    found = session.run(lambda client: client.backup())
    if session.json:
        output.print_json(found)
    else:
        output.print_fields(_fields(found))
        if found.drills:
            click.echo()
            _print_drills(found.drills)
    if found.status not in ("healthy", "disabled"):
        common.fail()


@backup.command("drills")
@click.option("--passed/--failed", "ok", default=None, help="Only drills that passed, or only those that failed.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many at most.")
@click.option("--cursor", type=click.IntRange(min=1), metavar="CURSOR", help="Go on where another list ended.")
@session_options
@pass_session
def drills(session: CliSession, ok: bool | None, limit: int, cursor: int | None) -> None:
    """List the drills that are on record, the newest first."""
    found = session.run(lambda client: client.drills(limit=limit, cursor=cursor, ok=ok))
    if session.json:
        output.print_json(found)
        return
    _print_drills(found.drills)
    if not found.drills:
        session.note("No drill is on record." if ok is None else "No drill on record matches.")
    if found.next_cursor is not None:
        session.note(f"There are more: --cursor {found.next_cursor}")


@backup.command("drill")
@session_options
@pass_session
def drill(session: CliSession) -> None:
    """Have the server restore its backup to the side, check all of it, and compare it with what is live.

    Waits for the outcome. Exit code 1 when the drill failed.
    """
    done = session.run(_drill, on_retry=Outages(session))
    if session.json:
        output.print_json(done)
    elif not session.quiet:
        output.print_fields(
            [
                ("outcome", "passed" if done.ok else "failed"),
                ("proven until", done.proven_until),
                ("took", output.duration((done.ended_at - done.started_at).total_seconds())),
                ("detail", done.detail),
            ]
        )
    if not done.ok:
        common.fail()


@backup.command("restore")
@click.option(
    "--to",
    required=True,
    type=common.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the database goes; must not exist.",
)
@click.option("--at", metavar="TIME", help="As it was at this time (2026-11-23T10:00:00Z), instead of the newest.")
@session_options
@pass_session
def restore(session: CliSession, to: Path, at: str | None) -> None:
    """Restore the backup to a file, by the configuration alone: no server need be running.

    Reads the server's variables (`blobforge config`): BLOBFORGE_S3_*, BLOBFORGE_BACKUP_S3_*,
    BLOBFORGE_LITESTREAM_*. What comes out is checked. To use it, stop the server, move the old database with its
    -wal and -shm files away, put the file in its place and start: that start voids all leases.

    \b
      blobforge backup restore --to restored.db
      blobforge backup restore --to before.db --at 2026-11-23T10:00:00Z
    """
    moment = _moment(at)
    if to.exists():
        raise CliError(f"{to} is there already; nothing was overwritten.", common.CONFLICT)
    outcome = _restore(to, moment)
    from blobforge.backup.restore import NoBackup

    if isinstance(outcome, NoBackup):
        raise CliError("There is no backup: the place answers, and holds none.", common.CONFLICT)
    if session.json:
        output.print_json({"file": str(to), "epoch": outcome.epoch.name, "seconds": round(outcome.seconds, 3)})
    elif session.quiet:
        click.echo(str(to))
    else:
        output.print_fields(
            [
                ("file", str(to)),
                ("size", f"{to.stat().st_size:,} bytes"),
                ("epoch", outcome.epoch.name),
                ("took", output.duration(outcome.seconds)),
            ]
        )


def _print_drills(found: Sequence[Drill]) -> None:
    rows = [(one.started_at, "passed" if one.ok else "failed", one.detail) for one in found]
    output.print_table(("DRILL", "OUTCOME", "NOTE"), rows)


def _fields(found: BackupReport) -> list[tuple[str, object]]:
    return [
        ("status", found.status),
        ("why", found.detail),
        ("behind", f"{found.lag_seconds:g} s" if found.lag_seconds is not None else "unknown"),
        ("proven until", found.proven_until),
        ("place", found.place),
        ("epoch", found.epoch),
        ("encrypted", found.encrypted),
        ("Litestream", found.litestream),
        ("running", found.running),
        ("restarts", found.restarts),
        ("copies every", f"{found.sync_interval:g} s" if found.sync_interval is not None else None),
        ("reaches back", output.duration(found.retention)),
        ("drills every", output.duration(found.drill_interval) if found.drill_interval else "never"),
    ]


async def _drill(client: AsyncClient) -> Drill:
    import trio

    client = client.with_patience(PATIENCE)
    before = await client.backup()
    await client.begin_drill()
    known = before.drills[0].started_at if before.drills else None
    while True:
        report = await client.backup()
        if not report.drill_running:
            if report.drills and report.drills[0].started_at != known:
                return report.drills[0]
            raise CliError("The drill ended without a record; the server's log says why.")
        await trio.sleep(_LOOK_EVERY)


def _moment(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise CliError(f"--at {at!r}: no time such as 2026-11-23T10:00:00Z.", common.USAGE) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment > datetime.now(UTC):
        raise CliError(f"--at {at!r}: that time has not come yet.", common.USAGE)
    return moment


def _restore(to: Path, at: datetime | None) -> Restored | NoBackup:
    from blobforge.backup import BackupError
    from blobforge.backup.opening import source_of
    from blobforge.backup.restore import newest
    from blobforge.config import ConfigError
    from blobforge.environment import load
    from blobforge.serve.engines import keeper_of_files

    try:
        settings = load(os.environ)
    except ConfigError as error:
        raise CliError(str(error), common.USAGE) from error
    if settings.database_url:
        raise CliError(
            f"The database is PostgreSQL ({settings.shown_database}), which Litestream does not copy.",
            common.USAGE,
            "Restore its own backup (docs/high-availability.md). For a file that Litestream copied before: unset "
            "BLOBFORGE_DATABASE_URL here.",
        )
    if not settings.backup_s3("endpoint"):
        raise CliError(
            "No place of backups is configured.",
            common.USAGE,
            "Set the server's BLOBFORGE_S3_* or BLOBFORGE_BACKUP_S3_* variables here, too.",
        )

    async def work() -> Restored | NoBackup:
        try:
            return await newest(source_of(settings, keeper_of_files()), to, at=at)
        except BackupError as error:
            raise CliError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error

    return common.run(work)
