"""What BlobForge wants to be able to do, beside what the committed results say: a table of `docs/performance.md`.

The goals are those of the project's owner. A result that is not there yet is shown as not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

NOW = "this checkout"  # as `bench.versus` calls it
ONE, TWO = "one server, PostgreSQL", "two servers, PostgreSQL"  # as `bench.several` calls them
APART = "two servers, PostgreSQL, a database each"
Rows = list[dict[str, Any]]


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
    """The table. `results` are those of `bench.tables.load`: by name."""
    rows = {name: result["rows"] for name, result in results.items()}
    lines = ["| What | Goal | Measured | Met |", "| --- | --- | --- | --- |"]
    for goal in GOALS:
        try:
            found = goal.look(rows)
            measured, met = found.text, "yes" if found.met else "no"
        except LookupError:
            measured, met = "not measured", "–"
        lines.append(f"| {goal.what} | {goal.goal} | {measured} | {met} |")
    return "\n".join(lines)


def _one(rows: Rows, **wanted: Any) -> dict[str, Any]:
    for row in rows:
        if all(row.get(key) == value for key, value in wanted.items()):
            return row
    raise LookupError(wanted)


def _versus(
    kind: str, share: str, bound: float, *, shown: str = "per_second"
) -> Callable[[Mapping[str, Rows]], Found]:
    """This checkout beside the earlier revision, in one run."""

    def look(results: Mapping[str, Rows]) -> Found:
        row = _one(results["versus"], kind=kind, how=NOW)
        beside = f" ({row[shown]:,.0f})" if row.get(shown) is not None and share != "cpu_times" else ""
        return Found(
            f"{row[share]:.2f} times{beside}", row[share] >= bound if share == "times" else row[share] <= bound
        )

    return look


def _lean(results: Mapping[str, Rows]) -> Found:
    """The lean reader's null endpoint beside bare trio and httptools."""
    shares = []
    for workers in (1, 16, 64):
        lean = _one(results["claim"], how="lean null requests", workers=workers)["per_second"]
        shares.append(lean / _one(results["claim"], how="trio and httptools", workers=workers)["per_second"])
    return Found(", ".join(f"{share:.2f}" for share in shares), min(shares) >= 0.4)


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
    kind = "10,000 idle long polls"
    now = _one(results["versus"], kind=kind, how=NOW)
    before = next(row for row in results["versus"] if row["kind"] == kind and row["how"] != NOW)
    text = f"{now['rss_mib']:.0f} MiB (before {before['rss_mib']:.0f}), claim p99 {now['p99_ms']:.0f} ms"
    text += f" (before {before['p99_ms']:.0f})"
    return Found(text, now["rss_mib"] <= 200 and now["p99_ms"] <= before["p99_ms"])


def _fanout(results: Mapping[str, Rows]) -> Found:
    row = _one(results["fanout"], stalled=100)
    text = f"p99 {row['p99_ms']:.0f} ms, {row['grown_mib']:.1f} MiB grown"
    return Found(text, row["p99_ms"] <= 250 and row["grown_mib"] < 5)


def _calls(results: Mapping[str, Rows]) -> Found:
    row = _one(results["calls"], kind="claim", how=NOW)
    text = f"{row['files']}, {row['calls']}, {row['changes']}"
    return Found(text, row["files"] <= 25 and row["calls"] <= 200 and row["changes"] <= 80)


def _wakeups(results: Mapping[str, Rows]) -> Found:
    now = _one(results["calls"], kind="claim", how=NOW)
    before = next(row for row in results["calls"] if row["kind"] == "claim" and row["how"] != NOW)
    text = f"{now['wakeups']} and {now['hops']} (before {before['wakeups']} and {before['hops']})"
    return Found(text, 2 * (now["wakeups"] + now["hops"]) <= before["wakeups"] + before["hops"])


