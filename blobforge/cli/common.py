"""What all commands share: where the server is, who we are, how an error is told, what the exit codes mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    from blobforge.client import ApiError, Client, OnRetry

T = TypeVar("T")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

OK, FAILED, USAGE, UNREACHABLE, UNAUTHORISED, CONFLICT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

DEFAULT_SERVER = "http://localhost:8080"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class CliError(click.ClickException):
    """An error for a person: what went wrong, and in `hint` what to do about it."""

    def __init__(self, message: str, code: int = FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it off the instance, too
        self.hint = hint

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {self.message}", err=True)
        if self.hint:
            click.echo(self.hint, err=True)


@dataclass
class Session:
    """The global options, and the way to run something against the server they name."""

    server: str = DEFAULT_SERVER
    token: str | None = None
    json: bool = False
    quiet: bool = False

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run `work` with a client of the server. Raises CliError for what a person should know."""
        return run(lambda: self._with_client(work))

    def client(self, *, worker: tuple[str, str] | None = None, on_retry: OnRetry | None = None) -> Client:
        """A client with the credential at hand: a worker's, the token given, or this machine's own admin token."""
        from blobforge.client import Client

        token = None if worker else self.token or self._local_admin_token()
        try:
            return Client(self.server, token=token, worker=worker, on_retry=on_retry)
        except ValueError as error:
            raise CliError(f"--server: {error}", USAGE, f"It looks like {DEFAULT_SERVER}.") from error

    def note(self, text: str) -> None:
        """Say something that is not data; silent with --quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    async def _with_client(self, work: Callable[[Client], Awaitable[T]]) -> T:
        async with self.client() as client:
            return await work(client)

    def _local_admin_token(self) -> str | None:
        """The token that a server on this machine made at its first start. It never leaves this machine."""
        if urlsplit(self.server).hostname not in _LOOPBACK:
            return None
        try:
            return admin_token_file().read_text().strip() or None
        except (OSError, UnicodeDecodeError):
            return None


def admin_token_file() -> Path:
    """Where a server started from here keeps the admin token that it made."""
    return Path(os.environ.get("BLOBFORGE_DATA_DIR") or "data") / "admin-token"


def run(work: Callable[[], Awaitable[T]]) -> T:
    """`trio.run`, with errors turned into what a person can act on, and Ctrl-C into exit code 130."""
    import trio

    try:
        return trio.run(work)
    except BaseException as error:
        _explain(root_cause(error), error)


def root_cause(error: BaseException) -> BaseException:
    """The one error worth telling: nurseries wrap theirs in groups."""
    while isinstance(error, BaseExceptionGroup):
        inner: tuple[BaseException, ...] = error.exceptions
        error = next((one for one in inner if isinstance(one, KeyboardInterrupt)), inner[0])
    return error


def _explain(error: BaseException, whole: BaseException) -> NoReturn:
    if isinstance(error, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    told = as_cli_error(error)
    if told is None:
        raise whole
    raise told from None


def as_cli_error(error: BaseException) -> click.ClickException | None:
    """What to tell a person about `error`, or None when it is a bug of ours."""
    from blobforge.client import ApiError, ClientError, ServerUnreachable

    match error:
        case click.ClickException():
            return error
        case ServerUnreachable():
            return CliError(
                str(error),
                UNREACHABLE,
                "Is it running? `blobforge serve` starts one; --server or BLOBFORGE_SERVER_URL names another.",
            )
        case ApiError():
            return _api_error(error)
        case ClientError():
            return CliError(str(error))
        case OSError():
            named = f"{error.filename}: " if error.filename else ""
            return CliError(f"{named}{error.strerror or error}")
        case _:
            return None


def _api_error(error: ApiError) -> CliError:
    match error.status:
        case 401:
            hint = (
                "Give a valid token with --token or BLOBFORGE_API_TOKEN. On the server's own machine, run this in\n"
                f"the folder it was started in, or set BLOBFORGE_DATA_DIR: its admin token is {admin_token_file()}."
            )
            return CliError(error.detail, UNAUTHORISED, hint)
        case 403:
            hint = "Use a token that may: `blobforge tokens create NAME --scope ...` makes one."
            return CliError(error.detail, UNAUTHORISED, hint if error.type == "scope-missing" else "")
        case 404 | 409:
            return CliError(error.detail, CONFLICT)
        case 400 | 422:
            return CliError(error.detail, USAGE)
        case status if status >= 500:
            named = f" (request {error.request_id}: the server's log says more)" if error.request_id else ""
            return CliError(f"{error.detail}{named}", FAILED)
        case _:
            return CliError(error.detail, FAILED)


def fail(code: int = FAILED) -> NoReturn:
    """End with `code`; what there is to say has been said."""
    raise click.exceptions.Exit(code)


def on_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()


# The global options. They may stand before the command or after it; the nearer one wins, the environment loses.


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    session = ctx.ensure_object(Session)
    if value and param.name:
        setattr(session, param.name, value)
    return value


def _options(*, environment: bool) -> Callable[[Decorated], Decorated]:
    # Only the group reads the environment: on the command it would win over an option before the command.
    def from_environment(variable: str) -> str | None:
        return variable if environment else None

    option = partial(click.option, expose_value=False, callback=_keep)

    def decorate(command: Decorated) -> Decorated:
        for add in (
            option("-q", "--quiet", is_flag=True, help="Only the essential: ids, no summaries."),
            option("--json", is_flag=True, help="JSON on stdout."),
            option(
                "--token",
                envvar=from_environment("BLOBFORGE_API_TOKEN"),
                metavar="TOKEN",
                help="API token; BLOBFORGE_API_TOKEN keeps it out of the process list.",
            ),
            option(
                "--server",
                envvar=from_environment("BLOBFORGE_SERVER_URL"),
                metavar="URL",
                help=f"The server, else BLOBFORGE_SERVER_URL, else {DEFAULT_SERVER}.",
            ),
        ):
            command = add(command)
        return command

    return decorate


ROOT_OPTIONS = _options(environment=True)
session_options = _options(environment=False)
pass_session = click.make_pass_decorator(Session, ensure=True)
