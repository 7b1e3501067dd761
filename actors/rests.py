"""How the janitor and its parts rest: longer than their work took, so that they hold up no other task."""

from __future__ import annotations

import trio

SHORTEST_REST = 0.02  # seconds
REST_SHARE = 4  # rests four times as long as the work took
TRY_AGAIN = 30.0  # seconds after the store, or the writer, could not
NEVER = float("inf")


def rested(began: float, *, share: float = REST_SHARE) -> float:
    """When to go on after work that began then: it rests `share` times as long."""
    now = trio.current_time()
    return now + max(SHORTEST_REST, share * (now - began))
