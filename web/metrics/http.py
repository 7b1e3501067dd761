"""What HTTP has come to, as metrics: the shares of all processes that serve it, added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric

from blobforge.objects.guard import ERROR, NOT_ASKED, SILENT
from blobforge.tally import SLOW_SECONDS, Spread
from web.metrics.families import counter, gauge, histogram
from web.metrics.requests import GONE, UNMATCHED
from web.metrics.share import Cost, Share


def requests(share: Share) -> Iterable[Metric]:
    yield counter(
        "blobforge_http_requests",
        f"Requests by route and status code. {GONE}: the client went away. {UNMATCHED}: no route was for it",
        {(route, str(code)): n for (route, code), n in share.answered.items()},
        ("route", "code"),
    )
    yield histogram(
        "blobforge_http_request_duration_seconds",
        "Time to answer, from the request's headers to the answer's. Long polls wait in it, transfers do not",
        (((route,), spread) for route, spread in share.seconds.items()),
        ("route",),
    )
    yield counter(
        "blobforge_refusals",
        "Requests that were refused, by the suffix of the problem's type. Items inside a batch are not counted",
        {(code,): n for code, n in share.refused.items()},
        ("code",),
    )


def clients(share: Share, totals: Mapping[str, int]) -> Iterable[Metric]:
    """`totals` is how much room each limit has."""
    yield gauge("blobforge_event_streams", "Open event streams (SSE)", share.streams)
    yield counter("blobforge_event_stream_drops", "Times that a slow stream lost events", share.stream_drops)
    yield counter("blobforge_auth_failures", "Credentials that were wrong, revoked or expired", share.auth_failures)
    yield counter(
        "blobforge_auth_throttled",
        "Those of them that were told to slow down, by address or worker id",
        share.auth_throttled,
    )
    yield gauge(
        "blobforge_limit_used",
        "Room taken: connections, long polls, event streams",
        {(name,): room.used for name, room in share.rooms.items()},
        ("limit",),
    )
    yield gauge(
        "blobforge_limit_capacity", "Room there is", {(name,): total for name, total in totals.items()}, ("limit",)
    )
    yield counter(
        "blobforge_limit_refused",
        "Those who found no room, in total or from their address",
        {(name,): room.refused for name, room in share.rooms.items()},
        ("limit",),
    )


def object_store(share: Share) -> Iterable[Metric]:
    operations = sorted(share.store_seconds.keys() | {op for op, _ in share.store_failures})
    reasons = {SILENT: "silent", NOT_ASKED: "not_asked", ERROR: "error"}
    yield gauge(
        "blobforge_object_store_answering",
        "1 if the object store answered before its deadline when it was asked last",
        float(share.store_answering),
    )
    yield histogram(
        "blobforge_object_store_request_duration_seconds",
        "Questions to the object store that were answered, errors too, by operation",
        [((op,), share.store_seconds.get(op) or Spread(SLOW_SECONDS)) for op in operations],
        ("operation",),
    )
    yield counter(
        "blobforge_object_store_errors",
        "Questions that failed: no answer before the deadline (silent), not made because of that (not_asked), or "
        "an error for an answer",
        {(op, label): share.store_failures.get((op, why), 0) for op in operations for why, label in reasons.items()},
        ("operation", "reason"),
    )


def fronts(costs: Mapping[str, Cost], restarts: int) -> Iterable[Metric]:
    """Of the processes that serve HTTP, by their number, where they are processes of their own."""
    yield gauge("blobforge_fronts", "Front processes that serve HTTP now", len(costs))
    yield counter("blobforge_front_restarts", "Front processes that ended and were started again", restarts)
    yield counter(
        "blobforge_front_cpu_seconds",
        "CPU time, user and system, of each front process",
        {(front,): cost.cpu_seconds for front, cost in costs.items()},
        ("front",),
    )
    yield gauge(
        "blobforge_front_resident_memory_bytes",
        "Memory of each front process",
        {(front,): cost.resident_bytes for front, cost in costs.items()},
        ("front",),
    )
    yield gauge(
        "blobforge_front_open_fds",
        "Open file descriptors of each front process",
        {(front,): cost.open_files for front, cost in costs.items()},
        ("front",),
    )
