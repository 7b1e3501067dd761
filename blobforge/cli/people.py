"""`blobforge users` and `blobforge audit`: the users that signed in, and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobforge.cli import output
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.selection import chosen

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, AuditEntry

_LARGEST_PAGE = 1_000
_AUDIT = ("ID", "WHEN", "WHO", "FROM", "ACTION", "WHAT", "NOTE")


@click.group(cls=CommandGroup)
def users() -> None:
    """See who has signed in through the identity provider."""


@users.command("list")
@click.option("--search", "q", metavar="TEXT", help="Only users whose name, address or subject contains this.")
@click.option("--admin/--member", default=None, help="Only administrators, or only the others.")
@session_options
@pass_session
def list_users(session: CliSession, q: str | None, admin: bool | None) -> None:
    """List everybody who has signed in. With --quiet: their ids only."""
    found = session.run(lambda client: client.list_users(q=q, admin=admin))
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
        anybody = q is None and admin is None
        session.note("Nobody has signed in through an identity provider." if anybody else "No user matches.")


@click.command()
@click.option("--actor", metavar="WHO", help="Only what this one did: token:7, user:3, or a name.")
@click.option("--action", metavar="WHAT", help="Only this action, or those that begin so: token.create, worker.*")
@click.option("--subject", metavar="ID", help="Only what was done to this one.")
@click.option("--since", metavar="TIME", help="Only from this time on, as 2026-11-23T10:00:00Z.")
@click.option("--until", metavar="TIME", help="Only before this time.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "everything", is_flag=True, help="All of it, page after page.")
@click.option("--cursor", type=click.IntRange(min=1), metavar="CURSOR", help="Go on where another list ended.")
@session_options
@pass_session
def audit(session: CliSession, /, *, limit: int, everything: bool, cursor: int | None, **filters: str | None) -> None:
    """Show what was done by whom, newest first: sign-ins, and what administrators and bulk actions do.

    \b
      blobforge audit
      blobforge audit --all --json
      blobforge audit --action 'token.*' --since 2026-11-01T00:00:00Z
    """
    most = None if everything else limit
    found, following = session.run(lambda client: _entries(client, most, cursor, chosen(filters)))
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
        session.note("Nothing on record matches." if chosen(filters) else "Nothing is on record.")
    if following:
        session.note(f"The {len(found)} latest; --all for the others, or --cursor {following}")


async def _entries(
    client: AsyncClient, limit: int | None, cursor: int | None, filters: dict[str, str]
) -> tuple[list[AuditEntry], int | None]:
    found: list[AuditEntry] = []
    while True:
        size = _LARGEST_PAGE if limit is None else min(limit - len(found), _LARGEST_PAGE)
        page = await client.audit(limit=size, cursor=cursor, **filters)
        found += page.entries
        cursor = page.next_cursor
        # A page may be empty and not be the last: the server looks at so many records at a time.
        if cursor is None or (limit is not None and len(found) >= limit):
            return found, cursor
