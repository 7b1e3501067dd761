"""What PostgreSQL looks at to find the next jobs of groups."""

from __future__ import annotations

import re
from pathlib import Path

from blobforge.store.postgres import bulk_sql
from tests.fixtures.engines import ENGINES
from tests.store.making import Book
from tests.store.postgres.test_reading import database_of

GROUPS, MOST = 20, 100


def test_of_each_group_no_more_is_looked_at_than_may_be_among_the_next(tmp_path: Path) -> None:
    """And not as many of each as are asked for of all."""
    book = Book(ENGINES["postgres"](tmp_path / "x.db"))
    looking = database_of(book).looking
    looking.execute(
        "INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts, lane,"
        " of_group, turn)"
        f" SELECT n, 'pdf', 'pending', 3, md5(n::text), n, n, 3, 4, 'g' || n % {GROUPS}, n"
        f" FROM generate_series(1, {GROUPS * MOST}) AS n"
    )
    looking.execute(f"PREPARE next AS {bulk_sql.READY_IN_TURN}".encode())
    asked = f"""EXECUTE next('[{{"c0": "pdf", "c1": 4}}]', {MOST})"""
    assert len(looking.execute(asked.encode()).fetchall()) == MOST
    plan = [str(line) for (line,) in looking.execute(f"EXPLAIN (ANALYZE, TIMING off) {asked}".encode())]
    (ranked,) = (line for line in plan if "WindowAgg" in line)
    rows = re.search(r"actual rows=(\d+)", ranked)
    assert rows is not None
    assert MOST <= int(rows[1]) < 2 * MOST, plan
    book.close()
