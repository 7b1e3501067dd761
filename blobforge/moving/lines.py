"""Our own format: lines of JSON (NDJSON). The first says what it is, the last how much there was.

    {"blobforge_export": 1, "schema": 13, "installation": "b...", "exported_at": 1795000000000,
     "credentials": false, "highest_job": 3, "attempt_floor": 0}
    {"token": {...}}  {"worker": {...}}  {"user": {...}}           only with credentials, before the jobs
    {"job": {"job": {...}, "attempts": [...], "files": [...], "results": [[attempt, JSON], ...]}}
    {"end": {"jobs": 3, "tokens": 0, "workers": 0, "users": 0}}

Members are those of `Job`, `Attempt` and `Kept`. Jobs are in the order of their numbers. No lease is in it, and
without credentials no hash and no person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec.structs import replace

from blobforge.access import Token
from blobforge.job import Attempt, Job
from blobforge.moving.mapping import LEASE
from blobforge.objects.keys import is_original_output_key, source_key
from blobforge.people import User
from blobforge.store.errors import DatabaseError
from blobforge.store.whole import DatabaseExport, Whole
from blobforge.worker import Worker

FORMAT = 1


class Header(msgspec.Struct, frozen=True):
    """`schema` is that of the database, `exported_at` in ms since the epoch. Numbers of jobs up to `highest_job`, and
    of attempts up to `attempt_floor`, may have been given to what is no more."""

    blobforge_export: int
    schema: int
    installation: str
    exported_at: int
    credentials: bool
    highest_job: int
    attempt_floor: int


class Totals(msgspec.Struct, frozen=True):
    jobs: int = 0
    tokens: int = 0
    workers: int = 0
    users: int = 0


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of these."""

    job: Whole | None = None
    token: Token | None = None
    worker: Worker | None = None
    user: User | None = None
    end: Totals | None = None


def export(database: DatabaseExport, *, credentials: bool, now: int) -> Iterator[bytes]:
    """All lines, each with its line end."""
    highest, floor = database.highest_job, database.attempt_floor
    yield _line(Header(FORMAT, database.schema, database.installation, now, credentials, highest, floor))
    tokens = database.tokens() if credentials else []
    workers = database.workers() if credentials else []
    users = database.users() if credentials else []
    yield from (_line(Line(token=token)) for token in tokens)
    yield from (_line(Line(worker=worker)) for worker in workers)
    yield from (_line(Line(user=user)) for user in users)
    jobs, last = 0, 0
    while (whole := database.next_job(last, objects_of)) is not None:
        yield _line(Line(job=_without_secrets(whole, credentials=credentials)))
        jobs, last = jobs + 1, whole.job.id
    yield _line(Line(end=Totals(jobs, len(tokens), len(workers), len(users))))


def objects_of(job: Job, attempts: Sequence[Attempt]) -> dict[str, int | None]:
    """The objects of a job (`ObjectsOf`): its source, and what its attempts have written. A source that is the output
    of another job is on record as that one's."""
    lent = job.chain is not None and job.chain.source is not None
    keys: dict[str, int | None] = {} if lent else {source_key(job.source_hash): None}
    for attempt in attempts:
        keys[attempt.output_key] = None if is_original_output_key(attempt.output_key) else attempt.attempt
    return keys


def _without_secrets(whole: Whole, *, credentials: bool) -> Whole:
    """A lease is worth nothing elsewhere; a job's submitter is named by a credential. A cause's number is this
    database's own."""
    job = replace(whole.job, lease=None, failure=None, submitter=whole.job.submitter if credentials else None)
    return replace(whole, job=job, attempts=tuple(replace(attempt, lease=LEASE) for attempt in whole.attempts))


def _line(value: Header | Line) -> bytes:
    return msgspec.json.encode(value) + b"\n"


_header = msgspec.json.Decoder(Header)
_of_line = msgspec.json.Decoder(Line)


def header(path: Path, *, newest: int) -> Header:
    """The first line. `newest` is the schema that this release knows. Raises DatabaseError for what is no export, or
    one of a newer release."""
    try:
        with path.open("rb") as file:
            found = _header.decode(file.readline())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its first line does not say so"
        raise DatabaseError(f"{path} is no database, and no export of `blobforge export`: {reason}") from error
    if found.blobforge_export > FORMAT or found.schema > newest:
        raise DatabaseError(f"{path} was written by a newer release; run that one")
    return found


def read(path: Path) -> Iterator[Line]:
    """All lines behind the first. Raises DatabaseError for one that cannot be read, and for an end that is missing or
    says something else than what came before: the file is not whole."""
    counted = Totals()
    with path.open("rb") as file:
        file.readline()
        for number, line in enumerate(_lines(file), start=2):
            try:
                found = _of_line.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise DatabaseError(f"line {number} of {path} cannot be read: {error}") from error
            if found.end is not None:
                if found.end != counted:
                    raise DatabaseError(f"{path} is not whole: its end tells of {found.end}, there were {counted}")
                return
            counted = Totals(
                counted.jobs + (found.job is not None),
                counted.tokens + (found.token is not None),
                counted.workers + (found.worker is not None),
                counted.users + (found.user is not None),
            )
            yield found
    raise DatabaseError(f"{path} is not whole: its last line is missing. Export it again")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return iter(file.readline, b"")
