"""What the read side and the write side look up alike: single things by their names. Bases of both."""

from __future__ import annotations

from blobforge.access import Token
from blobforge.installation import SigningKey
from blobforge.job import Job
from blobforge.people import User
from blobforge.store.files import FileRecord
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Queries, Statements
from blobforge.worker import Worker


class CredentialLookups:
    """Tokens, people and keys, which no working set holds: the writer, too, asks the database for them. `_runs` runs
    the statements of the side that this is a base of."""

    _runs: Queries | Statements

    def token(self, token_id: int) -> Token | None:
        row = self._runs.row(sql.TOKEN, (token_id,))
        return rows.token(row) if row else None

    def token_by_hash(self, hash_: str) -> Token | None:
        row = self._runs.row(sql.TOKEN_BY_HASH, (hash_,))
        return rows.token(row) if row else None

    def user(self, user_id: int) -> User | None:
        row = self._runs.row(sql.USER, (user_id,))
        return rows.user(row) if row else None

    def signing_keys(self) -> list[SigningKey]:
        return [SigningKey(*row) for row in self._runs.rows(sql.SIGNING_KEYS)]


class Lookups(CredentialLookups):
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = self._runs = ask

    def close(self) -> None:
        self._ask.close()

    def job(self, job_id: int) -> Job | None:
        row = self._ask.row(sql.JOB, (job_id,))
        return rows.job(row) if row else None

    def file(self, key: str) -> FileRecord | None:
        row = self._ask.row(sql.FILE, (key,))
        return FileRecord(*row) if row else None

    def worker(self, worker_id: str) -> Worker | None:
        row = self._ask.row(sql.WORKER, (worker_id,))
        return rows.worker(row) if row else None

    def has_source(self, source_hash: str) -> bool:
        return self._ask.row(sql.HAS_SOURCE, (source_hash,)) is not None

    def remembered(self, subject: str, key: str, *, since: int) -> tuple[bytes, bytes] | None:
        row = self._ask.row(sql.IDEMPOTENT, (subject, key, since))
        return (row[0], row[1]) if row else None
