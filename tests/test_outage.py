"""One line for a database that is away, whichever parts meet it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from blobforge.machinery.outage import FORGOTTEN_AFTER, Outage

ERROR = OSError("no such socket")


@pytest.fixture
def told() -> Outage:
    return Outage()


async def test_an_outage_is_one_line_and_its_end_another(told: Outage) -> None:
    with capture_logs() as logs:
        for _ in range(2):
            for part in ("follow", "commit", "read", "follow"):
                told.met(part, ERROR)
            for part in ("commit", "follow", "read", "follow"):
                told.over(part)
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == [
        "cannot follow",
        "can follow again",
    ] * 2
    assert all(line["error"] == "no such socket" for line in logs if line["log_level"] == "error")


async def test_what_another_part_meets_long_after_is_told(told: Outage, mock_clock: MockClock) -> None:
    """Of a read that failed nothing more is heard where nothing is read any more."""
    with capture_logs() as logs:
        told.met("read", ERROR)
        for seconds in (FORGOTTEN_AFTER - 1, 2):
            mock_clock.jump(seconds)
            told.met("commit", ERROR)
        told.over("read")
        told.over("commit")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("cannot read", "error"),
        ("cannot commit, either", "debug"),
        ("cannot commit", "error"),
        ("can commit again", "info"),
    ]
