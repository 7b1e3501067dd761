"""`blobforge completion`: completion of commands, options and words of the server in the shell."""

from __future__ import annotations

import re
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from blobforge.cli.common import CliError

_SPECIAL = re.compile(r"[^\w@%+=:,./-]")


@add_completion_class
class Bash(BashComplete):
    """Completion in bash, which inserts a word as it stands, and not quoted as zsh and fish do: a tag that another
    person has chosen would be taken apart, or run. So here it is quoted, and click's script leaves that as it is."""

    source_template = BashComplete.source_template.replace("read ", "read -r ").replace("($value)", '("$value")')

    def format_completion(self, item: CompletionItem[Any]) -> str:
        escaped = _SPECIAL.sub(r"\\\g<0>", item.value)
        return f"{item.type},{escaped}"


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