def _fetched(kind: str) -> Callable[[Mapping[str, Rows]], Found]:
    def look(results: Mapping[str, Rows]) -> Found:
        places = [f"{store}{kind}" for store in ("embedded store", "S3")]
        rates = [_one(results["results"], how=f"{place}: fetched")["per_second"] for place in places]
        return Found(" and ".join(f"{rate:,.0f}" for rate in rates), min(rates) >= 300)

    return look


def _alone(kind: str, least: float) -> Callable[[Mapping[str, Rows]], Found]:
    """The CPU of the writer's thread beside an earlier revision's."""

    def look(results: Mapping[str, Rows]) -> Found:
        row = _one(results["alone"], kind=kind, how=NOW)
        return Found(f"{row['times']:.2f} times ({row['cpu_us']:.0f} us a cycle)", row["times"] >= least)

    return look


def _beside_sqlite(results: Mapping[str, Rows]) -> Found:
    """One server beside this checkout on SQLite: that is what an earlier revision does, times what was gained."""
    kind = {"kind": "single requests", "where": "near"}
    ours = _one(results["several"], how=ONE, **kind)["per_second"]
    share = ours / _one(results["several"], how=f"{NOW}, SQLite", **kind)["per_second"]
    return Found(f"{share:.2f} times ({ours:,.0f})", share >= 0.6)


def _several(bound: float, **wanted: Any) -> Callable[[Mapping[str, Rows]], Found]:
    def look(results: Mapping[str, Rows]) -> Found:
        row = _one(results["several"], **wanted)
        return Found(f"{row['times']:.2f} times ({row['per_second']:,.0f})", row["times"] >= bound)

    return look


def _far(results: Mapping[str, Rows]) -> Found:
    rate = _one(results["several"], how=ONE, far=True, slow=False)["per_second"]
    return Found(f"{rate:,.0f}", rate >= 2500)


def _churn(engine: str, most: float) -> Callable[[Mapping[str, Rows]], Found]:
    """The medians of a claim beside that with few jobs."""

    def found(results: Mapping[str, Rows]) -> Found:
        ratios = [row["ratio"] for row in results["churn"] if row["how"] == engine][1:]
        if not ratios:
            raise LookupError("churn")
        return Found(", ".join(f"{ratio:.2f}" for ratio in ratios), max(ratios) <= most)

    return found


def _elsewhere(results: Mapping[str, Rows]) -> Found:
    rows = results["elsewhere"]
    shown = ", ".join(f"{row['p50_ms']:.1f} ms" for row in rows)
    return Found(f"p50 {shown}", max(row["p50_ms"] for row in rows) <= 15)


def _pages(results: Mapping[str, Rows]) -> Found:
    """By the server's CPU, which says the same on a busy machine."""
    rows = results["pages"]
    slowest, worst = max(rows, key=lambda row: row["many_ms"]), max(rows, key=lambda row: row["cpu_times"])
    within = sum(row["cpu_times"] <= 1.5 for row in rows)
    text = f"{within} of {len(rows)} within 1.5 times, at most {worst['cpu_times']:.2f} ({worst['what']}); "
    text += f"at most {slowest['many_ms']:.0f} ms ({slowest['what']})"
    return Found(text, within == len(rows) and slowest["many_ms"] < 300)


def _tab(results: Mapping[str, Rows]) -> Found:
    shares = {row["what"]: row["tab_cpu"] for row in results["tab"]}
    return Found(", ".join(f"{what} {share:.1%}" for what, share in shares.items()), max(shares.values()) < 0.15)


def _start(results: Mapping[str, Rows]) -> Found:
    row = _one(results["start"], jobs=1_000_000)
    return Found(f"{row['seconds']:.2f} s, {row['rss_mib']:.0f} MiB", row["seconds"] <= 2 and row["rss_mib"] <= 200)


