"""What is set for types of jobs. Rows of `type_settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import astuple

from blobforge.breaker import RowOfFailures
from blobforge.canary import is_comparison
from blobforge.jobtype import NOTHING_SET, SettingsByType, TypeSettings
from blobforge.store.bulk import BulkAccess
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Queries, Statements, of_one_moment
from blobforge.store.workingset import WorkingSet


def all_settings(found: list[tuple[object, ...]]) -> SettingsByType:
    """The rows are those of TYPE_SETTINGS."""
    return SettingsByType({str(row[0]): _settings(row) for row in found})


def _settings(row: tuple[Any, ...]) -> TypeSettings:
    _, *values, own_fault, quarantine, made_by, then_steps = row
    truths = (bool(each) if each is not None else None for each in (own_fault, quarantine))
    return TypeSettings(*(*values, *truths, made_by, then_steps))


class Types:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements, bulk: BulkAccess, working: WorkingSet) -> None:
        self._do = statements
        self._bulk = bulk
        self._working = working

    def all(self) -> SettingsByType:
        return self._bulk.type_settings()

    def save(self, type_: str, settings: TypeSettings) -> None:
        if settings == NOTHING_SET:
            self._do.rows(sql.FORGET_TYPE_SETTINGS, (type_,))
        else:
            self._do.rows(
                sql.SAVE_TYPE_SETTINGS,
                (type_, *(int(each) if isinstance(each, bool) else each for each in astuple(settings))),
            )
        self._bulk.type_settings_changed()
        self._working.weights_changed()

    def pending(self, type_: str) -> int:
        self._working.settle()
        return self._do.number(sql.PENDING_OF_TYPE, (type_,))


class TypeLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def settings(self) -> Mapping[str, TypeSettings]:
        found = all_settings(self._ask.rows(sql.TYPE_SETTINGS))
        return {type_: each for type_, each in found.items() if not is_comparison(type_)}

    def in_a_row(self, type_: str) -> RowOfFailures | None:
        row = self._ask.row(sql.BREAKER_OF_TYPE, (type_,))
        return rows.in_a_row(row[0]) if row else None

    @of_one_moment
    def known(self) -> tuple[Mapping[str, TypeSettings], Mapping[str, Mapping[str, int]]]:
        jobs: dict[str, dict[str, int]] = {}
        for status, type_, n in self._ask.rows(sql.TYPE_TOTALS):
            jobs.setdefault(type_, {})[status] = n
        return self.settings(), jobs

    def names(self) -> list[str]:
        return [type_ for (type_,) in self._ask.rows(sql.TYPES_OF_JOBS)]
