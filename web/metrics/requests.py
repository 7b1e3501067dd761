"""The counts of requests. State owned here: how many requests were answered how, and how long that took.

A label is a route as this server names it, never a path as a client sent it. Counting costs a microsecond a request.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial

from blobforge.machinery.tally import Spread
from blobforge.refusals import RefusalCode

UNMATCHED = "unmatched"  # what no route was for, whatever it asked for
GONE = 499  # nginx's code for a client that went away before its answer; it is never received
LEAN, HYPERCORN = "lean", "hypercorn"  # the readers of a request
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Requests:
    def __init__(self) -> None:
        self.by_answer: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, Spread] = defaultdict(partial(Spread, SECONDS))
        self.by_reader: Counter[str] = Counter({LEAN: 0, HYPERCORN: 0})
        self.by_refusal: Counter[str] = Counter(dict.fromkeys(RefusalCode, 0))

    def answered(self, route: str, code: int, seconds: float | None = None) -> None:
        """One answer; `seconds` from the request's headers to the answer's, where that is worth knowing."""
        self.by_answer[route, code] += 1
        if seconds is not None:
            self.seconds[route].add(seconds)

    def read(self, path: str, reader: str) -> None:
        """A request for a route of the API has been read, by this reader."""
        if path.startswith("/api/"):
            self.by_reader[reader] += 1

    def refused(self, code: RefusalCode) -> None:
        self.by_refusal[code] += 1
