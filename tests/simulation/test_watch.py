"""The watch finds what it is there to find: made-up plays, each wrong in one way, or just right."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tests.simulation.clock import WallClock
from tests.simulation.history import Ask, History, Violation
from tests.simulation.oracle import Attempt, Job, Limits, Look, Oracle, Worker
from tests.simulation.watch import SOON, Watch

LIMITS = Limits(30.0, 60.0, 8.0, 20.0, 2, 1)


class Scene:
    """A server that is up, a worker `w`, and one job, seen at the second 100; all has been calm since 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, status: str = "running", avoid: str | None = None,
                 requires: str | None = None, labels: str | None = None) -> None:  # fmt: skip
        self.history = History()
        self.oracle = Oracle(self.history, LIMITS, WallClock())
        job = Job(1, "pdf", "s", status, 1, 1, 0, 3, "w", "l", None, None, None, 0, avoid, requires)
        ended = None if status == "running" else "failed"
        attempt = Attempt(1, 1, "w", "l", ended, None)
        self.oracle.now = Look({1: job}, {(1, 1): attempt}, {"w": Worker("w", "pdf", "online", True, labels)})
        self.oracle.since[1] = 90.0, 0
        self.oracle.renewed[1, 1] = self.oracle.began[1, 1] = 90.0
        self.oracle.began_in[1, 1] = 0
        self.oracle.may_since["w"] = self.oracle.labelled_since["w"] = 0.0
        machine: Any = SimpleNamespace(
            parts=SimpleNamespace(writer=SimpleNamespace(failed_commits=0)),
            process=object(),
            bytes_of=lambda key: None,
        )
        self.process = machine.process
        self.watch = Watch(self.history, self.oracle, [machine], SimpleNamespace(), WallClock())  # type: ignore[arg-type]
        monkeypatch.setattr("trio.current_time", lambda: 100.0)

    def claim(
        self, sent: float, *, gone: float = math.inf, ended: float = math.inf, repeatable: bool = False
    ) -> None:
        body = {"worker_id": "w", "job_type": "pdf", "wait": 60}
        ask = Ask("claim", "w", body, sent, gone, ended, repeatable, server=self.process)
        self.history.asks.append(ask)
        if ended == math.inf:
            self.history.open[ask] = None

    def look(self) -> str:
        """What is found: the broken promise, or nothing."""
        try:
            self.watch._look(100.0, 100.0)
        except Violation as error:
            return str(error)
        return self.history.found[0] if self.history.found else ""


VANISHED = "a vanished long poll never holds a job"


def test_a_job_that_was_given_to_a_client_that_had_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.claim(80.0, gone=85.0, ended=90.0)
    assert VANISHED in scene.look()


def test_a_job_that_was_given_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert VANISHED in Scene(monkeypatch).look()


@pytest.mark.parametrize(("before", "found"), [(SOON / 2, ""), (SOON * 2, VANISHED)])
def test_a_claim_that_can_be_repeated_and_was_answered_before(
    monkeypatch: pytest.MonkeyPatch, before: float, found: str
) -> None:
    """Its client may have got a refusal a moment before the grant; one that is long over explains nothing."""
    scene = Scene(monkeypatch)
    scene.claim(80.0, gone=85.0, ended=90.0)
    scene.claim(70.0, ended=90.0 - before, repeatable=True)
    said = scene.look()
    assert (found in said) if found else said == ""


def test_a_claim_that_cannot_be_repeated_has_no_such_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.claim(80.0, gone=85.0, ended=90.0)
    scene.claim(70.0, ended=90.0 - SOON / 2)
    assert VANISHED in scene.look()


def test_an_answer_that_was_lost_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.claim(80.0, gone=90.0, ended=90.0)
    assert scene.look() == ""


def test_a_job_in_the_hands_of_a_client_that_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.claim(80.0, gone=85.0, ended=90.0)
    scene.history.delivered[1, 1].add("an answer that came")
    assert scene.look() == ""


WOKEN = "a ready job wakes who waits"


@pytest.mark.parametrize(
    ("job", "found"),
    [
        ({}, WOKEN),
        ({"avoid": '["w"]'}, ""),
        ({"requires": '["gpu"]'}, ""),
        ({"requires": '["gpu"]', "labels": '["gpu"]'}, WOKEN),
    ],
)
def test_a_ready_job_beside_a_claim_that_waits(monkeypatch: pytest.MonkeyPatch, job: Any, found: str) -> None:
    scene = Scene(monkeypatch, status="pending", **job)
    scene.claim(80.0)
    said = scene.look()
    assert (found in said) if found else said == ""
