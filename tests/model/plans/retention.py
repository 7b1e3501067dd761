"""What goes for good, the janitor, and what is forgotten by the clock."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from actors.effects.periodic import SPREAD_PAUSE
from blobforge.job import JobStatus
from blobforge.search import ABANDONED_MS, SearchedPage, SearchName, SearchState
from tests.model.plans.asked import Asked
from tests.model.plans.base import Base
from tests.model.plans.choices import HASHES, JOBS, seldom, when_some
from tests.model.world.things import output_of, source_of

SEARCHES = st.sampled_from(SearchName)
SEARCHERS = st.sampled_from(["a server", "another"])
_GONE_FOR_GOOD = ("dead", "completed", "cancelled")


class Retention(Base):
    """State owned here: what the janitor was told to delete and has not answered for."""

    def __init__(self) -> None:
        super().__init__()
        self.deleting: set[str] = set()

    def deletion(self, job: str, objects: bool) -> Asked:
        job_id = self.job_id(job, *_GONE_FOR_GOOD)
        return Asked(m.DeleteJob(job_id, objects), lambda _: self.world.delete(job_id, objects, self.now))

    @seldom
    @rule(job=JOBS, objects=st.booleans())
    def delete(self, job: str, objects: bool) -> None:
        self.do(self.deletion(job, objects))

    @seldom
    @when_some(*_GONE_FOR_GOOD)
    @rule(
        age=st.sampled_from([0, 60, 3600]),
        audit=st.booleans(),
        objects=st.booleans(),
        limit=st.sampled_from([2, 200]),
        compared=st.booleans(),
    )
    def prune(self, age: int, audit: bool, objects: bool, limit: int, compared: bool) -> None:
        time = self.now - age * 1000
        before = tuple((status, time) for status in _GONE_FOR_GOOD)
        until = time if audit else None
        over = self.now if compared else None
        message = m.Prune(
            tuple((JobStatus(status), time) for status, time in before), until, objects, limit, compared_before=over
        )
        self.do(Asked(message, lambda _: self.world.prune(before, until, objects, limit, over, self.now)))

    @seldom
    @precondition(lambda self: any(job.compare_until for job in self.world.jobs.values()))
    @rule(objects=st.booleans(), later=st.booleans())
    def comparisons_end(self, objects: bool, later: bool) -> None:
        if later:
            self.now = self.database.time(self.now + self.world.rules.compare_ms + 1)
        over = self.now
        message = m.Prune((), None, objects, compared_before=over)
        self.do(Asked(message, lambda _: self.world.prune((), None, objects, 200, over, self.now)))

    @seldom
    @rule(restarted=st.booleans())
    def janitor_takes(self, restarted: bool) -> None:
        """After a restart nobody is left who looked at an object before."""
        if restarted:
            self.start()
            self.deleted = 0
            self.deleting.clear()
        message = m.TakeDoomed(1000, first=restarted)
        self.deleting |= set(self.do(Asked(message, lambda _: self.world.take_doomed(restarted, self.now))).keys)

    @seldom
    @precondition(lambda self: self.deleting)
    @rule(outcomes=st.lists(st.sampled_from(["gone", "gone", "refused", "unanswered"]), max_size=3))
    def janitor_has_tried(self, outcomes: list[str]) -> None:
        said = dict(zip(sorted(self.deleting), outcomes, strict=False))
        self.deleting -= set(said)
        lists = [tuple(key for key in said if said[key] == each) for each in ("gone", "refused", "unanswered")]
        self.deleted += len(lists[0])
        message = m.DeletionsTried(lists[0], lists[1], lists[2], self.deleted)
        self.do(Asked(message, lambda _: self.world.deletions_tried(said, self.epoch, self.now)))

    @seldom
    @rule(
        name=SEARCHES,
        searcher=SEARCHERS,
        doom=st.booleans(),
        every=st.sampled_from([None, 60_000]),
        later=st.booleans(),
    )
    def search_begins(self, name: SearchName, searcher: str, doom: bool, every: int | None, later: bool) -> None:
        if later:
            self.now = self.database.time(self.now + ABANDONED_MS)
        message = m.BeginSearch(name, searcher, doom, "sources/", every)
        self.do(Asked(message, lambda _: self.world.begin_search(name, searcher, doom, every, self.now)))

    @seldom
    @rule(name=SEARCHES, searcher=SEARCHERS, later=st.booleans())
    def search_is_taken_up(self, name: SearchName, searcher: str, later: bool) -> None:
        if later:
            self.now = self.database.time(self.now + ABANDONED_MS)
        message = m.TakeUpSearch(name, searcher)
        self.do(Asked(message, lambda _: self.world.take_up_search(name, searcher, self.now)))

    @seldom
    @precondition(lambda self: self.world.searches)
    @rule(name=SEARCHES, searcher=SEARCHERS, source_hash=HASHES, job=JOBS)
    def page_is_searched(self, name: SearchName, searcher: str, source_hash: str, job: str) -> None:
        found = self.world.jobs.get(self.job_id(job, "pending", "dead"))
        keys = (source_of(source_hash), *(output_of(found.id, each) for each in (found.history if found else ())))
        page = SearchedPage(len(keys), tuple((key, 1) for key in keys), "outputs/", keys[-1])
        there = (keys, "outputs/", keys[-1])
        message = m.AdvanceSearch(name, searcher, page)
        self.do(Asked(message, lambda _: self.world.advance_search(name, searcher, there, None, "", self.now)))

    @seldom
    @precondition(lambda self: self.world.searches)
    @rule(
        name=SEARCHES,
        searcher=SEARCHERS,
        error=st.sampled_from([None, "away"]),
        ended=st.sampled_from([None, SearchState.DONE, SearchState.FAILED]),
    )
    def search_goes_on(self, name: SearchName, searcher: str, error: str | None, ended: SearchState | None) -> None:
        message = m.AdvanceSearch(name, searcher, None, error, ended, 7)
        said = ended.value if ended is not None else ""
        self.do(Asked(message, lambda _: self.world.advance_search(name, searcher, None, error, said, self.now)))

    @seldom
    @rule(what=st.sampled_from(["minute", "hour", "pages", "ping", "texts", "checkpoints"]))
    def upkeep(self, what: str) -> None:
        """What was kept long enough goes, some each minute, some each hour; the rest changes nothing."""
        match what:
            case "minute":
                while self.do(Asked(m.Sample(), self.sampled)).wait == SPREAD_PAUSE:
                    pass
            case "hour":
                self.forget()
            case "pages":
                self.do(Asked(m.FreePages(100), lambda _: ("PagesFreed",)))
            case "texts":
                self.do(Asked(m.IndexTexts(3), lambda _: ("TextsIndexed",)))
            case "ping":
                self.do(Asked(m.Ping(), lambda _: ("Done",)))
            case _:
                self.do(Asked(m.LeaveCheckpoints(to_litestream=True), lambda _: ("Done",)))

    def sampled(self, answer: m.Sampled) -> tuple[str]:
        """Old undos go with the last of its turns."""
        if answer.wait != SPREAD_PAUSE:
            self.world.purge_undos(self.now)
        return ("Sampled",)

    def forget(self) -> None:
        self.do(Asked(m.Purge(idle=3600.0), lambda _: self.an_hour_passes()))

    def drill(self, ok: bool) -> Asked:
        message = m.RecordDrill(self.now, self.now + 1, ok, self.now if ok else None, "a drill")
        return Asked(message, lambda _: self.world.record_drill(message.started_at, ok))

    def an_hour_passes(self) -> tuple[str, bool]:
        self.world.purge_repeats(self.now)
        self.world.purge_sessions(self.now, 3_600_000)
        return ("Purged", False)
