"""The commons of all servers of a database, on a connection of their own: they are in no transaction of the writer's,
and wait for none. State owned here: that connection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import psycopg

from blobforge.access import hash_secret
from blobforge.store.commons import (
    BURST,
    REFILL_SECONDS,
    REMEMBERED_SECONDS,
    SLACK,
    Examination,
    Figures,
    Secret,
    ServerState,
    Standby,
    TableFigures,
    is_same,
)
from blobforge.store.errors import DatabaseError, StoreUnavailable
from blobforge.store.postgres import commons_sql as sql
from blobforge.store.postgres.connecting import open_pipeline
from blobforge.store.postgres.examine import examine
from blobforge.store.postgres.pipeline import Lost, Pipeline, SqlAnswer, SqlValue

ANSWER_MS = 3_000  # for a statement; all are short, and none waits for another but by accident
ANSWER_SECONDS = 4.0  # where the database itself does not keep to that: it is stopped, or the network is
SET_TIMEOUT = "SELECT set_config('statement_timeout', $1, false)"


class RowCommons:
    alone = False

    def __init__(self, url: str, *, now: Callable[[], int]) -> None:
        """`now` is this server's own clock (ms since the epoch), to be compared with the database's."""
        self._url = url
        self._now = now
        self._pipeline: Pipeline | None = None

    def secret(self, name: Secret, made: Callable[[], str]) -> str:
        known = self._secret(name)
        if known is None:
            self._run(sql.KEEP_SECRET, name, made())
            known = self._secret(name)
        if known is None:
            raise DatabaseError(f"the secret {name} was taken away in the moment in which it was made: start again")
        return known

    def spend(self, name: Secret, value: str) -> bool:
        return is_same(self._secret(name), value) and self._run(sql.FORGET_SECRET, name, value).changed == 1

    def forget(self, name: Secret, *, but: frozenset[str] = frozenset()) -> None:
        known = self._secret(name)
        if known is not None and hash_secret(known) not in but:
            self._run(sql.FORGET_SECRET, name, known)

    def failed(self, names: tuple[str, ...]) -> float:
        # By their hashes: of one length, and no list of addresses in the database.
        hashes = [hashlib.sha256(name.encode()).digest() for name in names]
        return max(map(self._failed, hashes)) * REFILL_SECONDS

    def present(self, state: ServerState) -> list[ServerState]:
        self._run(sql.SIGN, state.id)
        # Each by itself: what is read last is younger than what was written first.
        self._run(sql.PRESENT, state.id, state.name, state.version, state.objects, state.admin, state.url, state.turn,
                  state.turn_at, state.read, self._now(), state.long_polls, state.streams)  # fmt: skip
        self._run(sql.FORGET_SILENT, round(REMEMBERED_SECONDS * 1000))
        self._run(sql.FORGET_WRITERS, round(REMEMBERED_SECONDS * 1000))
        self._run(sql.FORGET_GUESSES, round(BURST * REFILL_SECONDS * 1000))
        self._run(sql.FORGET_HOLDS)
        return self.servers()

    def servers(self) -> list[ServerState]:
        return [_state(row) for row in self._rows(sql.PRESENCES)]

    def leave(self, id_: str) -> None:
        self._run(sql.LEAVE, id_)

    def hold(self, name: str, holder: str, seconds: float) -> bool:
        return bool(self._rows(sql.HOLD, name, holder, round(seconds * 1000)))

    def let_go(self, name: str, holder: str) -> None:
        self._run(sql.LET_GO, name, holder)

    def examine(self) -> Examination:
        [[now]] = self._rows(sql.CLOCK)
        return examine(self._rows, clock_ms=self._now() - now)

    def figures(self) -> Figures:
        [[oldest]] = self._rows(sql.OLDEST_TRANSACTION)
        return Figures(
            tables=[TableFigures(*row) for row in self._rows(sql.TABLES)],
            standbys=[Standby(*row) for row in self._rows(sql.STANDBYS)],
            oldest_transaction=float(oldest),
        )

    def close(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()

    def _secret(self, name: Secret) -> str | None:
        found = self._rows(sql.SECRET, name)
        return str(found[0][0]) if found else None

    def _failed(self, name: bytes) -> float:
        """How many failures too many there are; not positive: none."""
        found = self._rows(sql.GUESS, name, str(REFILL_SECONDS * 1000), str(float(BURST)), str(SLACK))
        return float(found[0][0]) if found and found[0][0] > SLACK else 0.0

    def _rows(self, statement: str, *values: SqlValue) -> list[tuple[Any, ...]]:
        return self._run(statement, *values).rows

    def _run(self, statement: str, *values: SqlValue) -> SqlAnswer:
        """Once more on another connection where the one at hand has gone meanwhile: whatever is asked here may be
        done twice."""
        fresh = self._pipeline is None
        try:
            return self._connected().run(statement, values, within=ANSWER_SECONDS)
        except (StoreUnavailable, psycopg.Error) as error:
            self.close()
            if fresh or not isinstance(error, Lost):
                said = " ".join(str(error).split())
                raise DatabaseError(f"the database does not answer: {said}") from error
        return self._run(statement, *values)

    def _connected(self) -> Pipeline:
        if self._pipeline is None:
            try:
                self._pipeline = open_pipeline(self._url)
            except StoreUnavailable as error:
                raise DatabaseError(f"the database cannot be reached: {error}") from error
            self._pipeline.run(SET_TIMEOUT, (str(ANSWER_MS),), within=ANSWER_SECONDS)
        return self._pipeline


def _state(row: Iterable[Any]) -> ServerState:
    id_, name, version, objects, admin, url, started_at, silent, connected, turn, *rest = row
    turn_at, read, behind, clock, polls, streams = rest
    return ServerState(
        id=id_, name=name, version=version, objects=objects, admin=admin, url=url, started_at=started_at,
        silent=float(silent), connected=connected, turn=turn, turn_at=turn_at, read=read, behind=behind, clock=clock,
        long_polls=polls, streams=streams,
    )  # fmt: skip
