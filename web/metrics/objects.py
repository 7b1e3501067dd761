"""How the object store answers, as metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from blobforge.machinery.tally import SLOW_SECONDS, Spread
from blobforge.objects import ObjectStore
from blobforge.objects.breaker import ERROR, NOT_ASKED, SILENT
from web.metrics.families import counter, gauge, histogram


def store_calls(objects: ObjectStore) -> Iterable[Metric]:
    calls = objects.calls
    operations = sorted(calls.seconds.keys() | {op for op, _ in calls.failures})
    reasons = {SILENT: "silent", NOT_ASKED: "not_asked", ERROR: "error"}
    yield gauge(
        "blobforge_object_store_answering",
        "1 if the object store answered before its deadline when it was asked last",
        float(objects.answering),
    )
    yield histogram(
        "blobforge_object_store_request_duration_seconds",
        "Questions to the object store that were answered, errors too, by operation",
        [((op,), calls.seconds.get(op) or Spread(SLOW_SECONDS)) for op in operations],
        ("operation",),
    )
    yield counter(
        "blobforge_object_store_errors",
        "Questions that failed: no answer before the deadline (silent), not made because of that (not_asked), or "
        "an error for an answer",
        {(op, label): calls.failures.get((op, why), 0) for op in operations for why, label in reasons.items()},
        ("operation", "reason"),
    )
