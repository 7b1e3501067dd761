"""What an engine raises, and nothing else: its own outages and conflicts stay inside it, as the cause of these."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database cannot be used. The message is one line that says why and what to do."""


class Damaged(Exception):
    """A copy of the database is not whole. The message is one line with the first findings."""


class StaleState(Exception):
    """A guarded update found another state than the one just read: two writers, or a bug."""


class StoreUnavailable(Exception):
    """The transaction could not be begun or committed (disk full, I/O error). Nothing of it happened."""


class OutcomeUnknown(StoreUnavailable):
    """The connection was lost in COMMIT, and so far nothing could be asked: all of it has happened, or nothing."""


class SchemaUnknown(StoreUnavailable):
    """The database is of a newer release, which servers of this one cannot write to."""


class HistoryForked(StoreUnavailable):
    """The database has lost what was committed, and goes on without it: another copy has taken its place. `number`:
    forks are counted in a run, and all parts of the server that meet one give it the same number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class ForkedInCommit(HistoryForked, OutcomeUnknown):
    """The same, while it was found out what had become of a commit."""
