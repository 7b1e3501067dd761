"""Statements are spelled in the engines' rooms and nowhere else, and those that are named are used."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

from blobforge.store.sql import sql as shared
from blobforge.store.sqlite import sql

ROOT = Path(__file__).parents[3]
STORE = ROOT / "blobforge" / "store"
ENGINE = STORE / "sqlite"
ENGINES = (ENGINE, STORE / "postgres", STORE / "sql")
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE \w+ SET|DELETE FROM|WITH \w+|CREATE TABLE|DROP|PRAGMA|ATTACH) ")
# Files of the command line's own, and no database of a server.
OF_ITS_OWN = {"blobforge/cli/ingest/cache.py", "blobforge/cli/fetch/ledger.py", "blobforge/cli/fetch/verifying.py"}


def test_no_other_room_spells_a_statement() -> None:
    found = set()
    for path in (path for name in ("blobforge", "actors", "web") for path in (ROOT / name).rglob("*.py")):
        if any(path.is_relative_to(engine) for engine in ENGINES):
            continue
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        if any(isinstance(text, str) and STATEMENT.match(text) for text in texts):
            found.add(path.relative_to(ROOT).as_posix())
    assert found == OF_ITS_OWN


def test_every_named_statement_is_used() -> None:
    code = "".join(path.read_text() for room in ENGINES for path in room.glob("*.py"))
    named = [*_named(shared), *_named(sql)]
    unused = [name for name in named if len(re.findall(rf"\b{name}\b", code)) < 2]
    assert len(named) > 100
    assert unused == []


def _named(module: ModuleType) -> list[str]:
    return [name for name, text in vars(module).items() if name.isupper() and isinstance(text, str)]
