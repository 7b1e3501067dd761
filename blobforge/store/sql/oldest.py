"""Which pending job of a type was submitted first, of those that are not to be started later only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blobforge.options import PLAIN, WITH_OPTIONS
from blobforge.requirements import lane_of
from blobforge.store.sql import sql
from blobforge.store.sql.requirementsets import all_sets
from blobforge.store.sql.running import Queries

Deferred = Mapping[tuple[str, int], int]


def deferred(ask: Queries) -> dict[tuple[str, int], int]:
    """How many jobs wait for the time that their submission said, by type and priority."""
    return {(type_, priority): n for type_, priority, n in ask.rows(sql.DEFERRED_COUNTS)}


def oldest_pending(ask: Queries, pending: Iterable[tuple[str, int]], later: Deferred) -> dict[str, int]:
    """By type, when (ms) the first one was submitted. `pending`: of which types and priorities some are.

    Where none waits for a time the order of the list has it. Else it is looked for among the ready ones, lane by
    lane, and those that are held up for a while: never along those that wait, which may be any number.
    """
    found: dict[str, int] = {}
    lanes = _lanes(ask) if later else {}
    first_of = {(type_, priority): at for type_, priority, at in ask.rows(sql.FIRST_PENDING)}
    for type_, priority in pending:
        if (type_, priority) in later:
            of_type = (PLAIN, WITH_OPTIONS, *lanes.get(type_, ()))
            first = [ask.row(sql.FIRST_IN_LANE, (type_, lane, priority)) for lane in of_type]
            row = min(filter(None, (*first, ask.row(sql.FIRST_HELD_UP, (type_, priority)))), default=None)
            at = row[1] if row is not None else None
        else:
            at = first_of.get((type_, priority))
        if at is not None:
            found[type_] = min(at, found.get(type_, at))
    return found


def _lanes(ask: Queries) -> dict[str, list[int]]:
    """Those of jobs with requirements, of which some are ready."""
    lanes: dict[str, list[int]] = {}
    for each in all_sets(ask.rows(sql.SETS_WAITED_FOR)):
        lanes.setdefault(each.type, []).extend((lane_of(each.number, None), lane_of(each.number, "{}")))
    return lanes
