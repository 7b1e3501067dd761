"""What the documentation has from the code: tables of modules, settings, endpoints and options.

`make docs` writes them between their marks (`<!-- name -->` and `<!-- /name -->`); tests/test_docs.py compares.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from bench.__main__ import BENCHES
from blobforge.cli import main as command_line
from blobforge.config import Settings, describe
from tests import generated_client
from web.app import routes

ROOT = Path(__file__).parent.parent
PACKAGES = ("blobforge", "actors", "web")
STATE = "State owned here: "


def table(header: str, rows: list[str]) -> str:
    columns = header.count("|") - 1
    return "\n".join([header, "|" + " --- |" * columns, *rows])


# ------------------------------------------------------------------ modules


def described(path: Path) -> tuple[str, str]:
    """The first sentence of a module's docstring, and the state that the docstring says it owns (or nothing)."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    what = text.split("\n\n")[0]
    return first_sentence(what), first_sentence(" ".join(text.split()).partition(STATE)[2])


def first_sentence(text: str) -> str:
    """Without its full stop, as a cell of a table."""
    first = re.split(r"(?<=[.?]) (?=[A-Z`])", " ".join(text.split()), maxsplit=1)[0]
    return first.removesuffix(".").replace("|", "\\|")


def rooms() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted(path.parent for path in (ROOT / package).rglob("__init__.py"))


def path_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")


def table_of_rooms() -> str:
    rows = [f"| `{path_of(room)}` | {described(room / '__init__.py')[0]} |" for room in rooms()]
    return table("| Room | What it is |", rows)


def tables_of_modules() -> str:
    sections = []
    for room in rooms():
        modules = [path for path in sorted(room.glob("*.py")) if path.name != "__init__.py"]
        told = [(path, *described(path)) for path in modules]
        if any(state for _, _, state in told):
            rows = [f"| `{path_of(path)}` | {what} | {state or '–'} |" for path, what, state in told]
            listed = table("| Module | What it is | State it owns |", rows)
        else:
            listed = table("| Module | What it is |", [f"| `{path_of(path)}` | {what} |" for path, what, _ in told])
        sections.append(
            f"## {path_of(room)}\n\n{described(room / '__init__.py')[0]}.\n" + (f"\n{listed}\n" if told else "")
        )
    return "\n".join(sections).rstrip()


def table_of_benches() -> str:
    rows = []
    for bench in BENCHES:
        what, _ = described(ROOT / "bench" / f"{bench}.py")
        rows.append(f"| `python -m bench.{bench}` | {what} |")
    return table("| Command | What it asks |", rows)


# ------------------------------------------------------------------ settings and endpoints


def table_of_settings(group: str) -> str:
    def shown(default: str) -> str:
        # A sentence stands as it is; a value is code.
        return "–" if not default else default if " " in default else f"`{default}`"

    return table(
        "| Variable | Default | Description |",
        [
            f"| `{variable.name}` | {shown(variable.default)} | {variable.description} |"
            for variable in describe(Settings())
            if variable.group == group
        ],
    )


def table_of_endpoints() -> str:
    def path(pattern: str) -> str:
        return re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", r"{\1}", pattern)

    return table(
        "| Endpoint | Who | What |",
        [
            f"| `{route.method} {path(route.path)}` | {route.access} | {route.summary} |"
            for route in routes()
            if not route.hidden
        ],
    )


# ------------------------------------------------------------------ commands


def commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command of ours, as it is typed."""
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join((*before, each))
            yield from commands(command, (*before, each))
        else:
            yield " ".join((*before, each))


def command_of(typed: str) -> click.Command:
    command: click.Command | None = command_line
    for word in typed.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


def options_of(typed: str) -> str:
    """Its arguments as they are typed, and a table of its options but those that all commands have."""
    command = command_of(typed)
    context = click.Context(command, info_name=typed)
    everywhere = {param.name for param in command_line.params} | {"help"}
    arguments = [param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)]
    rows = []
    for param in command.params:
        record = param.get_help_record(context)
        if isinstance(param, click.Option) and record is not None and param.name not in everywhere:
            option, told = (" ".join(text.split()).replace("|", "\\|") for text in record)
            rows.append(f"| `{option}` | {told} |")
    heading = f"### blobforge {' '.join((typed, *arguments))}".replace("[", "\\[")
    return f"{heading}\n\n{table('| Option | What it does |', rows) if rows else 'No options of its own.'}"


# ------------------------------------------------------------------ the pages


@cache
def sections() -> dict[tuple[Path, str], str]:
    """By page and mark: what stands there."""
    readme, docs = ROOT / "README.md", ROOT / "docs"
    groups = dict.fromkeys(variable.group for variable in describe(Settings()))
    return {
        **{(readme, f"config:{group}"): table_of_settings(group) for group in groups},
        (readme, "endpoints"): table_of_endpoints(),
        (docs / "cli.md", "options"): "\n\n".join(options_of(typed) for typed in commands(command_line)),
        (docs / "architecture.md", "rooms"): table_of_rooms(),
        (docs / "performance.md", "benches"): table_of_benches(),
        (docs / "modules.md", "modules"): tables_of_modules(),
    }


def between_marks(page: Path, mark: str) -> re.Match[str]:
    found = re.search(
        rf"(?<=<!-- {re.escape(mark)} -->\n).*?(?=\n<!-- /{re.escape(mark)} -->)", page.read_text(), re.DOTALL
    )
    assert found is not None, f"{page.name} has no marks for {mark}"
    return found


if __name__ == "__main__":
    generated_client.TARGET.write_text(generated_client.source())
    for (page, mark), text in sections().items():
        found = between_marks(page, mark)
        page.write_text(page.read_text()[: found.start()] + text + page.read_text()[found.end() :])
