"""The committed results as Markdown, for `docs/performance.md`.

    python -m bench.tables           print them
    python -m bench.tables --write   put them between the markers of the page

A test holds the page to the results, so no figure stands there that was not measured.
"""

from __future__ import annotations

import argparse
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from bench import goals
from bench.__main__ import BENCHES
from bench.report import RESULTS, VALUES, headings, shown

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"


def markdown(name: str, results: Path = RESULTS) -> str:
    """What stands between the markers of one benchmark."""
    path = results / f"{name}.json"
    if not path.exists():
        return f"No baseline is committed yet: `python -m bench.{name} --baseline --plot` writes one."
    result = json.loads(path.read_text())
    rows = result["rows"]
    keys = headings(rows)
    lines = [
        "| | " + " | ".join(VALUES[key].heading for key in keys) + " |",
        "| --- |" + " ---: |" * len(keys),
        *(f"| {row['what']} | " + " | ".join(shown(row, key) for key in keys) + " |" for row in rows),
    ]
    image = DOCS / "images" / "bench" / f"{name}.svg"
    if image.exists():
        lines += ["", f"![{result.get('title', name)}](images/bench/{name}.svg)"]
    return "\n".join([*lines, "", _taken(result)])


def load(results: Path) -> dict[str, Any]:
    """The results in a folder, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}


def _taken(result: dict[str, Any]) -> str:
    """With what the figures were taken: without it they say nothing."""
    machine, versions = result["machine"], result["versions"]
    stack = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Revision {result['revision']}, {result['at'][:10]}, {machine['cpus']} CPUs, Python {machine['python']}, "
        f"{stack}; {result['durability']}."
    )


def written(text: str, results: Path = RESULTS) -> str:
    """The page with every table as it should be."""
    tables = {name: markdown(name, results) for name in BENCHES}
    tables["goals"] = goals.markdown(load(results))
    for name, table in tables.items():
        between = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
        text = between.sub(partial(_filled, table), text)
    return text


def _filled(table: str, found: re.Match[str]) -> str:
    return f"{found[1]}{table}\n{found[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put them into docs/performance.md")
    if parser.parse_args().write:
        PAGE.write_text(written(PAGE.read_text()))
        return
    for name in BENCHES:
        print(f"### {name}\n\n{markdown(name)}\n")


if __name__ == "__main__":
    main()
