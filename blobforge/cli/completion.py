"""`blobforge completion`: completion of commands and options in the shell."""

from __future__ import annotations

import click

from blobforge.cli.common import CliError


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    \b
    Put this into the shell's start-up file:
      bash   eval "$(blobforge completion bash)"
      zsh    eval "$(blobforge completion zsh)"
      fish   blobforge completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise CliError(f"This version of click knows no completion for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "blobforge", "_BLOBFORGE_COMPLETE").source())
