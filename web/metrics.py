"""What Prometheus is told. State owned here: the registry. No id is ever a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Metrics:
    """`gauges` are read when somebody asks: (name, help, value)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "blobforge_http_requests", "Answered requests", ["route", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "blobforge_http_request_seconds",
            "Time to answer, long polls included",
            ["route"],
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
        )
        self._gauges: list[tuple[str, str, Callable[[], float]]] = []
        self.registry.register(_Gauges(self._gauges))

    def gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        self._gauges.append((name, help_, value))

    def observe(self, route: str, code: int, seconds: float) -> None:
        self.requests.labels(route, str(code)).inc()
        self.seconds.labels(route).observe(seconds)

    def render(self, stats: Iterable[Metric]) -> bytes:
        """The exposition text; `stats` are families made of the database's counters at this moment."""
        once = CollectorRegistry()
        once.register(_Once(list(stats)))
        return generate_latest(self.registry) + generate_latest(once)


class _Gauges(Collector):
    def __init__(self, gauges: list[tuple[str, str, Callable[[], float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, help_, value in self._gauges:
            family = GaugeMetricFamily(name, help_)
            family.add_metric([], value())
            yield family


class _Once(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
