"""The log as it is followed. State owned here: a connection that is told of new entries, and one that reads them."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

import psycopg

from blobforge.store.errors import HistoryForked, StoreUnavailable
from blobforge.store.following import Entry
from blobforge.store.postgres import turns_sql as sql
from blobforge.store.postgres.connecting import connect, open_pipeline
from blobforge.store.postgres.entries import entry
from blobforge.store.postgres.known import LastKnown, goes_on, is_there
from blobforge.store.postgres.pipeline import Pipeline

ANSWER_WAIT = 10.0  # seconds
# Between tries to listen; what is told meanwhile is found by looking.
RETRY_AFTER = 1.0


class PostgresFollower:
    def __init__(self, url: str, server: str = "", *, known: LastKnown | None = None) -> None:
        """`server` is what this one is called: what it has written itself is no news. `known` is its writer's."""
        self._known = known or LastKnown()
        self._url = url
        self._server = server
        self._reading: Pipeline | None = None
        self._listening: psycopg.Connection[Any] | None = None
        self._tried_at = 0.0
        self._forks = self._known.forks  # before it was read
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waiting = threading.Lock()  # held by the thread that waits
        self._closed = False

    # --- reading

    def latest(self) -> int:
        self._forks, last = self._known.forks, self._known.entry
        self._reconnect()
        (n, _, _, settled) = self._latest()
        if last is not None and not is_there(self._ask, *last, n):
            self._lose(last[0])
        self._read_settlements(settled)
        for (nonce,) in self._ask(sql.NONCE, (n,)):
            self._known.learn(n, nonce, self._forks)
        return n

    def _latest(self) -> tuple[int, int, int, str]:
        n, at, oldest, settled = self._ask(sql.LATEST_TURN)[0]
        return n, at, oldest, settled

    def read(self, after: int, limit: int) -> list[Entry]:
        if self._forks != self._known.forks:  # the writer has met one
            self._lose(after)
        # Others tell of entries, too: the last one that is known may not have been read here, and lies before those
        # that are asked for where this server begins.
        last = self._known.entry
        found = self._ask(sql.ENTRIES, (after, limit + 1))
        if not self._goes_on(found, last, after, limit):
            self._reconnect()  # the connection may be to a server that others have left
            found = self._ask(sql.ENTRIES, (after, limit + 1))
            if not self._goes_on(found, last, after, limit):
                self._lose(after)
        # The one that was known already, too.
        read = found[: limit + 1 if found and found[0][0] == after else limit]
        if read:
            self._read_settlements(read[-1][5])
            self._known.learn(read[-1][0], read[-1][2], self._forks)
        return [entry(*row) for row in read if row[0] > after]

    def _goes_on(self, found: list[tuple[Any, ...]], last: tuple[int, bytes] | None, after: int, limit: int) -> bool:
        if last is not None and last[0] >= after:
            return goes_on(found, last, whole=len(found) <= limit)
        return bool(found) or after <= self._latest()[0]

    def _read_settlements(self, latest: str) -> None:
        if not self._known.has_read_of(latest):
            self._known.read_of(id_ for (id_,) in self._ask(sql.SETTLEMENTS))

    def _lose(self, after: int) -> NoReturn:
        self._reconnect()
        self._forks = self._known.lose(self._forks)
        raise HistoryForked(f"the database has lost what was committed: {after} was known", self._forks)

    def _reconnect(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _ask(self, statement: str, values: tuple[int, ...] = ()) -> list[tuple[Any, ...]]:
        if self._reading is None or not self._reading.alive:
            self._reading = open_pipeline(self._url)
        try:
            return self._reading.run(statement, values, within=ANSWER_WAIT).rows
        except psycopg.Error as error:
            raise StoreUnavailable(str(error)) from error

    # --- waiting

    def wait(self, seconds: float) -> bool:
        try:
            with self._waiting:
                return not self._closed and self._wait(seconds)
        finally:
            if self._closed:
                self._give_back()

    def _wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        try:
            fresh, connection = self._listened()
            if fresh:
                return True  # what came before it was told to none
            if connection is not None:
                poll.register(connection.fileno(), select.POLLIN)
                if self._told(connection):
                    return True
            while (left := until - time.monotonic()) > 0:
                ready = {fd for fd, _ in poll.poll(left * 1000)}
                if self._woken in ready:
                    self._calm()
                    return True
                if ready and connection is not None and self._told(connection):
                    return True
        except psycopg.Error:
            self._deaf()
            return True
        return False

    def wake(self) -> None:
        with suppress(OSError):  # it is awake
            if self._wakes >= 0:
                os.write(self._wakes, b"!")

    def close(self) -> None:
        self._reconnect()
        self._closed = True
        self.wake()
        self._give_back()

    def _give_back(self) -> None:
        """Of the thread that closes and the one that waited, the last does it: no other may have these numbers while
        one is polled."""
        if not self._waiting.acquire(blocking=False):
            return
        try:
            self._deaf()
            for fd in (self._wakes, self._woken):
                if fd >= 0:
                    os.close(fd)
            self._wakes = self._woken = -1
        finally:
            self._waiting.release()

    def _listened(self) -> tuple[bool, psycopg.Connection[Any] | None]:
        """The connection, and whether it is new; None where there is none now."""
        if self._listening is not None:
            return False, self._listening
        if time.monotonic() - self._tried_at < RETRY_AFTER:
            return False, None
        self._tried_at = time.monotonic()
        try:
            self._listening = connect(self._url)
        except StoreUnavailable:
            return False, None
        self._listening.execute(sql.LISTEN)
        return True, self._listening

    def _deaf(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _told(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether it was told of something. Raises psycopg.OperationalError where it is lost."""
        connection.pgconn.consume_input()
        told = False
        while (notice := connection.pgconn.notifies()) is not None:
            told = told or not self._server or notice.extra != self._server.encode()
        return told

    def _calm(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass
