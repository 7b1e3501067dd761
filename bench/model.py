"""At which load does one coordinator saturate, on 2, 8 and 32 cores?

    python -m bench.model            from the committed results
    python -m bench.model --local    from those of this machine, where there are any

A few costs are fitted by least squares to what `bench.commit` and `bench.claim` have measured (and `bench.submit` and
`bench.wake`, where they are there); the rates at which something is full follow from them. Each row counts by its
relative error, so that fast ways weigh no more than slow ones.

The writer alone:    wall time of a claim+complete cycle    = job + 2 * (commit + sync) / messages in a commit
The whole server:    CPU time of a cycle over HTTP          = request * requests a cycle + http job + job
A process is full:   CPU time a second                      = 1 / share that holds the interpreter's lock

Whatever is full first bounds the rate: the process, or the cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from bench.plan import BenchError
from bench.report import LOCAL, RESULTS

CORES = (2, 8, 32)
SATURATED = 16  # workers, from which on a server of one process is never idle
FULL = 0.8  # of what a process can use
WRITER, WRITER_WITHOUT_SYNC = "the writer", "the writer, synchronous=NORMAL"


class Way(msgspec.Struct, frozen=True):
    """How jobs are claimed and completed: requests to a cycle."""

    name: str
    requests: float


WAYS = (
    Way("single requests", 2), Way("claim_next", 1), Way("batches of 10", 2 / 10), Way("batches of 100", 2 / 100)
)  # fmt: skip


class Check(msgspec.Struct, frozen=True):
    """One measured point beside what the model says of it."""

    what: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


class Model(msgspec.Struct, frozen=True):
    """Seconds, and `lock`, the share of a busy process's CPU time that holds the interpreter's lock."""

    job: float  # writer, for each claim+complete
    commit: float  # writer, for each transaction, without the sync
    sync: float  # until the disk has it, for each transaction
    request: float  # HTTP, for each request
    http_job: float  # HTTP, for each job: signing, encoding
    lock: float
    checks: Sequence[Check]
    submit_request: float | None = None
    submit_job: float | None = None

    def cycle(self, requests: float) -> float:
        """CPU seconds of a cycle in one process."""
        return requests * self.request + self.http_job + self.job

    def saturation(self, requests: float, *, cores: int) -> tuple[float, str]:
        """Cycles a second at which something is full, and what."""
        bounds = {"the process": 1 / (self.lock * self.cycle(requests)), "the cores": cores / self.cycle(requests)}
        return min((rate, name) for name, rate in bounds.items())


def fitted(results: dict[str, Any]) -> Model:
    """The model of these results, by benchmark. Raises BenchError when there are too few of them."""
    job_alone, commit, sync = _writer(_rows(results, "commit"))
    alone = _claims(results, "claim")
    if len({_requests(row) for row in alone}) < 2:
        raise BenchError(
            f"too few results: run bench.claim with {SATURATED} workers or more and at least two ways to claim"
        )
    # What a job costs in all is known from these; how much of it is the writer's, from its own results.
    request, whole_job = _fit([(_requests(row), 1) for row in alone], [_cost(row) for row in alone])
    job = min(job_alone, whole_job)
    http_job = whole_job - job
    lock = min(1.0, 1 / median(row["server_cpu"] for row in alone))
    submissions = [row for row in _rows(results, "submit") if row.get("server_cpu")]
    submit_request, submit_job = (
        _fit([(1 / row["size"], 1) for row in submissions], [_cost(row) for row in submissions])
        if len({row["size"] for row in submissions}) > 1
        else (None, None)
    )
    model = Model(job, commit, sync, request, http_job, lock, (), submit_request, submit_job)
    return msgspec.structs.replace(model, checks=tuple(_checks(model, results, alone, job_alone)))


def _claims(results: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The ways to claim, under full load."""
    return [
        row for row in _rows(results, name)
        if row.get("server_cpu") and row.get("workers", 0) >= SATURATED and _requests(row) is not None
    ]  # fmt: skip


