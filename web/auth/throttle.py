"""Failed authentications, slowed down. State owned here: how often each address and each id has failed of late.

A bucket for each holds BURST failures and refills one in REFILL_SECONDS. Only failures take from it: a caller with a
valid credential is never slowed, not even from an address that is.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from blobforge.refusals import Refusal, RefusalCode

BURST = 20  # failures that a mistyped script may make before it is slowed
REFILL_SECONDS = 6.0  # ten failures a minute from then on
SLACK = 1e-6  # of a failure: clocks are floating point
REMEMBERED = 50_000  # addresses and ids; the one that failed longest ago is forgotten first


class Throttle:
    """`clock` is in seconds and monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (failures, when)
        self.failures = 0
        self.slowed = 0

    def failed(self, *names: str) -> Refusal | None:
        """Note a failure of these (an address, an id); a Refusal when one of them has failed too often."""
        wait = max(self._take(name) for name in names)
        self.failures += 1
        if wait <= 0:
            return None
        self.slowed += 1
        return Refusal(
            RefusalCode.SLOW_DOWN,
            "Too many failed authentications. Check your credential, and try again later.",
            retry_after=math.ceil(wait),
        )

    def _take(self, name: str) -> float:
        """Seconds until this name may fail again; not positive while it may."""
        now = self._clock()
        failures, when = self._failed.pop(name, (0.0, now))
        failures = max(0.0, failures - (now - when) / REFILL_SECONDS)
        # One that is refused does not count, or a client that waits as it was told would be refused again.
        over = failures + 1.0 - BURST
        self._failed[name] = (failures if over > SLACK else failures + 1.0, now)
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)
        return over * REFILL_SECONDS if over > SLACK else 0.0
