"""The one transaction that the writer has open: begun with what its messages need, settled, undone, committed.

State owned here: whether a transaction is open, and the journal by which an effect is undone. The rows as they are in
it are `knownrows.py`'s, what has changed is `pending.py`'s. What has changed is written at the end, or before the
engine is asked for more than single rows (`settle`). What was written cannot be undone here: then the whole
transaction is to be made again (`Unrecoverable`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import msgspec

from blobforge.events import Event, Fact
from blobforge.job import Job
from blobforge.store.bulk import BulkAccess, Changes
from blobforge.store.errors import StoreUnavailable
from blobforge.store.following import Entry
from blobforge.store.journal import Journal
from blobforge.store.knownrows import KnownRows
from blobforge.store.needs import Needs
from blobforge.store.pending import Pending
from blobforge.store.tallies import Tallies


class Unrecoverable(Exception):
    """Something is to be undone that has been written already: only the transaction as a whole can be."""


class Unwritable(Exception):
    """What was pending could not be written, for the reason that is the cause of this: a bug, of one of the effects.
    The transaction is lost."""


class Mark(msgspec.Struct, frozen=True):
    """A moment in a transaction: how far the journal was, and how much the engine had changed by itself."""

    journal: int
    direct: int


class OpenTransaction:
    """Used by one thread at a time: the writer's."""

    def __init__(self, bulk: BulkAccess) -> None:
        self._bulk = bulk
        # Rows were read while no transaction was open; whether the last transaction changed anything.
        self._open = self._read_outside = self.wrote = False
        # `settled`: how much of what was written in the transaction was pending before, and how far the journal was.
        self._settled = self._settled_at = 0
        self.commit_seconds = 0.0  # of the last COMMIT alone
        self._journal = Journal()
        self._rows = KnownRows(bulk)
        self._pending = Pending()
        self.ended: list[Job] = []  # jobs, as they were saved then

    @contextmanager
    def transaction(self, needs: Needs | None = None, now: int = 0) -> Iterator[None]:
        """All or nothing. Raises StoreUnavailable when the engine cannot begin or commit."""
        if self._read_outside:
            self._reset()
        self.wrote = False
        before = self._bulk.written
        self._bulk.begin(now)
        self._open = True
        try:
            if needs is not None:
                self._rows.load_ahead(needs)
            yield
            self._write()
            self.wrote = self._bulk.written != before
            self.commit_seconds = self._bulk.commit()
        except BaseException:
            self._bulk.rollback()
            raise
        finally:
            self._open = False
            self._reset()

    @property
    def now(self) -> int:
        """The time of the transaction (ms)."""
        return self._bulk.now

    @property
    def server(self) -> str:
        """What this server is called in the history."""
        return self._bulk.server

    @property
    def turn(self) -> int:
        """The number of the last transaction that changed anything."""
        return self._bulk.turn

    @property
    def missed(self) -> Sequence[Entry]:
        """Of what others have committed before this transaction."""
        return self._bulk.missed

    @property
    def older_wrote(self) -> int | None:
        """The last turn of a server that does not keep all counters, where these have not been counted since."""
        return self._bulk.older_wrote

    @property
    def recount(self) -> int:
        """The number of the recount that was begun last, by whichever server."""
        return self._bulk.recount

    def begin_recount(self) -> int:
        """Another one begins. What is counted after this transaction tells what the counters lack."""
        return self._bulk.begin_recount()

    def move_counters(self, by: Tallies) -> None:
        """Beside what moves them anyway: by differences, so that what was counted meanwhile stays."""
        self.forget()
        self._bulk.write(Changes(tallies=by))

    def counted(self) -> None:
        """The counters are right again."""
        self._bulk.counted()

    @property
    def losses_settled(self) -> bool:
        """Whether another server has settled what the last fork has cost that this one has met."""
        return self._bulk.losses_settled

    def settle_losses(self) -> None:
        """In this transaction what was lost is settled."""
        self._bulk.settle_losses()

    def tell(self, events: Sequence[Event], facts: Sequence[Fact]) -> None:
        """What has happened in the transaction, for other servers to know of once it is committed."""
        self._bulk.tell(events, facts)

    def mark(self) -> Mark:
        """Where the transaction stands, to go back to."""
        return Mark(len(self._journal), self._bulk.written - self._settled)

    def undo(self, mark: Mark) -> None:
        """All since then has not happened. Raises Unrecoverable where some of it has been written."""
        if self._settled_at > mark.journal or self._bulk.written - self._settled != mark.direct:
            raise Unrecoverable
        self._journal.undo(mark.journal)
        orders = (self._rows.ready, self._rows.kept, self._rows.ready_of, self._rows.kept_of)
        for order in chain.from_iterable(each.values() for each in orders):
            order.rewind()
        for in_turn in self._rows.turned.values():
            in_turn.rewind()

    def settle(self) -> None:
        """Write what is pending, so that the engine sees all that has happened in the transaction. Raises
        Unwritable."""
        if self._write():
            self._pending.clear()

    def _write(self) -> bool:
        """What is pending, if anything is; it still stands as pending."""
        # Nothing changes but by the journal; what was undone has left it.
        if (at := len(self._journal)) <= self._settled_at:
            return False
        before, self._settled_at = self._bulk.written, at
        try:
            self._bulk.write(self._pending.changes(self._rows.jobs, self._rows.workers))
        except StoreUnavailable:
            raise
        except Exception as error:
            raise Unwritable from error
        self._settled += self._bulk.written - before
        return True

    def ensure(self) -> None:
        """Write what is pending now, also where the engine would wait with it. Raises Unwritable."""
        self.settle()
        try:
            self._bulk.ensure()
        except (StoreUnavailable, Unwritable):
            raise
        except Exception as error:
            raise Unwritable from error

    def forget(self) -> None:
        """The engine is about to change rows by itself: write what is pending, and believe nothing that was read."""
        self.settle()
        self._bulk.doubt()
        self._rows.forget()

    def known(self, jobs: list[Job]) -> list[Job]:
        """Jobs that the engine has just read, once what was pending is written."""
        for job in jobs:
            self._rows.jobs.setdefault(job.id, job)
        return jobs

    def _reset(self) -> None:
        self._rows.clear()
        self._pending.clear()
        self._journal.clear()
        self.ended.clear()
        self._settled = self._settled_at = 0
        self._read_outside = False

    # --- loading

    def _ask(self, needs: Needs, *, pending: bool = False) -> None:
        """Ask for rows that no message has named before. `pending`: what has changed may be a part of the answer."""
        if not self._open:
            self._read_anew()
        elif pending:
            self.settle()
        found = self._bulk.load(needs)
        if len(self._journal) > self._settled_at:
            found.counted = False  # what is pending is no part of it
        self._rows.take_in(needs, found)

    def _read_anew(self) -> None:
        """Outside of a transaction, believe nothing that was read before: it may have changed."""
        self._reset()
        self._read_outside = True
