"""A database that cannot be read is told of once, whoever asks how often."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from structlog.testing import capture_logs

from blobforge.store.errors import DatabaseError
from web.reads import ReadPool


class Away:
    """A reader of a database that is away at first."""

    def outages_told(self) -> Any:
        return nullcontext()

    def close(self) -> None:
        pass


async def test_it_is_told_when_it_begins_and_when_it_ends() -> None:
    async def here(asked: Any) -> Any:
        return asked()

    def fails(_: Any) -> None:
        raise DatabaseError("away")

    pool = ReadPool(Away, hop=here)  # type: ignore[arg-type]
    with capture_logs() as logs:
        for _ in range(2):
            for _ in range(3):
                with pytest.raises(DatabaseError):
                    await pool.run(fails)
            for _ in range(2):
                await pool.run(lambda _: None)
    assert [line["event"] for line in logs] == ["cannot read", "can read again"] * 2
