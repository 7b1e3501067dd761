"""`blobforge tokens`: API tokens and what they may do."""

from __future__ import annotations

import click

from blobforge.cli import output
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.listing import print_list, print_status

SCOPES = ("read", "submit", "work", "admin")


@click.group(cls=CommandGroup)
def tokens() -> None:
    """Manage API tokens."""


@tokens.command("list")
@click.option("--search", "q", metavar="TEXT", help="Only tokens whose name contains this.")
@click.option("--scope", type=click.Choice(SCOPES), help="Only tokens with this scope.")
@click.option("--expired/--valid", default=None, help="Only tokens that have expired, or only the others.")
@session_options
@pass_session
def list_tokens(session: CliSession, q: str | None, scope: str | None, expired: bool | None) -> None:
    """List the API tokens, without their secrets."""
    found = session.run(lambda client: client.list_tokens(q=q, scope=scope, expired=expired))
    print_list(
        session,
        found,
        ("ID", "NAME", "PREFIX", "SCOPES", "CREATED", "LAST USED", "EXPIRES"),
        lambda token: (
            token.id,
            token.name,
            token.prefix,
            ", ".join(token.scopes or (["admin"] if token.is_admin else [])),
            token.created_at,
            token.last_used_at,
            token.expires_at,
        ),
    )


@tokens.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may do; may be repeated. Without any: read and submit.",
)
@click.option("--expires-in", type=click.IntRange(min=1), metavar="DAYS", help="Void after so many days.")
@session_options
@pass_session
def create_token(session: CliSession, name: str, scopes: tuple[str, ...], expires_in: int | None) -> None:
    """Make an API token and print it, this once."""
    made = session.run(lambda client: client.create_token(name, scopes=scopes, expires_in_days=expires_in))
    if session.json:
        output.print_json(made)
        return
    session.note(f"Token {made.id}, {output.one_line(made.name)}; it will not be shown again:")
    click.echo(made.token)


@tokens.command("delete")
@click.argument("token_id", metavar="ID")
@session_options
@pass_session
def delete_token(session: CliSession, token_id: str) -> None:
    """Delete an API token; it is void at once."""
    session.run(lambda client: client.delete_token(token_id))
    print_status(session, token_id, "deleted")
