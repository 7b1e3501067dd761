"""`blobforge workers`: look at workers, drain, quarantine and remove them, and manage their credentials."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output, suggest
from blobforge.cli.common import CliError, CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.counted import bulk_options, change_counted
from blobforge.cli.listing import print_status
from blobforge.cli.operations import begun
from blobforge.cli.selection import chosen, ids_or_filter
from blobforge.machines import IMAGE, Machine, NoMachine

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, BulkDone, LoadSeen, WorkerInfo, WorkerSecret

_GIB = 1 << 30
METHODS = {"shell": "once", "systemd": "systemd", "docker": "docker", "kubernetes": "kubernetes"}
PLACES = tuple(METHODS)
CONTAINERS = ("docker", "kubernetes")
STATUSES = ("online", "draining", "offline")
_WORKER_ID = click.argument("worker_id", metavar="ID", shell_complete=suggest.workers)


@click.group(cls=CommandGroup)
def workers() -> None:
    """Look at workers, drain, quarantine and remove them, manage their credentials."""


@workers.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only workers in this status.")
@click.option("--type", "type_", metavar="TYPE", shell_complete=suggest.types, help="Only workers of this type.")
@click.option("--search", "q", metavar="TEXT", help="Only workers whose id or name contains this.")
@click.option("--enabled/--disabled", default=None, help="Only workers that may work, or only those that may not.")
@session_options
@pass_session
def list_workers(session: CliSession, /, *, type_: str | None, **filters: Any) -> None:
    """List the workers that the server knows."""
    found = session.run(lambda client: client.list_workers(type=type_, **filters))
    if session.json:
        output.print_json(found)
    elif session.quiet:
        for worker in found:
            click.echo(worker.id)
    else:
        rows = [
            (
                worker.id,
                _state(worker),
                worker.type,
                worker.current_job_id,
                _busy(worker.load),
                worker.last_heartbeat,
            )
            for worker in found
        ]
        output.print_table(("ID", "STATUS", "TYPE", "JOB", "LOAD", "LAST HEARD"), rows)
        if not found and type_ is None and not chosen(filters):
            session.note("No worker has registered. `blobforge work --help` says how to start one.")


@workers.command("show")
@_WORKER_ID
@session_options
@pass_session
def show_worker(session: CliSession, worker_id: str) -> None:
    """Show one worker."""
    worker = session.run(lambda client: client.get_worker(worker_id))
    if session.json:
        output.print_json(worker)
        return
    output.print_fields(
        [
            ("id", worker.id),
            ("name", worker.name),
            ("type", worker.type),
            ("only for", worker.bound_type),
            ("status", worker.status),
            ("enabled", worker.enabled),
            ("quarantine", worker.evidence),
            ("since", worker.quarantined_at),
            ("by", worker.quarantined_by),
            ("next trial", worker.trial_at),
            ("job", worker.current_job_id),
            ("load", _busy(worker.load)),
            ("version", worker.version),
            ("labels", worker.labels),
            ("metadata", worker.metadata),
            ("last heard", worker.last_heartbeat),
            ("created", worker.created_at),
        ]
    )


@workers.command("attempts")
@_WORKER_ID
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many to show.")
@click.option("--cursor", metavar="CURSOR", help="Go on where another list ended.")
@session_options
@pass_session
def worker_attempts(session: CliSession, worker_id: str, limit: int, cursor: str | None) -> None:
    """What a worker has done: its attempts, whatever became of them, the newest first."""
    page = session.run(lambda client: client.worker_attempts(worker_id, limit=limit, cursor=cursor))
    found = page.attempts
    if session.json:
        output.print_json(found)
        return
    rows = [
        (each.job_id, each.attempt, each.outcome or "running", each.started_at, each.error or each.source_path)
        for each in found
    ]
    output.print_table(("JOB", "ATTEMPT", "OUTCOME", "STARTED", "WHAT"), rows)
    if page.next_cursor is not None:
        session.note(f"There are more: --cursor {page.next_cursor}")


@workers.command("drain")
@click.argument("worker_ids", metavar="[ID]...", nargs=-1, shell_complete=suggest.workers)
@click.option("--status", type=click.Choice(STATUSES), help="Only workers in this status.")
@click.option("--type", "type", metavar="TYPE", shell_complete=suggest.types, help="Only workers of this type.")
@click.option("--search", "q", metavar="TEXT", help="Only workers whose id or name contains this.")
@click.option("--end", is_flag=True, help="End their drain: they get jobs again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before many are changed.")
@click.option("--dry-run", is_flag=True, help="Say how many it would change, and change none.")
@session_options
@pass_session
def drain_workers(
    session: CliSession,
    /,
    *,
    worker_ids: tuple[str, ...],
    end: bool,
    yes: bool,
    dry_run: bool,
    **filters: str | None,
) -> None:
    """Let workers end what they have and give them nothing new.

    \b
      blobforge workers drain gpu-1
      blobforge workers drain --search rack7- --dry-run
      blobforge workers drain --search rack7- --end --yes
    """
    ids_or_filter(worker_ids, filters, noun="worker")
    if len(worker_ids) == 1 and not end and not dry_run:
        (worker_id,) = worker_ids
        _act(session, worker_id, lambda client: client.drain_worker(worker_id))
        return

    def ask_for(*, dry: bool) -> BulkDone:
        return session.run(
            lambda client: client.drain_workers(ids=worker_ids, drain=not end, dry_run=dry, **chosen(filters))
        )

    change_counted(
        session,
        ask_for,
        "End the drain of" if end else "Drain",
        noun="worker",
        by_id=bool(worker_ids),
        dry_run=dry_run,
        yes=yes,
        begin=None,
    )


@workers.command("quarantine")
@_WORKER_ID
@click.option("--reason", metavar="TEXT", help="Why, for others.")
@session_options
@pass_session
def quarantine_worker(session: CliSession, worker_id: str, reason: str | None) -> None:
    """Give a worker no jobs, and no trials either, until it is readmitted. What it runs, it may end.

    \b
      blobforge workers quarantine gpu-1 --reason 'its disk is full'
    """
    _act(session, worker_id, lambda client: client.quarantine_worker(worker_id, reason))


@workers.command("readmit")
@_WORKER_ID
@session_options
@pass_session
def readmit_worker(session: CliSession, worker_id: str) -> None:
    """End a worker's quarantine. What it has failed so far does not count any more."""
    _act(session, worker_id, lambda client: client.readmit_worker(worker_id))


