"""`blobforge db copy`: a database moves to another engine, whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from blobforge.cli import offline, output
from blobforge.cli.common import CliSession, pass_session, session_options
from blobforge.cli.progress import counted


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@session_options
@pass_session
def copy(session: CliSession, source: str, target: str) -> None:
    """Copy a whole database to another one: from SQLite to PostgreSQL, or back.

    Each is sqlite:///FILE (or a path) or postgresql://...; a password is better in PGPASSWORD or ~/.pgpass than here.
    All servers of SOURCE are stopped meanwhile, and TARGET is an empty database, or a file that is not there. All
    rows are compared afterwards. Broken off, it goes on where it was when it is run again; no server opens a part of
    a copy. Objects stay where they are. When it has ended, SOURCE is not to be used any more: both are one
    installation.
    """
    from blobforge.moving import copying
    from blobforge.serve.engines import new_tables_at, tables_of

    with offline.explained(), _at_rest(source), tables_of(source) as ours:
        installation, rows = ours.installation, copying.total(ours)
        with new_tables_at(target, installation) as theirs:
            with counted("copying", "rows", rows) as on_done:
                copied = copying.copy(ours, theirs, on_done=on_done)
            with counted("comparing", "rows", rows) as on_done:
                copying.compare(ours, theirs, on_done=on_done)
            name = theirs.name
            theirs.finish(ours.numbers())
        _share_secret(session, source, target)
    if session.json:
        output.print_json({"source": ours.name, "target": name, "rows": rows, "copied": copied})
    else:
        session.note(f"{name} has all {output.count(rows, 'row')} of {ours.name}; each was compared.")
        session.note("From now on it is the installation: start no server on the source any more.")


@contextlib.contextmanager
def _at_rest(url: str) -> Iterator[None]:
    """No server has the file open meanwhile. Raises StartError."""
    from blobforge.machinery import datadir
    from blobforge.serve.engines import file_named

    path = file_named(url)
    with datadir.locked(path) if path is not None and path.is_file() else contextlib.nullcontext():
        yield


def _share_secret(session: CliSession, source: str, target: str) -> None:
    """What seals sessions and signs URLs goes along, so that both are good at the servers of the copy."""
    from blobforge.serve.engines import commons_of
    from blobforge.store.commons import Secret, new_signing_secret

    with contextlib.closing(commons_of(source, _folder(source))) as ours:
        secret = ours.secret(Secret.SIGNING, new_signing_secret)
    with contextlib.closing(commons_of(target, _folder(target))) as theirs:
        if theirs.secret(Secret.SIGNING, lambda: secret) != secret:
            session.note(
                "The copy's servers have a signing secret of their own: people sign in anew, and manifests are "
                "signed with another key."
            )


def _folder(url: str) -> Path:
    """Where the server of a database file keeps its small files."""
    from blobforge.serve.engines import file_named

    path, here = file_named(url), offline.settings()
    if path is None or path.resolve() == here.database.resolve():
        return here.data_path
    return path.parent
