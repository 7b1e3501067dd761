"""The benchmarks run, and their figures have the form that tables and plots are made of. Nothing about speed."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from bench import (
    alone,
    batches,
    calls,
    charts,
    children,
    churn,
    claim,
    clusters,
    commit,
    depth,
    elsewhere,
    fanout,
    filling,
    goals,
    groups,
    idle,
    ingest,
    labels,
    limits,
    pages,
    report,
    results,
    search,
    servers,
    several,
    start,
    submit,
    tab,
    tables,
    turns,
    versus,
    wake,
)
from bench.__main__ import BENCHES
from bench.plan import BenchError, Plan, command
from bench.report import VALUES, Report, publish
from blobforge.store.postgres.check import check as checked
from blobforge.store.sqlite.check import check
from tests.fixtures.forked import Forked
from tests.fixtures.postgres import Cluster

TINY = {
    "claim": claim.Claims(
        seconds=0.1, warmup=0, runs=1, workers=(2,), batches=(3,), jobs=2000, cycles=8, s3=False
    ),
    "versus": versus.Versus(
        seconds=0.1, warmup=0, runs=1, workers=(2,), jobs=4000, polls=5, poll_seconds=1.5, megabytes=1,
        revision="HEAD", s3=False
    ),
    "calls": calls.Calls(rounds=2, revision="HEAD"),
    "submit": submit.Submissions(seconds=0.1, warmup=0, runs=1, clients=(2,), batches=(5,), jobs=10, s3=True),
    "labels": labels.Labelled(sets=(2,), rounds=2),
    "groups": groups.Grouped(jobs=40, groups=4, rounds=2),
    "limits": limits.Limited(seconds=0.2, warmup=0.1, runs=1, workers=(1,), jobs=2000, revision="HEAD"),
    "depth": depth.Depths(sizes=(200,), rounds=1),
    "wake": wake.Wakes(polls=(3,), jobs=3, runs=1),
    "idle": idle.Idle(polls=(5,), seconds=0.3, warmup=0, runs=1, beat=0.2),
    "fanout": fanout.Fanout(clients=5, stalled=(1,), rate=50, seconds=0.3, warmup=0.3, runs=1),
    "start": start.Starts(sizes=(20,), running=2, runs=1),
    "commit": commit.Commits(sizes=(4,), cycles=16, runs=1),
    "alone": alone.Alone(revision="HEAD", sizes=(2,), cycles=20, rest=0.0001, runs=1),
    "turns": turns.Turning(sizes=(4,), cycles=16, runs=1),
    "several": several.Several(seconds=0.2, warmup=0, runs=1, workers=2, jobs=3000, revision="HEAD", commit=0),
    "churn": churn.Churn(few=20, many=40, churned=100, rounds=1),
    "elsewhere": elsewhere.Elsewhere(polls=(2,), jobs=3, runs=1, warmup=0.1, servers=2),
    "pages": pages.Pages(few=600, many=700, rounds=2, warm=0),
    "tab": tab.Tabs(changes=50, lines=40, seconds=1, warmup=0.1),
    "ingest": ingest.Ingests(files=3, size=10, runs=1),
    "results": results.Results(results=3, size=10, runs=1, s3="no"),
    "children": children.Children(runs=1, outputs=400, steps=3, rounds=10, jobs=2000),
    "search": search.Searches(jobs=600, rounds=2, batches=1, runs=1),
    "batches": batches.Batches(jobs=8, turns=2, batches=3, rounds=2),
}  # fmt: skip


@pytest.fixture(autouse=True)
def where_other_tests_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their databases lie beside those of other tests: what a disk costs is not asked here."""
    monkeypatch.setattr(tempfile, "tempdir", os.environ.get("PYTEST_DEBUG_TEMPROOT"))


