"""The search for objects that no job needs, which people begin. State owned here: none; see `actors/searcher.py`.

A part of the janitor. The server that was asked for it searches. One that it has left behind is taken up by another.
"""

from __future__ import annotations

from actors.messages import BeginSearch, FindOrphans, Message, SearchStands, TakeUpSearch
from actors.searcher import GRACE, SearchPlan, StoreSearcher, shared_with
from blobforge.objects.keys import ACCEPTED, INCOMING, OUTPUTS, SOURCES, is_key
from blobforge.refusals import Refusal, RefusalCode
from blobforge.search import SearchName

SEARCHED = (ACCEPTED, INCOMING, OUTPUTS, SOURCES)  # sources last: a submission looks for its source first
TAKE_UP_EACH = 60.0  # seconds between two looks whether a search was left behind

PLAN = SearchPlan(SearchName.ORPHANS, SEARCHED, is_key, unfinished_age=GRACE, skips_if_shared=False)


def begin(
    message: Message[SearchStands], searcher: StoreSearcher, others: tuple[str, ...] | None
) -> BeginSearch | Refusal:
    """What to ask the writer for. `others`: the installations beside this one (None: not known yet); what its
    database does not need, another may."""
    assert isinstance(message, FindOrphans)
    if message.delete and others is None:
        said = "Whether other installations use this object store is not known yet. Ask again in a moment."
        return Refusal(RefusalCode.UNAVAILABLE, said, retry_after=5)
    if message.delete and others:
        return Refusal(RefusalCode.STORE_SHARED, shared_with(others))
    return BeginSearch(SearchName.ORPHANS, searcher.own, message.delete, SEARCHED[0])


def take_up(searcher: StoreSearcher) -> TakeUpSearch:
    return TakeUpSearch(SearchName.ORPHANS, searcher.own)
