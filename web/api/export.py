"""Jobs as a table in a file: all that match, by id, as CSV or as a JSON object a line.

It is read page by page, each page of one moment, as the manifest is: a job that matches all the while is in it once.
Where it has to end before its end, its last line says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import msgspec
from quart import Response

from blobforge import requirements
from blobforge.canary import ordinary
from blobforge.chain import known_hash
from blobforge.job import Job
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import DatabaseError
from blobforge.store.filters import JobFilter
from blobforge.store.reading import Reader
from blobforge.store.sorting import took
from web.api import encode, wire_jobs
from web.decode import query
from web.limits import SMALL
from web.long_answers import StillAllowed, long_answer
from web.routing import Access, Call, Route

PAGE: Final = 500  # jobs
TYPES: Final = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
CUT_OFF: Final = "CUT OFF"  # in the column of ids, where no job has it
GONE: Final = "the credential may not read any more"
FAILED: Final = "the database cannot be read"
# What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

# A column's value of a job and of the beginning of its latest error. The names are those of the API.
CellOf = Callable[[Job, str | None], Any]
COLUMNS: Final[Mapping[str, CellOf]] = {
    "id": lambda job, _: job.id,
    "type": lambda job, _: ordinary(job.type),
    "status": lambda job, _: job.status,
    "priority": lambda job, _: job.priority,
    "source_path": lambda job, _: job.source_path,
    "source_size": lambda job, _: job.source_size,
    "source_hash": lambda job, _: known_hash(job.source_hash),
    "tags": lambda job, _: list(job.tags),
    "group": lambda job, _: job.of_group,
    "batches": lambda job, _: list(job.batches),
    "requires": lambda job, _: list(requirements.words(job.requires)),
    "worker_id": lambda job, _: job.worker_id,
    "made_by": lambda job, _: job.made_by,
    "created_at": lambda job, _: encode.rfc3339(job.created_at),
    "updated_at": lambda job, _: encode.rfc3339(job.updated_at),
    "started_at": lambda job, _: encode.time_or_none(job.started_at),
    "completed_at": lambda job, _: encode.time_or_none(job.completed_at),
    "seconds": lambda job, _: ms / 1000 if (ms := took(job)) is not None else None,
    "attempts": lambda job, _: job.attempts,
    "max_attempts": lambda job, _: job.max_attempts,
    "last_error": lambda job, error: error,
}


async def export(call: Call) -> Response | Refusal:
    """Of the jobs that match, the columns that were asked for: all of them if none was."""
    wanted = query(call.request.args, wire_jobs.ExportQuery)
    if isinstance(wanted, Refusal):
        return wanted
    columns = chosen(wanted.columns)
    if isinstance(columns, Refusal):
        return columns
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="jobs.{wanted.format}"',
    }
    filter_ = encode.job_filter(wanted, priority=wanted.priority)
    table: JobsFile = CsvFile(columns) if wanted.format == "csv" else LinesFile(columns)
    type_ = f"{TYPES[wanted.format]}; charset=utf-8"
    return long_answer(call, lambda room: _stream(call, filter_, table, room), headers=headers, type_=type_)


def chosen(said: str | None) -> list[str] | Refusal:
    """The id and these columns, in the order in which they were said; all where none was."""
    names = [name.strip() for name in (said or "").split(",")]
    names = [name for name in dict.fromkeys(names) if name]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        text = f"There is no column {unknown[0]!r}. There are {', '.join(COLUMNS)}."
        return Refusal(RefusalCode.INVALID, text, field="columns")
    return list(dict.fromkeys(["id", *(names or COLUMNS)]))


async def _stream(call: Call, filter_: JobFilter, table: JobsFile, room: ExitStack) -> AsyncIterator[bytes]:
    with room:
        allowed = StillAllowed(call)
        yield table.head()
        after: int | None = 0
        while after is not None:
            try:
                if not await allowed.look():
                    yield table.cut_off(GONE)
                    return
                text, after = await call.services.reads.moment(partial(_page, filter_, table, after))
            except DatabaseError:
                yield table.cut_off(FAILED)
                return
            # In pieces that no reader is held to be slow for.
            for start in range(0, len(text), SMALL):
                yield text[start : start + SMALL]


def _page(filter_: JobFilter, table: JobsFile, after: int, reader: Reader) -> tuple[bytes, int | None]:
    jobs, following = reader.jobs_by_id(filter_, after=after, limit=PAGE)
    errors = reader.errors_of([job.id for job in jobs]) if "last_error" in table.columns else {}
    return b"".join(table.rows((job, errors.get(job.id)) for job in jobs)), following


class CsvFile:
    """CSV (RFC 4180) in UTF-8. A text that a spreadsheet would take for a formula gets a `'` before it."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def head(self) -> bytes:
        return _line(self.columns)

    def rows(self, jobs: Iterator[tuple[Job, str | None]]) -> Iterator[bytes]:
        for job, error in jobs:
            yield _line([_cell(COLUMNS[name](job, error)) for name in self.columns])

    def cut_off(self, why: str) -> bytes:
        return _line([f"{CUT_OFF}: {why}"])


class LinesFile:
    """A JSON object a line, in UTF-8, with all columns; null where a job has nothing."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def head(self) -> bytes:
        return b""

    def rows(self, jobs: Iterator[tuple[Job, str | None]]) -> Iterator[bytes]:
        for job, error in jobs:
            yield msgspec.json.encode({name: COLUMNS[name](job, error) for name in self.columns}) + b"\n"

    def cut_off(self, why: str) -> bytes:
        return msgspec.json.encode({"cut_off": why}) + b"\n"


JobsFile = CsvFile | LinesFile


def _line(cells: list[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list):
        return msgspec.json.encode(value).decode() if value else None
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


ROUTES = [
    Route("GET", "/api/jobs/export", Access.READ, export,
          "The jobs that match as a table, by id: CSV, or a JSON object a line", gives=str,
          kinds=tuple(TYPES.values()), query=wire_jobs.ExportQuery),
]  # fmt: skip
