"""What all commands share: the server's address, the credential, the text of an error, the exit codes."""

from __future__ import annotations

import codecs
import difflib
import io
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from blobforge.login import credentials
from blobforge.login.credentials import DEFAULT_URL as DEFAULT_SERVER
from blobforge.login.credentials import Credential, admin_token_file
from blobforge.machinery.groups import root_cause

if TYPE_CHECKING:
    from blobforge.client import ApiError, AsyncClient, OnRetry
    from blobforge.login.login_file import Login
from blobforge.spans import seconds_of

T = TypeVar("T")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

OK, FAILED, USAGE, UNREACHABLE, UNAUTHORISED, CONFLICT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_SCOPE = "scope-missing"  # the problem's type when a token lacks a scope


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
class CliSession:
    """The global options, and the way to run something against the server they name.

    The server and the token are those of the options or the environment, else those of `blobforge login`, else this
    machine's. What was kept for one server is never sent to another.
    """

    server: str | None = None
    token: str | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False

    @property
    def url(self) -> str:
        """The server that is meant, without a slash at its end."""
        return credentials.server(self.server, self._login())

    def run(self, work: Callable[[AsyncClient], Awaitable[T]], *, on_retry: OnRetry | None = None) -> T:
        """Run `work` with a client of the server. Raises CliError for what a person should know."""
        return run(lambda: self._with_client(work, on_retry))

    def client(self, *, worker: tuple[str, str] | None = None, on_retry: OnRetry | None = None) -> AsyncClient:
        """A client with the credential at hand: a worker's, or what `credential` finds."""
        from blobforge.client import AsyncClient, is_credential

        found = None if worker else self.credential()
        if found and not is_credential(found.token):
            hint = "A token begins with bf_ and is one word: look for a space, a line end or a stray character."
            raise CliError(f"What {found.source} gives is no token.", USAGE, hint)
        if worker and not all(map(is_credential, worker)):
            hint = "Both are one word of ASCII: look for a space, a line end or a stray character."
            raise CliError("The worker's id or its secret is none.", USAGE, hint)
        try:
            return AsyncClient(self.url, token=found.token if found else None, worker=worker, on_retry=on_retry)
        except ValueError as error:
            raise CliError(f"--server: {error}", USAGE, f"It looks like {DEFAULT_SERVER}.") from error

    def credential(self) -> Credential | None:
        """The API token to use for the server, and where it comes from."""
        if self.token:
            return Credential(self.token, "--token or BLOBFORGE_API_TOKEN")
        from blobforge.login import login_file

        try:
            return credentials.token(self.url, self._login())
        except login_file.LoginError as error:
            raise CliError(str(error), UNAUTHORISED) from error

    def _login(self) -> Login | None:
        from blobforge.login import login_file

        try:
            return login_file.load()
        except login_file.LoginError as error:
            if self.server:  # it is not needed, then
                return None
            raise CliError(str(error)) from error

    def note(self, text: str) -> None:
        """Say something that is not data; silent with --quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    async def _with_client(self, work: Callable[[AsyncClient], Awaitable[T]], on_retry: OnRetry | None) -> T:
        from blobforge.client import ApiError

        async with self.client(on_retry=on_retry) as client:
            try:
                return await work(client)
            except ApiError as error:
                found = self.credential() if error.status == 401 else None
                if found is None:
                    raise
                cli_error = _api_error(error)
                cli_error.hint = f"The token from {found.source} is unknown, expired or revoked.\n{cli_error.hint}"
                raise cli_error from None


def run(work: Callable[[], Awaitable[T]]) -> T:
    """`trio.run`, with errors turned into what a person can act on, and Ctrl-C into exit code 130."""
    import trio

    try:
        return trio.run(work)
    except BaseException as error:
        _explain(root_cause(error), error)


def _explain(error: BaseException, whole: BaseException) -> NoReturn:
    if isinstance(error, (KeyboardInterrupt, BrokenPipeError, click.exceptions.Exit)):
        raise error from None
    cli_error = as_cli_error(error)
    if cli_error is None:
        raise whole
    raise cli_error from None


def as_cli_error(error: BaseException) -> click.ClickException | None:
    """The error's text for a person, as a CliError; None when it is a bug of ours."""
    from blobforge.client import ApiError, ClientError, ServerUnreachable, UnexpectedAnswer

    match error:
        case click.ClickException():
            return error
        case BrokenPipeError():  # the reader of our output has closed the pipe; click ends silently
            return None
        case UnexpectedAnswer():
            hint = "Is that the URL of the server itself, with no path behind it? A proxy may stand in between."
            return CliError(str(error), UNREACHABLE, hint)
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
        case UnicodeEncodeError():  # of what was typed: file names are bytes and may be anything, the rest is text
            return CliError(f"Not UTF-8 text: {error.object!r:.200}", USAGE)
        case OSError():
            named = f"{error.filename}: " if error.filename else ""
            return CliError(f"{named}{error.strerror or error}")
        case _:
            return None


def _api_error(error: ApiError) -> CliError:
    match error.status:
        case 401:
            hint = (
                "`blobforge login` keeps a token; --token or BLOBFORGE_API_TOKEN gives one. On the server's own\n"
                "machine, run this in the folder it was started in, or set BLOBFORGE_DATA_DIR: its admin token is\n"
                f"{admin_token_file()}."
            )
            return CliError(error.detail, UNAUTHORISED, hint)
        case 403:
            return CliError(error.detail, UNAUTHORISED, _scope_hint(error.detail) if error.type == _SCOPE else "")
        case 404 | 409:
            return CliError(error.detail, CONFLICT)
        case 400 | 422:
            return CliError(error.detail, USAGE)
        case status if status >= 500:
            named = f" (request {error.request_id}: the server's log says more)" if error.request_id else ""
            return CliError(f"{error.detail}{named}", FAILED)
        case _:
            return CliError(error.detail, FAILED)


