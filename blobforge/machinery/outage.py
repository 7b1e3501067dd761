"""An outage of the database is logged once, however many parts of the server meet it.

State owned here: which part met it first, and since when.
"""

from __future__ import annotations

import structlog
import trio

__all__ = ["Outage"]

log = structlog.get_logger("blobforge.database")

# A part that has met nothing for so long may not have tried again: what another meets then is told.
FORGOTTEN_AFTER = 60.0


class Outage:
    """Shared by the parts that use one database. A part is named by what it cannot do: "commit", "read"."""

    def __init__(self) -> None:
        self._part: str | None = None  # which met it first
        self._since = 0.0
        self._met_at = 0.0  # by that part, the last time

    def met(self, part: str, error: Exception, *, whole: bool = False) -> None:
        """The part cannot use the database. `whole`: the error was not expected, and its traceback is logged, too."""
        now = trio.current_time()
        if self._part is None or (self._part != part and now - self._met_at > FORGOTTEN_AFTER):
            self._part, self._since = part, now
            log.error(f"cannot {part}", error=str(error), exc_info=error if whole else None)
        elif self._part != part:
            log.debug(f"cannot {part}, either", error=str(error))
        if self._part == part:
            self._met_at = now

    def over(self, part: str) -> None:
        """The part can use the database again. It is logged where this part had met the outage first."""
        if self._part == part:
            log.info(f"can {part} again", seconds=round(trio.current_time() - self._since, 1))
            self._part = None
