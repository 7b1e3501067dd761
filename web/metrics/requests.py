"""What HTTP has come to. State owned here: how many requests were answered how, and how long that took.

A label is a route as this server names it, never a path as somebody sent it. Counting costs a microsecond a request.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial

from prometheus_client.core import Metric

from blobforge.refusals import RefusalCode
from blobforge.tally import Spread
from web.metrics.families import counter, histogram

UNMATCHED = "unmatched"  # what no route was for, whatever it asked for
GONE = 499  # nginx's code for a client that went away before its answer; nobody ever receives it
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Requests:
    def __init__(self) -> None:
        self._answered: Counter[tuple[str, int]] = Counter()
        self._seconds: defaultdict[str, Spread] = defaultdict(partial(Spread, SECONDS))
        self._refused: Counter[str] = Counter(dict.fromkeys(RefusalCode, 0))

    def answered(self, route: str, code: int, seconds: float | None = None) -> None:
        """One answer; `seconds` from the request's headers to the answer's, where that is worth knowing."""
        self._answered[route, code] += 1
        if seconds is not None:
            self._seconds[route].add(seconds)

    def refused(self, code: RefusalCode) -> None:
        self._refused[code] += 1

    def families(self) -> Iterable[Metric]:
        answered = {(route, str(code)): n for (route, code), n in self._answered.items()}
        yield counter(
            "blobforge_http_requests",
            f"Requests by route and status code. {GONE}: the client went away. {UNMATCHED}: no route was for it",
            answered,
            ("route", "code"),
        )
        yield histogram(
            "blobforge_http_request_duration_seconds",
            "Time to answer, from the request's headers to the answer's. Long polls wait in it, transfers do not",
            (((route,), spread) for route, spread in self._seconds.items()),
            ("route",),
        )
        yield counter(
            "blobforge_refusals",
            "Requests that were refused, by the suffix of the problem's type. Items inside a batch are not counted",
            {(code,): n for code, n in self._refused.items()},
            ("code",),
        )
