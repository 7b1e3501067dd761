"""`blobforge login` and `blobforge logout`: keep a server and a token for the commands that follow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.login import credentials

if TYPE_CHECKING:
    from blobforge.client import WhoAmI

_LONGEST_TOKEN = 4_096  # characters read from stdin


@click.command()
@click.argument("url", required=False)
@click.option("--with-token", is_flag=True, help="Read the token from stdin.")
@click.option("--no-keyring", is_flag=True, help="Keep the token in a private file, even where a keyring works.")
@session_options
@pass_session
def login(session: CliSession, url: str | None, with_token: bool, no_keyring: bool) -> None:
    """Keep a server and a token; the other commands then use them.

    \b
      blobforge login https://queue.example
      blobforge login https://queue.example --with-token < token.txt

    On a terminal it asks for what is missing. The token is tried before it is kept: in the system's keyring where one
    works (blobforge-server[keyring]), else in a file that only you can read. There is one login at a time.
    """
    from blobforge.login import login_file

    server = (url or session.server or _asked_for_server(session)).rstrip("/")
    token = _token(session, server, with_token=with_token)
    trial = CliSession(server=server, token=token, quiet=session.quiet)
    try:
        who = trial.run(lambda client: client.whoami())
    except CliError as error:
        if error.exit_code == common.UNAUTHORISED:
            hint = "A token begins with bf_; `blobforge tokens create NAME` on the server makes one."
            raise CliError(f"{server} does not take this token.", common.UNAUTHORISED, hint) from None
        raise
    try:
        place = login_file.save(server, token, use_keyring=not no_keyring)
    except login_file.LoginError as error:
        raise CliError(str(error)) from error
    _report_login(session, server, who, place)


def _report_login(session: CliSession, server: str, who: WhoAmI, place: str) -> None:
    if session.json:
        output.print_json({"server": server, "kept_in": place, "who": who})
        return
    session.note(f"Logged in to {server} as {output.one_line(who.name)} ({', '.join(who.scopes)}).")
    session.note(f"The token is in {place}.")
    parts = urlsplit(server)
    if parts.scheme == "http" and parts.hostname not in credentials.LOOPBACK:
        session.note("Note: without https:// the token goes over the network in the clear.")


def _asked_for_server(session: CliSession) -> str:
    if not sys.stdin.isatty():
        raise CliError("Which server?", common.USAGE, "blobforge login URL")
    try:
        default = session.url
    except CliError:  # what was kept before cannot be read; it is about to be replaced
        default = credentials.DEFAULT_URL
    answer: str = click.prompt("Server", default=default, err=True)
    return answer.strip()


def _token(session: CliSession, server: str, *, with_token: bool) -> str:
    if with_token:
        token = sys.stdin.read(_LONGEST_TOKEN).strip()
    elif session.token:
        token = session.token
    elif sys.stdin.isatty():
        token = str(click.prompt(f"API token for {server}", hide_input=True, err=True)).strip()
    else:
        raise CliError("There is no token.", common.USAGE, "Give it on stdin with --with-token.")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CliError("This is no token.", common.USAGE, "A token begins with bf_ and is one word.")
    return token


@click.command()
@session_options
@pass_session
def logout(session: CliSession) -> None:
    """Forget the server and the token that `blobforge login` kept. The token itself stays valid.

    `blobforge tokens delete ID` makes it void.
    """
    from blobforge.login import login_file

    try:
        was = login_file.forget()
    except login_file.LoginError as error:
        raise CliError(str(error)) from error
    if session.json:
        output.print_json({"status": "logged out" if was else "was not logged in"})
    else:
        session.note("Logged out." if was else "There was no login.")
