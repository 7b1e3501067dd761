"""What is read of lines whose jobs take turns: first the groups, then of each the jobs that may be next."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import NamedTuple

from blobforge.fairness import Weights, rounds
from blobforge.jobtype import NOTHING_SET, SettingsByType
from blobforge.options import Lane, LineGroup
from blobforge.store.needs import Found, GroupPlace, Needs, TurnsRead
from blobforge.store.sql import rows
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.sets import as_json
from blobforge.store.sqlite.statements import Statements


class GroupLine(NamedTuple):
    """A group in one lane: how many jobs it has ready there, how many run of it, and its first ready one."""

    priority: int
    group: str
    lane: Lane
    ready: int
    running: int
    rounds: int
    turn: int | None
    job: int | None

    @property
    def place(self) -> tuple[int, int, int, int]:
        return self.priority, self.rounds, self.turn or 0, self.job or 0


def read_turns(do: Statements, needs: Needs, found: Found, settings: SettingsByType) -> None:
    in_hand: dict[str, list[GroupLine]] = {}
    if needs.in_hand:
        for type_, *line in do.rows(sql.GROUPS_IN_HAND, (as_json(list(needs.in_hand)),)):
            each = GroupLine(*line)
            in_hand.setdefault(type_, []).append(each)
            found.runs[GroupPlace(type_, each.priority, each.group)] = each.running
    for lines, most in needs.turned.items():
        type_ = lines[0].type
        weights = settings.get(type_, NOTHING_SET).weights
        found.turned[lines] = _read(do, lines, most, in_hand.get(type_, []), weights)


def _read(do: Statements, lines: LineGroup, most: int, in_hand: list[GroupLine], weights: Weights) -> TurnsRead:
    first = [GroupLine(*row) for line in lines for row in do.rows(sql.GROUPS_IN_TURN, (*line, most))]
    first.sort(key=lambda each: each.place)
    read = TurnsRead(in_hand={(each.priority, each.group) for each in in_hand})
    if len(first) >= most:
        del first[most:]
        read.last = first[-1].place
    many = _many(first, most, weights)
    lanes = {line.lane for line in lines}
    for each in in_hand:
        if each.ready and each.lane in lanes:
            many[each] = max(many[each], 1)
    single: list[int] = []
    for each, n in many.items():
        read.groups[each.priority, each.group, each.lane] = (each.ready, each.running)
        if n == 1:
            assert each.job is not None
            single.append(each.job)
        else:
            place = (lines[0].type, each.lane, each.priority, each.group, each.turn, n)
            read.jobs += map(rows.job, do.rows(sql.NEXT_OF_GROUP, place))
    if single:
        read.jobs += map(rows.job, do.rows(sql.JOBS_BY_ID, (as_json(single),)))
    return read


def _many(first: list[GroupLine], most: int, weights: Weights) -> Counter[GroupLine]:
    """How many jobs of each may be among the next ones, so many of all; of those of one round it is not known yet.
    Those that a group gives may all be of one of its lanes."""
    lanes: dict[tuple[int, str], list[GroupLine]] = {}
    for each in first:
        lanes.setdefault((each.priority, each.group), []).append(each)
    coming = [(priority, of_group[0].rounds, group, 0) for (priority, group), of_group in lanes.items()]
    heapq.heapify(coming)
    picked, until = 0, None
    taken: Counter[tuple[int, str]] = Counter()
    while coming and (picked < most or coming[0][:2] == until):
        priority, round_, group, n = coming[0]
        picked, until = picked + 1, (priority, round_)
        of_group = lanes[priority, group]
        taken[priority, group] = n + 1
        if n + 1 < min(sum(each.ready for each in of_group), most):
            following = rounds(of_group[0].running + n + 1, group, weights)
            heapq.heapreplace(coming, (priority, following, group, n + 1))
        else:
            heapq.heappop(coming)
    # One of each, at least.
    return Counter({each: max(1, min(each.ready, taken[each.priority, each.group])) for each in first})