GOALS = (
    *(
        Goal(
            f"Cycles a second in single requests, {workers} workers, beside revision 27f53d8",
            f"{times} times",
            _versus(f"claim+complete cycles, {workers} workers", "times", times),
        )
        for workers, times in ((64, 4), (16, 3.5), (1, 2.2))
    ),
    Goal(
        "CPU of such a cycle, 64 workers",
        "0.25 times",
        _versus("claim+complete cycles, 64 workers", "cpu_times", 0.25),
    ),
    Goal("`claim_next` cycles, 64 workers", "3.5 times", _versus("claim_next cycles, 64 workers", "times", 3.5)),
    Goal("Heartbeats a second, 64 workers", "4 times", _versus("heartbeats, 64 workers", "times", 4)),
    Goal("Jobs in batches of 100", "1 times", _versus("jobs in batches of 100, 16 workers", "times", 1)),
    Goal(
        "MB a second into the embedded store", "not slower", _versus("MB put into the embedded store", "times", 0.95)
    ),
    Goal(
        "MB a second from the embedded store", "not slower", _versus("MB got from the embedded store", "times", 0.95)
    ),
    Goal("A null endpoint of the lean reader with 1, 16, 64 connections, of bare trio and httptools", "0.4", _lean),
    Goal("Files, calls and changes of file of a claim, one worker", "25, 200, 80", _calls),
    Goal("Wake-ups and thread hops of a claim, one worker", "half of the earlier revision's", _wakeups),
    *(
        Goal(
            f"The writer's thread alone, {size} messages a transaction, beside revision 27f53d8",
            f"{times} times",
            _alone(f"cycles, {size} to a transaction, hot", times),
        )
        for size, times in ((1, 1), (64, 2), (512, 2))
    ),
    Goal("Jobs a second submitted in batches of 1,000", "20,000", _best("submit", 20_000, size=1000)),
    Goal("Small results a second fetched, on the embedded store and on S3", "300", _fetched("")),
    Goal("The same of files that are several outputs", "300", _fetched(", several outputs")),
    Goal("Errors, in all results", "0", _errors),
    Goal("10,000,000 jobs against 10,000, medians", "1.3 times", _depth),
    Goal("A claim with 1,000,000 pending, and after many were churned, medians", "1.2 times", _churn("SQLite", 1.2)),
    Goal("Wake-up with 1,000 idle long polls", "p50 5 ms, p99 50 ms, one worker woken (4 messages a job)", _wake),
    Goal("10,000 idle long polls", "200 MiB, claim p99 as before or better", _idle),
    Goal("Events to 1,000 clients, 100 of them stalled", "p99 250 ms, no growth", _fanout),
    Goal("Each page with 1,000,000 jobs, 300 workers, 200 types and 10,000 batches, beside a small database",
         "1.5 times, 300 ms", _pages),
    Goal("CPU of a tab beside 1,000 changes and 1,000 printed lines a second", "15 % of a core", _tab),
    Goal("Ready with 1,000,000 jobs", "2 s, 200 MiB", _start),
    Goal("PostgreSQL: cycles a second of one server in single requests, 64 workers, beside SQLite", "0.6 times",
         _beside_sqlite),
    Goal("PostgreSQL: jobs in batches of 100, beside revision 27f53d8 on SQLite", "0.45 times",
         _several(0.45, how=ONE, kind="batches")),
    Goal("PostgreSQL: two servers on 2 cores beside one, single requests", "1.2 times",
         _several(1.2, how=TWO, kind="single requests")),
    Goal("PostgreSQL: cycles a second, 64 workers, each round trip 0.5 ms longer", "2,500", _far),
    Goal("PostgreSQL: a claim with 1,000,000 pending, after many were churned, and under a snapshot, medians",
         "1.3 times", _churn("PostgreSQL", 1.3)),
    Goal("PostgreSQL: wake-up of a long poll at another server, alone and beside 2,000 at each of three", "p50 15 ms",
         _elsewhere),
)  # fmt: skip
