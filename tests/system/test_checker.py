"""The checker itself: it accepts histories that are right, and finds what is wrong in each of those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.checker import main
from tests.system.history import Kind, save
from tests.system.tale import Tale


def plain(tale: Tale) -> None:
    tale.submit(shown="uploading")
    tale.add(Kind.UPLOAD, source="s1")
    tale.claim()
    tale.beat()
    tale.complete()
    tale.complete()  # repeated
    tale.submit(status=200, shown="completed")
    tale.read("completed", ("w1", "completed"))
    tale.output("bytes of 1")
    tale.all_jobs(1)


def retried(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.release()
    tale.claim(2)
    tale.fail(2)
    tale.read("failed", ("w1", "released"), ("w1", "failed"))
    tale.claim(3)
    tale.fail(3, again=False)
    tale.read("dead", ("w1", "released"), ("w1", "failed"), ("w1", "failed"), attempts=2)


def expired(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(10)
    tale.claim(2, "w2")
    tale.complete(status=409)
    tale.beat(gone=True)
    tale.complete(2)
    tale.read("completed", ("w1", "lost"), ("w2", "completed"))
    tale.output("bytes of 2")


def late(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(12)
    tale.read("pending", ("w1", "lost"), attempts=0)
    tale.complete()
    tale.read("completed", ("w1", "completed"), attempts=1)


def lost_answers(tale: Tale) -> None:
    tale.submit(lost=True, job=0, source="s1")
    tale.submit(status=200)
    tale.claim(lost=True)
    tale.claim()  # the same key: the same attempt
    tale.fail(lost=True)
    tale.fail(status=409)  # it had its effect
    tale.claim(2, "w2", lost=True)
    tale.wait(11)
    tale.claim(3, "w3")
    tale.complete(3, lost=True)
    tale.complete(3)
    tale.read("completed", ("w1", "failed"), ("w2", "lost"), ("w3", "completed"), attempts=2)


def overlapping(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.release(lasting=8)
    tale.claim(2, "w2")
    tale.complete(2, lasting=3)
    tale.submit(status=200, shown="completed")


def killed(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete(lost=True)  # under way when the server was killed
    tale.server(Kind.DOWN)
    tale.server(Kind.UP)
    tale.read("running", ("w1", ""))
    tale.complete()
    tale.read("completed", ("w1", "completed"))


def expired_after_a_restart(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(9)
    tale.server(Kind.DOWN)
    tale.server(Kind.UP)
    tale.wait(5)
    tale.beat()
    tale.wait(9)
    tale.claim(2, "w2")


@pytest.mark.parametrize(
    "tell", [expired_after_a_restart, plain, retried, expired, late, lost_answers, overlapping, killed]
)
def test_a_right_history_is_accepted(tell: Callable[[Tale], None]) -> None:
    tale = Tale()
    tell(tale)
    assert tale.faults() == []


def twice_completed(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(10)
    tale.claim(2, "w2")
    tale.complete(2)
    tale.complete(1)


def stale_accepted(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(10)
    tale.claim(2, "w2")
    tale.complete(1)


def too_early(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.beat()
    tale.wait(5)
    tale.claim(2, "w2")


def no_fresh_period(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(8.5)
    tale.server(Kind.DOWN)
    tale.server(Kind.UP)
    tale.claim(2, "w2")


def refused_while_held(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete(status=409)


def given_twice(tale: Tale) -> None:
    tale.submit()
    tale.claim(lasting=3)
    tale.claim(2, "w2", lasting=3)


def gone_too_early(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.beat(gone=True)


def beaten_after_the_end(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete()
    tale.beat()


def acknowledged_and_lost(tale: Tale) -> None:
    plain(tale)
    tale.submit(job=2)
    tale.all_jobs(1)


def lost_with_the_server(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete()
    tale.server(Kind.DOWN)
    tale.server(Kind.UP)
    tale.read("running", ("w1", ""))


def never_submitted(tale: Tale) -> None:
    plain(tale)
    tale.all_jobs(1, 7)


def given_from_nowhere(tale: Tale) -> None:
    tale.claim(job=9)


def claimed_without_asking(tale: Tale) -> None:
    tale.submit()
    tale.read("running", ("w5", ""))


def forgotten_attempt(tale: Tale) -> None:
    retried(tale)
    tale.read("dead", ("w1", "failed"), ("w1", "failed"), attempts=2)


def two_leases(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.claim(lease="another")


def one_lease_for_two(tale: Tale) -> None:
    tale.submit()
    tale.submit(job=2)
    tale.claim(lease="same")
    tale.claim(job=2, lease="same")


def strange_output(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete()
    tale.read("completed", ("w1", "completed"))
    tale.output("other bytes")


def output_of_the_loser(tale: Tale) -> None:
    expired(tale)
    tale.output("bytes of 1")


def wrongly_retried(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.fail()
    tale.claim(2)
    tale.fail(2, again=True)  # the budget is two


def wrongly_dead(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.fail(again=False)


def charged_for_a_release(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.release()
    tale.read("pending", ("w1", "released"), attempts=1)


def late_after_another_began(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.wait(10)
    tale.claim(2, "w2")
    tale.release(2)
    tale.complete(1)


def created_twice(tale: Tale) -> None:
    tale.submit()
    tale.submit(status=201)


def two_jobs_for_a_source(tale: Tale) -> None:
    tale.submit(job=1, source="s1")
    tale.submit(job=2, source="s1")


def effect_after_the_server_was_dead(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete(lost=True)
    tale.server(Kind.DOWN)
    tale.server(Kind.UP)
    tale.read("running", ("w1", ""))
    tale.read("completed", ("w1", "completed"))


def went_back_in_time(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete(lasting=5)
    tale.submit(status=200, shown="completed")
    tale.submit(status=200, shown="running")


def handed_out_without_its_source(tale: Tale) -> None:
    tale.submit(shown="uploading")
    tale.claim()


def acknowledged_upload_forgotten(tale: Tale) -> None:
    tale.submit()
    tale.claim()
    tale.complete(status=409, said={"problem": "output-missing"}, lasting=20)


def broken(tale: Tale) -> None:
    tale.submit()
    tale.claim(status=500)


WRONG = [
    (twice_completed, "completions of 2 attempts"),
    (stale_accepted, "no order"),
    (too_early, "no order"),
    (no_fresh_period, "no order"),
    (refused_while_held, "no order"),
    (given_twice, "no order"),
    (gone_too_early, "no order"),
    (beaten_after_the_end, "no order"),
    (acknowledged_and_lost, "job 2 was acknowledged, and is lost"),
    (lost_with_the_server, "no order"),
    (never_submitted, "job 7 was never submitted, and is there"),
    (given_from_nowhere, "job 9 was never submitted, and was given"),
    (claimed_without_asking, "worker w5 has 1 attempts"),
    (forgotten_attempt, "no order"),
    (two_leases, "two leases"),
    (one_lease_for_two, "one lease for"),
    (strange_output, "its output is not what"),
    (output_of_the_loser, "its output is not what"),
    (wrongly_retried, "no order"),
    (wrongly_dead, "no order"),
    (charged_for_a_release, "no order"),
    (late_after_another_began, "no order"),
    (created_twice, "no order"),
    (two_jobs_for_a_source, "has two jobs"),
    (effect_after_the_server_was_dead, "no order"),
    (went_back_in_time, "no order"),
    (handed_out_without_its_source, "no order"),
    (acknowledged_upload_forgotten, "output-missing"),
    (broken, "was answered 500"),
]


@pytest.mark.parametrize(("tell", "expected"), WRONG, ids=[tell.__name__ for tell, _ in WRONG])
def test_what_is_wrong_is_found(tell: Callable[[Tale], None], expected: str) -> None:
    tale = Tale()
    tell(tale)
    assert expected in "\n".join(tale.faults())


@pytest.mark.parametrize(("tell", "code"), [(plain, 0), (twice_completed, 1)], ids=["right", "wrong"])
def test_a_saved_history_is_judged_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tell: Callable[[Tale], None], code: int
) -> None:
    tale = Tale()
    tell(tale)
    save(tmp_path / "history", tale.operations)
    assert main([str(tmp_path / "history")]) == code
    assert f"{len(tale.operations)} operations" in capsys.readouterr().out


def test_the_search_copes_with_many_operations_at_once() -> None:
    """Sixteen requests that all overlap, and forty claims whose answers were lost."""
    tale = Tale()
    tale.submit()
    for number in range(40):
        tale.claim(1, "w1", key=f"k{number}", lost=True)
    tale.claim(1, "w1", key="k3")
    for _ in range(8):
        tale.beat(lasting=30)
    for _ in range(8):
        tale.complete(lasting=30)
    tale.read("completed", ("w1", "completed"), lasting=60)
    assert tale.faults() == []
    tale.wait(100)
    tale.beat()
    assert tale.faults() != []
