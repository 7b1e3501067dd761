"""`python -m blobforge.demo [--once] [--broken] [--ha] [--chain]`: see it work.

Exit codes: 0 when every document was converted and its result checked, with --broken the broken one is dead with a
reason, and with --chain all pages but the damaged one are joined (without --once: and you pressed Ctrl-C after
that); 1 when not; 130 when interrupted before.
"""

from __future__ import annotations

import signal
import sys

import click
import trio

from blobforge.cli.common import INTERRUPTED, as_cli_error
from blobforge.demo.children import ChildDied
from blobforge.demo.play import converter_command, play
from blobforge.demo.screen import Screen
from blobforge.demo.stage import DemoFailed
from blobforge.machinery.groups import root_cause


@click.command()
@click.option("--once", is_flag=True, help="End by itself when all is converted and checked.")
@click.option("--broken", is_flag=True, help="Submit a broken document, too, to see how failures look.")
@click.option("--ha", is_flag=True, help="Three servers on PostgreSQL behind a proxy; one is killed on the way.")
@click.option("--chain", is_flag=True, help="One PDF, page by page, and joined again; one page is damaged.")
def main(once: bool, broken: bool, ha: bool, chain: bool) -> None:
    """Start a server and two workers on this machine, convert the sample PDFs, check what comes out."""
    if chain and (broken or ha):
        raise click.UsageError("--chain goes with --once alone.")
    word = converter_command()[1]
    if word:
        click.echo(word)
    try:
        done = trio.run(_until_signalled, once, broken, ha, chain)
    except BaseException as error:
        cause = root_cause(error)
        cli_error = as_cli_error(cause)
        if isinstance(cause, (DemoFailed, ChildDied)) or cli_error is not None:
            click.echo(f"\nThe demo failed: {cli_error.format_message() if cli_error else cause}", err=True)
            sys.exit(1)
        raise
    sys.exit(0 if done else INTERRUPTED)


async def _until_signalled(once: bool, broken: bool, ha: bool, chain: bool) -> bool:
    """Play until it ends or SIGINT or SIGTERM comes; whether it had come to its good end by then."""
    screen, finished = Screen(), trio.Event()

    async def act() -> None:
        await play(once=once, broken=broken, ha=ha, chain=chain, screen=screen, finished=finished)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(act)
            async for _ in signals:
                screen.say("\nStopping the workers and the server ...")
                nursery.cancel_scope.cancel()
    return finished.is_set()


if __name__ == "__main__":
    main(prog_name="python -m blobforge.demo")
