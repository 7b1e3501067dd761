"""Searches through the object store: which server carries one out, and what it has found.

Of several servers one does. Its row says which, and when that one was last heard of; another server changes nothing.
So neither a server that comes later nor a start of all of them begins one before it is due.
"""

from __future__ import annotations

from msgspec.structs import replace

from actors.effects.deletions import unneeded
from actors.effects.transaction import Transaction
from actors.messages import AdvanceSearch, BeginSearch, SearchStands, TakeUpSearch
from blobforge.refusals import Refusal
from blobforge.search import MOST_NAMED, Search, SearchName, SearchState, in_the_way


def begin(tx: Transaction, message: BeginSearch) -> SearchStands | Refusal:
    search = tx.store.searches.get(message.name)
    if refusal := in_the_way(search, doom=message.doom, now=tx.now):
        return refusal
    if search is not None and search.is_running and search.doom == message.doom:
        return _taken_up(tx, search, message.searcher) if search.is_abandoned(now=tx.now) else SearchStands(search)
    if search is not None and search.is_early(message.every, now=tx.now):
        return SearchStands(search)
    begun = Search(
        message.name, message.searcher, SearchState.RUNNING, message.doom, tx.now, tx.now, folder=message.folder
    )
    tx.store.searches.forget_names(message.name)
    tx.store.searches.save(begun)
    return SearchStands(begun)


def take_up(tx: Transaction, message: TakeUpSearch) -> SearchStands:
    search = tx.store.searches.get(message.name)
    if search is None or not search.is_abandoned(now=tx.now):
        return SearchStands(search)
    return _taken_up(tx, search, message.searcher)


def _taken_up(tx: Transaction, search: Search, searcher: str) -> SearchStands:
    taken = replace(search, searcher=searcher, heard_at=tx.now)
    tx.store.searches.save(taken)
    return SearchStands(taken)


def advance(tx: Transaction, message: AdvanceSearch) -> SearchStands:
    search = tx.store.searches.get(message.name)
    if search is None or search.searcher != message.searcher or not search.is_running:
        return SearchStands(search)
    if message.page is not None or message.error is not None:
        search = replace(search, error=message.error)
    if (page := message.page) is not None:
        sizes = dict(page.keys)
        found = unneeded(tx, sizes, dooms=search.doom)
        if named := found[: MOST_NAMED - search.named]:
            tx.store.searches.add_names(search.name, search.named, named)
        search = replace(
            search,
            folder=page.folder,
            cursor=page.cursor,
            objects=search.objects + page.objects,
            orphans=search.orphans + len(found),
            bytes=search.bytes + sum(sizes[key] for key in found),
            named=search.named + len(named),
        )
    if message.ended is not None:
        search = replace(search, state=message.ended, unfinished=message.unfinished, ended_at=tx.now)
        if message.ended is SearchState.DONE:
            search = replace(search, error=None)
    search = replace(search, heard_at=tx.now)
    tx.store.searches.save(search)
    return SearchStands(search)


def fail(tx: Transaction, reason: str) -> None:
    """What was lost with the database makes objects look as if no job had ever needed them: the search that was asked
    for was another one."""
    for name in SearchName:
        search = tx.store.searches.get(name)
        if search is not None and search.is_running:
            tx.store.searches.save(replace(search, state=SearchState.FAILED, ended_at=tx.now, error=reason))
