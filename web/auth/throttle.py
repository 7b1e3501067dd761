"""Failed authentications, slowed down. State owned here: how often each address and each id has failed of late.

A bucket for each holds BURST failures and refills one in REFILL_SECONDS. Only failures take from it: a caller with a
valid credential is never slowed, not even from an address that is. Where several servers share a database, a second
bucket there counts the failures at all of them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.commons import BURST, REFILL_SECONDS, SLACK
from blobforge.store.errors import DatabaseError
from web.shared import Shared

MOST_ASKED = 16  # failures that wait to be counted over all servers; further ones are judged by this one alone
REMEMBERED = 50_000  # addresses and ids; the one that failed longest ago is forgotten first


class Throttle:
    """`clock` is in seconds and monotonic. `shared`: where other servers' failures count, too."""

    def __init__(self, clock: Callable[[], float], shared: Shared) -> None:
        self._clock = clock
        self._shared = shared
        self._failed: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (failures, when)
        self.failures = 0
        self.slowed = 0

    async def failed(self, *names: str) -> Refusal | None:
        """Note a failure of these (an address, an id); a Refusal when one of them has failed too often."""
        wait = max(self._take(name) for name in names)
        self.failures += 1
        if wait <= 0:  # what is slowed by this server alone is not asked about: a flood stays here
            wait = await self._over_all(names)
        if wait <= 0:
            return None
        self.slowed += 1
        return Refusal(
            RefusalCode.SLOW_DOWN,
            "Too many failed authentications. Check your credential, and try again later.",
            retry_after=math.ceil(wait),
        )

    async def _over_all(self, names: tuple[str, ...]) -> float:
        """The same by the failures at all servers, where there are several and they can be asked."""
        if self._shared.alone or self._shared.waiting >= MOST_ASKED:
            return 0.0
        try:
            return await self._shared.ask(lambda commons: commons.failed(names))
        except DatabaseError:
            return 0.0

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
