"""The language of the product: docstrings and comments name their subject, and the name of a type has one meaning."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from blobforge.client import types as at_the_client

ROOT = Path(__file__).parent.parent
PRODUCT = [path for room in ("blobforge", "actors", "web") for path in sorted((ROOT / room).rglob("*.py"))]

# A sentence that leans on one of these hides its subject: the caller, a worker, a subscriber, the operator.
LEANING = re.compile(r"\b(whoever|whomever|who|whom|(no|some|any|every)(body|one))\b", re.IGNORECASE)
# `See Peer.` alone, or in front of what is to be said.
POINTING = re.compile(r"See `?[A-Z][\w.]*`?([.:,;]|$)")

MODULE = re.compile(r"(?<![\w/.-])\w[\w/]*\.py\b")

CLIENT, WIRE = "blobforge/client/types.py", re.compile(r"web/api/(wire_\w+)\.py")
CONTRACT, SHARED = "blobforge/store", "blobforge/store/sql"
ENGINES = {"blobforge/store/sqlite", "blobforge/store/postgres"}
# One meaning, two types: why the name stands twice.
TWICE = {
    "Attempt": "the domain's record; the client's, as JSON has it",
    "AuditEntry": "the domain's record; the client's, as JSON has it",
    "Canary": "the domain's record; the client's, as JSON has it",
    "Drill": "the store's record; the client's, as JSON has it",
    "Job": "the domain's record; the client's, as JSON has it; a handler's, by a name that users import",
    "JobFailed": "the event that an attempt failed; a handler's exception that fails it, by a name that users import",
    "Command": "the writer's messages; a handler's, by a name that users import",
    "Decorated": "a command of the command line, of any signature",
    "ReleaseCause": "the domain's; the client's, as JSON has it",
    "Operation": "the domain's record; the client's, as JSON has it",
    "OperationBegun": "the outcome of a message; its JSON, at both ends",
    "BulkDone": "the outcome of a message; the client's, as JSON has it",
    "SessionsEnded": "the outcome of a message; its JSON",
    "Stats": "the store's figures; the client's, as JSON has them",
    "Worker": "the domain's record; the process that is one, by a name that users import",
    "WorkerAttempt": "the store's row; the client's, as JSON has it",
}


def is_command(node: ast.AST) -> bool:
    """Whether it is a command of the command line: its docstring is the help that users read."""
    return any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in {"command", "group"}
        for each in getattr(node, "decorator_list", [])
    )


def said(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings, those of attributes and constants too, and the comments; each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not is_command(
            node
        ):
            for each in node.body:
                if (
                    isinstance(each, ast.Expr)
                    and isinstance(each.value, ast.Constant)
                    and isinstance(each.value.value, str)
                ):
                    yield each.lineno, each.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def complaints(source: str) -> list[tuple[int, str]]:
    return [
        (line, found[0])
        for line, text in said(source)
        if (found := LEANING.search(text) or POINTING.match(text.strip()))
    ]


def test_what_is_said_has_a_subject() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}": text for path in PRODUCT for line, text in complaints(path.read_text())
    }
    assert found == {}, "name the caller, the worker, the subscriber, the operator"


def test_a_module_that_is_named_is_there() -> None:
    names = [f"/{path.relative_to(ROOT)}" for path in (*PRODUCT, *(ROOT / "tests").rglob("*.py"))]
    gone = {
        f"{path.relative_to(ROOT)}:{line}": name
        for path in PRODUCT
        for line, text in said(path.read_text())
        for name in MODULE.findall(text)
        if not any(each.endswith(f"/{name}") for each in names)
    }
    assert gone == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Whoever asks is answered."""', "Whoever"),
        ('def f():\n    """Wait until nobody else has a turn."""', "nobody"),
        ('class A:\n    x = 1\n    """Who made it."""', "Who"),
        ("x = 1  # for whom it is", "whom"),
        ('def f():\n    """See ObjectStore: the bytes stay."""', "See ObjectStore:"),
        ('def f():\n    """See `Peer`."""', "See `Peer`."),
    ],
)
def test_a_leaning_text_is_found(source: str, found: str) -> None:
    assert [text for _, text in complaints(source)] == [found]


# A type that is made of others gets its name by an assignment: `Place = tuple[int, int]`.
ALIAS = re.compile(r"_?[A-Z]\w*[a-z]\w*")


def types(source: str) -> Iterator[str]:
    """The names of the classes of a module, nested ones too, and of the types that it makes of others."""
    module = ast.parse(source)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for node in module.body:
        if isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name) and ALIAS.fullmatch(each.id))


def names() -> dict[str, list[str]]:
    """Where each name is that a type has in more than one place."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in PRODUCT:
        for name in types(path.read_text()):
            found[name].append(str(path.relative_to(ROOT)))
    return {name: places for name, places in found.items() if len(places) > 1}


def is_an_answer_at_both_ends(name: str, places: list[str]) -> bool:
    """What the server writes and the client reads; the client reads nothing that is not written."""
    if places[0] != CLIENT or len(places) != 2 or (there := WIRE.fullmatch(places[1])) is None:
        return False
    read, written = getattr(at_the_client, name), getattr(import_module(f"web.api.{there[1]}"), name)
    return set(read.__struct_fields__) <= set(written.__struct_fields__)


def is_a_protocol_and_its_engines(places: list[str]) -> bool:
    """At most one in each room: of the contract, or of what the engines share, there is one in each engine."""
    folders = [str(Path(place).parent) for place in places]
    return (
        len(set(folders)) == len(folders)
        and {CONTRACT, SHARED} & set(folders)
        and set(folders) <= {CONTRACT, SHARED, *ENGINES}
    )


def test_the_name_of_a_type_has_one_meaning() -> None:
    twice = {
        name
        for name, places in names().items()
        if not is_an_answer_at_both_ends(name, places) and not is_a_protocol_and_its_engines(places)
    }
    assert twice == set(TWICE), "give one of them a name of its own"


def test_a_type_is_found_however_it_is_named() -> None:
    source = "class A:\n    class Within: ...\nPlace = tuple[int, int]\nT = TypeVar('T')\nMOST = 3\nlog = 4"
    assert sorted(types(source)) == ["A", "Place", "Within"]