def _writer(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """(job, commit, sync) of the writer alone."""
    known = [row for row in rows if row.get("how") in {WRITER, WRITER_WITHOUT_SYNC} and row.get("per_second")]
    if len({row["size"] for row in known}) < 2:
        raise BenchError("too few results: run bench.commit with at least two sizes")
    terms = [(1, 2 / row["size"], 2 / row["size"] if row["how"] == WRITER else 0) for row in known]
    job, commit, sync = _fit(terms, [1 / row["per_second"] for row in known])
    return job, commit, sync


def _fit(terms: Sequence[Sequence[float | None]], seconds: Sequence[float]) -> list[float]:
    """Least squares of the relative errors; a cost that would come out below nothing is nothing."""
    matrix = np.array(terms, dtype=float) / np.array(seconds)[:, None]
    costs = np.zeros(matrix.shape[1])
    kept = list(range(matrix.shape[1]))
    while kept:
        found = np.linalg.lstsq(matrix[:, kept], np.ones(len(seconds)), rcond=None)[0]
        if (found >= 0).all():
            costs[kept] = found
            break
        kept.pop(int(found.argmin()))
    return [float(cost) for cost in costs]


def _checks(model: Model, results: dict[str, Any], alone: list[dict[str, Any]], job_alone: float) -> list[Check]:
    checks = [
        Check(row["what"], row["per_second"], 1 / (model.lock * model.cycle(requests)))
        for row in alone
        if (requests := _requests(row)) is not None and _full(row, model)
    ]
    for row in _rows(results, "commit"):
        if row.get("how") == WRITER:
            wall = job_alone + 2 * (model.commit + model.sync) / row["size"]
            checks.append(Check(row["what"], row["per_second"], 1 / wall))
    if model.submit_request is not None and model.submit_job is not None:
        for row in _rows(results, "submit"):
            if row.get("server_cpu") and _full(row, model):
                cost = model.submit_request / row["size"] + model.submit_job
                checks.append(Check(f"submitted {row['what']}", row["per_second"], 1 / (model.lock * cost)))
    for row in _rows(results, "wake"):
        if row.get("polls") == 1 and row.get("p50_ms"):
            way = 2 * (model.request + model.commit + model.sync) + model.http_job + model.job
            checks.append(Check("from submission to a waiting worker, ms", row["p50_ms"], way * 1000))
    return checks


def _full(row: dict[str, Any], model: Model) -> bool:
    """Whether the server was the bottleneck, and not the generator or other work on the machine."""
    return bool(row["server_cpu"] >= FULL / model.lock)


def _requests(row: dict[str, Any]) -> float | None:
    """Requests to a cycle; None for what is not a way to claim."""
    return next((way.requests for way in WAYS if way.name == row.get("how")), None)


def _cost(row: dict[str, Any]) -> float:
    """CPU seconds of the server for each that was counted."""
    return float(row["server_cpu"] / row["per_second"])


def _rows(results: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in results.get(name, {}).get("rows", []) if row.get("per_second") or row.get("p50_ms")]


# ------------------------------------------------------------------ as Markdown


def markdown(results: dict[str, Any], cores: Sequence[int] = CORES) -> str:
    """What stands between the markers of docs/performance.md."""
    try:
        model = fitted(results)
    except BenchError as error:
        return f"No model yet ({error}); then `python -m bench.tables --write`."
    lines = [*_costs(model), "", *_saturations(model, cores)]
    if model.submit_request is not None and model.submit_job is not None:
        one, many = (1 / (model.lock * (model.submit_request / n + model.submit_job)) for n in (1, 1000))
        lines += ["", f"Submissions, one process: {one:,.0f}/s one by one, {many:,.0f}/s in batches of 1,000."]
    lines += ["", *_compared(model), "", f"Results of {_from(results)}."]
    return "\n".join(lines)


def _costs(model: Model) -> list[str]:
    costs = {
        "HTTP, each request": model.request,
        "HTTP, each job (sign, encode)": model.http_job,
        "writer, each claim + complete": model.job,
        "writer, each transaction": model.commit,
        "sync, each transaction": model.sync,
    }
    lines = ["| Cost | µs |", "| --- | ---: |"]
    lines += [f"| {name} | {seconds * 1e6:,.0f} |" for name, seconds in costs.items()]
    return [*lines, f"| share of the CPU time that holds the interpreter's lock | {model.lock:.2f} |"]


def _saturations(model: Model, cores: Sequence[int]) -> list[str]:
    head = [f"{count} cores" for count in cores]
    lines = ["| Full at, cycles/s | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    for way in WAYS:
        found = [model.saturation(way.requests, cores=count) for count in cores]
        lines.append(f"| {way.name} | " + " | ".join(f"{rate:,.0f} ({bound})" for rate, bound in found) + " |")
    return lines


def _compared(model: Model) -> list[str]:
    errors = sorted(abs(check.error) for check in model.checks)
    if not errors:
        return ["Nothing to compare it with: in none of these results was the server busy all the time."]
    lines = ["| Measured, where the server was full | figure | model | off by |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {check.what} | {check.measured:,.4g} | {check.predicted:,.4g} | {check.error:+.0%} |"
        for check in model.checks
    ]
    worst = f"The model is off by {median(errors):.0%} in the median and by {errors[-1]:.0%} at worst"
    return [*lines, "", f"{worst}, over {len(errors)} points."]


def _from(results: dict[str, Any]) -> str:
    used = {name: results[name] for name in ("commit", "claim", "submit", "wake") if name in results}
    return ", ".join(f"{name} ({each.get('revision', '?')})" for name, each in used.items())


def load(*folders: Path) -> dict[str, Any]:
    """The results by benchmark; of the last folder that has one."""
    return {path.stem: json.loads(path.read_text()) for folder in folders for path in sorted(folder.glob("*.json"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--local", action="store_true", help="prefer this machine's results to the committed ones")
    parser.add_argument("--cores", default=",".join(map(str, CORES)), help="numbers of cores (default %(default)s)")
    options = parser.parse_args()
    results = load(RESULTS, LOCAL) if options.local else load(RESULTS)
    try:
        cores = tuple(int(each) for each in options.cores.split(","))
        if min(cores) < 1:
            raise ValueError
    except ValueError:
        parser.error("--cores takes numbers with commas between them, like 2,8,32")
    try:
        fitted(results)
    except BenchError as error:
        raise SystemExit(f"model: {error}") from None
    print(markdown(results, cores))


if __name__ == "__main__":
    main()
