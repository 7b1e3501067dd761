"""Metric families made of plain counts. Names, help texts and labels stand where these are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from blobforge.machinery.tally import Spread

F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily)
Values = float | Mapping[Any, float]  # by tuple of label values


def counter(name: str, help_: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    """A counter: it only rises until the process ends. `values`: one, or one for each tuple of label values."""
    return _filled(CounterMetricFamily(name, help_, labels=labels), values)


def gauge(name: str, help_: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    """A gauge: the value at this moment."""
    return _filled(GaugeMetricFamily(name, help_, labels=labels), values)


def histogram(
    name: str, help_: str, spreads: Iterable[tuple[tuple[str, ...], Spread]], labels: tuple[str, ...] = ()
) -> Metric:
    """How values were spread: one spread for each tuple of label values."""
    family = HistogramMetricFamily(name, help_, labels=labels)
    for key, spread in spreads:
        buckets = [("+Inf" if bound == inf else str(bound), n) for bound, n in spread.up_to()]
        family.add_metric(key, buckets, spread.total)
    return family


def _filled(family: F, values: Values) -> F:
    for key, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric(key, value)
    return family
