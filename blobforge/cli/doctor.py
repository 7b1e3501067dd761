"""`blobforge doctor`: what may be wrong between here and the server, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliSession, pass_session, session_options

if TYPE_CHECKING:
    from blobforge.cli.finding import Finding

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red"), "skipped": ("-", None)}


@click.command()
@session_options
@pass_session
def doctor(session: CliSession) -> None:
    """Check the server, the token, the clocks, the object store, versions, workers, and say what to do.

    Nothing is changed anywhere. It looks at the server and the token that the other commands would use; on the
    server's own machine, run it in the folder that the server was started in (or with BLOBFORGE_DATA_DIR), and it
    looks at the data folder, too.

    The exit code is 0 when nothing failed (warnings do not count), 3 when the server cannot be reached, 4 when the
    token is missing or refused, else 1.
    """
    from blobforge.cli import checks

    findings = common.run(lambda: checks.examine(session))
    failures = [one for one in findings if one.level == "failure"]
    if session.json:
        output.print_json({"healthy": not failures, "findings": findings})
    else:
        for one in findings:
            if not session.quiet or one.level in ("warning", "failure"):
                _show(one)
        warnings = sum(one.level == "warning" for one in findings)
        session.note(f"{output.count(len(failures), 'failure')}, {output.count(warnings, 'warning')}.")
    if failures:
        common.fail(failures[0].code)


def _show(one: Finding) -> None:
    if not output.is_terminal():
        output.print_rows([(one.level, one.check, one.text, one.advice)])
        return
    mark, colour = _MARKS[one.level]
    text = output.one_line(one.text)
    click.echo(f"{output.coloured(mark, colour)} {output.bold(one.check.ljust(12))} {text}")
    for line in one.advice.splitlines():
        click.echo(f"  {' ' * 12} {line}")
