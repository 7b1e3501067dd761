"""What BlobForge wants to be able to do, beside what the committed results say: a table of `docs/performance.md`.

The goals are those of the project's owner. A result that is not there yet is shown as not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Rows = list[dict[str, Any]]
# What the system that this one replaces does on a machine of this kind, without a sync per commit.


class Found(NamedTuple):
    """What was measured, in words, and whether that is the goal."""

    text: str
    met: bool


class Goal(NamedTuple):
    """`look` raises LookupError when what it looks for was not measured."""

    what: str
    goal: str
    look: Callable[[Mapping[str, Rows]], Found]


def markdown(results: Mapping[str, Any]) -> str:
    """The table. `results` are those of `bench.model.load`: by name."""
    rows = {name: result["rows"] for name, result in results.items()}
    lines = ["| What | Goal | Measured | Met |", "| --- | --- | --- | --- |"]
    for goal in GOALS:
        try:
            found = goal.look(rows)
        except LookupError:
            found = Found("not measured", met=False)
        lines.append(f"| {goal.what} | {goal.goal} | {found.text} | {'yes' if found.met else 'no'} |")
    return "\n".join(lines)


def _one(rows: Rows, **wanted: Any) -> dict[str, Any]:
    for row in rows:
        if all(row.get(key) == value for key, value in wanted.items()):
            return row
    raise LookupError(wanted)


def _share(how: str, workers: tuple[int, ...], least: float) -> Callable[[Mapping[str, Rows]], Found]:
    def look(results: Mapping[str, Rows]) -> Found:
        shares = [_one(results["claim"], how=how, workers=count)["share_of_null"] for count in workers]
        return Found(", ".join(f"{share:.2f}" for share in shares), min(shares) >= least)

    return look


def _best(name: str, least: float, **wanted: Any) -> Callable[[Mapping[str, Rows]], Found]:
    """The best of the rows that are like `wanted`."""

    def best(rows: Rows) -> float:
        found = [row["per_second"] for row in rows if all(row.get(key) == value for key, value in wanted.items())]
        if not found:
            raise LookupError(wanted)
        return float(max(found))

    def look(results: Mapping[str, Rows]) -> Found:
        alone = best(results[name])
        return Found(f"{alone:,.0f}", alone >= least)

    return look


def _errors(results: Mapping[str, Rows]) -> Found:
    errors = sum(row.get("errors", 0) for row in _all(results.values()))
    return Found(f"{errors} in {sum(row.get('turns', 0) for row in _all(results.values())):,d} turns", errors == 0)


def _all(results: Iterable[Rows]) -> Iterator[dict[str, Any]]:
    for rows in results:
        yield from rows


def _depth(results: Mapping[str, Rows]) -> Found:
    kinds = {row["kind"]: row["ratio"] for row in results["depth"] if row["jobs"] == 10_000_000}
    if not kinds:
        raise LookupError("depth")
    return Found(", ".join(f"{kind} {ratio:.2f}" for kind, ratio in kinds.items()), max(kinds.values()) <= 1.3)


def _wake(results: Mapping[str, Rows]) -> Found:
    row = _one(results["wake"], polls=1000)
    text = f"p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms, {row['messages_a_job']:.2f} messages a job"
    return Found(text, row["p50_ms"] <= 5 and row["p99_ms"] <= 50 and row["messages_a_job"] <= 4)


def _idle(results: Mapping[str, Rows]) -> Found:
    row = _one(results["idle"], polls=10_000)
    text = f"{row['rss_mib']:.0f} MiB, claim p99 {row['p99_ms']:.0f} ms, {row['server_cpu']:.2f} of a core"
    return Found(text, row["rss_mib"] <= 400 and row["p99_ms"] <= 250 and row["server_cpu"] <= 0.5)


def _fanout(results: Mapping[str, Rows]) -> Found:
    row = _one(results["fanout"], stalled=100)
    text = f"p99 {row['p99_ms']:.0f} ms, {row['grown_mib']:.1f} MiB grown"
    return Found(text, row["p99_ms"] <= 250 and row["grown_mib"] < 5)


def _start(results: Mapping[str, Rows]) -> Found:
    row = _one(results["start"], jobs=1_000_000)
    return Found(f"{row['seconds']:.2f} s, {row['rss_mib']:.0f} MiB", row["seconds"] <= 2 and row["rss_mib"] <= 200)


GOALS = (
    Goal(
        "Cycles in single requests, 16 and 64 workers, of what the null endpoint allows",
        "0.75",
        _share("single requests", (16, 64), 0.75),
    ),
    Goal("`claim_next` cycles, 64 workers, of the null endpoint's rate", "0.7", _share("claim_next", (64,), 0.7)),
    Goal(
        "Jobs a second in batches of 100, claimed and completed",
        "12,000",
        _best("claim", 12_000, how="batches of 100"),
    ),
    Goal("Jobs a second submitted in batches of 1,000", "20,000", _best("submit", 20_000, size=1000)),
    Goal("Errors, in all results", "0", _errors),
    Goal("10,000,000 jobs against 10,000, medians", "1.3 times", _depth),
    Goal("Wake-up with 1,000 idle long polls", "p50 5 ms, p99 50 ms, one worker woken (4 messages a job)", _wake),
    Goal("10,000 idle long polls", "400 MiB, claim p99 250 ms, half a core", _idle),
    Goal("Events to 1,000 clients, 100 of them stalled", "p99 250 ms, no growth", _fanout),
    Goal("Ready with 1,000,000 jobs", "2 s, 200 MiB", _start),
)
