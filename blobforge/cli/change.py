"""`blobforge jobs retry|cancel|priority|retype|tag|delete`: what changes jobs.

By ids one by one; by a filter in one request, which is counted and asked about first, or as an operation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output, suggest
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.counted import bulk_options, change_counted
from blobforge.cli.operations import begun
from blobforge.cli.selection import Filters, bulk_filters, chosen, ids_or_filter, some_ids

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, BulkDone, Cancelled, StatusAnswer


@dataclass(frozen=True)
class Change:
    """One verb: in the API, in a question, and done to one job. `options` go with it to the API.

    `one` is None for what is done to named jobs, too, in one request that is asked about.
    """

    verb: str
    question: str
    one: Callable[[AsyncClient, int], Awaitable[Any]] | None
    options: dict[str, Any]


@click.command("retry")
@some_ids
@bulk_filters
@click.option("--reset-attempts", is_flag=True, help="Give the jobs all their tries again.")
@click.option("--priority", type=click.IntRange(1, 5), help="Change their priority, too.")
@click.option(
    "--compare", is_flag=True, help="Keep what they have now for a while beside the next result: see `results diff`."
)
@bulk_options
@session_options
@pass_session
def retry_jobs(
    session: CliSession,
    /,
    *,
    job_ids: tuple[int, ...],
    reset_attempts: bool,
    priority: int | None,
    compare: bool,
    dry_run: bool,
    yes: bool,
    background: bool,
    **filters: Any,
) -> None:
    """Put failed, dead, cancelled or completed jobs back in the queue.

    \b
      blobforge jobs retry 17 18
      blobforge jobs retry --status dead --type pdf --dry-run
      blobforge jobs retry --made-by 'marker<1.3' --type pdf --dry-run
      blobforge jobs retry --made-by 'marker<1.3' --type pdf --compare
    """
    change = Change(
        "retry",
        "Retry",
        lambda client, job_id: client.retry_job(
            job_id, reset_attempts=reset_attempts, priority=priority, compare=compare
        ),
        {"reset_attempts": reset_attempts or None, "priority": priority, "compare": compare or None},
    )
    _change(session, change, job_ids, filters, Manner(dry_run, yes, background))


@click.command("cancel")
@some_ids
@bulk_filters
@click.option("--reason", metavar="TEXT", help="Why, for people: the jobs show it.")
@click.option(
    "--children/--no-children",
    default=None,
    help="With all that came of them by their chains, or without. Asked on a terminal.",
)
@bulk_options
@session_options
@pass_session
def cancel_jobs(
    session: CliSession,
    /,
    *,
    job_ids: tuple[int, ...],
    reason: str | None,
    children: bool | None,
    dry_run: bool,
    yes: bool,
    background: bool,
    **filters: Any,
) -> None:
    """Cancel jobs at once, running ones too.

    With --children, a job may have ended itself: what came of it, and of that in turn, is cancelled. By a filter, or
    with --background, that is an operation.

    \b
      blobforge jobs cancel 17
      blobforge jobs cancel 17 --children
      blobforge jobs cancel --tag scan-2026 --status pending --reason 'scanned again'
      blobforge jobs cancel --type split --created-since 2026-11-30 --children
    """
    ids_or_filter(job_ids, filters)
    one_by_one = bool(job_ids) and not background
    if children and dry_run and one_by_one:
        for job_id in job_ids:
            _say_below(session, job_id, _below(session, job_id))
        return
    asks = children is None and not (yes or dry_run or background)
    with_children = set()
    if one_by_one:
        with_children = {job_id for job_id in job_ids if children or (asks and _asked(session, job_id))}
    elif asks:
        children = _asked_of_many(session, filters)
    said: dict[str, Any] = {"reason": reason} if reason else {}
    said |= {"children": True} if children and not one_by_one else {}
    change = Change(
        "cancel",
        "Cancel",
        lambda client, job_id: client.cancel_job(job_id, reason=reason, children=job_id in with_children),
        said,
    )
    _change(session, change, job_ids, filters, Manner(dry_run, yes, background))


def _below(session: CliSession, job_id: int) -> Cancelled:
    """What would be cancelled with the job of what came of it."""
    return session.run(lambda client: client.cancel_job(job_id, children=True, dry_run=True))


def _say_below(session: CliSession, job_id: int, found: Cancelled) -> None:
    if session.json:
        said = {"job_id": job_id, "status": found.status, "children": found.children or 0, "more": found.more}
        click.echo(output.json_line(said))
    else:
        click.echo(f"{job_id}\t{found.status}\t{_count(found)} that came of it")


def _count(found: Cancelled) -> str:
    return f"{'at least ' if found.more else ''}{output.count(found.children or 0, 'job')}"


def _asked(session: CliSession, job_id: int) -> bool:
    """Whether what came of the job is cancelled, too: asked where there is something, and a terminal to ask on."""
    if session.json or session.quiet or not common.can_ask():
        return False
    found = _below(session, job_id)
    if not found.children and not found.more:
        return False
    question = f"Of job {job_id} have come {_count(found)} that have not ended. Cancel these, too?"
    return click.confirm(question, err=True)


def _asked_of_many(session: CliSession, filters: Filters) -> bool:
    """The same, of all that a filter has."""
    if session.json or session.quiet or not common.can_ask():
        return False
    found = session.run(lambda client: client.change_many("cancel", dry_run=True, filters=chosen(filters)))
    if not found.children:
        return False
    least = "at least " if found.more else ""
    jobs = f"{least}{output.count(found.children, 'job')}"
    question = f"Of {least}{found.parents or 0:,} of these have come {jobs} that have not ended. Cancel these, too?"
    return click.confirm(question, err=True)


@click.command("priority")
@some_ids
@click.argument("priority", type=click.IntRange(1, 5))
@bulk_filters
@bulk_options
@session_options
@pass_session
def set_priority(
    session: CliSession,
    /,
    *,
    job_ids: tuple[int, ...],
    priority: int,
    dry_run: bool,
    yes: bool,
    background: bool,
    **filters: Any,
) -> None:
    """Change the priority of jobs: 1 (critical) to 5 (background). The last argument is the priority.

    \b
      blobforge jobs priority 17 18 1
      blobforge jobs priority 5 --type epub --status pending
    """
    change = Change(
        "priority",
        f"Give priority {priority} to",
        lambda client, job_id: client.set_priority(job_id, priority),
        {"priority": priority},
    )
    _change(session, change, job_ids, filters, Manner(dry_run, yes, background))


@click.command("retype")
@some_ids
@click.argument("to", metavar="TYPE", shell_complete=suggest.types)
@bulk_filters
@bulk_options
@session_options
@pass_session
def retype_jobs(
    session: CliSession,
    /,
    *,
    job_ids: tuple[int, ...],
    to: str,
    dry_run: bool,
    yes: bool,
    background: bool,
    **filters: Any,
) -> None:
    """Give jobs that wait another type. The last argument is the type that they get.

    Jobs that wait for their source, for a worker or for their next try keep their tries, priority and tags. One that
    runs or has ended stays as it is, and so does one whose source has a job of that type already.

    \b
      blobforge jobs retype 17 18 ocr
      blobforge jobs retype ocr --type pdf --tag scans --dry-run
    """
    if to.isdigit() and job_ids:
        common.confirm(f"Is {to} the type that they get, and no job?", yes=yes)
    change = Change(
        "retype",
        f"Give the type {output.one_line(to)} to",
        lambda client, job_id: client.retype_job(job_id, to),
        {"to": to},
    )
    _change(session, change, job_ids, filters, Manner(dry_run, yes, background))


@click.command("require")
@some_ids
@bulk_filters
@click.option(
    "--requires",
    "requires",
    multiple=True,
    metavar="LABEL",
    callback=common.required,
    help="What their workers' labels must hold, as gpu, zone=eu or 'memory_gib>=32'; may be repeated.",
)
@click.option("--nothing", is_flag=True, help="Any worker may have them.")
@bulk_options
@session_options
@pass_session
def set_requirements(
    session: CliSession, /, *, job_ids: tuple[int, ...], requires: tuple[str, ...], nothing: bool, **more: Any
) -> None:
    """Change what jobs require of their workers: all of it. It counts from the next claim on.

    \b
      blobforge jobs require 17 18 --requires gpu --requires 'memory_gib>=32'
      blobforge jobs require --type pdf --status pending --nothing
    """
    if bool(requires) == nothing:
        raise click.UsageError("Say what they are to require (--requires gpu), or --nothing.")
    wanted = list(requires)
    change = Change(
        "requires",
        f"Have {', '.join(wanted) or 'nothing'} required by",
        lambda client, job_id: client.set_requirements(job_id, wanted),
        {"requires": wanted},
    )
    _change(session, change, job_ids, *_parted(more))


@click.command("delete")
@some_ids
@bulk_filters
@click.option("--keep-objects", is_flag=True, help="Leave their sources and outputs in the object store.")
@bulk_options
@session_options
@pass_session
def delete_jobs(
    session: CliSession,
    /,
    *,
    job_ids: tuple[int, ...],
    keep_objects: bool,
    dry_run: bool,
    yes: bool,
    background: bool,
    **filters: Any,
) -> None:
    """Delete jobs that do not run, for good, with their outputs and sources that no other job has.

    \b
      blobforge jobs delete 17
      blobforge jobs delete --status cancelled --dry-run
    """
    change = Change("delete", "Delete for good:", None, {"objects": not keep_objects})
    _change(session, change, job_ids, filters, Manner(dry_run, yes, background))


@click.group("tag", cls=CommandGroup)
def tag_jobs() -> None:
    """Add a tag to jobs, or remove one."""


@tag_jobs.command("add")
@click.argument("name", metavar="TAG")
@some_ids
@bulk_filters
@bulk_options
@session_options
@pass_session
def add_tag(session: CliSession, /, *, name: str, job_ids: tuple[int, ...], **more: Any) -> None:
    """Add a tag to jobs.

    \b
      blobforge jobs tag add scan-2026 17 18
      blobforge jobs tag add checked --tag scan-2026 --background
    """
    change = Change(
        "tags", f"Tag with {name}", lambda client, job_id: client.change_tags(job_id, add=[name]), {"add": [name]}
    )
    _change(session, change, job_ids, *_parted(more))


@tag_jobs.command("remove")
@click.argument("name", metavar="TAG")
@some_ids
@bulk_filters
@bulk_options
@session_options
@pass_session
def remove_tag(session: CliSession, /, *, name: str, job_ids: tuple[int, ...], **more: Any) -> None:
    """Remove a tag from jobs.

    \b
      blobforge jobs tag remove scan-2026 17 18
      blobforge jobs tag remove checked --type epub
    """
    change = Change(
        "tags",
        f"Remove the tag {name} from",
        lambda client, job_id: client.change_tags(job_id, remove=[name]),
        {"remove": [name]},
    )
    _change(session, change, job_ids, *_parted(more))


@dataclass(frozen=True)
class Manner:
    dry_run: bool
    yes: bool
    background: bool


def _parted(given: dict[str, Any]) -> tuple[Filters, Manner]:
    """The filters, and how it is to be done."""
    manner = Manner(given.pop("dry_run"), given.pop("yes"), given.pop("background"))
    return given, manner


def _change(session: CliSession, change: Change, job_ids: tuple[int, ...], filters: Filters, manner: Manner) -> None:
    ids_or_filter(job_ids, filters)
    if manner.background and not manner.dry_run:
        _begin(session, change, job_ids, filters, yes=manner.yes)
        return
    if job_ids and not manner.dry_run and change.one is not None:
        _each(session, job_ids, change.one)
        return

    def ask_for(*, dry: bool) -> BulkDone:
        return session.run(
            lambda client: client.change_many(
                change.verb, ids=job_ids, dry_run=dry, filters=chosen(filters), **change.options
            )
        )

    among = _among(session, chosen(filters)) if manner.dry_run and filters.get("made_by") else None
    change_counted(
        session,
        ask_for,
        change.question,
        noun="job",
        by_id=bool(job_ids),
        dry_run=manner.dry_run,
        yes=manner.yes,
        begin=lambda: _begun(session, change, job_ids, filters),
        among=among,
        families=bool(change.options.get("children")),
    )


def _among(session: CliSession, filters: Filters) -> int:
    """How many jobs there are of which some have a result of these converters."""
    others = {name: value for name, value in filters.items() if name != "made_by"}
    others |= {"priority": others.pop("only_priority")} if "only_priority" in others else {}
    return session.run(lambda client: client.list_jobs(**others, limit=1)).total


def _begin(session: CliSession, change: Change, job_ids: tuple[int, ...], filters: Filters, *, yes: bool) -> None:
    """As an operation: it is not counted first, for that takes as long as there are jobs."""
    common.confirm(f"{change.question} all jobs that this means, in the background?", yes=yes)
    begun(session, _begun(session, change, job_ids, filters))


def _begun(session: CliSession, change: Change, job_ids: tuple[int, ...], filters: Filters) -> int:
    return session.run(
        lambda client: client.begin_operation(change.verb, ids=job_ids, filters=chosen(filters), **change.options)
    )


def _each(session: CliSession, job_ids: Sequence[int], act: Callable[[AsyncClient, int], Awaitable[Any]]) -> None:
    """Act on every job; one that refuses does not keep the others from it. The first refusal's code is ours."""

    async def all_of_them(client: AsyncClient) -> int:
        from blobforge.client import ApiError

        code = common.OK
        for job_id in job_ids:
            try:
                done = await act(client, job_id)
            except ApiError as error:
                cli_error = common.as_cli_error(error)
                if cli_error is None or cli_error.exit_code == common.UNAUTHORISED:
                    raise
                code = code or cli_error.exit_code
                click.echo(f"job {job_id}: {cli_error.message}", err=True)
                if session.json:
                    click.echo(output.json_line({"job_id": job_id, "error": cli_error.message}))
                continue
            if session.json:
                click.echo(output.json_line({"job_id": job_id, "status": done.status} | _with_children(done)))
            elif session.quiet:
                click.echo(str(job_id))
            else:
                click.echo(f"{job_id}\t{done.status}{_children_in_words(**_with_children(done))}")
        return code

    code = session.run(all_of_them)
    if code:
        common.fail(code)


def _with_children(done: StatusAnswer) -> dict[str, int]:
    """What has become of what came of a job, where that was cancelled, too."""
    said = {name: getattr(done, name, None) for name in ("children", "operation")}
    return {name: value for name, value in said.items() if value is not None}


def _children_in_words(children: int | None = None, operation: int | None = None) -> str:
    if children is None:
        return ""
    goes_on = f"; operation {operation} goes on with the others" if operation is not None else ""
    return f"\t{output.count(children, 'job')} that came of it cancelled{goes_on}"
