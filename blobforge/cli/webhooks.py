"""`blobforge webhooks`: which systems are told of what happens, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.listing import print_list, print_one, print_status
from blobforge.cli.selection import moment

if TYPE_CHECKING:
    from blobforge.client import AsyncClient
    from blobforge.client.types import WebhookDelivery, WebhookInfo

EVENTS = (
    "job.completed", "job.dead", "job.cancelled", "batch.ended", "type.paused", "type.resumed", "worker.lost",
    "worker.quarantined", "backup.drill_failed",
)  # fmt: skip
STATES = ("waiting", "delivered", "failed")
FILTERS = ("types", "tags", "group", "batch")
TRIED_WITHIN = 30.0  # seconds: a call takes half of that at most
LOOK_EACH = 0.5
_ID = click.argument("webhook_id", metavar="ID", type=click.IntRange(min=1))


def _asked(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a webhook is told."""
    options = (
        click.option(
            "--event", "events", multiple=True, type=click.Choice(EVENTS), metavar="EVENT",
            help=f"What it is told of; may be repeated: {', '.join(EVENTS)}.",
        ),
        click.option("--type", "types", multiple=True, help="Only of jobs or workers of this type; may be repeated."),
        click.option("--tag", "tags", multiple=True, help="Only of jobs with this tag, or with one of these."),
        click.option("--group", help="Only of jobs of this group."),
        click.option("--batch", type=click.IntRange(min=1), help="Only of this batch."),
        click.option(
            "--results/--no-results", default=None,
            help="Whether it gets URLs to download what a completed job came to.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=CommandGroup)
def webhooks() -> None:
    """Have other systems be told of what happens, and look what became of it."""


@webhooks.command("list")
@session_options
@pass_session
def list_webhooks(session: CliSession) -> None:
    """List the webhooks, without their secrets."""
    print_list(
        session,
        session.run(lambda client: client.list_webhooks()),
        ("ID", "URL", "EVENTS", "STATE", "WAITING"),
        lambda each: (each.id, each.url, _told(each), _state(each), each.waiting),
    )


@webhooks.command("show")
@_ID
@session_options
@pass_session
def show_webhook(session: CliSession, webhook_id: int) -> None:
    """Show what a webhook is told, and how it answers."""
    print_one(session, session.run(lambda client: client.get_webhook(webhook_id)), _fields)


@webhooks.command("create")
@click.argument("url")
@_asked
@session_options
@pass_session
def create_webhook(
    session: CliSession, /, *, url: str, events: tuple[str, ...], results: bool | None, **filters: Any
) -> None:
    """Have a URL be told of events; prints the secret that they are signed with, this once.

    \b
      blobforge webhooks create https://example.com/hooks --event job.completed --event job.dead
      blobforge webhooks create https://example.com/scans --event job.completed --tag scans --results
    """
    if not events:
        raise click.UsageError(f"Say of what, with --event: {', '.join(EVENTS)}.")
    made = session.run(lambda client: client.create_webhook(url, events, results=bool(results), **filters))
    _secret(session, made)


@webhooks.command("change")
@_ID
@click.option("--url", help="Where it is told.")
@_asked
@click.option("--enable/--disable", "enabled", default=None, help="Whether it is told anything.")
@click.option("--unset", type=click.Choice(FILTERS), multiple=True, help="Take a filter away. Repeatable.")
@session_options
@pass_session
def change_webhook(session: CliSession, /, *, webhook_id: int, unset: tuple[str, ...], **given: Any) -> None:
    """Change what a webhook is told; what is not named stays as it is.

    A webhook that was disabled is told what has waited once it is enabled again.
    """
    said = {name: value for name, value in given.items() if value not in (None, ())}
    if not said and not unset:
        raise click.UsageError("Say what to change, or which filter to --unset.")
    if twice := [name for name in unset if name in said]:
        raise click.UsageError(f"The filter {twice[0]} is both set and unset.")
    changed = session.run(lambda client: client.change_webhook(webhook_id, unset=unset, **said))
    print_one(session, changed, _fields)


@webhooks.command("delete")
@_ID
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@session_options
@pass_session
def delete_webhook(session: CliSession, webhook_id: int, yes: bool) -> None:
    """Tell a URL nothing more, and forget what it was told. Asks first; without a terminal it needs --yes."""
    if not yes:
        found = session.run(lambda client: client.get_webhook(webhook_id))
        common.confirm(
            f"Delete webhook {webhook_id} ({found.url}), and forget what it was told?", yes=yes,
            hint="Give --yes to do it; `blobforge webhooks show` says what it is told.",
        )  # fmt: skip
    session.run(lambda client: client.delete_webhook(webhook_id))
    print_status(session, webhook_id, "deleted")


@webhooks.command("rotate")
@_ID
@click.option(
    "--overlap", type=common.duration, metavar="TIME",
    help="How long the former secret signs, too (1h, 7d); without it, a day.",
)  # fmt: skip
@session_options
@pass_session
def rotate_secret(session: CliSession, webhook_id: int, overlap: float | None) -> None:
    """Give a webhook another secret, and print it, this once. For a while both sign."""
    made = session.run(lambda client: client.rotate_webhook_secret(webhook_id, overlap=overlap))
    _secret(session, made)


@webhooks.command("test")
@_ID
@session_options
@pass_session
def test_webhook(session: CliSession, webhook_id: int) -> None:
    """Send a webhook something, and wait for what comes of the first try."""
    tried = session.run(lambda client: _tried(client, webhook_id))
    if session.json:
        output.print_json(tried)
    elif tried.state == "delivered":
        click.echo(str(tried.id) if session.quiet else f"{tried.id}\tdelivered\t{tried.status}")
    if tried.state != "delivered":
        why = tried.error or "it has not been tried yet"
        now = session.run(lambda client: client.get_webhook(webhook_id))
        hint = "It is tried again by itself." if now.enabled else f"The webhook is disabled: {now.disabled_why}."
        raise CliError(f"Webhook {webhook_id} has not taken it: {why}.", hint=hint)


@webhooks.command("deliveries")
@_ID
@click.option("--state", type=click.Choice(STATES), help="Only what waits, was delivered, or was given up (failed).")
@click.option(
    "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many, the latest ones."
)
@session_options
@pass_session
def list_deliveries(session: CliSession, webhook_id: int, state: str | None, limit: int) -> None:
    """List what a webhook was told, the newest first."""

    async def find(client: AsyncClient) -> list[WebhookDelivery]:
        found: list[WebhookDelivery] = []
        cursor: int | None = None
        while True:  # a page of a state may be empty, with more behind it
            page = await client.webhook_deliveries(webhook_id, state=state, limit=limit - len(found), cursor=cursor)
            found, cursor = [*found, *page.deliveries], page.next_cursor
            if cursor is None or len(found) >= limit:
                return found

    print_list(
        session,
        session.run(find),
        ("ID", "EVENT", "ABOUT", "AT", "STATE", "TRIES", "STATUS", "ERROR"),
        lambda each: (
            each.id, each.event, _about(each), each.at, each.state, each.tries, each.status, each.error,
        ),
    )  # fmt: skip


@webhooks.command("redeliver")
@_ID
@click.argument("deliveries", metavar="[DELIVERY]...", nargs=-1, type=click.IntRange(min=1))
@click.option("--since", metavar="TIME", callback=moment, help="What happened from then on, as 2026-11-23T10:00.")
@click.option("--until", metavar="TIME", callback=moment, help="And before that; without it, until now.")
@click.option("--all", "delivered_too", is_flag=True, help="With --since: also what was delivered.")
@session_options
@pass_session
def redeliver(
    session: CliSession,
    webhook_id: int,
    deliveries: tuple[int, ...],
    since: datetime | None,
    until: datetime | None,
    delivered_too: bool,
) -> None:
    """Send something once more, with the ids that it had: some deliveries, or what was given up since a time."""
    if bool(deliveries) == (since is not None):
        raise click.UsageError("Name deliveries, or say --since when.")
    if since is None and (until is not None or delivered_too):
        raise click.UsageError("--until and --all go with --since.")

    async def send(client: AsyncClient) -> int:
        for each in deliveries:
            await client.redeliver(webhook_id, each)
        if since is None:
            return len(deliveries)
        sent, cursor, end = 0, None, until or datetime.now(UTC)
        while True:
            page = await client.redeliver_range(webhook_id, since=since, until=end, all=delivered_too, cursor=cursor)
            sent, cursor = sent + page.redelivered, page.next_cursor
            if cursor is None:
                return sent

    sent = session.run(send)
    if session.json:
        output.print_json({"id": webhook_id, "redelivered": sent})
    else:
        click.echo(str(sent) if session.quiet else f"{sent} sent again")


async def _tried(client: AsyncClient, webhook_id: int) -> WebhookDelivery:
    """The test delivery after its first try."""
    import trio

    number = (await client.test_webhook(webhook_id)).delivery
    until = trio.current_time() + TRIED_WITHIN
    while True:
        page = await client.webhook_deliveries(webhook_id, limit=1, cursor=number + 1)
        (found,) = page.deliveries
        if found.tries or trio.current_time() > until:
            return found
        await trio.sleep(LOOK_EACH)


def _secret(session: CliSession, made: Any) -> None:
    if session.json:
        output.print_json(made)
        return
    session.note(f"Webhook {made.id}; its secret will not be shown again:")
    click.echo(made.secret)


def _fields(found: WebhookInfo) -> list[tuple[str, object]]:
    return [
        ("id", found.id),
        ("url", found.url),
        ("callbacks of batches to", found.callbacks_of),
        ("state", _state(found)),
        ("events", ", ".join(found.events) or None),
        ("types", ", ".join(found.types) or None),
        ("tags", ", ".join(found.tags) or None),
        ("group", found.group),
        ("batch", found.batch),
        ("results", "yes" if found.results else "no"),
        ("waiting", found.waiting),
        ("waiting since", found.waiting_since),
        ("former secret until", found.former_until),
        ("created at", found.created_at),
    ]


def _told(found: WebhookInfo) -> str:
    return "callbacks of batches" if found.callbacks_of else ", ".join(found.events)


def _state(found: WebhookInfo) -> str:
    if not found.enabled:
        return f"disabled: {found.disabled_why}"
    return "failing" if found.failing_since is not None else "enabled"


def _about(delivery: WebhookDelivery) -> str | None:
    for name in ("job_id", "batch", "worker_id", "type"):
        if (value := delivery.data.get(name)) is not None:
            return f"job {value}" if name == "job_id" else str(value)
    return None
