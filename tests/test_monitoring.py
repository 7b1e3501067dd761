"""The dashboard, the alert rules and the page about them are held to what a running server really exposes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import yaml
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from actors.mailbox import Mailbox
from actors.messages import ChangeType
from blobforge.jobtype import TypeChanges
from blobforge.machinery.tally import Spread
from blobforge.store.commons import Figures, ServerState, Standby, TableFigures
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import HEX, finish
from web.metrics import servers
from web.metrics.exposition import _Once

ROOT = Path(__file__).parent.parent
OPERATIONS = ROOT / "docs" / "operations.md"
DASHBOARD = ROOT / "deploy" / "grafana" / "blobforge.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"

# What PromQL has besides metrics, as far as our expressions use it.
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
ADDED_BY_PROMETHEUS = {"job", "instance"}
ON_POSTGRESQL = {"server"}  # each series has it there


# ------------------------------------------------------------------ what a server exposes


class Backup:
    mailbox: Mailbox[Any]
    lag_seconds = 1.0
    proven_until_ms = 1
    last_drill_ok = True
    restarts = 0
    running = True


async def a_busy_day(local: LocalServer) -> str:
    """A server in which something of everything has happened."""
    for number in range(4):
        await local.submit(b"%d" % number)
    await local.call("POST", f"/api/jobs/{await local.submit(b'not wanted')}/cancel")
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    await local.register()
    await finish(local)
    grant = await local.claim()
    body = {"worker_id": "w1", "error": "x", "retryable": False}
    await local.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body)
    await local.claim()
    await trio.sleep(10)
    Backup.mailbox = Mailbox(1)
    local.parts.services.metrics.parts.backup = Backup
    return bytes((await local.call("GET", "/metrics"))[1]).decode()


def of_several_servers() -> str:
    """What there is with PostgreSQL besides, without the label that all series have there."""
    own = ServerState(id="a", name="one", version="1", objects="s3", behind=3, clock=-20)
    figures = Figures([TableFigures("jobs", 10, 3)], [Standby("db-2", True, 0)], 0.5)
    return generate_latest(_Once(chain([servers.turns(Spread())], servers.families([own], figures)))).decode()


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Metric]:
    """By the name of the family; one day, in virtual time, for all tests."""

    async def lived() -> str:
        async with open_local(tmp_path_factory.mktemp("monitored") / "data") as local:
            return await a_busy_day(local) + of_several_servers()

    text = trio.run(lived, clock=trio.testing.MockClock(autojump_threshold=0))
    return {family.name: family for family in text_string_to_metric_families(text)}


def series(exposed: dict[str, Metric]) -> dict[str, dict[str, set[str]]]:
    """For each name of a series, the values of each of its labels."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in exposed.values():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


# ------------------------------------------------------------------ what the files ask for


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    alert: str
    expr: str
    for_: str = msgspec.field(name="for")
    labels: dict[str, str]
    annotations: dict[str, str]


@cache
def rules() -> list[Rule]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [msgspec.convert(rule, Rule) for group in groups for rule in group["rules"]]


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text())


