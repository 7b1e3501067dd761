"""`blobforge types`: look at types of jobs, set something for one, pause and resume it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output, suggest
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.listing import print_list, print_status
from blobforge.cli.steps import in_words, said_steps

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, TypeInfo

_TYPE = click.argument("type_", metavar="TYPE", shell_complete=suggest.types)
SETTINGS = (
    "max-attempts", "retry-backoff", "max-running", "rate", "worker-timeout", "weights", "breaker", "own-fault",
    "quarantine", "urgent-after", "then",
)  # fmt: skip


class _Rate(click.ParamType):  # type: ignore[type-arg]  # generic only in its stubs
    """`100/1m` as (100, 60.0)."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        if isinstance(value, tuple):
            return value
        count, slash, time = str(value).partition("/")
        if not slash or not count.isascii() or not count.isdigit():
            self.fail(f"{value!r} is no rate: a number, a slash and a time, as 100/1m.", param, ctx)
        return int(count), common.duration(time)


_rate = _Rate()


def _weights(ctx: click.Context, param: click.Parameter, said: tuple[str, ...]) -> dict[str, int] | None:
    """`acme=4`; `=4` is for jobs without a group."""
    from blobforge.fairness import MOST_WEIGHT

    found: dict[str, int] = {}
    for each in said:
        group, is_weight, weight = each.rpartition("=")
        if not is_weight or not weight.isascii() or not weight.isdigit():
            raise click.BadParameter(f"{each!r} is no weight: a group, an equals sign and a number, as acme=4.")
        if len(weight) > len(str(MOST_WEIGHT)) or not 1 <= int(weight) <= MOST_WEIGHT:
            raise click.BadParameter(f"{each!r} is no weight: the number is from 1 to {MOST_WEIGHT:,}.")
        found[group] = int(weight)
    return found or None


@click.group(cls=CommandGroup)
def types() -> None:
    """Look at types of jobs, set something for one, pause and resume it."""


@types.command("list")
@session_options
@pass_session
def list_types(session: CliSession) -> None:
    """List the types of which there are jobs, or for which something is set."""
    print_list(
        session,
        session.run(_all),
        ("TYPE", "STATE", "PENDING", "RUNNING", "REASON"),
        lambda each: (each.type, _state(each), each.jobs.get("pending", 0), _running(each), each.reason),
        name=attrgetter("type"),
    )


@types.command("show")
@_TYPE
@session_options
@pass_session
def show_type(session: CliSession, type_: str) -> None:
    """Show what holds for a type, and how many jobs it has."""
    _show(session, session.run(lambda client: client.get_type(type_)))


@types.command("set")
@_TYPE
@click.option(
    "--max-attempts", type=click.IntRange(1, 1000), help="Tries of jobs that are submitted without their own number."
)
@click.option("--retry-backoff", type=common.duration, metavar="TIME", help="Wait before the second try (30s, 5m).")
@click.option("--max-running", type=click.IntRange(0), help="How many of its jobs may run at once, on all workers.")
@click.option("--rate", type=_rate, metavar="N/TIME", help="How many may be started in how long (100/1m, 5/1s).")
@click.option(
    "--worker-timeout", type=common.duration, metavar="TIME", help="How long a lease lasts without a heartbeat (20h)."
)
@click.option(
    "--weight", "weights", multiple=True, metavar="GROUP=N", callback=_weights,
    help="How many workers a group may hold where others hold 1; =N: jobs without a group. Repeatable.",
)  # fmt: skip
@click.option(
    "--breaker", type=click.IntRange(0, 100), metavar="N",
    help="So many failures in a row of one cause, on most workers, pause it; 0: none do.",
)  # fmt: skip
@click.option(
    "--own-fault/--no-own-fault", default=None,
    help="A document that two sound workers have failed the same way is dead at once.",
)  # fmt: skip
@click.option(
    "--quarantine/--no-quarantine", default=None, help="Whether machines are quarantined for what they fail of it."
)
@click.option(
    "--urgent-after",
    type=common.duration,
    metavar="TIME",
    help="A job that has been ready for so long is urgent (2h).",
)
@click.option(
    "--then", multiple=True, metavar="TYPE[=PATTERN]", callback=said_steps,
    help="What follows its jobs, where a submission says nothing of it, as for blobforge submit.",
)  # fmt: skip
@click.option("--no-then", is_flag=True, help="Nothing follows its jobs: as --unset then.")
@click.option(
    "--unset", type=click.Choice(SETTINGS), multiple=True, help="As the server's settings say again. Repeatable."
)
@session_options
@pass_session
def set_type(session: CliSession, /, *, type_: str, unset: tuple[str, ...], no_then: bool, **given: Any) -> None:
    """Set something for a type of jobs; what is not named stays as it is.

    \b
      blobforge types set pdf --max-attempts 5 --retry-backoff 2m
      blobforge types set gpu-ocr --max-running 4 --rate 100/1m
      blobforge types set film --worker-timeout 20h
      blobforge types set pdf --weight acme=4 --weight trial=1
      blobforge types set pdf --breaker 10 --own-fault
      blobforge types set pdf --urgent-after 2h
      blobforge types set scan --then 'ocr=*.png' --then summary
      blobforge types set pdf --unset max-attempts
    """
    unset = (*unset, "then") if no_then and "then" not in unset else unset
    if not unset and all(value is None for value in given.values()):
        raise click.UsageError("Say what to set, or what to --unset.")
    removed = [name.replace("-", "_") for name in unset]
    if twice := [name for name in removed if given[name] is not None]:
        raise click.UsageError(f"{twice[0].replace('_', '-')}: both set and unset.")
    _show(session, session.run(lambda client: client.change_type(type_, unset=removed, **given)))