@pytest.fixture(autouse=True)
def no_start_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this checkout are forks of what is imported; those of a revision start as in earnest."""
    from_nothing = servers.spawn

    def spawn(root: Path, program: Sequence[str], variables: dict[str, str], log: IO[bytes]) -> Any:
        if (root, program) != (servers.ROOT, servers.SERVE):
            return from_nothing(root, program, variables, log)
        return Forked(program[2:], environment=variables, folder=root, output=log, errors=log)

    monkeypatch.setattr(servers, "spawn", spawn)


@pytest.mark.parametrize("name", BENCHES)
async def test_a_benchmark_finds_something_out_without_errors(name: str, tmp_path: Path) -> None:
    found: Report = await importlib.import_module(f"bench.{name}").run(TINY[name])
    assert found.name == name
    assert found.rows
    assert [row for row in found.rows if row["errors"]] == []
    names = [row["what"] for row in found.rows]
    assert len(set(names)) == len(names)  # the baseline is looked up by them
    for row in found.rows:
        assert math.isfinite(row[found.headline])
        assert row[found.headline] > 0, row
    assert found.chart is not None
    whole = {"revision": "r", "machine": {"cpus": 1}} | msgspec.to_builtins(found)
    assert charts.draw(whole, tmp_path).read_text().count("<path")


def test_every_benchmark_is_run_here_and_by_make() -> None:
    assert sorted(TINY) == sorted(BENCHES)


def test_laid_in_databases_are_whole(tmp_path: Path) -> None:
    for lay_in in (filling.pending, filling.history):
        small, large = tmp_path / f"{lay_in.__name__}-small", tmp_path / f"{lay_in.__name__}-large"
        assert lay_in(small, 600) == 600
        filling.multiply(small, large, 3)
        assert check(small) == []
        assert check(large) == []


def test_databases_laid_in_on_postgresql_are_whole(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SEED", 30)
    for jobs, there in ((20, 20), (70, 90)):
        name = postgres.database()
        assert clusters.pending(postgres.url(name), jobs, workers=2) == there
        assert checked(postgres.url(name)) == []
        postgres.drop(name)


# ------------------------------------------------------------------ the form of a result


ROWS = [
    {"what": "some", "per_second": 200.0, "p50_ms": 1.5, "errors": 0, "spread": [190.0, 210.0], "x": 1, "how": "a"},
    {"what": "bare", "per_second": 0.0, "errors": 0, "x": 10, "how": "b"},
]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "LOCAL", tmp_path / "local")
    return tmp_path


def test_a_result_is_compared_with_the_committed_one(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(Report("claim", "Title", ROWS), {"runs": 1}, baseline=True, plot=False)
    assert "no baseline is committed yet" in capsys.readouterr().out
    faster = [ROWS[0] | {"per_second": 300.0}, ROWS[1], ROWS[0] | {"what": "more"}]
    path = publish(Report("claim", "Title", faster), {"runs": 2}, baseline=False, plot=False)
    said = capsys.readouterr().out
    assert path == results / "local" / "claim.json"
    assert "x1.50" in said
    assert "new" in said
    assert "not the same there: plan" in said
    kept = json.loads(path.read_text())
    assert {"machine", "versions", "durability", "revision", "plan", "rows"} <= set(kept)
    assert json.loads((results / "claim.json").read_text())["rows"] == ROWS


def test_a_table_shows_what_was_measured_and_with_what(results: Path) -> None:
    publish(Report("wake", "Title", ROWS), {}, baseline=True, plot=False)
    shown = tables.markdown("wake", results)
    assert shown.startswith(
        "| | per second | p50 ms | errors |\n| --- | ---: | ---: | ---: |\n| some | 200 | 1.50 | 0 |"
    )
    assert "| bare | 0 |  | 0 |" in shown
    assert "synchronous=FULL" in shown
    assert "No baseline is committed yet" in tables.markdown("idle", results)


def test_every_value_of_the_committed_results_is_known() -> None:
    for path in (Path(report.__file__).parent / "results").glob("*.json"):
        for row in json.loads(path.read_text())["rows"]:
            assert set(report.headings([row])) <= set(VALUES)
            assert row["errors"] == 0


def test_the_page_shows_the_committed_results() -> None:
    page = tables.PAGE.read_text()
    assert page == tables.written(page), "run: python -m bench.tables --write"
    assert [name for name in BENCHES if f"<!-- bench:{name} -->" not in page] == []


# ------------------------------------------------------------------ the command


class Plans(Plan, frozen=True, kw_only=True):
    pass


async def never(_: Plans) -> Report:
    raise BenchError("the jobs ran out")


async def faulty(_: Plans) -> Report:
    return Report("claim", "Title", [ROWS[0] | {"errors": 3}])


async def good(plan: Plans) -> Report:
    return Report("claim", f"{plan.runs} runs of {plan.seconds:g} s", [ROWS[0]])


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(("run", "said"), [(never, "the jobs ran out"), (faulty, "there were errors")])
def test_what_went_wrong_is_an_exit_code(run: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit, match=said):
        command("claim", "", Plans(), Plans(), run)  # type: ignore[arg-type]


@pytest.mark.usefixtures("results")
def test_options_go_above_the_plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--runs", "7"])
    command("claim", "", Plans(), Plans(runs=1, seconds=0.5), good)
    assert "7 runs of 0.5 s" in capsys.readouterr().out


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_explains_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"bench.{name}")
    monkeypatch.setattr(sys, "argv", ["bench", "--help"])
    with pytest.raises(SystemExit, match="0"):
        command(name, module.__doc__, module.FULL, module.QUICK, module.run)
    said = capsys.readouterr().out
    assert f"python -m bench.{name}" in said
    for option in (*module.FULL.__struct_fields__, "quick", "baseline", "plot"):
        assert f"--{option.replace('_', '-')} " in said or f"--{option.replace('_', '-')}]" in said


def test_a_goal_that_is_met_one_that_is_not_and_one_that_nobody_measured() -> None:
    rows = [{"jobs": 1_000_000, "seconds": 0.7, "rss_mib": 90.0, "turns": 5, "errors": 0}]
    idle = [
        {"kind": "10,000 idle long polls", "how": how, "rss_mib": mib, "p99_ms": 20.0, "turns": 6, "errors": errors}
        for how, mib, errors in (("abc", 401.0, 1), ("this checkout", 210.0, 0))
    ]
    table = goals.markdown({"start": {"rows": rows}, "versus": {"rows": idle}})
    assert "| 2 s, 200 MiB | 0.70 s, 90 MiB | yes |" in table
    assert "| 210 MiB (before 401), claim p99 20 ms (before 20) | no |" in table
    assert "| 1 in 17 turns | no |" in table
    assert table.count("not measured | – |") == len(goals.GOALS) - 3


def test_goals_beside_an_earlier_revision() -> None:
    cycles = {
        "kind": "claim+complete cycles, 64 workers",
        "how": "this checkout",
        "per_second": 3_500.0,
        "times": 3.9,
    }
    rows = [cycles | {"how": "abc", "times": None}, cycles | {"cpu_times": 0.24}]
    table = goals.markdown({"versus": {"rows": rows}})
    assert "| 4 times | 3.90 times (3,500) | no |" in table
    assert "| 0.25 times | 0.24 times | yes |" in table
