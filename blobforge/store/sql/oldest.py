"""Which pending job of a type was submitted first, of those that are not to be started later only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

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
    heads = {(type_, priority): id_ for type_, priority, id_ in ask.rows(sql.FIRST_PENDING) if id_ is not None}
    first: dict[str, int] = {}  # ids, by type
    for type_, priority in pending:
        if (type_, priority) not in later:
            head = heads.get((type_, priority))
            if head is not None:
                first[type_] = min(head, first.get(type_, head))
            continue
        of_type = (PLAIN, WITH_OPTIONS, *lanes.get(type_, ()))
        ready = [ask.row(sql.FIRST_IN_LANE, (type_, lane, priority)) for lane in of_type]
        row = min(filter(None, (*ready, ask.row(sql.FIRST_HELD_UP, (type_, priority)))), default=None)
        if row is not None:
            found[type_] = min(row[1], found.get(type_, row[1]))
    ids = msgspec.json.encode(sorted(first.values())).decode()
    submitted: dict[int, int] = dict(ask.rows(sql.SUBMITTED_AT, (ids,))) if first else {}
    for type_, id_ in first.items():
        found[type_] = min(submitted[id_], found.get(type_, submitted[id_]))
    return found


def _lanes(ask: Queries) -> dict[str, list[int]]:
    """Those of jobs with requirements, of which some are ready."""
    lanes: dict[str, list[int]] = {}
    for each in all_sets(ask.rows(sql.SETS_WAITED_FOR)):
        lanes.setdefault(each.type, []).extend((lane_of(each.number, None), lane_of(each.number, "{}")))
    return lanes
