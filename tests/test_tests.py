"""The tests themselves: each asserts something, and those that a page names are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
# Calls that fail where something does not hold: pytest's, Playwright's, trio's, Hypothesis'; a wait without an end.
ASSERTING = {
    "raises",
    "warns",
    "fail",
    "RaisesGroup",
    "expect",
    "wait_for_url",
    "fail_after",
    "run_state_machine_as_test",
    "eventually",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Helper = Function | ast.ClassDef


@cache
def parsed(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def helpers(path: Path) -> dict[str, Helper]:
    """The functions, methods and classes of a module of the tests, without fixtures: no test calls those."""
    found = [node for node in parsed(path) if isinstance(node, Helper)]
    return {node.name: node for node in found if not any("fixture" in ast.dump(each) for each in node.decorator_list)}


@cache
def imported(path: Path) -> dict[str, tuple[Path, str]]:
    """What a module imports from the tests: the name here, and whose it is."""
    found = {}
    for node in parsed(path):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("tests."):
            module = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            found |= {each.asname or each.name: (module, each.name) for each in node.names if module.exists()}
    return found


@cache
def methods_that_assert() -> frozenset[str]:
    """The names of methods of the tests' own classes that assert something themselves."""
    found = set()
    for path in FOLDER.rglob("*.py"):
        for node in parsed(path):
            if isinstance(node, ast.ClassDef):
                found |= {each.name for each in node.body if isinstance(each, Function) and asserts_itself(each)}
    return frozenset(found)


def called(function: Helper) -> Iterator[tuple[bool, str]]:
    """What a function calls or hands on to be called; whether by an attribute; the name."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            for each in (node.func, *node.args):
                if isinstance(each, ast.Name):
                    yield False, each.id
                elif isinstance(each, ast.Attribute):
                    yield True, each.attr


def asserts_itself(function: Helper) -> bool:
    """By a statement, one of those calls, or (a helper) an exception of its own."""
    helper = not function.name.startswith("test_")
    return any(
        isinstance(node, ast.Assert) or (helper and isinstance(node, ast.Raise)) for node in ast.walk(function)
    ) or any(name in ASSERTING for _, name in called(function))


def asserts(path: Path, function: Helper, above: frozenset[str] = frozenset()) -> bool:
    """Whether a function asserts something, or calls a helper that does."""
    if asserts_itself(function):
        return True
    for attribute, name in called(function):
        if attribute and name in methods_that_assert():
            return True
        module, helper = imported(path).get(name, (path, name))
        known = not attribute and helper not in above and helper in helpers(module)
        if known and asserts(module, helpers(module)[helper], above | {helper}):
            return True
    return False


def test_every_test_asserts_something() -> None:
    found = [(path, test) for path in sorted(FOLDER.rglob("test_*.py")) for test in helpers(path).values()]
    found = [(path, test) for path, test in found if test.name.startswith("test_")]
    assert len(found) > 1000
    silent = [
        f"{path.relative_to(ROOT)}:{test.lineno} {test.name}" for path, test in found if not asserts(path, test)
    ]
    assert silent == [], "a test that asserts nothing passes whatever the server does"


def test_the_tests_that_pages_name_are_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
            assert (ROOT / file).exists(), f"{page.name} names {file}, which is not there"
            assert name in helpers(ROOT / file), f"{page.name} names {name}, which is not in {file}"
