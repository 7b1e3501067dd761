"""No shield without a deadline: what may not be cancelled must end by itself, or the process never does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TIMED = {"move_on_after", "move_on_at", "fail_after", "fail_at"}


def shields_without_end(source: str) -> list[int]:
    """The lines of shields that have no deadline. One that is kept under a name may be given it later."""
    tree = ast.parse(source)
    timed = {ast.unparse(target.value) for target in _assigned(tree, "deadline")}
    found = [target.lineno for target in _assigned(tree, "shield")]
    kept = {
        id(node.value): {ast.unparse(target) for target in node.targets}
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not any(keyword.arg == "shield" for keyword in node.keywords):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        ends = name in TIMED or any(keyword.arg == "deadline" for keyword in node.keywords)
        if not ends and not kept.get(id(node), set()) & timed:
            found.append(node.lineno)
    return found


def _assigned(tree: ast.AST, name: str) -> Iterator[ast.Attribute]:
    """Assignments to an attribute of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from (each for each in node.targets if isinstance(each, ast.Attribute) and each.attr == name)


@pytest.mark.parametrize("package", ["actors", "blobforge", "web"])
def test_every_shield_has_a_deadline(package: str) -> None:
    places = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in shields_without_end(path.read_text())
    }
    assert places == set()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("with trio.CancelScope(shield=True): pass", [1]),
        ("with CancelScope(deadline=5, shield=True): pass", []),
        ("with trio.move_on_after(5, shield=True): pass", []),
        ("scope = trio.CancelScope(shield=True)", [1]),
        ("scope = trio.CancelScope(shield=True)\nother.deadline = 5", [1]),
        ("self.scope = trio.CancelScope(shield=True)\nself.scope.deadline = 5", []),
        ("with trio.CancelScope() as scope:\n    scope.shield = True", [2]),
    ],
)
def test_they_are_found(source: str, lines: list[int]) -> None:
    assert shields_without_end(source) == lines
