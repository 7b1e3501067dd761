"""The `blobforge` command. One module a command group; they are loaded when they are asked for.

The modules import only click at their top: what is heavy (httpx, trio, the server) is imported inside commands, so
that `blobforge --help` and completion answer at once.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

import blobforge.cli.completion  # noqa: F401 - tells click how to complete in bash
from blobforge.cli.common import INTERRUPTED, ROOT_OPTIONS, CliSession, CommandGroup, accept_any_text, bug, explained

_COMMANDS = {
    "submit": "blobforge.cli.submit:submit",
    "ingest": "blobforge.cli.submit:ingest",
    "jobs": "blobforge.cli.jobs:jobs",
    "results": "blobforge.cli.results:results",
    "replay": "blobforge.cli.replay:replay",
    "stats": "blobforge.cli.stats:stats",
    "scale": "blobforge.cli.scale:scale",
    "work": "blobforge.cli.work:work",
    "batches": "blobforge.cli.batches:batches",
    "operations": "blobforge.cli.operations:operations",
    "workers": "blobforge.cli.workers:workers",
    "types": "blobforge.cli.types:types",
    "chains": "blobforge.cli.chains:chains",
    "canary": "blobforge.cli.canary:canary",
    "tokens": "blobforge.cli.tokens:tokens",
    "webhooks": "blobforge.cli.webhooks:webhooks",
    "users": "blobforge.cli.people:users",
    "audit": "blobforge.cli.people:audit",
    "backup": "blobforge.cli.backup:backup",
    "serve": "blobforge.cli.serve:serve",
    "config": "blobforge.cli.serve:config",
    "db": "blobforge.cli.db:db",
    "import": "blobforge.cli.moving:import_",
    "export": "blobforge.cli.moving:export",
    "login": "blobforge.cli.login:login",
    "logout": "blobforge.cli.login:logout",
    "doctor": "blobforge.cli.doctor:doctor",
    "completion": "blobforge.cli.completion:completion",
}


class _Lazy(CommandGroup):
    """A group whose commands are named above and imported on use; listed in that order, the usual ones first."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong ends in a sentence and an exit code, never in a traceback."""
        accept_any_text()
        typed = [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise explained(error, typed) from None
        except (click.Abort, KeyboardInterrupt, EOFError):
            click.echo("\nInterrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            raise bug(error, ctx.ensure_object(CliSession)) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


def _version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"blobforge {version('blobforge-server')}")
        ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@ROOT_OPTIONS
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
@click.pass_context
def main(ctx: click.Context) -> None:
    """A job queue over files: submit documents, convert them on workers, fetch what comes out.

    \b
    Start here:
      blobforge serve                      a server, whole, with its data in ./data
      blobforge submit report.pdf --wait   a job; more files and folders may follow
      blobforge work --type pdf --exec 'pdftotext -layout {source} {output}'
      blobforge login https://queue.example   a server elsewhere
      blobforge doctor                     what is wrong, and what to do

    Data goes to stdout, everything else to stderr. The options below may also follow a command.

    \b
    Exit codes:
      0  done                             4  not authorised (no token, wrong token, scope missing)
      1  something failed                 5  no such thing, or its state forbids it
      2  wrong usage or configuration     6  another process has taken over as this worker
      3  the server cannot be reached     7  the worker took no more jobs: too many failed
                                        130  interrupted
    """
    ctx.ensure_object(CliSession)
