"""Where, on what, and compared with what: the part that every benchmark shares."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def surroundings() -> dict[str, Any]:
    """Machine, versions, durability and revision, so that two results can be compared honestly."""
    packages = ("hypercorn", "quart", "quart-trio", "trio", "apsw", "msgspec")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "versions": {name: version(name) for name in packages} | {"sqlite": apsw.sqlite_lib_version()},
        "durability": "WAL, synchronous=FULL, answered after COMMIT",
        "revision": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
    }


def publish(name: str, title: str, rows: list[dict[str, Any]], *, baseline: bool) -> None:
    """Print a table with each rate beside the committed baseline's, and write JSON.

    Results go to `results/local/`, which git ignores; `baseline` writes the file that is committed.
    """
    committed = RESULTS / f"{name}.json"
    before = {row["what"]: row for row in json.loads(committed.read_text())["rows"]} if committed.exists() else {}
    table = Table(title=title)
    columns = ["what", "per second", "of null/2", "p50 ms", "p99 ms", "errors", "spread", "baseline"]
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right", no_wrap=True)
    for row in rows:
        known = before.get(row["what"])
        share = row.get("share_of_null")
        table.add_row(
            row["what"],
            f"{row['per_second']:,.0f}",
            f"{share:.2f}" if share is not None else "",
            f"{row['p50_ms']:.1f}" if "p50_ms" in row else "",
            f"{row['p99_ms']:.1f}" if "p99_ms" in row else "",
            str(row["errors"]),
            "-".join(f"{rate:,.0f}" for rate in row["spread"]),
            f"x{row['per_second'] / known['per_second']:.2f}" if known else "new",
        )
    Console(width=120).print(table)
    path = committed if baseline else RESULTS / "local" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(surroundings() | {"rows": rows}, indent=1) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, cwd=RESULTS.parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
