"""The rows that a load has brought, as the working set has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from blobforge.fairness import GroupClock
from blobforge.jobtype import TypeLoad
from blobforge.store.files import Doom, FileRecord
from blobforge.store.needs import FailuresInARow, Found, GroupPlace
from blobforge.store.postgres.pipeline import SqlAnswer
from blobforge.store.sql.rows import failures_in_a_row

_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_ids = msgspec.json.Decoder(list[int]).decode


def extend(found: list[Any], read: Callable[[tuple[Any, ...]], Any], told: SqlAnswer) -> None:
    found += map(read, told.rows)


def take_failed(found: Found, told: SqlAnswer) -> None:
    for job_id, worker_id in told.rows:
        found.failed[job_id] = (*found.failed[job_id], worker_id)


def file_of(row: tuple[Any, ...]) -> tuple[str, FileRecord | None]:
    key, size, sha256, checked_at, etag, version, kept, keeping = row
    if keeping is None:  # there is no such row
        return key, None
    return key, FileRecord(size, sha256, checked_at, etag, version, kept, bool(keeping))


def doom_of(row: tuple[Any, ...]) -> tuple[str, Doom]:
    key, state, tries, epoch, again = row
    return key, Doom(state, tries, epoch, bool(again))


def claim_key_of(row: tuple[Any, ...]) -> tuple[tuple[str, str], list[tuple[int, int]]]:
    worker_id, key, pairs = row
    return (worker_id, key), _decode_pairs(pairs)


def repeated_of(row: tuple[Any, ...]) -> tuple[tuple[str, str], tuple[bytes, bytes, int]]:
    subject, key, fingerprint, outcome, at = row
    return (subject, key), (bytes(fingerprint), bytes(outcome), at)


def load_of(row: tuple[Any, ...]) -> tuple[str, TypeLoad]:
    type_, running, owed, owed_at = row
    return type_, TypeLoad(int(running), owed, owed_at)


def in_a_row_of(row: tuple[Any, ...]) -> tuple[str, FailuresInARow]:
    type_, state, completed = row
    return type_, failures_in_a_row(state, completed)


def take_clocks(found: Found, told: SqlAnswer) -> None:
    for type_, priority, now, alone, running in told.rows:
        found.clocks[type_, priority] = GroupClock(now, alone)
        found.alone[type_, priority] = running


def turn_of(row: tuple[Any, ...]) -> tuple[GroupPlace, int]:
    *place, turn = row
    return GroupPlace(*place), turn


def path_of(row: tuple[Any, ...]) -> tuple[tuple[str, str], frozenset[int]]:
    source, path, ids = row
    return (source, path), frozenset(_decode_ids(ids))
