"""`blobforge serve --reload`: the server is started anew when its code, templates or styles change."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

import click

from blobforge.cli import common
from blobforge.cli.common import CliError
from blobforge.config import Settings
from blobforge.machinery.datadir import StartError
from blobforge.serve.listener import listen

PACKAGES = ("actors", "blobforge", "web")
STOP_SECONDS = 60  # longer than a stop in good order takes; then it is killed


def serve_anew(settings: Settings) -> None:
    """Run the server as a process of its own until SIGTERM or Ctrl-C, and another one after each change.

    A server that ends by itself (the code does not start) is tried again after the next change. Connected
    clients see a restart at each change. Raises CliError.
    """
    try:
        from watchfiles import run_process
    except ImportError as error:
        hint = "Install it with the extra: pip install 'blobforge-server[dev]', or use `make dev`."
        raise CliError("--reload needs watchfiles, which is not installed.", common.USAGE, hint) from error
    folders = [folder for name in PACKAGES for folder in _folders(name)]
    options = ["--host", settings.host, "--port", str(_port(settings)), "--data-dir", str(settings.data_path)]
    command = shlex.join([sys.executable, "-m", "blobforge.cli", "serve", *options])
    click.echo(f"Started anew when something changes in {', '.join(folders)}.", err=True)
    run_process(
        *folders,
        target=command,
        target_type="command",
        callback=lambda changes: click.echo(f"{len(changes)} changed: the server is started anew", err=True),
        sigint_timeout=STOP_SECONDS,
        sigkill_timeout=STOP_SECONDS,
    )


def _folders(package: str) -> list[str]:
    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec else []


def _port(settings: Settings) -> int:
    """The port of every one of them: a free one is chosen once, so that browsers and workers find the next one."""
    if settings.port:
        return settings.port
    try:
        with listen(settings) as listener:
            port: int = listener.getsockname()[1]
            return port
    except StartError as error:
        raise CliError(str(error)) from error
