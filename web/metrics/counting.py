"""The parts that count what HTTP comes to, and the requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.broadcaster import Broadcaster
from blobforge.machinery.lag import LoopLag
from blobforge.machinery.tracing import Tracer
from blobforge.objects import ObjectStore
from web.auth.throttle import Throttle
from web.limits import Bounded
from web.metrics.requests import Requests


@dataclass(frozen=True)
class Counting:
    requests: Requests
    limits: Mapping[str, Bounded]
    throttle: Throttle
    broadcaster: Broadcaster
    lag: LoopLag
    objects: ObjectStore
    tracer: Tracer | None
