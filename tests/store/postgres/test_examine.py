"""What is said of a cluster that would lose something, or that something stands in the way of."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from blobforge.store.commons import Remark
from blobforge.store.postgres import examine as examining
from blobforge.store.postgres.commons import RowCommons
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database


class Examined:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.name = cluster, new_database(cluster)
        self.ahead = 0

    def remarks(self, *settings: str, user: str | None = None) -> dict[str, list[Remark]]:
        """By subject, in a session with these settings."""
        url = self.cluster.url(self.name) + "".join(f"&options=-c%20{each.replace('=', '%3D')}" for each in settings)
        url = url.replace("postgres@", f"{user}@") if user else url
        [(now,)] = self.cluster.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        commons = RowCommons(url, now=lambda: int(str(now)) + self.ahead)
        found: dict[str, list[Remark]] = {}
        for remark in commons.examine().remarks:
            found.setdefault(remark.subject, []).append(remark)
        commons.close()
        return found


@pytest.fixture
def examined(postgres: Cluster) -> Iterator[Examined]:
    made = Examined(postgres)
    yield made
    postgres.drop(made.name)


def levels(remarks: list[Remark]) -> set[str]:
    return {each.level for each in remarks}


def test_the_cluster_of_the_tests_loses_what_was_acknowledged(examined: Examined) -> None:
    durability = examined.remarks()["durability"]
    assert levels(durability) == {"failure"}
    said = " ".join(each.text for each in durability)
    for setting in ("fsync is off", "full_page_writes is off", "synchronous_commit is off"):
        assert setting in said
    assert all(each.advice for each in durability)


def test_settings_that_lose_and_settings_that_do_not() -> None:
    sound = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""}
    assert [each.level for each in examining._durability(sound)] == ["ok"]
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        [remark] = examining._durability(sound | {name: "off"})
        assert remark.level == "failure"
        assert name in remark.text + remark.advice
    local = sound | {"synchronous_commit": "local", "synchronous_standby_names": "ANY 1 (a, b)"}
    assert [each.level for each in examining._durability(local)] == ["warning"]


@pytest.mark.parametrize(
    ("names", "replicas", "level", "said"),
    [
        ("", [], "warning", "no standby"),
        ("", [("one", "streaming", "async", 0)], "warning", "asynchronous"),
        ("one", [("one", "streaming", "sync", 0)], "ok", "synchronous with one"),
        ("ANY 1 (one)", [("one", "streaming", "quorum", 0)], "ok", "synchronous with one"),
        ("one", [], "failure", "commits wait"),
        ("one", [("one", "catchup", "sync", 0)], "failure", "commits wait"),
    ],
)
def test_what_a_failover_would_lose(
    names: str, replicas: list[tuple[str, str, str, int]], level: str, said: str
) -> None:
    answers = {examining._MAY_LOOK: [[True]], examining._REPLICAS: replicas, examining._SLOTS: []}
    first, *_ = examining._replication({"synchronous_standby_names": names}, lambda asked, *_: answers[asked])
    assert first.level == level
    assert said in first.text


def test_a_copy_that_is_far_behind_and_a_slot_that_nobody_reads() -> None:
    far = examining.FAR_BEHIND * 2
    answers = {
        examining._MAY_LOOK: [[True]],
        examining._REPLICAS: [("one", "streaming", "sync", far)],
        examining._SLOTS: [("left", far)],
    }
    said = [
        each.text
        for each in examining._replication({"synchronous_standby_names": "one"}, lambda asked, *_: answers[asked])
        if each.level == "warning"
    ]
    assert len(said) == 2
    assert "standby one is streaming, 128 MiB behind" in said
    assert "slot left" in said[1]


def test_a_transaction_that_stays_open_is_named(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined.remarks()["upkeep"][0].level == "ok"
    monkeypatch.setattr(examining, "LONG_SECONDS", 0)
    with psycopg.connect(examined.cluster.url(examined.name), application_name="report") as connection:
        connection.execute("SELECT 1")
        [remark] = examined.remarks()["upkeep"]
        assert remark.level == "warning"
        assert "report" in remark.text
        assert f"pg_terminate_backend({connection.info.backend_pid})" in remark.advice


def test_clocks_that_differ(examined: Examined) -> None:
    assert levels(examined.remarks()["clock"]) == {"ok"}
    examined.ahead = -10_000
    [remark] = examined.remarks()["clock"]
    assert (remark.level, "behind" in remark.text) == ("warning", True)
    examined.ahead = 100_000
    assert levels(examined.remarks()["clock"]) == {"failure"}


def test_a_role_that_may_not_look_is_told_what_it_needs(examined: Examined) -> None:
    examined.cluster.execute("CREATE ROLE modest LOGIN")
    try:
        [remark] = examined.remarks(user="modest")["replication"]
        assert remark.level == "skipped"
        assert "GRANT pg_monitor" in remark.advice
    finally:
        examined.cluster.execute("DROP ROLE modest")
