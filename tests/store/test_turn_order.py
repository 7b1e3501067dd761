"""The order of groups' jobs in memory, where it was read in part: what is not known is not given out."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from blobforge.job import Job, JobStatus
from blobforge.store.needs import GroupPlace, TurnsRead
from blobforge.store.turn_order import NotRead, TurnOrder

LANE = 4
A, B = (Job(1, "pdf", JobStatus.PENDING, 3, "", 0, 0, 3, of_group="a", turn=10, lane=LANE),
        Job(2, "pdf", JobStatus.PENDING, 3, "", 0, 0, 3, of_group="b", turn=20, lane=LANE))  # fmt: skip


def order(jobs: list[Job], ready: dict[str, int], runs: dict[str, int], **read: Any) -> TurnOrder:
    groups = {(3, group, LANE): (n, runs.get(group, 0)) for group, n in ready.items()}
    places = {GroupPlace("pdf", 3, group): n for group, n in runs.items()}
    known: dict[int, Job | None] = {job.id: job for job in jobs}
    return TurnOrder((A.line,), known, places, {}, TurnsRead(groups, jobs, **read))


def test_all_is_known() -> None:
    line = order([A, B], {"a": 1, "b": 1}, {"a": 1})
    assert [(each.round, each.job.id) for each in line.pick(5)] == [(0, 2), (1, 1)]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_group_may_have_more_than_was_read(limit: int) -> None:
    line = order([A, B], {"a": 2, "b": 1}, {"b": 2})
    assert [each.job.id for each in line.pick(1)] == [1]
    gone = order([B], {"a": 1, "b": 1}, {"b": 2})
    with pytest.raises(NotRead):
        gone.pick(limit)
    with pytest.raises(NotRead):
        line.pick(2)


def test_what_was_not_read_of_one_lane_comes_before_what_was_read_of_another() -> None:
    other = replace(A, id=3, turn=30, lane=LANE + 1)
    jobs: dict[int, Job | None] = {1: A, 3: other}
    groups = {(3, "a", LANE): (2, 0), (3, "a", LANE + 1): (1, 0)}
    line = TurnOrder((A.line, other.line), jobs, {}, {}, TurnsRead(groups, [A, other]))
    assert [each.job.id for each in line.pick(1)] == [1]
    with pytest.raises(NotRead):
        line.pick(2)


@pytest.mark.parametrize("limit", [1, 2])
def test_groups_behind_the_last_that_was_read_may_come_first(limit: int) -> None:
    """b is known for a job in hand alone."""
    last = (3, 0, 10, 1)
    known = order([A, B], {"a": 1, "b": 1}, {"b": 1}, last=last, in_hand={(3, "b")})
    assert [each.job.id for each in known.pick(1)] == [1]
    line = order([B], {"b": 1}, {"b": 1}, last=last, in_hand={(3, "b")})
    with pytest.raises(NotRead):
        line.pick(limit)


def test_one_that_is_kept_from_others_has_its_place_among_them() -> None:
    mine = Job(3, "pdf", JobStatus.PENDING, 3, "", 0, 0, 3, of_group="a", turn=5, lane=LANE, avoid=("other",))
    known = order([A, B, mine], {"a": 1, "b": 1}, {"a": 0, "b": 0})
    assert [each.job.id for each in known.pick(3, [mine])] == [3, 2, 1]
    assert [each.job.id for each in known.pick(3)] == [1, 2]


def test_what_was_passed_by_may_be_had_again() -> None:
    jobs: dict[int, Job | None] = {1: A, 2: B}
    groups = {(3, "a", LANE): (1, 0), (3, "b", LANE): (1, 0)}
    line = TurnOrder((A.line,), jobs, {}, {}, TurnsRead(groups, [A, B]))
    assert [each.job.id for each in line.pick(1)] == [1]
    jobs[1] = replace(A, status=JobStatus.RUNNING)
    assert [each.job.id for each in line.pick(1)] == [2]
    jobs[1] = A
    line.rewind()
    assert [each.job.id for each in line.pick(1)] == [1]


@pytest.mark.parametrize(("runs", "known"), [(0, False), (1, True)])
def test_a_group_that_was_not_read_may_come_first_once_fewer_of_it_run(runs: int, known: bool) -> None:
    """Unless it is in a later round even so than the last that was read."""
    line = order([A], {"a": 1}, {"b": runs}, last=(3, 0, 10, 1))
    line.has_stopped(GroupPlace("pdf", 3, "b"))
    if known:
        assert [each.job.id for each in line.pick(1)] == [1]
        return
    with pytest.raises(NotRead):
        line.pick(1)
