"""What HTTP comes to, as metrics: requests, refusals, event streams, credentials, and limits."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from web.metrics.counting import Counting
from web.metrics.families import counter, gauge, histogram
from web.metrics.requests import GONE, UNMATCHED


def requests(counting: Counting) -> Iterable[Metric]:
    yield counter(
        "blobforge_http_requests",
        f"Requests by route and status code. {GONE}: the client went away. {UNMATCHED}: no route was for it",
        {(route, str(code)): n for (route, code), n in counting.requests.by_answer.items()},
        ("route", "code"),
    )
    yield counter(
        "blobforge_http_api_requests",
        "Requests for routes of the API, by their reader: the lean one on the socket, or Hypercorn",
        {(reader,): n for reader, n in counting.requests.by_reader.items()},
        ("reader",),
    )
    yield histogram(
        "blobforge_http_request_duration_seconds",
        "Time to answer, from the request's headers to the answer's. Long polls wait in it, transfers do not",
        (((route,), spread) for route, spread in counting.requests.seconds.items()),
        ("route",),
    )
    yield counter(
        "blobforge_refusals",
        "Requests that were refused, by the suffix of the problem's type. Items inside a batch are not counted",
        {(code,): n for code, n in counting.requests.by_refusal.items()},
        ("code",),
    )


def clients(counting: Counting) -> Iterable[Metric]:
    yield gauge("blobforge_event_streams", "Open event streams (SSE)", counting.broadcaster.subscribers)
    yield counter(
        "blobforge_event_stream_drops", "Times that a slow stream lost events", counting.broadcaster.dropped
    )
    yield counter(
        "blobforge_auth_failures", "Credentials that were wrong, revoked or expired", counting.throttle.failures
    )
    yield counter(
        "blobforge_auth_throttled",
        "Those of them that were told to slow down, by address or worker id",
        counting.throttle.slowed,
    )
    yield gauge(
        "blobforge_limit_used",
        "Room taken: connections, long polls, event streams; bytes of answers that their clients have not read",
        {(name,): limit.used for name, limit in counting.limits.items()},
        ("limit",),
    )
    yield gauge(
        "blobforge_limit_capacity",
        "Room there is",
        {(name,): limit.total for name, limit in counting.limits.items()},
        ("limit",),
    )
    yield gauge(
        "blobforge_limit_refusing",
        "1 while a limit has refused somebody within the last seconds",
        {(name,): float(limit.refusing) for name, limit in counting.limits.items()},
        ("limit",),
    )
    yield counter(
        "blobforge_limit_refused",
        "Those who found no room, in total or from their address",
        {(name,): limit.refused for name, limit in counting.limits.items()},
        ("limit",),
    )
