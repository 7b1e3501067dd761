"""Live logs: the output of attempts while they run, as their workers send it. State owned here: these texts, and
their viewers.

They are kept in memory, at the server that the worker sends them to, and nothing of them is written: an attempt's log
is gone when it ends, and what its worker tells with a failure is its record. Each has room for MOST_KEPT characters,
its latest; all together for MOST_OF_ALL, those that were neither fed nor looked at for longest go first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import trio

from blobforge.events import CredentialsRevoked, Fact, LeaseEnded
from blobforge.livelog import (
    MOST_KEPT,
    MOST_OF_ALL,
    UNWATCHED_SECONDS,
    WATCHED_SECONDS,
    harmless,
    left_out,
)

LOOKED_AT_SECONDS = 30.0  # for which one look at a log counts: a client that asks again and again is a viewer, too
MOST_SENDERS = 8  # of one log that are known to hold the job; others are asked about
MOST_LOGS = 10_000  # that are known, also those that are empty
_PIECE_COST = 64  # characters that a piece counts for besides its own: one of a character each would cost more


class _Piece(NamedTuple):
    start: int
    text: str


class Passage(NamedTuple):
    """A part of a log. `text` has a line in the place of what is not there; `end` is the place behind it."""

    start: int
    end: int
    text: str


class AttemptLog:
    """The log of one attempt. `over`: the attempt has ended, or this was forgotten. `holder` is the attempt's lease,
    None before the first piece; `senders` are the callers that are known to hold it."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self.holder: str | None = None
        self.senders: set[tuple[str, ...]] = set()
        self.over = False
        self.end = 0
        self.size = 0
        self.watchers = 0
        self.looked_at = float("-inf")
        self.news = trio.Event()
        self._pieces: deque[_Piece] = deque()

    @property
    def is_watched(self) -> bool:
        return self.watchers > 0 or trio.current_time() < self.looked_at + LOOKED_AT_SECONDS

    def add(self, start: int, text: str) -> None:
        if start < self.end:  # it was sent before, and its answer lost
            text = text[self.end - start :]
            start = self.end
        if not text:
            return
        self._pieces.append(_Piece(start, harmless(text)))
        self.end = start + len(text)
        self.size += len(text) + _PIECE_COST
        while self.size > MOST_KEPT and len(self._pieces) > 1:
            self.size -= len(self._pieces.popleft().text) + _PIECE_COST
        self.tell()

    def after(self, place: int) -> Passage:
        """The part from there on that is kept."""
        at, parts = min(max(place, 0), self.end), []
        began = at
        for start, text in self._pieces:
            if start + len(text) <= at:
                continue
            if start > at:
                parts.append(left_out(start - at))
                at = start
            parts.append(text[at - start :])
            at = start + len(text)
        return Passage(began, self.end, "".join(parts))

    def tell(self) -> None:
        self.news.set()
        self.news = trio.Event()

    def close(self) -> None:
        self.over = True
        self.tell()


class LiveLogs:
    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({LeaseEnded, CredentialsRevoked})

    def __init__(self) -> None:
        self._logs: OrderedDict[int, AttemptLog] = OrderedDict()
        self._size = 0
        self._closed = False

    def post(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, LeaseEnded) and fact.job_id in self._logs:
                self._forget(fact.job_id)
            elif isinstance(fact, CredentialsRevoked):
                for log in self._logs.values():
                    log.tell()  # each viewer is judged anew

    def of(self, job_id: int, lease: str | None) -> AttemptLog | None:
        """The log of this attempt, if something of it is here."""
        log = self._logs.get(job_id)
        if log is None or log.holder is None or log.holder != lease:
            return None
        log.looked_at = trio.current_time()
        self._logs.move_to_end(job_id)
        return log

    def may_send(self, job_id: int, lease: str, sender: tuple[str, ...]) -> bool:
        """Whether it is known already that this sender holds the job by this lease."""
        log = self._logs.get(job_id)
        return log is not None and log.holder == lease and sender in log.senders

    def admit(self, job_id: int, lease: str, sender: tuple[str, ...]) -> None:
        """This sender holds the job by this lease, as the database has just said."""
        self._forget_others(job_id, lease)
        log = self._known(job_id)
        log.holder = lease
        if len(log.senders) >= MOST_SENDERS:
            log.senders.clear()
        log.senders.add(sender)

    def add(self, job_id: int, start: int, text: str) -> float:
        """A piece, of a sender that may send. Returns the seconds to the next one."""
        log = self._known(job_id)
        before = log.size
        log.add(start, text)
        self._size += log.size - before
        while self._size > MOST_OF_ALL and len(self._logs) > 1:
            self._forget(next(iter(self._logs)))
        return WATCHED_SECONDS if log.is_watched else UNWATCHED_SECONDS

    @contextmanager
    def watched(self, job_id: int, lease: str | None) -> Iterator[AttemptLog]:
        """The log of the attempt that runs by this lease, also where nothing of it has come yet; None: none runs."""
        if lease is not None:
            self._forget_others(job_id, lease)
        log = self._known(job_id)
        if self._closed:
            log.over = True
        log.watchers += 1
        try:
            yield log
        finally:
            log.watchers -= 1
            if not log.watchers and log.holder is None and self._logs.get(job_id) is log:
                self._forget(job_id)

    def close(self) -> None:
        """End all streams, now and later: the server stops."""
        self._closed = True
        for job_id in list(self._logs):
            self._forget(job_id)

    def _forget_others(self, job_id: int, lease: str) -> None:
        """Forget the log of an attempt that had another lease. A piece of it may have come just after its end."""
        log = self._logs.get(job_id)
        if log is not None and log.holder not in (None, lease):
            self._forget(job_id)

    def _known(self, job_id: int) -> AttemptLog:
        log = self._logs.get(job_id)
        if log is None:
            while len(self._logs) >= MOST_LOGS:
                self._forget(next(iter(self._logs)))
            log = self._logs[job_id] = AttemptLog(job_id)
        self._logs.move_to_end(job_id)
        return log

    def _forget(self, job_id: int) -> None:
        log = self._logs.pop(job_id)
        self._size -= log.size
        log.close()
