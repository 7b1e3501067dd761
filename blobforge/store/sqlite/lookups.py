"""What the read side and the write side look up alike: single things by their names. A base of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import apsw

from blobforge.access import Token
from blobforge.job import Job
from blobforge.people import User
from blobforge.store.files import FileRecord
from blobforge.store.sqlite import rows, sql
from blobforge.worker import Worker


class _OnConnection(Protocol):
    _db: apsw.Connection


S = TypeVar("S", bound=_OnConnection)
P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def moment(connection: apsw.Connection) -> Iterator[None]:
    """The statements within see one moment; inside a transaction, that of the transaction."""
    inside = connection.in_transaction
    if inside:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # SQLite has ended it by itself after some errors
            connection.execute("COMMIT")


def of_one_moment(ask: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """For a method that asks with several statements."""

    def asked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with moment(self._db):
            return ask(self, *args, **kwargs)

    return asked


class Lookups:
    """`_db` is the connection of the side that this is a base of."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def close(self) -> None:
        self._db.close()

    def job(self, job_id: int) -> Job | None:
        row = self._row(sql.JOB, (job_id,))
        return rows.job(row) if row else None

    def file(self, key: str) -> FileRecord | None:
        row = self._row(sql.FILE, (key,))
        return FileRecord(*row) if row else None

    def worker(self, worker_id: str) -> Worker | None:
        row = self._row(sql.WORKER, (worker_id,))
        return rows.worker(row) if row else None

    def token(self, token_id: int) -> Token | None:
        row = self._row(sql.TOKEN, (token_id,))
        return rows.token(row) if row else None

    def token_by_hash(self, hash_: str) -> Token | None:
        row = self._row(sql.TOKEN_BY_HASH, (hash_,))
        return rows.token(row) if row else None

    def user(self, user_id: int) -> User | None:
        row = self._row(sql.USER, (user_id,))
        return rows.user(row) if row else None

    def has_source(self, source_hash: str) -> bool:
        return self._row(sql.HAS_SOURCE, (source_hash,)) is not None

    def remembered(self, subject: str, key: str, *, since: int) -> tuple[bytes, bytes] | None:
        row = self._row(sql.IDEMPOTENT, (subject, key, since))
        return (row[0], row[1]) if row else None

    def _rows(self, statement: str, values: rows.Row = ()) -> Iterator[rows.Row]:
        return iter(self._db.execute(statement, values))

    def _row(self, statement: str, values: rows.Row = ()) -> rows.Row | None:
        return self._db.execute(statement, values).fetchone()
