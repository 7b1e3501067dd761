"""`blobforge stats --times` and `--causes`: what the dashboard's charts show, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from blobforge.cli import output
from blobforge.cli.common import CliSession

if TYPE_CHECKING:
    from blobforge.client.types import Causes, Times

WINDOWS: Final = ("1h", "24h", "7d", "30d")


def show_times(session: CliSession, window: str, type_: str | None) -> None:
    found = session.run(lambda client: client.times(window=window, type=type_))
    if session.json:
        output.print_json(found)
        return
    if found.queued.total == found.ran.total == 0:
        click.echo(_nothing(found, "No attempt has ended"))
        return
    both = (found.queued.overall, found.ran.overall)
    output.print_table(
        ("", "IN THE QUEUE", "RUNNING"),
        [
            ("attempts", found.queued.total, found.ran.total),
            ("half of them up to", *(output.duration(each.p50) for each in both)),
            ("90 % up to", *(output.duration(each.p90) for each in both)),
            ("99 % up to", *(output.duration(each.p99) for each in both)),
        ],
    )


def show_causes(session: CliSession, window: str, type_: str | None) -> None:
    found = session.run(lambda client: client.causes(window=window, type=type_))
    if session.json:
        output.print_json(found)
        return
    if not found.total:
        click.echo(_nothing(found, "No attempt has failed"))
        return
    rows: list[tuple[object, ...]] = [(each.total, each.id, each.kind, each.place) for each in found.causes]
    if others := sum(n or 0 for n in found.others):
        rows.append((others, "", "others", ""))
    output.print_table(("ATTEMPTS", "CAUSE", "KIND", "PLACE"), rows)


def _nothing(found: Times | Causes, what: str) -> str:
    if found.kept_since is None:
        return f"{what} since such figures are kept."
    return f"{what} in this time. Such figures are kept since {output.plain(found.kept_since)}."
