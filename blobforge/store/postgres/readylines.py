"""The ready jobs that a load needs, line by line, each read from its floor on.

State owned here: nothing but the floors (floors.py). Used by the writer's thread, inside its transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from blobforge.job import PRIORITIES, Job
from blobforge.options import PLAIN, WITH_OPTIONS, Lane, LineGroup, QueueLine
from blobforge.store.knownrows import MOST_AHEAD
from blobforge.store.needs import Found, GroupPlace, Needs, TurnsRead
from blobforge.store.postgres import bulk_sql as sql
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.floors import Floors, LineFloors
from blobforge.store.postgres.loaded import extend
from blobforge.store.postgres.parameters import array_of, records_of
from blobforge.store.postgres.pipeline import SqlAnswer
from blobforge.store.sql import rows

_decode_place = msgspec.json.Decoder(tuple[int, int, int, int]).decode


class LineRead(NamedTuple):
    """Ready jobs that are read, and from which floors on."""

    floors: dict[QueueLine, Floors]
    rows: list[tuple[Any, ...]]


class GroupRead(NamedTuple):
    """Ready jobs of a group of lines, `most` at most, and from which floors on they are read."""

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
        for group, most in needs.groups.items():
            read = GroupRead(group, most, self.floors.known(group) if self._turns.begun else {}, [])
            reads.append(read)
            self._turns.queue(sql.READY_OF_GROUP, (_with_floors(group, read.floors), most), read.take)
        for group in (*needs.groups, *needs.turned):
            found.kept_of[group] = []
            if needs.kept:
                take = partial(extend, found.kept_of[group], rows.job)
                self._turns.queue(sql.KEPT_OF_GROUP, (records_of(group), needs.kept), take)
        self._ask_turns(needs, found)
        return reads

    def _ask_turns(self, needs: Needs, found: Found) -> None:
        """Queue the questions for lines whose jobs take turns, and for the groups of jobs in hand."""
        for group, most in needs.turned.items():
            read = found.turned[group] = TurnsRead()
            asked = (
                (sql.FIRST_IN_TURN, records_of(group)) if most == 1 else (sql.READY_IN_TURN, records_of(group), most)
            )
            self._turns.queue(asked[0], asked[1:], partial(_take_turns, read))
        if needs.in_hand:
            in_hand = array_of(needs.in_hand)
            self._turns.queue(sql.GROUPS_IN_HAND, (in_hand,), partial(_take_in_hand, found))

    def take_groups(self, reads: Iterable[GroupRead], found: Found) -> None:
        for read in reads:
            self._take_group(read, found)

    def _take_group(self, read: GroupRead, found: Found) -> None:
        """A group that was read; once more, from the beginning of its lines, where the floor of one was too high."""
        told, floors = read.rows, read.floors
        short = len(told) < read.most
        if any(self.floors.deceived(line, used, short=short) for line, used in floors.items()):
            told, floors = self._turns.run(sql.READY_OF_GROUP, (_with_floors(read.group, {}), read.most)).rows, {}
        jobs = found.ready_of[read.group] = list(map(rows.job, told))
        if not self._turns.begun:
            return
        of_line: dict[QueueLine, list[Job]] = {line: [] for line in read.group}
        for job in jobs:
            of_line[job.line].append(job)
        last = jobs[-1].priority if len(jobs) >= read.most else None
        for line, first in of_line.items():
            self.floors.learn(line, first, last=last, next_job=self._turns.job + 1, whole=line not in floors)

    def take(self, read: LineRead, needs: Needs, found: Found) -> None:
        """The lines that were read; once more, from its beginning, one whose floor was too high."""
        counts = Counter({line: most for line, most in needs.ready.items() if most})
        if needs.next_of:
            types = {job.id: job.type for job in found.jobs}
            counts.update(QueueLine(types[job_id], lane) for job_id, lane in needs.next_of if job_id in types)
        wanted = {line: min(most, MOST_AHEAD) for line, most in counts.items()}
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


def _take_turns(read: TurnsRead, told: SqlAnswer) -> None:
    for priority, group, lane, ready, running, last, *job in told.rows:
        read.groups[priority, group, lane] = (ready, running)
        read.last = _decode_place(last) if last is not None else None
        read.jobs.append(rows.job(job))


def _take_in_hand(found: Found, told: SqlAnswer) -> None:
    """Jobs that are read already are not read twice; what was read for other lines says nothing of these."""
    known = {lines: {job.id for job in read.jobs} for lines, read in found.turned.items()}
    for type_, priority, group, lane, ready, running, *row in told.rows:
        found.runs[GroupPlace(type_, priority, group)] = running
        for lines, read in found.turned.items():
            if lines[0].type != type_:
                continue
            read.in_hand.add((priority, group))
            if ready and any(line.lane == lane for line in lines) and row[0] not in known[lines]:
                read.groups[priority, group, lane] = (ready, running)
                read.jobs.append(rows.job(row))