@workers.command("remove")
@click.argument("worker_ids", metavar="[ID]...", nargs=-1, shell_complete=suggest.workers)
@click.option("--status", type=click.Choice(STATUSES), help="Only workers in this status [offline].")
@click.option("--type", "type", metavar="TYPE", shell_complete=suggest.types, help="Only workers of this type.")
@click.option("--search", "q", metavar="TEXT", help="Only workers whose id or name contains this.")
@click.option(
    "--older-than", type=common.duration, metavar="TIME", help="Only workers silent for so long (30d, 12h)."
)
@bulk_options
@session_options
@pass_session
def remove_workers(
    session: CliSession,
    /,
    *,
    worker_ids: tuple[str, ...],
    older_than: float | None,
    dry_run: bool,
    yes: bool,
    background: bool,
    **filters: str | None,
) -> None:
    """Forget workers; what they run goes back at once.

    By a filter, those that are offline, or in the status that is named, and none that is disabled.

    \b
      blobforge workers remove gpu-1
      blobforge workers remove --type pdf --older-than 30d --dry-run
      blobforge workers remove --search spot- --background
    """
    if older_than is not None:
        filters["silent_since"] = (datetime.now(UTC) - timedelta(seconds=older_than)).isoformat()
    ids_or_filter(worker_ids, filters, noun="worker")

    def begin() -> int:
        return session.run(lambda client: client.begin_removing_workers(ids=worker_ids, **chosen(filters)))

    if background and not dry_run:
        common.confirm("Remove all workers that this means, in the background?", yes=yes)
        begun(session, begin())
        return
    if len(worker_ids) == 1 and not dry_run:
        (worker_id,) = worker_ids
        _act(session, worker_id, lambda client: client.remove_worker(worker_id))
        return

    def ask_for(*, dry: bool) -> BulkDone:
        return session.run(lambda client: client.remove_workers(ids=worker_ids, dry_run=dry, **chosen(filters)))

    change_counted(
        session,
        ask_for,
        "Remove",
        noun="worker",
        by_id=bool(worker_ids),
        dry_run=dry_run,
        yes=yes,
        begin=begin,
    )


@workers.command("enable")
@_WORKER_ID
@session_options
@pass_session
def enable_worker(session: CliSession, worker_id: str) -> None:
    """Let a disabled worker work again."""
    _act(session, worker_id, lambda client: client.enable_worker(worker_id, True))


@workers.command("disable")
@_WORKER_ID
@session_options
@pass_session
def disable_worker(session: CliSession, worker_id: str) -> None:
    """Refuse a worker until it is enabled again."""
    _act(session, worker_id, lambda client: client.enable_worker(worker_id, False))