@types.command("pause")
@_TYPE
@click.option("--reason", metavar="TEXT", help="Why, for others.")
@session_options
@pass_session
def pause_type(session: CliSession, type_: str, reason: str | None) -> None:
    """Give out no job of a type until it is resumed. What runs goes on, and jobs may be submitted.

    \b
      blobforge types pause pdf --reason 'release 2.1 loses tables'
    """
    session.run(lambda client: client.pause_type(type_, reason))
    print_status(session, type_, "paused", key="type")


@types.command("resume")
@_TYPE
@session_options
@pass_session
def resume_type(session: CliSession, type_: str) -> None:
    """Give out the jobs of a type again."""
    session.run(lambda client: client.resume_type(type_))
    print_status(session, type_, "resumed", key="type")


async def _all(client: AsyncClient) -> list[TypeInfo]:
    page = await client.list_types()
    found = page.types
    while page.next_cursor is not None:
        page = await client.list_types(cursor=page.next_cursor)
        found += page.types
    return found


def _state(each: TypeInfo) -> str:
    return "paused" if each.paused else "open"


def _show(session: CliSession, found: TypeInfo) -> None:
    if session.json:
        output.print_json(found)
        return
    output.print_fields(
        [
            ("type", found.type),
            ("state", _state(found)),
            ("reason", found.reason),
            ("paused by", found.paused_by),
            ("paused at", found.paused_at),
            ("next let through", found.probe_at),
            ("max attempts", _held(found.in_force.max_attempts, own=found.max_attempts is not None)),
            ("retry backoff", _held(f"{found.in_force.retry_backoff:g} s", own=found.retry_backoff is not None)),
            ("worker timeout", _timeout(found)),
            ("max running", found.max_running),
            ("urgent after", f"{found.urgent_after:g} s" if found.urgent_after is not None else None),
            ("breaker", _breaker(found)),
            ("own fault", _switch(found.in_force.own_fault, own=found.own_fault is not None)),
            ("quarantine", _switch(found.in_force.quarantine, own=found.quarantine is not None)),
            (
                "weights",
                ", ".join(f"{_group(group)}={n}" for group, n in sorted((found.weights or {}).items())) or None,
            ),
            ("then", in_words(found.then) if found.then else None),
            ("rate", f"{found.rate.count} in {found.rate.seconds:g} s" if found.rate is not None else None),
            *((status, n) for status, n in sorted(found.jobs.items())),
        ]
    )


def _breaker(found: TypeInfo) -> str | None:
    most = found.in_force.breaker
    if most is None:
        return None
    return _held(f"after {most} failures in a row" if most else "off", own=found.breaker is not None)


def _switch(on: bool | None, *, own: bool) -> str | None:
    return _held("on" if on else "off", own=own) if on is not None else None


def _group(name: str) -> str:
    return name or "(no group)"


def _timeout(found: TypeInfo) -> str | None:
    timeout = found.in_force.worker_timeout
    return _held(f"{timeout:g} s", own=found.worker_timeout is not None) if timeout is not None else None


def _running(each: TypeInfo) -> str:
    running = each.jobs.get("running", 0)
    return f"{running}" if each.max_running is None else f"{running} of {each.max_running}"


def _held(value: object, *, own: bool) -> str:
    return f"{value}" if own else f"{value} (as for all types)"
