"""`blobforge import` and `export`: out of the original BlobForge's database, and from one of ours to another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, offline, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.progress import counted

if TYPE_CHECKING:
    from blobforge.config import Settings
    from blobforge.moving.account import Account
    from blobforge.store.whole import DatabaseExport
    from blobforge.store.writing import Store

_SQLITE = b"SQLite format 3\0"
_REVIEWED = 50  # tokens that are listed


@click.command("import")
@click.argument("source", metavar="FROM", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--issuer", default="", help="The identity provider that the original's users signed in with (its URL)."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be taken over.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@session_options
@pass_session
def import_(session: CliSession, source: Path, issuer: str, dry_run: bool, yes: bool) -> None:
    """Take over the original BlobForge's database, or an export of ours, into the database of this data folder.

    FROM is left as it is. The server must be stopped, and the original one, too. Settings come from the environment,
    as those of `serve` do: BLOBFORGE_DATA_DIR or BLOBFORGE_DB_PATH, and BLOBFORGE_S3_* for the store that holds the
    sources and results. It says what it will do, and asks. What is here already stays as it is: a second run adds
    nothing, and one that was broken off goes on.
    """
    here = offline.settings()
    issuer = issuer or here.oidc_issuer
    from blobforge.machinery import datadir

    with offline.explained(), _outages_told(source):
        datadir.prepare(here.data_path)
        with offline.locked(here):
            take = _taking_original if _is_database(source) else _taking_export
            account = take(session, here, source, issuer, dry_run, yes)
    if session.json:
        output.print_json(account)
    elif not dry_run:
        _tell(session, account, "TAKEN")


@click.command()
@click.option(
    "--credentials", is_flag=True, help="With users, workers, and the hashes of tokens and workers' secrets."
)
@session_options
@pass_session
def export(session: CliSession, credentials: bool) -> None:
    """Write all jobs with their history to stdout, as lines of JSON that `blobforge import` reads.

    To move, stop the server first: what is done after the export is not in it. Objects stay in their store.
    """
    from blobforge.machinery.clock import wall_ms
    from blobforge.moving import lines
    from blobforge.serve.engines import engine_of

    here, count = offline.settings(), 0
    file = here.shown_database if here.database_url else offline.database_file(None)
    with offline.explained(), engine_of(here).export() as database:
        for line in lines.export(database, credentials=credentials, now=wall_ms()):
            sys.stdout.buffer.write(line)
            count += 1
        sys.stdout.buffer.flush()
    session.note(f"{file}: {output.count(count - 2, 'line')} between the first and the last.")
    if credentials:
        session.note("It holds hashes of credentials, and people's addresses: keep it to yourself.")


def _taking_original(
    session: CliSession, here: Settings, source: Path, issuer: str, dry_run: bool, yes: bool
) -> Account:
    import trio

    from blobforge.machinery.clock import wall_ms
    from blobforge.moving import takeover
    from blobforge.serve.engines import engine_of, original_in
    from blobforge.serve.parts import open_objects
    from blobforge.store.commons import signing_secret

    now = wall_ms()
    with original_in(source) as theirs:
        with _known(here) as known:
            account = takeover.survey(theirs, known, issuer=issuer, now=now)
        what = f"the original BlobForge's database {source} (its schema {theirs.version})"
        if _ask(session, here, account, what, dry_run, yes):
            return account

        async def take(store: Store, on_done: Callable[[int], None]) -> Account:
            objects = open_objects(here, signing_secret(engine_of(here).commons(here.data_path)), None, None)
            await objects.check()
            return await takeover.take_over(theirs, store, objects, issuer=issuer, now=now, on_done=on_done)

        with _store(here) as store, counted("taking over", "jobs", account.jobs.found) as on_done:
            return trio.run(take, store, on_done)


def _taking_export(
    session: CliSession, here: Settings, source: Path, issuer: str, dry_run: bool, yes: bool
) -> Account:
    from blobforge.machinery.clock import wall_ms
    from blobforge.moving import reading
    from blobforge.serve.engines import engine_of

    newest = engine_of(here).schema
    with _known(here) as known:
        account = reading.survey(source, known, newest=newest)
    if _ask(session, here, account, f"the export {source}", dry_run, yes):
        return account
    with _store(here) as store, counted("taking over", "jobs", account.jobs.found) as on_done:
        return reading.Import(store, newest=newest, now=wall_ms(), on_done=on_done).run(source)


def _ask(session: CliSession, here: Settings, account: Account, what: str, dry_run: bool, yes: bool) -> bool:
    """Say what would be done, and ask; whether that was all. Raises CliError when the answer is no."""
    if not session.json:
        _tell(session, account, "TO TAKE")
    session.note(f"From {what} into {here.shown_database}, objects in {_store_name(here)}.")
    if dry_run:
        session.note("Nothing was changed.")
        return True
    common.confirm("Take this over?", yes=yes)
    return False


def _tell(session: CliSession, account: Account, verb: str) -> None:
    rows = [
        (kind, count.found, count.taken, count.known, sum(count.not_taken.values()))
        for kind, count in account.kinds()
    ]
    output.print_table(("WHAT", "FOUND", verb, "KNOWN", "NOT TAKEN"), rows)
    if account.statuses:
        session.note("Jobs: " + ", ".join(f"{n} {status}" for status, n in sorted(account.statuses.items())) + ".")
    for kind, count in account.kinds():
        for reason, n in count.not_taken.items():
            session.note(f"Not taken of the {kind}: {n}, as {reason}.")
    if account.results or account.without_result:
        session.note(
            f"Results: {account.results} in the object store; {account.without_result} completed jobs without one."
        )
    if account.without_source:
        session.note(
            f"Waiting for a source that is not in the object store as announced: {account.without_source} jobs."
        )
    if account.review:
        session.note("Tokens, and what they may do from now on (`blobforge tokens` changes it):")
        for name, scopes in account.review[:_REVIEWED]:
            session.note(f"  {output.one_line(name)}: {scopes}")
        if len(account.review) > _REVIEWED:
            session.note(f"  and {len(account.review) - _REVIEWED} more")


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


@contextlib.contextmanager
def _known(here: Settings) -> Iterator[DatabaseExport | None]:
    """The database that is here already; None: there is none."""
    from blobforge.serve.engines import engine_of

    engine = engine_of(here)
    if not engine.exists():
        yield None
        return
    with engine.export() as database:
        yield database


@contextlib.contextmanager
def _store(here: Settings) -> Iterator[Store]:
    from blobforge.serve.engines import engine_of

    store = engine_of(here).open_store()
    try:
        yield store
    finally:
        store.close()


def _store_name(here: Settings) -> str:
    return f"the bucket {here.s3_bucket}" if here.uses_s3 else str(here.data_path / "objects")


@contextlib.contextmanager
def _outages_told(source: Path) -> Iterator[None]:
    """Tell an error that breaks a run off in one line: all batches before it stay."""
    from blobforge.objects import ObjectStoreError
    from blobforge.store.errors import StoreUnavailable

    again = f"Whole batches are here; the same command goes on behind them: blobforge import {source}"
    try:
        yield
    except ObjectStoreError as error:
        raise CliError(f"The object store does not answer: {error}.", hint=again) from error
    except StoreUnavailable as error:
        raise CliError(f"The database cannot be written to: {error}.", hint=again) from error
