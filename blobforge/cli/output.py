"""Data on stdout: a table for a person, tab-separated lines for a pipe, JSON when asked for.

What comes from documents and workers is a stranger's text: control characters never reach the terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

# Whole escape sequences (ECMA-48: CSI; OSC and its kin up to their end; two bytes), so that no half of one stays.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# What moves the cursor, and what turns the direction of a line around (a name that reads as another one).
_UNSEEN = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_CONTROL = re.compile(rf"[\x00-\x1f{_UNSEEN}]+")
_CONTROL_BUT_NEWLINE = re.compile(rf"[\x00-\x08\x0b-\x1f{_UNSEEN}]+")
PROSE = frozenset({"SOURCE", "NOTE", "HELP"})
"""Headers of columns that give way where the terminal is too narrow for all: cut, or for HELP wrapped."""

_GAP = 2  # cells between two columns
_LEAST_PROSE = 6

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


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout is not None and sys.stdout.isatty()  # None where it is closed


def one_line(value: object) -> str:
    """A value as it may stand in a table or a line; None is empty."""
    return "" if value is None else _CONTROL.sub(" ", _ESCAPES.sub("", str(value))).strip()


def many_lines(text: str) -> str:
    """A log as it may be shown: newlines and tabs stay, escape sequences do not.

    A carriage return ends a line: programs write over their progress with it.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL_BUT_NEWLINE.sub("", text)


def json_text(value: object) -> str:
    """JSON, indented for a person and in one line for a pipe."""
    import msgspec

    encoded = msgspec.json.encode(_without_nulls(value))
    return (msgspec.json.format(encoded, indent=2) if is_terminal() else encoded).decode()


def json_line(value: object) -> str:
    """JSON in one line, also on a terminal: one of many."""
    import msgspec

    return msgspec.json.encode(_without_nulls(value)).decode()


def _without_nulls(value: object) -> object:
    """The fields that are not None, as in the API's answers."""
    if isinstance(value, dict):  # ours: those further down are what submitters and workers sent, and stay as they are
        return {name: _present(member) for name, member in value.items() if member is not None}
    return _present(value)


def _present(value: object) -> object:
    import msgspec

    match value:
        case msgspec.Struct():
            members = ((name, getattr(value, name)) for name in value.__struct_fields__)
            return {name: _present(member) for name, member in members if member is not None}
        case list() | tuple():
            return [_present(each) for each in value]
        case _:
            return value


def print_json(value: object) -> None:
    click.echo(json_text(value))


async def print_pieces(pieces: AsyncIterable[bytes]) -> None:
    """Bytes to stdout as they come: for files that are read elsewhere."""
    async for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headers. A datetime is shown as an age on a terminal and in RFC 3339 otherwise."""
    if not is_terminal():
        print_rows([headers, *rows])
        return
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    shown = [[age(cell) if isinstance(cell, datetime) else plain(cell) for cell in row] for row in rows]
    wanted = [max(map(cell_len, column)) for column in zip(headers, *shown, strict=True)]
    console = Console()
    widths = _widths(wanted, [header in PROSE for header in headers], console.width - _GAP * (len(headers) - 1))
    for header, width in zip(headers, widths, strict=True):
        table.add_column(header, overflow="ellipsis", no_wrap=header != "HELP", width=width)
    for row in shown:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    # Wider than the terminal, its lines go on in the next one; rich would leave out whole columns instead.
    console.width = max(console.width, sum(widths) + _GAP * len(headers))
    console.print(table, crop=False)


def _widths(wanted: Sequence[int], prose: Sequence[bool], room: int) -> list[int]:
    """How wide the columns are to be, of `room` cells: prose shares what the others leave, an id is never cut."""
    widths = list(wanted)
    left = room - sum(width for width, gives in zip(wanted, prose, strict=True) if not gives)
    giving = sorted((width, number) for number, width in enumerate(wanted) if prose[number])
    for place, (width, number) in enumerate(giving):  # the shortest first: what it does not need is the others'
        widths[number] = min(width, max(_LEAST_PROSE, left // (len(giving) - place)))
        left -= widths[number]
    return widths


def print_rows(rows: Sequence[Sequence[object]]) -> None:
    """Tab-separated lines."""
    for row in rows:
        click.echo("\t".join(plain(cell) for cell in row))


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """One thing, a field a line; fields without a value are left out."""
    shown = [(name, value) for name, value in fields if value not in (None, "", [], {})]
    if not is_terminal():
        print_rows(shown)
        return
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = f"{plain(value)} ({age(value)})" if isinstance(value, datetime) else plain(value)
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {_styled(text)}", color=_colour())


def _styled(text: str) -> str:
    colour = STYLES.get(text)
    return click.style(text, fg=colour) if colour and colour != "dim" else text


def _colour() -> bool | None:
    """NO_COLOR (no-color.org) turns colour off; otherwise click decides by the terminal."""
    import os

    return False if os.environ.get("NO_COLOR") else None


def coloured(text: str, colour: str | None) -> str:
    """Text in a colour, where there is colour."""
    return click.style(text, fg=colour) if colour and is_terminal() and _colour() is None else text


def bold(text: str) -> str:
    """A heading, where there is colour."""
    return click.style(text, bold=True) if is_terminal() and _colour() is None else text


def plain(value: object) -> str:
    """A value as programs get it: times in RFC 3339, structures as JSON."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)):
        import msgspec

        return one_line(msgspec.json.encode(value).decode())
    return one_line(value)


def age(then: datetime | None, now: datetime | None = None) -> str:
    """`3 minutes ago`, `20 seconds from now`."""
    if then is None:
        return ""
    import humanize

    return humanize.naturaltime((now or datetime.now(UTC)) - then)


def duration(seconds: float | None) -> str:
    """`3 minutes` for a number of seconds, `0.4 s` for a few."""
    if seconds is None:
        return ""
    import humanize

    return f"{seconds:.1f} s" if seconds < 2 else humanize.naturaldelta(seconds)


def span(low: float | None, high: float | None) -> str:
    """`3 minutes to 2 hours`, in seconds; said once where both read the same, and empty where it is not known."""
    least, most = duration(low), duration(high)
    return least if least == most else f"{least} to {most}"


def size_text(size: float | None) -> str:
    """Bytes in the unit that a person would use: `1.5 MiB`."""
    if size is None:
        return ""
    import humanize

    return humanize.naturalsize(size, binary=True)


def count(number: int, noun: str) -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def path_text(path: str) -> str:
    """A path on a terminal by its last two parts, where the difference is; whole anywhere else."""
    parts = path.split("/")
    return "…/" + "/".join(parts[-2:]) if is_terminal() and len(parts) > 3 else path


def progress_text(progress: Any) -> str:
    """`converting 40%` from what a worker reported."""
    if isinstance(progress, str):
        return one_line(progress)
    if isinstance(progress, int | float) and not isinstance(progress, bool):
        return f"{progress:.0f}%"
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
