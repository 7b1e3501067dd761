"""Values as the set statements take them: arrays, and records for json_to_recordset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from blobforge import texts
from blobforge.chain import ChainPlace
from blobforge.job import Job
from blobforge.store.postgres.texts import as_json
from blobforge.store.sql import rows

_KEYS: Final = tuple(f"c{at}" for at in range(len(Job.__struct_fields__) + 3))


def json_of(values: Any) -> str:
    return as_json(list(values) if isinstance(values, set) else values)


def array_of(ids: Iterable[int]) -> str:
    """An array of PostgreSQL."""
    return f"{{{','.join(map(str, ids))}}}"


def array_of_trigrams(text: str) -> str:
    """The numbers of all trigrams of a text."""
    return array_of(sorted({texts.number(each) for each in texts.trigrams(text)}))


def records_of(values: Iterable[Sequence[Any]]) -> str:
    """For json_to_recordset."""
    return as_json([dict(zip(_KEYS, each, strict=False)) for each in values])


def started_records(jobs: Sequence[Job]) -> list[tuple[Any, ...]]:
    """The last value: which of its job's attempts in here it is."""
    so_far: Counter[int] = Counter()
    found = []
    for job in jobs:
        so_far[job.id] += 1
        found.append((
            job.id, job.attempt, job.worker_id, job.lease, job.started_at, job.upload_key, job.converter,
            so_far[job.id],
        ))  # fmt: skip
    return found


def column_of(value: Any) -> Any:
    """As the table has it."""
    if type(value) is tuple:
        return rows.encode_tags(value)
    if type(value) is ChainPlace:
        return rows.encode_chain(value)
    return int(value) if type(value) is bool else value
