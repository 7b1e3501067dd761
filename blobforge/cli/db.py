"""`blobforge db`: look after the database file, on the machine that it is on; and find objects that no job needs."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, offline, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.copying import copy
from blobforge.cli.outage import PATIENCE, Outages

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, OrphanSearch
    from blobforge.store.keeping import FileStats

_FILE = click.argument(
    "path", required=False, metavar="[FILE]", type=common.NamedPath(dir_okay=False, path_type=Path)
)
POLL_SECONDS = 0.5


@click.group()
def db() -> None:
    """Check, copy, shrink and describe the database file.

    These work on the file itself, on the machine that it is on: the one that BLOBFORGE_DATA_DIR or
    BLOBFORGE_DB_PATH names, or FILE, a copy for example. With BLOBFORGE_DATABASE_URL, `check`, `migrate` and
    `restored` work on PostgreSQL. Only `orphans` asks the server.
    """


db.add_command(copy)


@db.command()
@_FILE
@session_options
@pass_session
def check(session: CliSession, path: Path | None) -> None:
    """Check the database: SQLite's own checks, and everything that must hold about jobs.

    Also while the server runs. Exit code 1 when something is wrong; each finding is a line. On PostgreSQL, everything
    that must hold about jobs; pg_amcheck looks at its pages.
    """
    from blobforge.serve.engines import check_at, keeper_of_files

    here = offline.settings()
    if path is None and here.database_url:
        name = here.shown_database
        with offline.explained():
            findings = check_at(here.database_url)
    else:
        file = offline.database_file(path)
        name, findings = str(file), keeper_of_files().check(file)
    if session.json:
        output.print_json({"path": name, "ok": not findings, "findings": findings})
    else:
        for finding in findings:
            click.echo(output.one_line(finding))
        if not findings:
            session.note(f"{name}: all is well.")
    if findings:
        common.fail()


@db.command()
@click.argument("to", metavar="DESTINATION", type=common.NamedPath(path_type=Path))
@click.option("--unchecked", is_flag=True, help="Keep the copy without checking it, or whatever is wrong with it.")
@session_options
@pass_session
def backup(session: CliSession, to: Path, unchecked: bool) -> None:
    """Copy the database to a new file (or into a folder, under the date), and check the copy.

    Also while the server runs: the copy is that of one moment. A file that exists is never written over. What is in
    the object store is not part of it.
    """
    file = offline.database_file(
        None,
        instead="pg_dump copies it as it is at one moment; pg_basebackup with an archive of the write-ahead log is "
        "the backup to rely on (docs/high-availability.md).",
    )
    if to.is_dir():
        to = to / f"blobforge-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db"
    from blobforge.serve.engines import keeper_of_files

    with offline.explained():
        findings = keeper_of_files().copy(file, to, checked=not unchecked)
    if findings:
        for finding in findings:
            click.echo(output.one_line(finding), err=True)
        raise CliError(
            f"{file} is not sound, and there is no copy.",
            hint="A copy of it as it is: --unchecked. What a sound copy can be had from: `blobforge backup restore`.",
        )
    size = to.stat().st_size
    if session.json:
        output.print_json({"path": str(to), "size": size, "checked": not unchecked})
    else:
        click.echo(str(to))
        session.note(f"{output.size_text(size)}{'' if unchecked else ', checked'}.")


@db.command()
@session_options
@pass_session
def vacuum(session: CliSession) -> None:
    """Write the file anew without its free pages. The server must be stopped.

    While it runs, the server gives free pages back by itself, in small steps; a file from before that release
    learns it by this command. Takes free disk space of about twice the file.
    """
    file = offline.database_file(
        None, instead="Autovacuum gives room back there; docs/high-availability.md says what to watch."
    )
    from blobforge.serve.engines import keeper_of_files

    with offline.explained(), offline.locked(offline.settings()):
        before, after = keeper_of_files().shrink(file)
    if session.json:
        output.print_json({"path": str(file), "before": before, "after": after, "freed": max(0, before - after)})
    else:
        freed = output.size_text(max(0, before - after))
        click.echo(f"{output.size_text(before)} before, {output.size_text(after)} now: {freed} freed")


@db.command()
@_FILE
@session_options
@pass_session
def stats(session: CliSession, path: Path | None) -> None:
    """Describe the file: sizes, free pages, rows of each table, the oldest and the newest. Counts every row."""
    file = offline.database_file(
        path, instead="psql shows its tables and their sizes (\\dt+); `blobforge stats` counts jobs."
    )
    from blobforge.serve.engines import keeper_of_files

    with offline.explained():
        found = keeper_of_files().stats(file)
    if session.json:
        output.print_json(found)
        return
    output.print_fields(_fields(found))
    click.echo("")
    output.print_table(("TABLE", "ROWS"), [(table.name, table.rows) for table in found.tables])


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done; exit code 1 if that is something.")
@session_options
@pass_session
def migrate(session: CliSession, dry_run: bool) -> None:
    """Bring the schema of the database up to date by hand, before the first server of a new release does.

    On PostgreSQL beside running servers, also of the release before; on SQLite the server must be stopped. All steps
    are done, or none.
    """
    from blobforge.serve.engines import engine_of

    here = offline.settings()
    with offline.explained(), nullcontext() if here.database_url else offline.locked(here):
        engine = engine_of(here)
        before = engine.version()
        if not dry_run:
            engine.open_store().close()
    after = max(before, engine.schema)
    if session.json:
        output.print_json({"database": here.shown_database, "before": before, "after": after})
    elif before > engine.schema:
        session.note(
            f"{here.shown_database} has schema version {before}, of a newer release. This one knows {engine.schema}, "
            "and may be used beside that: there is nothing to do."
        )
    elif before == after:
        session.note(f"{here.shown_database} is up to date: schema version {after}.")
    else:
        click.echo(f"{here.shown_database}: from schema version {before} to {after}{', not done' if dry_run else ''}")
    if dry_run and before != after:
        common.fail()


@db.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@session_options
@pass_session
def restored(session: CliSession, yes: bool) -> None:
    """Tell a database that it came out of a backup. All servers must be stopped.

    The next start voids all leases, and leaves out numbers that jobs and attempts may have been given since the
    backup: objects in the store have them. `blobforge backup restore` does it by itself; after a restore with
    PostgreSQL's tools, or from a copy that `db backup` made, it is to be done by hand, once.
    """
    from blobforge.machinery.clock import wall_ms
    from blobforge.serve.engines import engine_of

    here = offline.settings()
    with offline.explained(), offline.locked(here):
        engine = engine_of(here)
        if not engine.exists():
            raise CliError(f"There is no database {here.shown_database}.")
        commons = engine.commons(here.data_path)
        live = [each.name for each in commons.servers() if each.is_live]
        commons.close()
        if live:
            raise CliError(
                f"Servers use the database: {', '.join(live)}.",
                common.CONFLICT,
                "Stop them first. One that was killed just now counts as gone after 20 seconds.",
            )
        common.confirm(f"Void all leases of {here.shown_database} at the next start?", yes=yes)
        engine.mark_restored(now=wall_ms())
    session.note("The next start settles it.")


@db.command()
@click.option("--delete", is_flag=True, help="Delete them. They cannot be brought back.")
@click.option("--yes", is_flag=True, help="With --delete: do not ask.")
@click.option("--names", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many to name.")
@session_options
@pass_session
def orphans(session: CliSession, delete: bool, yes: bool, names: int) -> None:
    """Find objects that no job needs: sources whose jobs are gone, outputs of attempts that lost, broken-off uploads.

    The server looks through the object store, in the background; Ctrl-C leaves it to go on. What came into the store
    within a day is nobody's orphan. Below the bucket's prefix there must be no other server's objects.
    """
    if delete and not yes:
        counted = session.run(lambda client: _search(client, delete=False), on_retry=Outages(session))
        _check_ended(counted)
        if counted.orphans or counted.unfinished:
            common.confirm(f"Delete {_orphans_text(counted)}?", yes=False)
    found = session.run(lambda client: _search(client, delete=delete, names=names), on_retry=Outages(session))
    _check_ended(found)
    if session.json:
        output.print_json(found)
        return
    for key in found.examples:
        click.echo(output.one_line(key))
    if found.orphans > len(found.examples):
        session.note(f"... and {found.orphans - len(found.examples)} more.")
    what = "will be deleted in the background" if delete else "could go; --delete deletes them"
    session.note(f"{output.count(found.objects, 'object')} looked at; {_orphans_text(found)} {what}.")


async def _search(client: AsyncClient, *, delete: bool, names: int | None = None) -> OrphanSearch:
    """Begin a search, and wait until it has ended."""
    import trio

    client = client.with_patience(PATIENCE)
    await client.find_orphans(delete=delete)
    while (search := await client.orphan_search(limit=names)).state == "running":  # noqa: ASYNC110 - the server is asked
        await trio.sleep(POLL_SECONDS)
    return search


def _check_ended(search: OrphanSearch) -> None:
    if search.state == "never":
        raise CliError("The database is another one by now; it knows of no search.", hint="Ask again.")
    if search.state == "failed":
        raise CliError(f"The search broke off: {search.error}.", hint="`blobforge doctor` looks at the object store.")


def _orphans_text(search: OrphanSearch) -> str:
    text = f"{output.count(search.orphans, 'orphan')} ({output.size_text(search.bytes)})"
    return f"{text} and {output.count(search.unfinished, 'broken-off upload')}" if search.unfinished else text


def _fields(found: FileStats) -> list[tuple[str, object]]:
    free = f"{found.free_pages} ({output.size_text(found.free_pages * found.page_size)})"
    return [
        ("file", found.path),
        ("size", output.size_text(found.size)),
        ("WAL", output.size_text(found.wal_size)),
        ("pages", f"{found.pages} of {found.page_size} bytes"),
        ("free pages", free if found.incremental else f"{free}; `blobforge db vacuum` frees them"),
        ("schema version", found.schema_version),
        ("SQLite", found.sqlite_version),
        ("oldest job", _time(found.oldest_job)),
        ("newest job", _time(found.newest_job)),
        ("last change", _time(found.last_change)),
        ("oldest audit entry", _time(found.oldest_audit)),
        ("newest audit entry", _time(found.newest_audit)),
    ]


def _time(ms: int | None) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if ms is not None else None
