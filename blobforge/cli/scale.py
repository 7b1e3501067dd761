"""`blobforge scale`: how many workers there should be, and which may be ended."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, suggest
from blobforge.cli.common import CliSession, pass_session, session_options
from blobforge.cli.listing import print_one

if TYPE_CHECKING:
    from blobforge.client import Scale


@click.command()
@click.option(
    "--type", "type_", metavar="TYPE", shell_complete=suggest.types, help="Only jobs and workers of this type."
)
@click.option(
    "--drain",
    type=common.duration,
    default="1h",
    show_default=True,
    metavar="TIME",
    help="What waits is to be done within this time.",
)
@session_options
@pass_session
def scale(session: CliSession, type_: str | None, drain: float) -> None:
    """Show how many workers there should be, and who is idle.

    \b
      blobforge scale --type pdf
      blobforge scale --type pdf --drain 30m --quiet
      blobforge scale --json

    As many as are done within --drain with what waits and runs, if jobs take as long as those that were completed;
    never fewer than are busy. --quiet prints the number alone, for a script that starts workers. docs/scaling.md has
    what does so by itself.
    """
    if drain <= 0:
        raise click.UsageError("--drain is more than 0: the time in which what waits is to be done")
    found = session.run(lambda client: client.scale(type=type_, drain_seconds=drain))
    print_one(session, found, _fields, name=attrgetter("desired"))


def _fields(found: Scale) -> list[tuple[str, object]]:
    idle = ", ".join(found.idle[:10])
    more = f" and {len(found.idle) - 10} more" if len(found.idle) > 10 else ""
    return [
        ("pending", found.pending),
        ("running", found.running),
        ("workers online", found.online),
        ("workers busy", found.busy),
        ("workers desired", found.desired),
        ("idle", f"{idle}{more}" if idle else None),
    ]
