"""`blobforge serve` and `blobforge config`: the server, and the settings that it runs with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from blobforge.cli import common, offline, output
from blobforge.cli.common import CliSession, pass_session, session_options


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on [BLOBFORGE_HOST].")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one [BLOBFORGE_PORT].")
@click.option(
    "--data-dir",
    type=common.NamedPath(file_okay=False, path_type=Path),
    help="Where its data is [BLOBFORGE_DATA_DIR].",
)
@click.option("--reload", is_flag=True, help="Start anew when the code changes: for working on BlobForge itself.")
def serve(host: str | None, port: int | None, data_dir: Path | None, reload: bool) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Without any setting it is whole: database and files in ./data, an admin token made at the first start.
    `blobforge config` lists what can be set.
    """
    settings = offline.settings({"BLOBFORGE_HOST": host, "BLOBFORGE_PORT": port, "BLOBFORGE_DATA_DIR": data_dir})
    if reload:
        from blobforge.cli.reload import serve_anew

        serve_anew(settings)
        return
    from blobforge.environment import retired_variables, service_variables, unknown_variables
    from blobforge.serve.server import run

    for name in unknown_variables(os.environ):
        click.echo(f"Warning: {name} is no variable of BlobForge; `blobforge config` lists them all.", err=True)
    for name in service_variables(os.environ) if port is None else ():
        click.echo(
            f"Warning: {name}={os.environ[name]} was set by Kubernetes for a Service called `blobforge`; the default "
            "is in force. Call the Service something else, or use `enableServiceLinks: false`.",
            err=True,
        )
    for name, reason in retired_variables(os.environ).items():
        click.echo(f"Warning: {name} has no effect any more: {reason}. Unset it.", err=True)
    raise click.exceptions.Exit(run(settings))


@click.command()
@session_options
@pass_session
def config(session: CliSession) -> None:
    """Print the server settings that are in force in this environment, with secrets masked."""
    from blobforge.config import describe

    variables = describe(offline.settings())
    if session.json:
        output.print_json(variables)
        return
    rows = [(one.name, one.value, one.default, one.description) for one in variables]
    output.print_table(("VARIABLE", "VALUE", "DEFAULT", "HELP"), rows)
