"""What is done to many jobs, or workers, in one request: counted first, asked about, and then done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession
from blobforge.cli.listing import print_one
from blobforge.cli.operations import completed, ended

if TYPE_CHECKING:
    from blobforge.client import BulkDone

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def bulk_options(command: Decorated) -> Decorated:
    """--dry-run, --yes and --background."""
    command = click.option(
        "--background", is_flag=True, help="Have the server do it by itself, as an operation; say its number."
    )(command)
    command = click.option("-y", "--yes", is_flag=True, help="Do not ask before many are changed.")(command)
    return click.option("--dry-run", is_flag=True, help="Say how many it would change, and change none.")(command)


def change_counted(
    session: CliSession,
    ask_for: Callable[..., BulkDone],
    question: str,
    *,
    noun: str,
    by_id: bool,
    dry_run: bool,
    yes: bool,
    begin: Callable[[], int] | None,
    among: int | None = None,
    families: bool = False,
) -> None:
    """One bulk request, `ask_for(dry=...)`: counted first, asked about, then done; where they are many, as the
    operation that `begin` asks for, where there is one, which goes on whatever becomes of this command. `among`: of
    how many they are. `families`: with what came of them, which is always one. Raises CliError."""
    from blobforge.operation import MANY

    found = ask_for(dry=True)
    below = f", and {_below_in_words(found)}" if families and found.children else ""
    if not dry_run and (found.changed or below):
        common.confirm(f"{question} {output.count(found.changed, noun)}{below}?", yes=yes)
    if begin is not None and not dry_run and (found.changed > MANY or families):
        found = _through(session, begin())
    elif not dry_run:  # also where there is nothing to change: the attempt is on record
        found = ask_for(dry=False)
    print_one(session, found, partial(_fields, among=among), name=attrgetter("changed"))
    if by_id and found.refused and not dry_run:
        raise CliError(
            f"{output.count(found.refused, noun)} not there, or not in a status for this.", common.CONFLICT
        )


def _through(session: CliSession, number: int) -> BulkDone:
    """What an operation has come to when it has ended. Raises CliError where it was not completed."""
    from blobforge.client import BulkDone

    session.note(f"Operation {number} goes on without this command, too: blobforge operations watch {number}")
    operation = ended(session, number)
    completed(operation)
    return BulkDone(
        matched=operation.matched,
        changed=operation.changed,
        refused=operation.matched - operation.changed,
        reason=operation.reason,
    )


def _below_in_words(found: BulkDone) -> str:
    least = "at least " if found.more else ""
    children = output.count(found.children or 0, "job")
    return f"{least}{children} that came of {least}{found.parents or 0:,} of them"


def _fields(done: BulkDone, among: int | None) -> list[tuple[str, object]]:
    return [
        (
            "would change" if done.dry_run else "changed",
            f"{done.changed:,} of {among:,}" if among else done.changed,
        ),
        ("not changed", done.refused),
        ("matched", done.matched),
        ("came of them", _below_in_words(done) if done.children else None),
        ("reason", done.reason),
    ]
