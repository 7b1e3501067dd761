"""All rows of a database, table by table: how it is copied from one engine to another, whole.

The tables and their columns have the same names and the same meaning on each engine.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

TableRow = tuple[Any, ...]

# By which columns the rows of each are in order; what another one refers to comes first.
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": ("id",),
    "job_tags": ("tag", "job_id"),
    "batches": ("id",),
    "batch_jobs": ("batch", "job_id"),
    "kin": ("parent", "attempt", "step", "name"),
    "families": ("root",),
    "manifests": ("source_hash",),
    "job_paths": ("job_id", "n"),
    "attempts": ("job_id", "attempt"),
    "results": ("job_id", "attempt"),
    "outputs": ("job_id", "attempt", "name"),
    "superseded": ("job_id", "attempt"),
    "files": ("key",),
    "doomed_objects": ("key",),
    "workers": ("id",),
    "worker_types": ("worker_id", "type"),
    "claim_keys": ("worker_id", "claim_key"),
    "idempotency": ("subject", "key"),
    "undos": ("token", "job_id"),
    "operations": ("id",),
    "operation_pages": ("operation_id", "page"),
    "tokens": ("id",),
    "users": ("id",),
    "sessions": ("hash",),
    "audit": ("id",),
    "job_counts": ("status", "type", "priority"),
    "tag_counts": ("tag",),
    "batch_counts": ("batch", "status", "type"),
    "converter_counts": ("made_by", "status", "type", "priority"),
    "deferred_counts": ("type", "priority"),
    "worker_counts": ("status",),
    "happenings": ("step", "slot", "type", "what"),
    "depths": ("step", "slot", "type", "status"),
    "splits": ("step", "slot", "type", "what", "part"),
    "worker_rates": ("hour", "worker_id", "outcome"),
    "failures": ("id",),
    "failure_counts": ("failure", "status"),
    "job_hours": ("hour",),
    "backfill": ("id",),
    "weighing": ("id",),
    "superseding": ("id",),
    "backup_drills": ("id",),
    "pulse": ("id",),
    "recovery": ("id",),
    "installation": ("one",),
    "signing_keys": ("public_key",),
    "type_settings": ("type",),
    "searches": ("name",),
    "search_names": ("search", "n"),
    "canaries": ("id",),
    "canary_jobs": ("canary_id", "job_id"),
    "requirement_sets": ("number",),
    "breakers": ("type",),
    "group_clocks": ("type", "priority"),
    "group_turns": ("type", "priority", "of_group"),
    "webhooks": ("id",),
    "deliveries": ("id",),
}
# Those whose numbers are never given twice.
NUMBERED: Final = (
    "jobs", "tokens", "users", "audit", "backup_drills", "operations", "batches", "canaries", "webhooks",
    "deliveries",
)  # fmt: skip


class Tables(Protocol):
    """A database that nothing writes to. Each call raises DatabaseError."""

    @property
    def name(self) -> str:
        """As the operator is told of it, without a password."""

    @property
    def installation(self) -> str:
        """The id of the database."""

    def columns(self, table: str) -> list[str]: ...
    def count(self, table: str) -> int: ...
    def rows(
        self, table: str, columns: Sequence[str], *, after: TableRow | None = None
    ) -> Generator[TableRow, None, None]:
        """The rows in the order of their key, behind one; read as they are taken."""

    def numbers(self) -> dict[str, int]:
        """The highest number that each of NUMBERED ever gave."""


class NewTables(Tables, Protocol):
    """A database in the making, which no server opens before it is finished. What is there stays when the copying is
    broken off, and it goes on from there."""

    def last(self, table: str) -> TableRow | None:
        """The key of the last row that is there."""

    def add(self, table: str, columns: Sequence[str], rows: Iterable[TableRow]) -> None:
        """All of them, or none."""

    def kept(self, row: TableRow) -> TableRow:
        """The row as this engine keeps it."""

    def finish(self, numbers: Mapping[str, int]) -> None:
        """All is there: servers may open it."""
