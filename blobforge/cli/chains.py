"""`blobforge chains`: what a completion starts."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import output, suggest
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.steps import said_steps

if TYPE_CHECKING:
    from blobforge.client import ChainCheck, ChainStage

NOTHING, REFUSED, NO_WORKER = 5, 10, 11


@click.group(cls=CommandGroup)
def chains() -> None:
    """Look at what follows a job."""


@chains.command("check")
@click.argument("job_id", metavar="[JOB]", required=False, type=click.IntRange(min=1))
@click.option(
    "--then", metavar="TYPE[=PATTERN]", multiple=True, callback=said_steps,
    help="Without a job: what is to follow it, as for blobforge submit. Else: what is set for the type.",
)  # fmt: skip
@click.option("--type", "type_", metavar="TYPE", shell_complete=suggest.types, help="Without a job: its type.")
@click.option("--path", metavar="PATH", help="Without a job: the path of its document, which may say the type.")
@click.option(
    "--output", "outputs", metavar="NAME", multiple=True,
    help="Try it with an output of this name, and not with what is known of the job. Repeatable.",
)  # fmt: skip
@session_options
@pass_session
def check(
    session: CliSession, /, *, job_id: int | None, then: list[dict[str, Any]] | None, type_: str | None,
    path: str | None, outputs: tuple[str, ...],
) -> None:  # fmt: skip
    """Say what a completion of a job would start: which jobs, of which outputs, and what is in the way.

    Of a JOB that is there, or of one to come, by its --type and --then. Nothing is changed.

    \b
      blobforge chains check 17
      blobforge chains check --type split --then 'ocr=pages/*.png' --output pages/1.png
      blobforge chains check --path in/report.pdf --then summary

    \b
    Exit codes:
      0  it would start jobs     10  refused, in whole or in part
      5  it would start nothing  11  no worker is there for some of them
    """
    type_ = type_ or (PurePath(path).suffix.lower().lstrip(".") if path is not None else None) or None
    if job_id is None and type_ is None:
        raise click.UsageError("Say a JOB, or the --type (or --path) of one to come.")
    if job_id is not None and (then is not None or type_ is not None):
        raise click.UsageError("JOB has its steps: --type, --path and --then are for one to come.")
    found = session.run(
        lambda client: client.check_chain(job_id, type=type_, then=then, source_path=path, outputs=outputs or None)
    )
    if session.json:
        output.print_json(found)
    else:
        for line in in_words(found):
            click.echo(line)
    if code := verdict(found):
        raise click.exceptions.Exit(code)


def verdict(found: ChainCheck) -> int:
    """The exit code."""
    if found.refused or found.left_out or any(each.refused for each in found.stages):
        return REFUSED
    first = [each for each in found.stages if not each.depth]
    if not first or (found.outputs is not None and not any(each.matched for each in first)):
        return NOTHING
    return NO_WORKER if any(not each.workers for each in found.stages) else 0


def in_words(found: ChainCheck) -> list[str]:
    """What it would start, a line for each stage."""
    what = f"job {found.job_id} ({found.type}, {found.status})" if found.job_id is not None else f"a {found.type} job"
    known = "" if found.outputs is None else f", of {found.outputs:,} output{'' if found.outputs == 1 else 's'}"
    if found.refused:
        return [f"{what}: refused: {found.refused}"]
    if not found.stages:
        return [f"{what} starts nothing: no step follows it"]
    lines = [f"{what} starts{known}:", *(f"{'  ' * (each.depth + 1)}{_stage(each)}" for each in found.stages)]
    return lines if found.left_out is None else [*lines, found.left_out]


def _stage(stage: ChainStage) -> str:
    if stage.joins:
        what = f"1 {stage.type} job joins all of these"
    elif stage.matched is None:
        what = f"{stage.type}, one for each output that matches {stage.outputs}"
    else:
        names = ", ".join(output.one_line(each) for each in stage.names)
        more = f" and {stage.matched - len(stage.names):,} more" if stage.matched > len(stage.names) else ""
        what = f"{stage.type} ({stage.outputs}): {stage.matched:,} match{f': {names}{more}' if names else ''}"
    with_options = f", with options {output.one_line(output.json_line(stage.options))}" if stage.options else ""
    return f"{what}{with_options}; {_hands(stage)}"


def _hands(stage: ChainStage) -> str:
    if stage.refused:
        return f"refused: {stage.refused}"
    there = (
        "no worker is there" if not stage.workers else f"{stage.workers} worker{'' if stage.workers == 1 else 's'}"
    )
    return f"{there}, and the type is paused" if stage.paused else there
