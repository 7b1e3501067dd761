"""`blobforge users` and `blobforge audit`: who signs in, and what was done by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobforge.cli import output
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options

if TYPE_CHECKING:
    from blobforge.client import AuditEntry, Client

_LARGEST_PAGE = 1_000
_AUDIT = ("ID", "WHEN", "WHO", "FROM", "ACTION", "WHAT", "NOTE")


@click.group(cls=CommandGroup)
def users() -> None:
    """See who has signed in through the identity provider."""


@users.command("list")
@session_options
@pass_session
def list_users(session: CliSession) -> None:
    """List everybody who has signed in. With --quiet: their ids only."""
    found = session.run(lambda client: client.list_users())
    if session.json:
        output.print_json(found)
        return
    if session.quiet:
        for user in found:
            click.echo(str(user.id))
        return
    rows = [
        (user.id, user.name, user.email, ", ".join(user.groups), user.is_admin, user.last_login_at, user.subject)
        for user in found
    ]
    output.print_table(("ID", "NAME", "EMAIL", "GROUPS", "ADMIN", "LAST SIGN-IN", "SUBJECT"), rows)
    if not found:
        session.note("Nobody has signed in through an identity provider.")


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "everything", is_flag=True, help="All of it, page after page.")
@click.option("--cursor", type=click.IntRange(min=1), metavar="CURSOR", help="Go on where another list ended.")
@session_options
@pass_session
def audit(session: CliSession, /, *, limit: int, everything: bool, cursor: int | None) -> None:
    """Show what was done by whom, newest first: sign-ins, and what administrators and bulk actions do.

    \b
      blobforge audit
      blobforge audit --all --json
    """
    found, following = session.run(lambda client: _entries(client, None if everything else limit, cursor))
    if session.json:
        output.print_json({"entries": found, "next_cursor": following})
        return
    if session.quiet:
        for entry in found:
            click.echo(str(entry.id))
        return
    rows = [
        (one.id, one.at, one.name or one.actor, one.address, one.action, one.subject, one.detail) for one in found
    ]
    output.print_table(_AUDIT, rows)
    if not found:
        session.note("Nothing is on record.")
    if following:
        session.note(f"The {len(found)} latest; --all for the others, or --cursor {following}")


async def _entries(client: Client, limit: int | None, cursor: int | None) -> tuple[list[AuditEntry], int | None]:
    found: list[AuditEntry] = []
    while True:
        size = _LARGEST_PAGE if limit is None else min(limit - len(found), _LARGEST_PAGE)
        page = await client.audit(limit=size, cursor=cursor)
        found += page.entries
        cursor = page.next_cursor
        if cursor is None or not page.entries or (limit is not None and len(found) >= limit):
            return found, cursor
