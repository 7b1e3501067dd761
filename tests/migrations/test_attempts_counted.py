"""The attempts of a database that is older than their count, or that came out of a backup."""

from __future__ import annotations

from importlib import resources
from typing import Any

import apsw

from tests.fixtures.local import LocalServer
from tests.web.test_attempts import FAILED, failed_often


async def test_attempts_are_counted_where_their_numbers_have_gaps(local: LocalServer, autojump_clock: Any) -> None:
    """As after a restore, or in a database that is older than the count."""
    await failed_often(local)
    db = apsw.Connection(str(local.folder / "blobforge.db"))
    migration = resources.files("blobforge.store.sqlite") / "migrations" / "0015_attempts_counted.sql"
    with db:
        db.execute("UPDATE attempts SET attempt = attempt + 1000 WHERE attempt > 10")
        db.execute("UPDATE jobs SET attempt = attempt + 1000")
        db.execute("UPDATE attempts SET ordinal = NULL")
        db.execute("UPDATE" + migration.read_text().partition("\nUPDATE")[2])
    assert list(db.execute("SELECT count(*) FROM attempts WHERE ordinal IS NULL")) == [(10,)], (
        "the rest is left alone"
    )
    db.close()
    assert (await local.job(1))["attempts_total"] == FAILED
    await local.claim()
    assert (await local.job(1))["attempts_total"] == FAILED + 1
