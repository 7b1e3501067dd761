"""The hours in which jobs are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.runner.window import RunWindow, closes_in, is_open, opens_in

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = RunWindow.parse("22:00-06:00")
DAY = RunWindow.parse("08:30 - 17:00")


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{clock}").replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("window", "clock", "is_in"),
    [
        (NIGHT, "22:00:00", True),
        (NIGHT, "23:59:59", True),
        (NIGHT, "00:00:00", True),
        (NIGHT, "05:59:59", True),
        (NIGHT, "06:00:00", False),
        (NIGHT, "21:59:59", False),
        (DAY, "08:29:59", False),
        (DAY, "08:30:00", True),
        (DAY, "17:00:00", False),
        (RunWindow.parse("18:00-24:00"), "23:59:59", True),
        (RunWindow.parse("18:00-24:00"), "00:00:00", False),
    ],
)
def test_from_its_start_up_to_its_end(window: RunWindow, clock: str, is_in: bool) -> None:
    assert window.is_open(at(clock)) is is_in


@given(
    st.times().map(lambda time: time.replace(second=0, microsecond=0)),
    st.times().map(lambda time: time.replace(second=0, microsecond=0)),
    st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 1, 1)),
)
def test_it_opens_and_closes_when_it_says(start, end, now) -> None:  # type: ignore[no-untyped-def]
    if start == end:
        return
    window = RunWindow(start, end)
    if window.is_open(now):
        change = now + timedelta(seconds=window.closes_in(now))
        assert not window.is_open(change)
        assert window.is_open(change - timedelta(microseconds=1))
    else:
        change = now + timedelta(seconds=window.opens_in(now))
        assert window.is_open(change)
        assert not window.is_open(change - timedelta(microseconds=1))


def hours_open(window: RunWindow, day: str) -> int:
    """Minutes of real time for which it is open in the 24 real hours from noon UTC of `day`."""
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC)
    return sum(window.is_open((noon + timedelta(minutes=n)).astimezone(BERLIN)) for n in range(24 * 60))


def test_days_of_23_and_25_hours() -> None:
    """In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25."""
    assert hours_open(NIGHT, "2026-11-23") == 8 * 60
    assert hours_open(NIGHT, "2026-03-28") == 7 * 60
    assert hours_open(NIGHT, "2026-10-24") == 9 * 60
    missing = RunWindow.parse("02:15-02:45")
    assert hours_open(missing, "2026-03-28") == 0
    assert hours_open(missing, "2026-10-24") == 60


def test_several_windows() -> None:
    both = (NIGHT, DAY)
    assert is_open(both, at("09:00:00"))
    assert not is_open(both, at("07:00:00"))
    assert opens_in(both, at("07:00:00")) == 90 * 60
    assert closes_in(both, at("16:00:00")) == 3600
    assert is_open((), at("07:00:00"))
    assert closes_in((), at("07:00:00")) is None


@pytest.mark.parametrize("text", ["", "22-6", "25:00-06:00", "22:00-06:60", "22:00-22:00", "24:00-06:00", "x"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no run window"):
        RunWindow.parse(text)


def test_it_is_shown_as_it_is_written() -> None:
    assert str(RunWindow.parse("7:05-09:30")) == "07:05-09:30"
