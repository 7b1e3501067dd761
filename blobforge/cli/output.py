"""Data on stdout: a table for a person, tab-separated lines for a pipe, JSON when asked for.

What comes from documents and workers is a stranger's text: control characters never reach the terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_CONTROL_BUT_NEWLINE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
PROSE = frozenset({"SOURCE", "NOTE", "HELP"})
"""Headers of columns that give way where the terminal is too narrow for all: cut, or for HELP wrapped."""

STYLES = {
    "completed": "green",
    "online": "green",
    "running": "cyan",
    "failed": "yellow",
    "draining": "yellow",
    "dead": "red",
    "offline": "dim",
    "cancelled": "dim",
    "uploading": "dim",
}


def one_line(value: object) -> str:
    """A value as it may stand in a table or a line; None is empty."""
    return "" if value is None else _CONTROL.sub(" ", str(value)).strip()


def many_lines(text: str) -> str:
    """A log as it may be shown: newlines and tabs stay, escape sequences do not."""
    return _CONTROL_BUT_NEWLINE.sub("", text)


def json_text(value: object) -> str:
    """JSON, indented for a person and in one line for a pipe."""
    import msgspec

    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=2) if sys.stdout.isatty() else encoded).decode()


def print_json(value: object) -> None:
    click.echo(json_text(value))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headers. A datetime is shown as an age on a terminal and in RFC 3339 otherwise."""
    if not sys.stdout.isatty():
        for row in [headers, *rows]:
            click.echo("\t".join(_plain(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shown = [[age(cell) if isinstance(cell, datetime) else _plain(cell) for cell in row] for row in rows]
    for number, header in enumerate(headers):
        width = max(len(header), *(len(row[number]) for row in shown)) if shown else len(header)
        # On a narrow terminal prose gives way, an id never does.
        smallest = None if header in PROSE else width
        table.add_column(header, overflow="ellipsis", no_wrap=header != "HELP", min_width=smallest)
    for row in shown:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """One thing, a field a line; fields without a value are left out."""
    shown = [(name, value) for name, value in fields if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = f"{_plain(value)} ({age(value)})" if isinstance(value, datetime) else _plain(value)
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {_styled(text)}", color=_colour())


def _styled(text: str) -> str:
    colour = STYLES.get(text)
    return click.style(text, fg=colour) if colour and colour != "dim" else text


def _colour() -> bool | None:
    """NO_COLOR (no-color.org) turns colour off; otherwise click decides by the terminal."""
    import os

    return False if os.environ.get("NO_COLOR") else None


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)):
        import msgspec

        return one_line(msgspec.json.encode(value).decode())
    return one_line(value)


def age(then: datetime | None, now: datetime | None = None) -> str:
    """`3 min ago`, `in 20 s`."""
    if then is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    text = duration(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def duration(seconds: float | None) -> str:
    """Seconds in the largest unit that they are at least two of."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size_text(count: float | None) -> str:
    """Bytes in the unit that a person would use."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def path_text(path: str) -> str:
    """A path on a terminal by its last two parts, where the difference is; whole anywhere else."""
    parts = path.split("/")
    return "…/" + "/".join(parts[-2:]) if sys.stdout.isatty() and len(parts) > 3 else path


def progress_text(progress: Any) -> str:
    """`converting 40%` from what a worker reported."""
    if not isinstance(progress, dict):
        return ""
    percent, done, total = progress.get("percent"), progress.get("done"), progress.get("total")
    if isinstance(percent, (int, float)):
        amount = f"{percent:.0f}%"
    elif done is not None:
        amount = f"{done}/{total}" if total is not None else str(done)
    else:
        amount = ""
    parts = (progress.get("stage"), amount, progress.get("message"))
    return one_line(" ".join(str(part) for part in parts if part))
