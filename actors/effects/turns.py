"""Turns of groups: whose job is given out next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from actors.effects.avoidance import pick_in_turn
from actors.effects.transaction import Transaction
from actors.messages import Claim
from blobforge.fairness import Alone, InTurn, in_turns
from blobforge.job import Job
from blobforge.jobtype import TypeRoom
from blobforge.options import LineGroup, QueueLine


def with_groups(
    tx: Transaction,
    message: Claim,
    alone: Sequence[Job],
    lines_in_turn: Iterable[LineGroup],
    limited: Mapping[str, TypeRoom],
) -> tuple[list[Job], tuple[QueueLine, ...]]:
    """The next jobs, of those without a group (`alone`) and of the lines of each type whose jobs have one; and the
    lines of which some are kept from the worker."""
    of_groups: dict[str, list[InTurn]] = {}
    withheld: list[QueueLine] = []
    between: dict[tuple[str, int], Alone] = {}
    for lines in lines_in_turn:
        type_ = lines[0].type
        most = min(message.limit, limited[type_].room) if type_ in limited else message.limit
        if most:
            of_groups[type_], more = pick_in_turn(tx, lines, most, message.worker_id)
            withheld += more
            for priority in {each.job.priority for each in of_groups[type_]}:
                between[type_, priority] = tx.store.alone(type_, priority)
    weights = {type_: tx.store.type_settings(type_).weights for type_ in of_groups}
    rooms = {type_: room.room for type_, room in limited.items()}
    return in_turns(alone, of_groups, between, weights, message.limit, rooms), tuple(withheld)


def turns_taken(tx: Transaction, jobs: Iterable[Job], lines_in_turn: Iterable[LineGroup]) -> None:
    """These jobs, as they were ready, are given out, in this order, to a worker that may have jobs of these lines."""
    types = {lines[0].type for lines in lines_in_turn}
    for job in jobs:
        if job.type not in types:
            continue
        clock = tx.store.group_clocks(job.type).get(job.priority)
        if clock is not None:
            after = clock.after(job.turn, tx.store.type_settings(job.type).weights)
            if after != clock:
                tx.store.save_clock(job.type, job.priority, after)
