"""Where, on what, and compared with what: the form that every benchmark's result has.

A report is a list of flat rows; `VALUES` says how each number is called and shown, and which way is better. What is
in a row and not there (how many workers, which series of the plot) is kept in the JSON and not shown.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
import msgspec
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
LOCAL = RESULTS / "local"  # git ignores it
WIDTH = 200  # columns; a table that is cut off says nothing
# What differs from the revision; results that were just written do not.
CHANGES = ("status", "--porcelain", "--", ":/", ":(top,exclude)bench/results", ":(top,exclude)docs/images/bench")
PACKAGES = ("hypercorn", "quart", "quart-trio", "trio", "apsw", "msgspec")


class Value(msgspec.Struct, frozen=True):
    """One kind of number. `more`: whether more of it is better; None: neither."""

    heading: str
    form: str = ",.0f"
    more: bool | None = None


VALUES: dict[str, Value] = {
    "per_second": Value("per second", more=True),
    "times": Value("times", ".2f", more=True),
    "cpu_times": Value("CPU times", ".2f", more=False),
    "memory_times": Value("MiB times", ".2f", more=False),
    "share_of_null": Value("of null", ".2f", more=True),
    "share_of_apsw": Value("of apsw", ".2f", more=True),
    "p50_ms": Value("p50 ms", ",.2f", more=False),
    "p90_ms": Value("p90 ms", ",.2f", more=False),
    "p95_ms": Value("p95 ms", ",.2f", more=False),
    "p99_ms": Value("p99 ms", ",.2f", more=False),
    "worst_ms": Value("worst ms", ",.2f", more=False),
    "few_ms": Value("few ms", ",.2f", more=False),
    "many_ms": Value("many ms", ",.2f", more=False),
    "many_p90_ms": Value("many p90", ",.2f", more=False),
    "ratio": Value("ratio", ".2f", more=False),
    "seconds": Value("seconds", ",.2f", more=False),
    "messages_a_job": Value("messages a job", ".2f", more=False),
    "tab_cpu": Value("tab CPU", ".3f", more=False),
    "server_cpu": Value("server CPU", ".2f", more=False),
    "cpu_us": Value("CPU us", ",.0f", more=False),
    "load_cpu": Value("load CPU", ".2f"),
    "rss_mib": Value("MiB", ",.0f", more=False),
    "grown_mib": Value("grown MiB", ",.1f", more=False),
    "received": Value("received", ".3f", more=True),
    "resyncs": Value("resyncs", ",d", more=False),
    "turns": Value("turns"),
    "files": Value("files", more=False),
    "calls": Value("calls", more=False),
    "changes": Value("changes of file", more=False),
    "wakeups": Value("wake-ups", more=False),
    "hops": Value("hops", more=False),
    "errors": Value("errors", ",d", more=False),
}


class Chart(msgspec.Struct, frozen=True):
    """A plot of the rows: one line for each value of `series`, from `x` to `y`, all three keys of rows.

    `bars`: `x` holds names, not numbers."""

    x: str
    y: str
    series: str
    x_label: str
    log_x: bool = True
    log_y: bool = False
    bars: bool = False


class Report(msgspec.Struct, frozen=True):
    """What one benchmark has found out. `headline` is the value that is compared with the baseline's."""

    name: str
    title: str
    rows: Sequence[dict[str, Any]]
    headline: str = "per_second"
    chart: Chart | None = None


def surroundings() -> dict[str, Any]:
    """Machine, versions, durability and revision, so that two results can be compared honestly."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in PACKAGES} | {"sqlite": apsw.sqlite_lib_version()},
        "durability": "WAL, synchronous=FULL, answered after COMMIT",
        "revision": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git(*CHANGES) else ""),
    }


def publish(report: Report, plan: dict[str, Any], *, baseline: bool, plot: bool) -> Path:
    """Print a table with each row beside the committed baseline's, and write JSON; returns where.

    Results go to `results/local/`; `baseline` writes the file that is committed.
    """
    committed = RESULTS / f"{report.name}.json"
    before = json.loads(committed.read_text()) if committed.exists() else None
    whole = surroundings() | {"plan": plan} | msgspec.to_builtins(report)
    console = Console(width=WIDTH)
    console.print(_table(report, before))
    console.print(_compared(before, whole), soft_wrap=True, highlight=False)
    path = committed if baseline else LOCAL / f"{report.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"written to {_short(path)}")
    if plot:
        from bench.charts import draw  # noqa: PLC0415 - matplotlib is an extra

        print(f"drawn to {_short(draw(whole))}")
    return path


def headings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The keys of `VALUES` that any of the rows has, in their order."""
    return [key for key in VALUES if any(row.get(key) is not None for row in rows)]


def shown(row: dict[str, Any], key: str) -> str:
    return format(row[key], VALUES[key].form) if row.get(key) is not None else ""


def _table(report: Report, before: dict[str, Any] | None) -> Table:
    known = {row["what"]: row for row in before["rows"]} if before else {}
    keys = headings(report.rows)
    table = Table(title=report.title)
    spreads = any("spread" in row for row in report.rows)
    for heading in ("what", *(VALUES[key].heading for key in keys), *["spread"] * spreads, "baseline"):
        table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
    for row in report.rows:
        cells = [row["what"], *(shown(row, key) for key in keys)]
        if spreads:
            cells.append("-".join(format(each, VALUES[report.headline].form) for each in row.get("spread", [])))
        table.add_row(*cells, _against(row, known.get(row["what"]), report))
    return table


def _against(row: dict[str, Any], known: dict[str, Any] | None, report: Report) -> str:
    """How many times the baseline's headline this one is."""
    if known is None or report.headline not in row or report.headline not in known:
        return "new"
    times = row[report.headline] / known[report.headline] if known[report.headline] else 0.0
    return f"x{times:.2f}"


def _compared(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    """One line: with what it is compared, and what was not the same there."""
    if before is None:
        return "no baseline is committed yet: --baseline writes one"
    differs = [key for key in ("machine", "versions", "durability", "plan") if before.get(key) != now[key]]
    end = f"; not the same there: {', '.join(differs)}" if differs else ""
    better = {True: "more is better", False: "less is better", None: ""}[VALUES[now["headline"]].more]
    return f"baseline: revision {before['revision']} of {before['at'][:10]}, {now['headline']}, {better}{end}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
