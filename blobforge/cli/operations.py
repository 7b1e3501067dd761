"""`blobforge operations`: what is done to many jobs and goes on by itself."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.listing import gathered, print_list, print_one

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, Operation

LOOK_EACH = 1.0  # seconds between two looks at one that goes on
_ID = click.argument("operation_id", metavar="ID", type=click.IntRange(min=1))


@click.group(cls=CommandGroup)
def operations() -> None:
    """Follow bulk changes that go on by themselves (`--background`), cancel them, take them back."""


@operations.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, at most.")
@session_options
@pass_session
def list_operations(session: CliSession, /, *, limit: int) -> None:
    """List the operations, newest first."""

    async def gather(client: AsyncClient) -> list[Operation]:
        async def read(size: int, cursor: int | None) -> tuple[list[Operation], int | None]:
            page = await client.list_operations(limit=size, cursor=cursor)
            return page.operations, page.next_cursor

        return await gathered(read, limit=limit)

    print_list(
        session,
        session.run(gather),
        ("ID", "VERB", "STATE", "DONE", "CHANGED", "BY", "BEGUN"),
        lambda each: (
            each.id, each.verb, each.state, f"{each.done}/{each.total}", each.changed, each.by, each.created_at,
        ),
    )  # fmt: skip


@operations.command("show")
@_ID
@session_options
@pass_session
def show_operation(session: CliSession, operation_id: int) -> None:
    """Show how far an operation is, what it has come to, and whether it can be taken back."""
    show(session, session.run(lambda client: client.get_operation(operation_id)))


@operations.command("watch")
@_ID
@session_options
@pass_session
def watch_operation(session: CliSession, operation_id: int) -> None:
    """Wait until an operation has ended. The exit code is 0 where it was completed, and 1 where it was not."""
    watch(session, operation_id)


@operations.command("cancel")
@_ID
@session_options
@pass_session
def cancel_operation(session: CliSession, operation_id: int) -> None:
    """Stop an operation. What it has changed stays: `blobforge operations undo` takes it back."""
    show(session, session.run(lambda client: client.cancel_operation(operation_id)))


@operations.command("undo")
@_ID
@click.option("--wait", is_flag=True, help="Wait until all is taken back.")
@session_options
@pass_session
def undo_operation(session: CliSession, /, *, operation_id: int, wait: bool) -> None:
    """Take back what an operation has changed, within a day of its end. Jobs that have gone on since stay."""
    undoing = session.run(lambda client: client.undo_operation(operation_id))
    if wait:
        watch(session, undoing)
    else:
        begun(session, undoing)


def begun(session: CliSession, operation_id: int) -> None:
    """Say which operation goes on now."""
    if session.json:
        output.print_json({"operation": operation_id})
        return
    click.echo(str(operation_id))
    session.note(f"Operation {operation_id} goes on by itself: blobforge operations watch {operation_id}")


def show(session: CliSession, operation: Operation) -> None:
    print_one(session, operation, _fields, name=attrgetter("state"))


def _fields(operation: Operation) -> list[tuple[str, object]]:
    undo = operation.undo
    can_be_undone = f"until {output.plain(undo.until)}" if undo.possible and undo.until is not None else "no"
    if undo.undone_by is not None:
        can_be_undone = f"undone by operation {undo.undone_by}"
    return [
        ("id", operation.id),
        ("verb", operation.verb),
        ("state", operation.state),
        ("reason", operation.reason),
        ("takes back", operation.undo_of),
        ("asked for", _said(operation.asked)),
        ("by", operation.by),
        ("begun", operation.created_at),
        ("ended", operation.ended_at),
        ("matched", operation.matched),
        ("to change", operation.total),
        ("done", operation.done),
        ("changed", operation.changed),
        ("not changed, for they have moved on", operation.refused),
        ("undo", can_be_undone),
        ("note", undo.note),
    ]


def _said(asked: Any) -> Any:
    """What was asked for, without all that was left open."""
    if not isinstance(asked, dict):
        return asked
    return {name: _said(value) for name, value in asked.items() if value is not None}


def watch(session: CliSession, operation_id: int) -> None:
    """Until it has ended, then say what it came to. Raises CliError where it was not completed."""
    operation = ended(session, operation_id)
    show(session, operation)
    completed(operation)


def completed(operation: Operation) -> None:
    """Raises CliError where it was not."""
    if operation.state != "completed":
        raise CliError(operation.reason or f"Operation {operation.id} was {operation.state}.", common.CONFLICT)


def ended(session: CliSession, operation_id: int) -> Operation:
    """The operation when it has ended."""

    async def until_ended(client: AsyncClient) -> Operation:
        import trio

        told = ""
        while True:
            operation = await client.get_operation(operation_id)
            line = f"{operation.state}: {operation.done} of {operation.total}, {operation.changed} changed"
            if line != told and not session.json:
                session.note(line)
            told = line
            if operation.ended:
                return operation
            await trio.sleep(LOOK_EACH)

    return session.run(until_ended)