@workers.command("create")
@click.argument("worker_id", metavar="ID")
@click.option(
    "--type",
    "worker_type",
    required=True,
    metavar="TYPE",
    shell_complete=suggest.types,
    help="The only type of jobs that it may ask for.",
)
@click.option("--name", metavar="NAME", help="A name for people.")
@session_options
@pass_session
def create_worker(session: CliSession, worker_id: str, worker_type: str, name: str | None) -> None:
    """Make a worker credential and print its secret, this once.

    The worker then runs with: BLOBFORGE_WORKER_SECRET=... blobforge work --worker-id ID --type TYPE ...
    """
    _show_secret(session, session.run(lambda client: client.create_worker(worker_id, worker_type, name)))


@workers.command("add")
@click.option(
    "--type", "worker_type", required=True, metavar="TYPE", shell_complete=suggest.types, help="The type of its jobs."
)
@click.option("--exec", "command", required=True, metavar="COMMAND", help="The command that converts one document.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    callback=common.labelled,
    help="A label that it is to have; may be repeated.",
)
@click.option(
    "--on",
    "place",
    type=click.Choice(PLACES),
    default=PLACES[0],
    show_default=True,
    help="Where it is: a shell, a service of systemd, Docker, Kubernetes.",
)
@click.option("--image", metavar="IMAGE", default=IMAGE, show_default=True, help="What containers are made from.")
@click.option("--address", metavar="URL", help="The server's address from there [the one that is used here].")
@click.option("--name", metavar="NAME", help="The name of its token [machines for TYPE].")
@click.option("--no-token", is_flag=True, help="Make no token; a sign stands where it goes.")
@session_options
@pass_session
def add_machine(
    session: CliSession,
    /,
    *,
    worker_type: str,
    command: str,
    labels: tuple[str, ...],
    place: str,
    image: str,
    address: str | None,
    name: str | None,
    no_token: bool,
) -> None:
    """Print the commands that make another machine a worker, with a token made for it.

    \b
      blobforge workers add --type pdf --exec 'pdftotext -layout {source} {output}'
      blobforge workers add --type scan --exec 'ocr {source} {output}' --label gpu --on docker | ssh gpu-7 sh

    The token has the scope `work`, and is shown this once. Any number of machines may use the same.
    """
    try:
        machine = Machine((address or session.url).rstrip("/"), worker_type, command, labels, image)
    except NoMachine as error:
        raise CliError(str(error), common.USAGE) from None
    if not no_token:
        called = name or f"machines for {worker_type}"
        made = session.run(lambda client: client.create_token(called, scopes=["work"]))
        machine = replace(machine, token=made.token)
        session.note(f"Token {made.id}, {output.one_line(made.name)}, is in these commands, and not shown again.")
    if machine.is_local and place in CONTAINERS:
        session.note(f"No container reaches {machine.server}: give --address.")
    text = getattr(machine, METHODS[place])()
    if session.json:
        output.print_json({"server": machine.server, "token": machine.token, "commands": text})
    else:
        click.echo(text, nl=False)


@workers.command("rotate")
@_WORKER_ID
@session_options
@pass_session
def rotate_worker(session: CliSession, worker_id: str) -> None:
    """Give a worker a new secret and print it, this once; the old one is void."""
    _show_secret(session, session.run(lambda client: client.rotate_worker(worker_id)))


def _state(worker: WorkerInfo) -> str:
    if not worker.enabled:
        return "disabled"
    return f"{worker.status}, quarantined" if worker.quarantined else worker.status


def _busy(load: LoadSeen | None) -> str | None:
    """`cpu 42 %, memory 3.0 of 8.0 GiB, gpu 97 %`; of several GPUs, each."""
    if load is None:
        return None
    parts = [f"cpu {load.cpu:.0%}"] if load.cpu is not None else []
    if load.memory is not None and load.memory_total is not None:
        parts.append(f"memory {load.memory / _GIB:.1f} of {load.memory_total / _GIB:.1f} GiB")
    parts += [f"gpu {gpu.utilization:.0%}" for gpu in load.gpus if gpu.utilization is not None]
    return ", ".join(parts).replace("%", " %") or None


def _act(session: CliSession, worker_id: str, act: Callable[[AsyncClient], Awaitable[Any]]) -> None:
    print_status(session, worker_id, session.run(act).status)


def _show_secret(session: CliSession, made: WorkerSecret) -> None:
    if session.json:
        output.print_json(made)
        return
    session.note(f"The secret of worker {made.id}; it will not be shown again:")
    click.echo(made.secret)
