"""The two clocks: records show wall time, deadlines run on trio's clock. So no jump of the wall clock expires
anything, and tests can run days in milliseconds."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Milliseconds since the epoch, UTC: for what is recorded and shown."""
    return time.time_ns() // 1_000_000
