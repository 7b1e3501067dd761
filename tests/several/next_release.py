"""`blobforge` of a release to come: its schema is one step ahead."""

from __future__ import annotations

from typing import IO

from blobforge.cli import main as command_line
from blobforge.store.postgres import database
from tests.fixtures.forked import Forked
from tests.fixtures.server import ServerProcess

# All that a migration may do (CONTRIBUTING.md).
STEP = """
    ALTER TABLE jobs ADD COLUMN note TEXT;
    ALTER TABLE jobs ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE log ADD COLUMN length INTEGER;
    ALTER TABLE workers ADD COLUMN place TEXT COLLATE "C";
    CREATE INDEX jobs_by_weight ON jobs (weight, id);
    CREATE TABLE notes (
        job_id  BIGINT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
        note    TEXT NOT NULL
    );
    INSERT INTO notes (job_id, note) SELECT id, status FROM jobs ORDER BY id LIMIT 10;"""
KNOWN = [*database.migrations(), STEP]


class NextRelease(ServerProcess):
    """A server that is started as one of that release, or of this one."""

    is_next = False

    def spawn(self, environment: dict[str, str], log: IO[bytes]) -> Forked:
        program = __name__ if self.is_next else "blobforge.cli"
        return Forked(["serve"], environment=environment, output=log, errors=log, program=program)


def main() -> None:
    database.migrations = lambda: KNOWN
    command_line()
