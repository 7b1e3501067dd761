"""The distinct sets of requirements that jobs have. Rows of `requirement_sets`."""

from __future__ import annotations

from collections.abc import Sequence

from blobforge.requirements import RequirementSet, RequirementSets
from blobforge.store.bulk import BulkAccess
from blobforge.store.sql import sql
from blobforge.store.sql.running import Statements
from blobforge.store.workingset import WorkingSet


def all_sets(rows: Sequence[Sequence[object]]) -> RequirementSets:
    """The rows are those of REQUIREMENT_SETS."""
    return RequirementSets(RequirementSet(int(str(number)), str(type_), str(text)) for number, type_, text in rows)


class Requirements:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements, bulk: BulkAccess, working: WorkingSet) -> None:
        self._do = statements
        self._bulk = bulk
        self._working = working

    def sets(self) -> RequirementSets:
        return self._bulk.requirement_sets()

    def add(self, type_: str, requires: str) -> RequirementSet:
        sets = self.sets()
        new = RequirementSet(sets.free_number(), type_, requires)
        self._do.rows(sql.ADD_REQUIREMENT_SET, new)
        self._bulk.requirement_sets_are(sets.with_one(new))
        return new

    def forget_unused(self) -> int:
        if self._working.no_set_unused:
            return 0  # a thousand submissions that are refused look once
        self._working.settle()
        gone = {int(str(number)) for (number,) in self._do.rows(sql.UNUSED_REQUIREMENT_SETS)}
        for number in gone:
            self._do.rows(sql.FORGET_REQUIREMENT_SET, (number,))
        if gone:
            self._bulk.requirement_sets_are(RequirementSets(each for each in self.sets() if each.number not in gone))
        else:
            self._working.note_no_set_unused()
        return len(gone)