def queries() -> Iterator[str]:
    """Every expression of the dashboard, with Grafana's own variables replaced."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield re.sub(r"label_values\((.*),\s*(\w+)\)", r"sum by (\2) (\1)", variable["definition"])


def expressions() -> list[str]:
    return [rule.expr for rule in rules()] + list(queries())


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(metric, {label: pattern}) of an expression."""
    bare = re.sub(GROUPING, " ", expression)
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    for name, braces in re.findall(
        r"\b([a-z_][a-z0-9_]*)\b(?!\s*\()\s*(\{[^}]*\})?", re.sub(r'"[^"]*"', hidden, bare)
    ):
        if name not in WORDS:
            yield (
                name,
                {label: shown(value) for label, value in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', braces)},
            )


def hidden(text: re.Match[str]) -> str:
    return '"' + text[0][1:-1].encode().hex().upper() + '"'  # no word in it, and no brace


def shown(text: str) -> str:
    return bytes.fromhex(text).decode()


def grouped_by(expression: str) -> set[str]:
    return {
        label.strip() for labels in re.findall(GROUPING, expression) for label in labels.split(",") if label.strip()
    }


def test_the_reading_of_expressions() -> None:
    found = list(
        selectors('sum by (le, a) (rate(x_total{b=~"c|d",e!="f{"}[5m])) / on (a) (y > 1) and time() - z < 3')
    )
    assert found == [("x_total", {"b": "c|d", "e": "f{"}), ("y", {}), ("z", {})]
    assert grouped_by("sum by (le, a) (x) / on (b) y") == {"le", "a", "b"}


@pytest.mark.parametrize("what", ["alerts", "dashboard"])
def test_every_series_that_is_asked_for_exists(exposed: dict[str, Metric], what: str) -> None:
    known = series(exposed)
    asked = [rule.expr for rule in rules()] if what == "alerts" else list(queries())
    assert len(asked) > 20
    for expression in asked:
        found = list(selectors(expression))
        assert found, expression
        of_these: set[str] = ADDED_BY_PROMETHEUS | ON_POSTGRESQL
        for name, labels in found:
            assert name in known, f"{name} is not exposed: {expression}"
            of_these |= known[name].keys()
            for label, pattern in labels.items():
                if label in ADDED_BY_PROMETHEUS:
                    continue
                assert label in known[name], f"{name} has no label {label}: {expression}"
                for value in pattern.split("|") if re.fullmatch(r"[\w|]+", pattern) else []:
                    assert value in known[name][label], f"{name} is never {label}={value}: {expression}"
        assert grouped_by(expression) <= of_these, expression


def test_rates_are_of_counters_and_levels_of_gauges(exposed: dict[str, Metric]) -> None:
    kinds = {sample.name: family.type for family in exposed.values() for sample in family.samples}
    for expression in expressions():
        for function, name in re.findall(r"\b(\w+)\(([a-z_]+)(?:\{[^}]*\})?\[", expression):
            counted = kinds[name] in {"counter", "histogram"}
            assert counted == (function in {"rate", "increase"}), expression
        for name, _ in selectors(expression):
            if kinds[name] == "counter":
                assert re.search(rf"(?:rate|increase)\({name}\b", expression), (
                    f"a counter's level says little: {expression}"
                )


def test_thresholds_can_be_reached(exposed: dict[str, Metric]) -> None:
    """A quantile above the last bound can never be told, and a share is never above 1."""
    for rule in rules():
        limit = re.search(r"[<>]=?\s*([\d.]+)\s*$", rule.expr)
        if (quantile := re.search(r"histogram_quantile\(.*?rate\((\w+)_bucket", rule.expr)) is not None:
            assert limit is not None
            bounds = {sample.labels["le"] for sample in exposed[quantile[1]].samples if "le" in sample.labels}
            finite = sorted(float(bound) for bound in bounds if bound != "+Inf")
            assert finite[3] < float(limit[1]) < finite[-1], rule.alert
        elif re.search(r"/ *(sum|\(?blobforge_\w+_capacity)", rule.expr):
            share = re.search(r"> (0\.\d+)", rule.expr)
            assert share is not None, rule.alert


def test_alerts_are_complete() -> None:
    names = [rule.alert for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule.labels.keys() == {"severity"}, rule.alert
        assert rule.labels["severity"] in {"critical", "warning"}, rule.alert
        assert rule.annotations.keys() == {"summary", "description", "runbook"}, rule.alert
        assert rule.annotations["runbook"] == f"docs/operations.md#{rule.alert.lower()}"
        assert re.fullmatch(r"[1-9]\d*[mh]", rule.for_), f"{rule.alert}: a single bad scrape is no alert"
        windows = re.findall(r"\[(\d+)([mh])\]", rule.expr)
        assert all(unit == "h" or int(n) >= 5 for n, unit in windows), (
            f"{rule.alert}: too short for a scrape a minute"
        )
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule.annotations.values())))
        if by := re.match(r"(?:sum|max|min) by \(([^)]*)\)|histogram_quantile\([^,]*, sum by \(([^)]*)\)", rule.expr):
            assert used <= {label.strip() for label in (by[1] or by[2]).split(",")}, (
                f"{rule.alert} shows what it drops"
            )


def test_every_alert_has_its_section() -> None:
    headings = re.findall(r"^### (BlobForge\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert headings == [rule.alert for rule in rules()], "in the order of the rules"


def test_the_dashboard_is_portable() -> None:
    board = dashboard()
    assert board.get("id") is None
    (source,) = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
    assert source["name"] == "datasource"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
            assert 'instance=~"$instance"' in target["expr"], panel["title"]
            assert not re.search(r"\[\d", target["expr"]), (
                f"{panel['title']}: $__rate_interval fits every scrape interval"
            )


def test_no_panel_lies_on_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


async def test_types_that_are_paused_and_workers_in_quarantine_are_counted(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    await local.call("POST", "/api/types/pdf/pause")
    await local.ask(ChangeType("ocr", "server", TypeChanges(paused=True)))
    assert (await local.call("POST", "/api/workers/w1/quarantine", {"reason": "dust"}))[0] == 200
    said = bytes((await local.call("GET", "/metrics"))[1]).decode()
    assert 'blobforge_types_paused{by="caller"} 1.0' in said
    assert 'blobforge_types_paused{by="itself"} 1.0' in said
    assert "blobforge_workers_quarantined 1.0" in said


def test_the_table_of_metrics_is_what_is_exposed(exposed: dict[str, Metric]) -> None:
    def row(family: Metric) -> str:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        shown_labels = ", ".join(f"`{label}`" for label in labels) or "–"
        return f"| `{name}` | {family.type} | {shown_labels} | {family.documentation.replace('|', ',')} |"

    ours = sorted(name for name in exposed if name.startswith("blobforge_"))
    expected = "\n".join(
        ["| Metric | Kind | Labels | What |", "| --- | --- | --- | --- |", *(row(exposed[name]) for name in ours)]
    )
    found = re.search(r"<!-- metrics -->\n(.*?)\n?<!-- /metrics -->", OPERATIONS.read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == expected, f"docs/operations.md should have:\n{expected}"
