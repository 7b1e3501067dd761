"""What came of the outputs of accepted attempts. Rows of `kin`, and the counters of `families`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from blobforge.chain import Kin
from blobforge.events import ManifestMade
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Statements
from blobforge.store.workingset import WorkingSet


class KinRows:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def lends(self, parent: int, attempt: int) -> bool:
        self._working.settle()
        return self._do.row(sql.LENDS, (parent, attempt)) is not None

    def lending(self, parent: int) -> set[int]:
        self._working.settle()
        return {row[0] for row in self._do.rows(sql.LENDING, (parent,))}

    def of_attempt(self, parent: int, attempt: int, *, limit: int) -> list[Kin]:
        self._working.settle()
        return [_kin(row) for row in self._do.rows(sql.KIN_OF_ATTEMPT, (parent, attempt, limit))]

    def of(self, parent: int, *, after: tuple[int, int, str], limit: int) -> list[Kin]:
        self._working.settle()
        return [_kin(row) for row in self._do.rows(sql.KIN_OF, (parent, *after, limit))]

    def of_stage(self, parent: int, attempt: int, step: int, *, limit: int) -> list[Kin]:
        self._working.settle()
        return [_kin(row) for row in self._do.rows(sql.KIN_OF_STAGE, (parent, attempt, step, limit))]

    def of_jobs(self, job_ids: Sequence[int]) -> list[Kin]:
        self._working.settle()
        return [_kin(row) for row in self._do.rows(sql.KIN_OF_JOBS, (msgspec.json.encode(job_ids).decode(),))]

    def of_join(self, job_id: int) -> list[Kin]:
        self._working.settle()
        return [_kin(row) for row in self._do.rows(sql.KIN_OF_JOIN, (job_id,))]

    def is_unfinished(self, parent: int, attempt: int, step: int) -> bool:
        self._working.settle()
        return self._do.row(sql.IS_UNFINISHED, (parent, attempt, step)) is not None

    def add_manifest(self, source_hash: str, manifest: str) -> None:
        self._do.rows(sql.ADD_MANIFEST, (source_hash, manifest))

    def drop_manifest(self, source_hash: str) -> None:
        self._do.rows(sql.DROP_MANIFEST, (source_hash,))

    def replace(self, parent: int, attempt: int, step: int, name: str, *, job_id: int, lent: bool) -> None:
        self._working.settle()
        self._do.rows(sql.REPLACE_KIN, (job_id, int(lent), parent, attempt, step, name))

    def lend(self, parent: int, attempt: int, job_id: int) -> None:
        self._do.rows(sql.LEND, (parent, attempt, f"arrived/{job_id}", job_id))

    def made_of(self, root: int) -> int:
        self._working.settle()
        row = self._do.row(sql.FAMILY_JOBS, (root,))
        return int(row[0]) if row else 0


class KinLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def of(self, parent: int, *, after: tuple[int, int, str] = (0, 0, ""), limit: int) -> list[Kin]:
        return [_kin(row) for row in self._ask.rows(sql.KIN_OF, (parent, *after, limit))]

    def manifest(self, source_hash: str) -> str | None:
        row = self._ask.row(sql.MANIFEST, (source_hash,))
        return str(row[0]) if row else None

    def awaited_manifests(self) -> list[ManifestMade]:
        return [ManifestMade(*row) for row in self._ask.rows(sql.AWAITED_MANIFESTS)]

    def count(self, parent: int, *, most: int) -> int:
        row = self._ask.row(sql.COUNT_KIN, (parent, most))
        return int(row[0]) if row else 0


def _kin(row: tuple[int, int, int, str, int, int]) -> Kin:
    parent, attempt, step, name, job_id, lent = row
    return Kin(parent, attempt, step, name, job_id, bool(lent))
