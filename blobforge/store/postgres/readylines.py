"""The ready jobs that a load needs, line by line, each read from its floor on.

State owned here: nothing but the floors (floors.py). Used by the writer's thread, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from blobforge.job import PRIORITIES, Job
from blobforge.options import PLAIN, WITH_OPTIONS, Lane, LineGroup, QueueLine
from blobforge.store.knownrows import MOST_AHEAD
from blobforge.store.needs import Found, Needs
from blobforge.store.postgres import bulk_sql as sql
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.floors import Floors, LineFloors
from blobforge.store.postgres.loaded import extend
from blobforge.store.postgres.parameters import array_of, records_of
from blobforge.store.postgres.pipeline import SqlAnswer
from blobforge.store.sql import rows

NO_TURN: Final = (1 << 62) - 1  # is as high as this


class LineRead(NamedTuple):
    """Ready jobs that are read, and from which floors on."""

    floors: dict[QueueLine, Floors]
    rows: list[tuple[Any, ...]]


class GroupRead(NamedTuple):
    """Ready jobs of a group of lines, `most` at most: by which question, and from which floors on they are read."""

    question: str
    group: LineGroup
    most: int
    floors: dict[QueueLine, Floors]
    rows: list[tuple[Any, ...]]

    def take(self, told: SqlAnswer) -> None:
        self.rows.extend(told.rows)


class ReadyLines:
    def __init__(self, turns: WriterTurns) -> None:
        self._turns = turns
        self.floors = LineFloors()

    def ask(self, needs: Needs, found: Found) -> LineRead | None:
        """Queue the questions for the lines that are needed; those for jobs that are kept from workers, too."""
        if not (needs.ready or needs.next_of):
            return None
        asked = _asked(needs.ready, needs.next_of)
        read: LineRead | None = None
        if needs.next_of or any(needs.ready.values()):
            # The type of jobs of which the next ones are needed is not known yet: the floors of all lines go along.
            floors = self.floors.known(None if needs.next_of else needs.ready) if self._turns.begun else {}
            read = LineRead(floors, [])
            records = records_of((*line, *each) for line, each in floors.items())
            self._turns.queue(sql.READY, (*asked, MOST_AHEAD, records), lambda told: read.rows.extend(told.rows))
        if needs.kept:
            found.kept = {line: [] for line in needs.ready}
            self._turns.queue(sql.KEPT, (*asked, needs.kept), lambda told: _take_line(found.kept, told))
        return read

    def ask_groups(self, needs: Needs, found: Found) -> list[GroupRead]:
        """Queue the questions for the groups of lines that are needed."""
        reads = []
        asked = [(sql.READY_OF_GROUP, *each) for each in needs.groups.items()]
        asked += [(sql.READY_IN_TURN, *each) for each in needs.turned.items()]
        for question, group, most in asked:
            read = GroupRead(question, group, most, self.floors.known(group) if self._turns.begun else {}, [])
            reads.append(read)
            self._turns.queue(question, (_with_floors(group, read.floors), most), read.take)
            found.kept_of[group] = []
            if needs.kept:
                take = partial(extend, found.kept_of[group], rows.job)
                self._turns.queue(sql.KEPT_OF_GROUP, (records_of(group), needs.kept), take)
        return reads

    def take_groups(self, reads: Iterable[GroupRead], found: Found) -> None:
        for read in reads:
            self._take_group(read, found)

    def _take_group(self, read: GroupRead, found: Found) -> None:
        """A group that was read; once more, from the beginning of its lines, where the floor of one was too high."""
        told, floors = read.rows, read.floors
        short = len(told) < read.most
        if any(self.floors.deceived(line, used, short=short) for line, used in floors.items()):
            told, floors = self._turns.run(read.question, (_with_floors(read.group, {}), read.most)).rows, {}
        jobs = found.ready_of[read.group] = list(map(rows.job, told))
        if not self._turns.begun:
            return
        of_line: dict[QueueLine, list[Job]] = {line: [] for line in read.group}
        for job in jobs:
            of_line[job.line].append(job)
        last = jobs[-1].priority if len(jobs) >= read.most else None
        for line, first in of_line.items():
            later = self._turns.job + 1 if read.question is sql.READY_OF_GROUP else NO_TURN
            self.floors.learn(line, first, last=last, next_job=later, whole=line not in floors)

    def take(self, read: LineRead, ready: Mapping[QueueLine, int], found: Found) -> None:
        """The lines that were read; once more, from its beginning, one whose floor was too high."""
        wanted = {line: min(most, MOST_AHEAD) for line, most in ready.items() if most}
        lines: dict[QueueLine, list[Job]] = {line: [] for line in wanted}
        for *row, most in read.rows:
            job = rows.job(row)
            lines.setdefault(job.line, []).append(job)
            wanted[job.line] = min(most, MOST_AHEAD)
        if self._turns.begun:
            self._heed(read.floors, wanted, lines)
        found.ready.update(lines)

    def _heed(
        self, floors: Mapping[QueueLine, Floors], wanted: Mapping[QueueLine, int], lines: dict[QueueLine, list[Job]]
    ) -> None:
        again = {
            line: most
            for line, most in wanted.items()
            if line in floors and self.floors.deceived(line, floors[line], short=len(lines[line]) < most)
        }
        if again:
            lines.update((line, []) for line in again)
            for *row, _ in self._turns.run(sql.READY, (*_asked(again, ()), MOST_AHEAD, "[]")).rows:
                lines[(job := rows.job(row)).line].append(job)
        for line, most in wanted.items():
            whole = line not in floors or line in again
            jobs = lines[line]
            last = jobs[-1].priority if len(jobs) >= most else None
            self.floors.learn(line, jobs, last=last, next_job=self._turns.job + 1, whole=whole)


def _asked(ready: Mapping[QueueLine, int], next_of: Collection[tuple[int, Lane]]) -> tuple[str, str, str]:
    """Lines with how much is needed of each, and the jobs after which one more is, by lane."""
    plain, with_options = (array_of(id_ for id_, lane in next_of if lane == each) for each in (PLAIN, WITH_OPTIONS))
    return records_of((*line, most) for line, most in ready.items()), plain, with_options


def _with_floors(group: LineGroup, floors: Mapping[QueueLine, Floors]) -> str:
    return records_of((*line, *floors.get(line, [None] * len(PRIORITIES))) for line in group)


def _take_line(lines: dict[QueueLine, list[Job]], told: SqlAnswer) -> None:
    for row in told.rows:
        job = rows.job(row)
        lines.setdefault(job.line, []).append(job)
