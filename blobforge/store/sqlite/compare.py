"""Whether a restored copy holds all that the live database held at a moment. Read-only; for drills.

The live database goes on meanwhile. What has not changed since the moment must be in the copy exactly so; what has
changed since proves nothing, and `check` has judged the copy by itself. The live side is read in short steps: a
long read transaction would keep Litestream from checkpointing.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import apsw

from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.check import open_readonly

STEP = 5_000  # ids; some 10 ms
EXAMPLES = 3


def missing(live: Path, copy: Path, *, until: int) -> list[str]:
    """What was in `live` at `until` (ms since the epoch) and is not in `copy`: sentences, empty when all is there.

    Raises DatabaseError when one of them cannot be read.
    """
    try:
        return _missing(live, copy, until)
    except apsw.Error as error:
        raise DatabaseError(f"cannot compare {copy} with {live}: {error}") from error


def _missing(live: Path, copy: Path, until: int) -> list[str]:
    connection = open_readonly(live)
    try:
        connection.execute(sql.ATTACH_COPY, (f"file:{copy.absolute()}?mode=ro&immutable=1",))
        found = [
            *_in_steps(connection, "jobs", sql.MISSING_JOBS, (until,)),
            *_in_steps(connection, "attempts of jobs", sql.MISSING_ATTEMPTS, (until, until)),
        ]
        for what, statement in sql.MISSING_RECORDS:
            found += _finding(what, [str(row[0]) for row in connection.execute(statement, (until,))])
        return found
    finally:
        connection.close()


def _in_steps(connection: apsw.Connection, what: str, statement: str, values: tuple[int, ...]) -> list[str]:
    row = connection.execute(sql.HIGHEST_JOB).fetchone()
    highest = int(row[0]) if row else 0
    offenders: list[str] = []
    after = 0
    while after < highest:
        offenders += [str(row[0]) for row in connection.execute(statement, (after, after + STEP, *values))]
        following = connection.execute(sql.NEXT_JOB, (after + STEP,)).fetchone()
        if following is None or following[0] is None:
            break
        after = int(following[0]) - 1  # a restore leaves a gap of millions of ids
    return _finding(what, offenders)


def _finding(what: str, offenders: list[str]) -> list[str]:
    if not offenders:
        return []
    more = ", ..." if len(offenders) > EXAMPLES else ""
    return [
        f"{len(offenders)} {what} are not in the backup as they were: {', '.join(islice(offenders, EXAMPLES))}{more}."
    ]
