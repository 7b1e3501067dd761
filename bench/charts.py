"""A result as an SVG, for `docs/performance.md`. Needs matplotlib (extra `bench`)."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")  # no screen is needed
mpl.rcParams["svg.hashsalt"] = "blobforge"  # the same figures give the same file
mpl.rcParams["svg.fonttype"] = "none"  # text stays text

from matplotlib.figure import Figure  # noqa: E402 - behind the choice of what draws
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator  # noqa: E402

from bench.report import VALUES, Chart  # noqa: E402

IMAGES = Path(__file__).parent.parent / "docs" / "images" / "bench"
INCHES = (7.2, 3.8)


def draw(result: dict[str, Any], folder: Path = IMAGES) -> Path:
    """Draw one result (what `publish` writes) and return the file."""
    if result.get("chart") is None:
        raise ValueError(f"{result['name']} has no chart")
    chart = Chart(**result["chart"])
    rows = [row for row in result["rows"] if chart.series in row and row.get(chart.y) is not None]
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    (_bars if chart.bars else _lines)(axes, rows, chart)
    axes.set_title(result["title"], fontsize=11)
    if chart.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(VALUES[chart.y].heading)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        f"revision {result['revision']}, {result['machine']['cpus']} CPUs", fontsize=7, x=0.99, ha="right"
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['name']}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def _lines(axes: Any, rows: list[dict[str, Any]], chart: Chart) -> None:
    by = itemgetter(chart.series)
    for name, each in groupby(sorted(rows, key=by), key=by):
        points = sorted((row[chart.x], row[chart.y]) for row in each)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    if chart.log_x:
        axes.set_xscale("log")
    axes.set_xticks(sorted({row[chart.x] for row in rows}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(chart.x_label)
    axes.legend(fontsize=8, frameon=False)


def _bars(axes: Any, rows: list[dict[str, Any]], chart: Chart) -> None:
    """Groups of bars: a group for each `x`, a bar for each series."""
    places = list(dict.fromkeys(row[chart.x] for row in rows))
    series = list(dict.fromkeys(row[chart.series] for row in rows))
    width = 0.8 / len(series)
    for number, name in enumerate(series):
        mine = {row[chart.x]: row[chart.y] for row in rows if row[chart.series] == name}
        at = [place - 0.4 + width * (number + 0.5) for place in range(len(places))]
        axes.bar(at, [mine.get(place, 0) for place in places], width, label=name)
    many = len(places) > 4
    axes.set_xticks(range(len(places)), places, rotation=35 if many else 0, ha="right" if many else "center")
    axes.set_xlabel(chart.x_label)
    axes.legend(fontsize=8, frameon=False)
