"""What turns of groups come to where their jobs take unlike times: shares of the starts, and of the workers held.

Groups that have more workers than weight are held to their share of the workers; where there are fewer workers than
groups, turns decide, which count starts.

Every worker works all the time, and all groups have jobs without end; what is next the product's own turns say
(`blobforge/fairness.py`). A group may come later than the others.

python -m tests.simulation.shares

prints what docs/fairness.md says of it, in some seconds.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import count

import msgspec

from blobforge.fairness import Alone, GroupClock, InTurn, in_turns, next_turn, rounds
from blobforge.job import Job, JobStatus

TYPE, PRIORITY = "pdf", 3
SEEDS = (1, 2, 3)
AHEAD = 2  # jobs of each group that stand in line: the others behind them are as many as you like


class GroupPlan(msgspec.Struct, frozen=True):
    """Its jobs take `seconds` at the mean, from half to one and a half of it; there are some from `since` (s) on, and
    `jobs` in all (None: without end)."""

    name: str
    seconds: float
    since: float = 0.0
    jobs: int | None = None


class Share(msgspec.Struct):
    """Of one group: its share of the starts and of the workers' time, and when (s) its last job ended, if it has."""

    starts: float = 0.0
    held: float = 0.0
    ended_at: float | None = None


class Line:
    """The queue of one type and one priority. Owns its clock, and what is in line of each group."""

    def __init__(self, plans: Sequence[GroupPlan], weights: Mapping[str, int]) -> None:
        self._weights = {TYPE: weights}
        self._clock = GroupClock()
        self._last: dict[str, int] = {}
        self._ids = count(1)
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Job]] = {}
        self.left = {plan.name: plan.jobs for plan in plans}

    def fill(self, group: str) -> None:
        """The group's next jobs enter the queue."""
        waiting = self._waiting.setdefault(group, deque())
        while len(waiting) < AHEAD and self.left[group] != 0:
            left = self.left[group]
            self.left[group] = None if left is None else left - 1
            turn = next_turn(self._clock, self._last.get(group), group, self._weights[TYPE])
            self._last[group] = turn
            job = Job(next(self._ids), TYPE, JobStatus.PENDING, PRIORITY, "", 0, 0, 3, of_group=group, turn=turn)
            waiting.append(job)

    def end(self, group: str) -> None:
        self._running[group] -= 1

    def take(self) -> str | None:
        """The group whose job is given out next."""
        weights = self._weights[TYPE]
        heads = [
            InTurn(rounds(self._running[group], group, weights), each[0])
            for group, each in self._waiting.items()
            if each
        ]
        heads.sort(key=lambda each: (each.round, each.job.turn, each.job.id))
        between = {(TYPE, PRIORITY): Alone(self._clock)}
        picked = in_turns((), {TYPE: heads}, between, self._weights, 1, {})
        if not picked or (group := picked[0].of_group) is None:
            return None
        self._clock = self._clock.after(picked[0].turn, self._weights[TYPE])
        self._waiting[group].popleft()
        self._running[group] += 1
        self.fill(group)
        return group


def shares(
    plans: Sequence[GroupPlan],
    *,
    workers: int,
    seconds: float,
    weights: Mapping[str, int] | None = None,
    seed: int = 1,
) -> dict[str, Share]:
    """What each group had, in so many seconds; the first tenth of them does not count."""
    dice, order = random.Random(seed), count()
    by_name = {plan.name: plan for plan in plans}
    line = Line(plans, weights or {})
    found = {plan.name: Share() for plan in plans}
    starts: Counter[str] = Counter()
    held: Counter[str] = Counter()
    unfinished: Counter[str] = Counter()
    # What happens next: a group comes, or a worker is free, which has had a job of some group.
    events: list[tuple[float, int, str, str]] = [(plan.since, next(order), "comes", plan.name) for plan in plans]
    events += [(0.0, next(order), "free", "") for _ in range(workers)]
    heapq.heapify(events)
    idle = 0
    while events and events[0][0] < seconds:
        now, _, what, group = heapq.heappop(events)
        if what == "comes":
            line.fill(group)
            free, idle = idle, 0
        else:
            free = 1
            if group:
                line.end(group)
                unfinished[group] -= 1
                if not unfinished[group] and line.left[group] == 0:
                    found[group].ended_at = now
        for _ in range(free):
            if (taken := line.take()) is None:
                idle += 1
                continue
            unfinished[taken] += 1
            until = now + by_name[taken].seconds * dice.uniform(0.5, 1.5)
            heapq.heappush(events, (until, next(order), "free", taken))
            if until > seconds / 10:
                starts[taken] += now >= seconds / 10
                held[taken] += round((min(until, seconds) - max(now, seconds / 10)) * 1000)
    for name, each in found.items():
        each.starts = starts[name] / max(1, starts.total())
        each.held = held[name] / max(1, held.total())
    return found


def unlike(times: float, *, workers: int = 50, weight: int = 1) -> Share:
    """Of a group whose jobs take 10 seconds, beside one whose jobs take so many times as long."""
    plans = [GroupPlan("long", 10.0 * times), GroupPlan("short", 10.0)]
    return shares(plans, workers=workers, seconds=1000.0 * times, weights={"short": weight})["short"]


def among_many(times: float, *, groups: int, workers: int = 50) -> Share:
    """Of all groups of so many together whose jobs take 10 seconds, where the others' take so many times as long."""
    plans = [GroupPlan(f"{kind} {n}", seconds) for n in range(groups // 2) for kind, seconds in
             (("long", 10.0 * times), ("short", 10.0))]  # fmt: skip
    found = shares(plans, workers=workers, seconds=1000.0 * times)
    short = [share for name, share in found.items() if name.startswith("short")]
    return Share(sum(each.starts for each in short), sum(each.held for each in short))


def ten_short_ones(*, workers: int = 100, seed: int = 1) -> float:
    """How long (s) a group of ten jobs of 2 seconds takes, where jobs of 10 hours have all workers when it comes."""
    plans = [GroupPlan("long", 36_000.0), GroupPlan("short", 2.0, since=72_000.0, jobs=10)]
    found = shares(plans, workers=workers, seconds=108_000.0, seed=seed)["short"]
    assert found.ended_at is not None
    return found.ended_at - 72_000.0


def main() -> None:
    for times in (1, 2, 10, 100):
        even, heavy = unlike(times), unlike(times, weight=4)
        cells = [f"{share:.0%}".replace("%", " %") for share in (even.held, even.starts, heavy.held, heavy.starts)]
        print(f"| {times} | " + " | ".join(cells) + " |")
    for groups in (10, 50, 100, 500):
        print(f"{groups} groups, half of them with jobs 10 times as long: {among_many(10, groups=groups).held:.0%}")
    took = [round(ten_short_ones(seed=seed)) for seed in SEEDS]
    print(f"ten jobs of 2 s: {', '.join(map(str, took))} s")


if __name__ == "__main__":
    main()