def _scope_hint(detail: str) -> str:
    """The server's text names the scope that it takes: `... takes the scope submit; ...`."""
    found = re.search(r"takes the scope (\w+)", detail)
    scope = found[1] if found else "..."
    return (
        f"An administrator makes a token that may: `blobforge tokens create NAME --scope {scope}`.\n"
        "`blobforge doctor` says what yours may."
    )


def can_ask() -> bool:
    """Whether there is a terminal to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool, hint: str = "Give --yes to do it, --dry-run to see first.") -> None:
    """Ask on the terminal; without one only `yes` will do. Raises CliError unless the answer is yes."""
    if yes:
        return
    if not can_ask():
        raise CliError(f"{question} Nobody is here to answer.", USAGE, hint)
    if not click.confirm(question, err=True):
        raise CliError("Nothing was changed.")


def duration(value: str) -> float:
    """`90`, `90s`, `10m`, `2h`, `1d`: seconds."""
    seconds = seconds_of(value)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is no duration; one is 90s, 10m or 2h")
    return seconds


def bug(error: Exception, session: CliSession) -> CliError:
    """The message for an error that the code did not foresee."""
    if session.debug:
        import traceback

        traceback.print_exception(error)
    cause = root_cause(error)
    hint = "Please report it, with what you ran, `blobforge --version`"
    more = " and the lines above." if session.debug else ",\nand what the same command prints with --debug."
    return CliError(f"This is a bug in blobforge: {type(cause).__name__}: {cause}", FAILED, hint + more)


def fail(code: int = FAILED) -> NoReturn:
    """End with `code`; what there is to say has been said."""
    raise click.exceptions.Exit(code)


_AHEAD = {"m": "minutes", "h": "hours", "d": "days"}


def time_ahead(_ctx: click.Context, _param: click.Parameter, said: str | None) -> datetime | None:
    """A time to come as a person types it: without a zone it is this machine's; or how far ahead it is."""
    if said is None:
        return None
    try:
        if said.startswith("+") and said[-1] in _AHEAD and said[1:-1].isdecimal():
            return datetime.now(UTC) + timedelta(**{_AHEAD[said[-1]]: int(said[1:-1])})
        return datetime.fromisoformat(said).astimezone()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"{said!r} is no time; one is 2026-12-01T22:00, or +30m, +2h, +7d") from None


def required(_ctx: click.Context, _param: click.Parameter, said: tuple[str, ...]) -> tuple[str, ...]:
    """Requirements that are some."""
    from blobforge.requirements import UnfitRequirement, parse

    try:
        return tuple(str(parse(each.strip())) for each in said)
    except UnfitRequirement as error:
        raise click.BadParameter(str(error)) from error


def labelled(_ctx: click.Context, _param: click.Parameter, said: tuple[str, ...]) -> tuple[str, ...]:
    """Labels of a worker that are some, and no requirements."""
    for each in said:
        name = each.partition("=")[0].strip()
        if not name or name[-1] in "<>!":
            raise click.BadParameter(
                f"{each!r} is no label: give a name (gpu) or a name and a value (memory_gib=64). "
                "What jobs require of labels is said with `blobforge submit --requires`."
            )
    return said


def on_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


def accept_any_text() -> None:
    """Have characters that the terminal's encoding lacks shown in another way, and not raise."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where it is closed
        utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def explained(error: click.NoSuchOption, typed: Sequence[str]) -> click.UsageError:
    """An option that is none, where a name was meant that begins with a dash: how that is typed."""
    command = error.ctx.command if error.ctx is not None else None
    if command is None or not any(isinstance(each, click.Argument) for each in command.params):
        return error
    # Of -name.pdf click names the first letter that is no option.
    letter = error.option_name[1:] if len(error.option_name) == 2 else None
    meant = next(
        (
            each
            for each in typed
            if each == error.option_name or (letter and re.match(r"-[^-]", each) and letter in each)
        ),
        None,
    )
    if meant is None or error.possibilities:
        return error
    text = f"{error.format_message()} A name that begins with a dash stands after --: `-- {meant}`."
    return click.UsageError(text, error.ctx)


class NamedPath(click.Path):
    """A path to write to. An empty one is a variable of the shell that is not set, and not this folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("It is empty; this folder is called '.'.", param, ctx)
        return super().convert(value, param, ctx)


class CommandGroup(click.Group):
    """A group that knows what a misspelt command may have meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self.list_commands(ctx))
            meant = f" Did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


# The global options. They may stand before the command or after it; the nearer one wins, the environment loses.


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    session = ctx.ensure_object(CliSession)
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
                help=f"The server, else BLOBFORGE_SERVER_URL, `blobforge login`'s, or {DEFAULT_SERVER}.",
            ),
            option(
                "--debug",
                is_flag=True,
                envvar=from_environment("BLOBFORGE_DEBUG"),
                help="Show where an unexpected error comes from.",
            ),
        ):
            command = add(command)
        return command

    return decorate


ROOT_OPTIONS = _options(environment=True)
session_options = _options(environment=False)
pass_session = click.make_pass_decorator(CliSession, ensure=True)
