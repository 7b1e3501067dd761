"""`blobforge canary`: a converter on trial converts documents once more, and the results are compared."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output, suggest
from blobforge.cli.common import CliError, CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.listing import gathered, print_list

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, Canary, CanaryJob, CanaryReport

LOOK_EACH = 2.0  # seconds between two looks at one that goes on
FAILED, DIFFERENT, SLOWER, NO_WORKER, TIME_OVER = 10, 11, 12, 13, 14
_NO_WORKER = "no-worker-of-version"  # the problem's type
_ID = click.argument("canary_id", metavar="ID", type=click.IntRange(min=1))
_OUTCOMES = ("failed", "different", "unproven", "same", "gone", "cancelled", "running", "waiting")
_share = click.FloatRange(0, 100)

# What an answer is judged by.
_judged = [
    click.option(
        "--allow-failed", type=_share, default=0.0, metavar="PERCENT", show_default=True,
        help="So many may fail without exit code 10.",
    ),
    click.option(
        "--allow-different", type=_share, default=0.0, metavar="PERCENT", show_default=True,
        help="So many may be different, or not provably the same, without exit code 11.",
    ),
    click.option("--allow-slower", is_flag=True, help="Being slower as a whole is no exit code 12."),
]  # fmt: skip


def judged(command: Any) -> Any:
    for option in reversed(_judged):
        command = option(command)
    return command


@click.group(cls=CommandGroup, invoke_without_command=True, no_args_is_help=True)
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", shell_complete=suggest.types,
    help="Documents of this type. Repeatable.",
)  # fmt: skip
@click.option("--made-by", metavar="CONVERTER", help="The converter on trial, as its workers say it: 'marker 1.4'.")
@click.option("--sample", type=click.IntRange(1, 1000), default=200, show_default=True, help="How many documents.")
@click.option("--against", metavar="FILTER", help="Compare with results of these converters alone: 'marker<1.4'.")
@click.option(
    "--slower", type=click.FloatRange(1.05, 1000), default=1.5, show_default=True, metavar="RATIO",
    help="So many times as long counts as slower.",
)  # fmt: skip
@click.option(
    "--priority", type=click.IntRange(1, 5), default=5, show_default=True,
    help="Ordinary jobs of the same priority go first.",
)  # fmt: skip
@click.option("--wait/--no-wait", default=True, help="Wait for the report [wait].")
@click.option(
    "--worker-within", type=common.duration, metavar="TIME",
    help="Cancel it, with exit code 13, where no worker of the converter is online for so long; 0: it must be now.",
)  # fmt: skip
@click.option("--timeout", type=common.duration, metavar="TIME", help="Cancel it, with exit code 14, after so long.")
@judged
@session_options
@pass_session
@click.pass_context
def canary(ctx: click.Context, session: CliSession, /, *, types: tuple[str, ...], made_by: str | None,
           **options: Any) -> None:  # fmt: skip
    """Try a converter on documents that were converted before, and compare the results.

    A sample, spread over sizes, types and former failures, is converted once more by workers of that converter alone.
    Nothing else changes: not the jobs that they are compared with, nor their results, nor any statistics. The exit
    code says what came out. `blobforge work --comparisons-only` is a worker that does nothing else.

    \b
      blobforge canary --type pdf --made-by 'marker 1.4' --sample 200
      blobforge canary --type pdf --made-by 'marker 1.4' --worker-within 5m --timeout 2h --json
      blobforge canary show 7

    \b
    Exit codes:
      0  the same, within what is allowed    12  slower
      5  nothing could be compared           13  no worker of that converter
      10 some failed                         14  not ended in time
      11 some are different
    """
    if ctx.invoked_subcommand is not None:
        return
    if not types or made_by is None:
        missing = "--type" if not types else "--made-by"
        raise click.UsageError(f"Missing option '{missing}'.", ctx)
    within = options["worker_within"]
    begun = _begin(session, types, made_by, options)
    if begun.taken < begun.sample:
        session.note(f"{begun.sample} documents were asked for; {begun.taken} could be taken, and all of them are.")
    if not begun.workers:
        session.note(f"No worker of {begun.made_by} is online for {', '.join(types)}: the canary waits for one.")
    if not options["wait"]:
        _begun(session, begun)
        return
    session.note(f"Canary {begun.id} goes on without this command, too: blobforge canary show {begun.id}")
    _wait(session, begun, within=within, timeout=options["timeout"])
    found = session.run(lambda client: client.canary_report(begun.id))
    _show(session, found)
    _judge(found, options)


def _begin(session: CliSession, types: tuple[str, ...], made_by: str, options: dict[str, Any]) -> Canary:
    async def ask(client: AsyncClient) -> Canary:
        from blobforge.client import ApiError

        try:
            return await client.begin_canary(
                types=types,
                made_by=made_by,
                against=options["against"],
                sample=options["sample"],
                slower=options["slower"],
                priority=options["priority"],
                need_worker=options["worker_within"] == 0,
            )
        except ApiError as error:
            if error.type == _NO_WORKER:
                raise CliError(str(error), NO_WORKER) from None
            if error.type == "no-such-route":
                raise CliError("The server is of a release that knows no canaries.", common.CONFLICT) from None
            raise

    return session.run(ask)


def _begun(session: CliSession, begun: Canary) -> None:
    if session.json:
        output.print_json(begun)
        return
    click.echo(str(begun.id))
    session.note(f"Canary {begun.id} goes on by itself: blobforge canary show {begun.id}")


def _wait(session: CliSession, begun: Canary, *, within: float | None, timeout: float | None) -> None:
    """Until it has ended. Raises CliError where it is to be given up."""
    from blobforge.cli.progress import counted

    async def until_ended(client: AsyncClient) -> None:
        import trio

        began = alone_since = trio.current_time()
        told = 0
        with counted("comparing", "documents", begun.taken) as advance:
            while True:
                now = await client.get_canary(begun.id)
                advance(now.taken - now.left - told)
                told = now.taken - now.left
                if now.state != "running":
                    return
                time = trio.current_time()
                if now.workers or now.jobs.get("running"):
                    alone_since = time
                if within is not None and time - alone_since > within:
                    await client.cancel_canary(begun.id)
                    detail = f"No worker of {now.made_by} was online for {within:g} s; canary {now.id} is cancelled."
                    raise CliError(detail, NO_WORKER)
                if timeout is not None and time - began > timeout:
                    await client.cancel_canary(begun.id)
                    detail = f"{now.left} of {now.taken} documents were left; canary {now.id} is cancelled."
                    raise CliError(f"Not ended within {timeout:g} s: {detail}", TIME_OVER)
                await trio.sleep(LOOK_EACH)

    session.run(until_ended)


@canary.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, at most.")
@session_options
@pass_session
def list_canaries(session: CliSession, /, *, limit: int) -> None:
    """List the canaries, newest first. They are kept for a week."""

    async def gather(client: AsyncClient) -> list[Canary]:
        async def read(size: int, cursor: int | None) -> tuple[list[Canary], int | None]:
            page = await client.list_canaries(limit=size, cursor=cursor)
            return page.canaries, page.next_cursor

        return await gathered(read, limit=limit)

    print_list(
        session,
        session.run(gather),
        ("ID", "STATE", "MADE BY", "TYPES", "DONE", "BY", "BEGUN"),
        lambda each: (
            each.id, each.state, each.made_by, ", ".join(each.types), f"{each.taken - each.left}/{each.taken}",
            each.by, each.created_at,
        ),
    )  # fmt: skip


@canary.command("show")
@_ID
@click.option("--worst", type=click.IntRange(0, 200), default=20, show_default=True, help="How many to look at.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="List all of its comparisons that came to this.")
@judged
@session_options
@pass_session
def show_canary(session: CliSession, /, *, canary_id: int, worst: int, outcome: str | None, **allowed: Any) -> None:
    """Show what a canary has come to, and the worst comparisons to look at.

    JOB is the job of the canary, ORIGINAL the one whose result it is compared with: `blobforge jobs download` has the
    files of both. The exit code is as that of `blobforge canary`; while it goes on it is 0.
    """
    if outcome is not None:
        _list(session, session.run(lambda client: _all(client, canary_id, outcome)))
        return
    found = session.run(lambda client: client.canary_report(canary_id, worst=worst))
    _show(session, found)
    _judge(found, allowed)


async def _all(client: AsyncClient, canary_id: int, outcome: str) -> list[CanaryJob]:
    async def read(size: int, cursor: int | None) -> tuple[list[CanaryJob], int | None]:
        page = await client.canary_jobs(canary_id, outcome=outcome, limit=size, cursor=cursor)
        return page.jobs, page.next_cursor

    return await gathered(read)


@canary.command("cancel")
@_ID
@session_options
@pass_session
def cancel_canary(session: CliSession, canary_id: int) -> None:
    """Stop a canary: what runs of it ends at once. What it has come to stays."""
    cancelled = session.run(lambda client: client.cancel_canary(canary_id))
    if session.json:
        output.print_json(cancelled)
    else:
        click.echo(cancelled.state)


# ------------------------------------------------------------------ reports


def _show(session: CliSession, found: CanaryReport) -> None:
    if session.json:
        output.print_json(found)
        return
    if session.quiet:
        click.echo(found.verdict)
        return
    now = found.canary
    counts = ", ".join(f"{found.outcomes.get(each, 0)} {each}" for each in _OUTCOMES if found.outcomes.get(each))
    middle = f"{found.median:g} times as long (the median of {found.timed})" if found.median is not None else None
    output.print_fields(
        [
            ("canary", now.id),
            ("state", now.state),
            ("made by", now.made_by),
            ("against", now.against),
            ("types", ", ".join(now.types)),
            (
                "documents",
                f"{now.taken} of {now.sample} that were asked for" if now.taken < now.sample else now.taken,
            ),
            ("verdict", found.verdict),
            ("outcomes", counts or "none"),
            ("took", middle),
            ("slower", f"{found.slower} took {now.slower:g} times as long, or longer"),
            ("workers", f"{now.workers} of {now.made_by} online" if now.state == "running" else None),
            ("by", now.by),
            ("kept until", now.until),
        ]
    )
    if found.worst:
        click.echo()
        _list(session, found.worst)


def _list(session: CliSession, found: list[CanaryJob]) -> None:
    heads = ("OUTCOME", "JOB", "ORIGINAL", "BEFORE", "NOW", "BYTES", "NOTE")
    print_list(session, found, heads, _row, name=attrgetter("job_id"))


def _row(each: CanaryJob) -> tuple[object, ...]:
    return (
        each.outcome + (", slower" if each.slower else ""), each.job_id, each.original_id, _seconds(each.before),
        _seconds(each.now), each.source_size, each.error or each.source_path,
    )  # fmt: skip


def _seconds(value: float | None) -> str | None:
    return f"{value:.1f} s" if value is not None else None


def _judge(found: CanaryReport, allowed: dict[str, Any]) -> None:
    """End with the exit code for what came out."""
    code = exit_code(found, allowed)
    if code != common.OK:
        common.fail(code)


def exit_code(found: CanaryReport, allowed: dict[str, Any]) -> int:
    if found.verdict == "running":
        return common.OK
    count = {each: found.outcomes.get(each, 0) for each in _OUTCOMES}
    different = count["different"] + count["unproven"]
    total = count["failed"] + different + count["same"]
    if not total:
        return common.CONFLICT
    if 100 * count["failed"] > allowed["allow_failed"] * total:
        return FAILED
    if 100 * different > allowed["allow_different"] * total:
        return DIFFERENT
    return SLOWER if found.is_slower and not allowed["allow_slower"] else common.OK
