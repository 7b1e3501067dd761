"""The ready jobs that a load needs, line by line, each read from its floor on.

State owned here: nothing but the floors (floors.py). Used by the writer's thread, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from blobforge.job import Job
from blobforge.options import PLAIN, WITH_OPTIONS, Lane, QueueLine
from blobforge.store.knownrows import MOST_AHEAD
from blobforge.store.needs import Found, Needs
from blobforge.store.postgres import bulk_sql as sql
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.floors import Floors, LineFloors
from blobforge.store.postgres.parameters import array_of, records_of
from blobforge.store.postgres.pipeline import SqlAnswer
from blobforge.store.sql import rows


class LineRead(NamedTuple):
    """Ready jobs that are read, and from which floors on."""

    floors: dict[QueueLine, Floors]
    rows: list[tuple[Any, ...]]


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
            self.floors.learn(line, lines[line], most=most, next_job=self._turns.job + 1, whole=whole)


def _asked(ready: Mapping[QueueLine, int], next_of: Collection[tuple[int, Lane]]) -> tuple[str, str, str]:
    """Lines with how much is needed of each, and the jobs after which one more is, by lane."""
    plain, with_options = (array_of(id_ for id_, lane in next_of if lane == each) for each in (PLAIN, WITH_OPTIONS))
    return records_of((*line, most) for line, most in ready.items()), plain, with_options


def _take_line(lines: dict[QueueLine, list[Job]], told: SqlAnswer) -> None:
    for row in told.rows:
        job = rows.job(row)
        lines.setdefault(job.line, []).append(job)
