"""The figures behind a page's charts: what it says of them in words, and all of them as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from blobforge.store.reading import Reader
from web.api.charts import read_causes, read_history, read_marks, read_times
from web.api.encode import clipped
from web.api.wire_charts import CausesWire, MarksWire, TimesOfWire, TimesWire
from web.dashboard.chartrange import ChartRange
from web.dashboard.words import count, duration

LONGEST_HEAD = 60  # characters of a column's name

FigureColumn = tuple[str, Sequence[int | float | None], bool]  # its name, its values, and whether they are seconds


class FigureTable(msgspec.Struct, frozen=True):
    """Figures of each slot of a chart, the latest first: when it begins (ms), and its values in words. Slots of which
    nothing is known are left out."""

    id: str
    title: str
    columns: list[str]
    rows: list[tuple[int, list[str]]]


class ChartFigures(msgspec.Struct, frozen=True):
    """`most_queued`, `most_ran`: the longest bar of each histogram. `others`: failures of no cause that is named."""

    times: TimesWire
    causes: CausesWire
    marks: MarksWire
    tables: list[FigureTable]

    @property
    def most_queued(self) -> int:
        return max((each.n for each in self.times.queued.histogram), default=0)

    @property
    def most_ran(self) -> int:
        return max((each.n for each in self.times.ran.histogram), default=0)

    @property
    def others(self) -> int:
        return self.causes.total - sum(each.total for each in self.causes.causes)


def read_figures(reader: Reader, ranges: ChartRange, type_: str | None, *, now: int) -> ChartFigures:
    times = read_times(reader, ranges.wanted, type_, now=now)
    causes = read_causes(reader, ranges.wanted, type_, now=now)
    tables = list(_tables(reader, ranges, type_, times, causes, now=now)) if ranges.tables else []
    return ChartFigures(times, causes, read_marks(reader, ranges.wanted, type_, now=now), tables)


def _tables(
    reader: Reader, ranges: ChartRange, type_: str | None, times: TimesWire, causes: CausesWire, *, now: int
) -> Iterable[FigureTable]:
    past = read_history(reader, ranges.wanted, type_, now=now)
    flows, levels = past.flows, past.levels
    ended: list[FigureColumn] = [(name, flows[name], False) for name in ("submitted", "completed", "failed", "lost")]
    depth: list[FigureColumn] = [(name, levels[name], False) for name in ("pending", "running")]
    yield _table("ended", "Submitted, and attempts that ended", past.at, ended)
    yield _table("depth", "In the queue, and workers", past.at, [*depth, ("workers", past.workers, False)])
    why: list[FigureColumn] = [(f"{each.kind} in {each.place}", each.n, False) for each in causes.causes]
    yield _table("why", "Failures by cause", causes.at, [*why, ("others", causes.others, False)])
    yield _table("waited", "Time in the queue", times.at, _quantiles(times.queued))
    yield _table("ran", "Time running", times.at, _quantiles(times.ran))


def _quantiles(of: TimesOfWire) -> list[FigureColumn]:
    return [("attempts", of.n, False), ("half up to", of.p50, True), ("90 %", of.p90, True), ("99 %", of.p99, True)]


def _table(id_: str, title: str, at: Sequence[int], columns: Sequence[FigureColumn]) -> FigureTable:
    known = [n for n in range(len(at)) if any(values[n] is not None for _, values, _ in columns)]
    rows = [(at[n] * 1000, [_words(values[n], seconds) for _, values, seconds in columns]) for n in reversed(known)]
    return FigureTable(id_, title, [clipped(name, LONGEST_HEAD) for name, _, _ in columns], rows)


def _words(value: float | None, seconds: bool) -> str:
    if value is None:
        return "–"
    return duration(value) if seconds else count(value)
