"""A search through the object store, page by page, which one of the servers carries out for all.

How far it has come moves on in the transaction that makes what was found of a page known, so that another server can
go on with it, and no page is counted twice, whatever stops a server. Pure: the time is an argument. Times are
milliseconds since the epoch.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from blobforge.refusals import Refusal, RefusalCode

ABANDONED_MS = 120_000  # without a word from its searcher, and another server takes the search up
MOST_NAMED = 1_000  # keys that a search names: what they hold is half a MiB


class SearchName(StrEnum):
    ORPHANS = "orphans"  # objects that no job needs; begun by people
    SWEEP = "sweep"  # what came in and was never taken; due again and again


class SearchState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Search(msgspec.Struct, frozen=True):
    """`searcher` is a run of a server, which has last said at `heard_at` that it goes on. With `doom`, what is found
    is put on the list of objects to delete.

    It goes on in `folder` behind `cursor`; where `folder` is empty, only the uploads that never ended are left to
    look at. `objects` were looked at, `orphans` of them, of `bytes` together, are needed by no job; the first `named`
    of these are on record by name. `unfinished` uploads began long ago and never ended.
    """

    name: SearchName
    searcher: str
    state: SearchState
    doom: bool
    started_at: int
    heard_at: int
    folder: str
    cursor: str = ""
    ended_at: int | None = None
    objects: int = 0
    orphans: int = 0
    bytes: int = 0
    unfinished: int = 0
    named: int = 0
    error: str | None = None

    @property
    def is_running(self) -> bool:
        return self.state is SearchState.RUNNING

    def is_abandoned(self, *, now: int) -> bool:
        """Whether its searcher is no more, as far as can be told. So it is, too, where the clock was put back."""
        return self.is_running and not 0 <= now - self.heard_at < ABANDONED_MS

    def is_early(self, every: int | None, *, now: int) -> bool:
        """Whether the next one would come too early: it has ended, less than `every` ms ago. A clock that was set
        back delays nothing."""
        return every is not None and self.ended_at is not None and 0 <= now - self.ended_at < every


class SearchedPage(msgspec.Struct, frozen=True):
    """A page of the store: `objects` were listed, of which `keys` (with their sizes in bytes) may be needed by no
    job. The next page is in `folder` behind `cursor`."""

    objects: int
    keys: tuple[tuple[str, int], ...]
    folder: str
    cursor: str


def in_the_way(search: Search | None, *, doom: bool, now: int) -> Refusal | None:
    """Whether a search of the other kind is under way."""
    if search is None or not search.is_running or search.doom == doom or search.is_abandoned(now=now):
        return None
    kind = "that deletes" if search.doom else "that only counts"
    return Refusal(RefusalCode.SEARCH_RUNNING, f"A search {kind} is under way; wait until it has ended.")
