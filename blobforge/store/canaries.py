"""What is read and written of canaries, by each engine."""

from __future__ import annotations

from typing import Final, NamedTuple

PROBED_AT_ONCE: Final = 8  # jobs beside each other that one look into the list takes for the sample
MOST_READ: Final = 20_000  # jobs of one range that are read whole


class Pair(NamedTuple):
    """A comparison, and the job and the attempt whose result it is held against."""

    job_id: int
    original_id: int
    against: int
