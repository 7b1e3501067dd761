"""Tests look into a database through the probe. SQL is spelt by it, and by the tests of one engine alone."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

from blobforge.store.sqlite.database import open_writer
from tests.fixtures.engines import looked_into

ROOT = Path(__file__).parents[1]
SQL = re.compile(
    r"\b(SELECT .+ FROM |INSERT INTO |UPDATE \w+ SET |DELETE FROM |PRAGMA )|^import (apsw|sqlite3)", re.M
)
# Files, copies and checks of SQLite; PostgreSQL's cluster; databases of older releases, and the original's; the
# command line's own cache. A PostgreSQL with the clock of a play, and its outages.
ENGINES_OWN = (
    "store/sqlite/", "store/postgres/", "migrations/", "power/", "backup/", "several/",
    "moving/test_takeover.py", "moving/test_copying.py",
    "fixtures/engines.py", "fixtures/original.py", "fixtures/postgres.py", "fixtures/on_postgres.py",
    "fixtures/patroni.py", "simulation/shared.py",
    "test_cluster.py", "cli/test_db.py", "cli/test_ingest.py", "cli/test_results_troubled.py",
    "web/test_installation.py",
)  # fmt: skip


def test_no_other_test_spells_sql() -> None:
    allowed = (*ENGINES_OWN, "fixtures/probe.py", "store/test_probe.py")
    found = {
        name
        for path in ROOT.rglob("*.py")
        if SQL.search(path.read_text()) and not (name := str(path.relative_to(ROOT))).startswith(allowed)
    }
    assert found == set()


def test_each_exception_is_one() -> None:
    for name in ENGINES_OWN:
        files = (ROOT / name).rglob("*.py") if name.endswith("/") else [ROOT / name]
        assert any(SQL.search(path.read_text()) for path in files), name


def test_what_a_test_writes_beside_a_server_makes_no_checkpoint(tmp_path: Path) -> None:
    """A trial spoilt the backup of its server, so that a drill in it failed, on some machines."""
    path = tmp_path / "blobforge.db"
    with closing(open_writer(path, checkpoints=False)) as server:
        server.execute("CREATE TABLE filled (page BLOB)")
        server.execute("INSERT INTO filled VALUES (zeroblob(8000000))")
        before = path.stat().st_size
        with looked_into(path) as found:
            found.probe.add("filled", page=b"")
        assert path.stat().st_size == before
