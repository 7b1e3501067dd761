"""What goes for good: jobs, and the objects that nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.model.world.things import (
    DOUBT_MS,
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    URL_MS,
    Doom,
    Job,
    No,
    Search,
    copy_of,
    is_compared,
    output_of,
    prefix_of,
    source_of,
)
from tests.model.world.turns import Turns

FORGOTTEN = "forgotten/"  # before the prefix of outputs whose records go, and whose objects stay
FORGOTTEN_AT_ONCE = 4  # attempts


class Retention(Turns):
    def delete(self, job_id: int, objects: bool, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if is_compared(job.type):
            return No("job-of-canary")
        if job.status == "running":
            return No("job-running")
        self.drop(job, objects, now)
        return ("JobDeleted", job_id)

    def drop(self, job: Job, objects: bool, now: int) -> None:
        self.leave(job)
        self.leave_family(job)
        del self.jobs[job.id]
        for number in job.batches:
            gone = self.batches[number].gone
            gone[job.type] = gone.get(job.type, 0) + 1
        late = job.status == "dead" and job.lease is not None
        recent = late or job.completed_at is None or job.completed_at + URL_MS > now
        came_of = [row for row, came in self.kin.items() if came[0] == job.id]
        if job.chain is not None and job.chain.joined and job.status not in ("completed", "dead", "cancelled"):
            self.to_join += [row[:3] for row in came_of if row[2] >= 0]
        lent_to_it = [row[:2] for row in came_of if row[2] < 0 and self.kin[row][1]]
        for row in came_of:
            del self.kin[row]
        lent = [attempt for attempt in job.history if job.chain is not None and self.lends(job.id, attempt)]
        for attempt in lent:
            self.files.pop(output_of(job.id, attempt), None)
        keys = {output_of(job.id, attempt): recent for attempt in job.history if attempt not in lent}
        for key in list(keys):
            if key in self.files and (kept := self.files[key].kept) is not None:
                keys[kept] = False
        several = [attempt for attempt in job.history if (job.id, attempt) in self.outputs and attempt not in lent]
        keys |= dict.fromkeys((prefix_of(job.id, attempt) for attempt in several), recent)
        if not objects:
            for attempt in several:  # their records go piece by piece
                self.doom(FORGOTTEN + prefix_of(job.id, attempt), now)
        for parent, attempt in lent_to_it:
            self.give_back_joined(parent, attempt, objects, now)
        if lent_to_it and not any(other.hash == job.hash for other in self.jobs.values()):
            del self.manifests[job.hash]
        self.give_source_back(job, objects, now)
        known = not job.hash.startswith("unproven/")
        if known and not any(other.hash == job.hash for other in self.jobs.values()):
            keys[source_of(job.hash)] = True
        for key, again in keys.items():
            self.files.pop(key, None)
            if objects:
                self.doom(key, now, again=again)

    def give_source_back(self, job: Job, objects: bool, now: int) -> None:
        """Where its source was an output that no other job needs: of a parent that is gone, or has another result."""
        if job.chain is None or job.chain.source is None:
            return
        kind, _, of, number, name = job.chain.source.split("/", 4)
        parent, attempt = int(of), int(number)
        if self.lends(parent, attempt):
            return
        there = self.jobs.get(parent)
        if there is not None and (attempt in served(there) or (parent, attempt) in self.superseded(there)):
            return
        if kind == "outputs" and name != "output":
            prefix = prefix_of(parent, attempt)
            self.doom(prefix if objects else FORGOTTEN + prefix, now)
            return
        key = output_of(parent, attempt) if there is not None else job.chain.source
        file = self.files.pop(key, None)
        if not objects:
            return
        self.doom(key, now)
        if file is not None and file.kept is not None:
            self.doom(file.kept, now)

    def give_back_joined(self, parent: int, attempt: int, objects: bool, now: int) -> None:
        """The outputs of this attempt are joined by one job less."""
        there = self.jobs.get(parent)
        if self.lends(parent, attempt):
            return
        if there is not None and (attempt in served(there) or (parent, attempt) in self.superseded(there)):
            return
        if (parent, attempt) in self.outputs:
            prefix = prefix_of(parent, attempt)
            self.doom(prefix if objects else FORGOTTEN + prefix, now)
            return
        key = output_of(parent, attempt)
        file = self.files.pop(key, None)
        for each in (key, file.kept if file is not None else None, copy_of(key) if there is None else None):
            if each is not None and objects:
                self.doom(each, now)

    def superseded(self, job: Job) -> set[tuple[int, int]]:
        """The former results that are kept until their time is over: all, for nothing prunes them here."""
        return {
            (job.id, number)
            for number, attempt in job.history.items()
            if attempt.outcome == "completed" and not attempt.forgotten
        }

    def doom(self, key: str, now: int, *, again: bool = False) -> None:
        """Once more, with `again`, when URLs to upload it have expired."""
        doom = self.doomed.get(key)
        if doom is None:
            self.doomed[key] = Doom("waiting", now, again=not again)
        elif doom.state in ("gone", "later"):
            doom.state, doom.due_at, doom.tries, doom.again = "waiting", now, 0, not again

    def prune(
        self,
        before: Sequence[tuple[str, int]],
        audit_before: int | None,
        objects: bool,
        limit: int,
        compared_before: int | None,
        now: int,
    ) -> Any:
        found: list[Job] = []
        for status, time in before:
            ended = [job for job in self.jobs.values() if job.status == status and (job.completed_at or 0) < time]
            found += sorted(ended, key=lambda job: (job.completed_at or 0, job.id))[:limit]
        for job in found[:limit]:
            self.drop(job, objects, now)
        count = len(found[:limit])
        more = 0 < count == limit
        if audit_before is not None:
            old = [n for n, entry in enumerate(self.audits) if entry.at < audit_before]
            gone = set(sorted(old, key=lambda n: self.audits[n].at)[:limit])
            self.audits = [entry for n, entry in enumerate(self.audits) if n not in gone]
            more = more or len(gone) == limit
        if compared_before is not None:
            over = [job for job in self.jobs.values() if job.compare_until and job.compare_until < compared_before]
            over = sorted(over, key=lambda job: (job.compare_until, job.id))[:limit]
            for job in over:
                self.end_comparison(job, objects, now)
            more = more or len(over) == limit
        return ("Pruned", count, more, 0)

    def end_comparison(self, job: Job, objects: bool, now: int) -> None:
        """Unless nobody has seen the new output yet: the former one may have to be served again."""
        served = self.files.get(job.output) if job.output is not None else None
        if served is not None and not served.checked:
            job.compare_until = now + DOUBT_MS
            return
        assert job.replaced is not None
        attempt, output, *_ = job.replaced
        job.compare, job.compare_until, job.replaced = False, None, None
        if output is None or not objects:
            return
        job.history[attempt].forgotten = True
        if self.lends(job.id, attempt):
            return
        if output != output_of(job.id, attempt):
            self.doom(prefix_of(job.id, attempt), now)
            return
        file = self.files.pop(output, None)
        if file is not None and file.kept is not None:
            self.doom(file.kept, now)
        self.doom(output, now)

    def take_doomed(self, first: bool, now: int) -> Any:
        if first:
            for key in [key for key, doom in self.doomed.items() if doom.state == "gone" and doom.again]:
                del self.doomed[key]
            for doom in self.doomed.values():
                doom.epoch = 0
        for doom in self.doomed.values():  # a clock that was set back makes nothing wait for long
            longest = URL_MS if doom.state in ("gone", "later") else LONGEST_PAUSE_MS
            doom.due_at = min(doom.due_at, now + longest)
        for key, doom in list(self.doomed.items()):
            if doom.due_at > now:
                continue
            if doom.state == "gone" and doom.again:
                del self.doomed[key]
            elif doom.state in ("gone", "later"):
                doom.state, doom.again, doom.tries = "waiting", True, 0
        state = "deleting" if any(doom.state == "deleting" for doom in self.doomed.values()) else "waiting"
        due = [key for key, doom in self.doomed.items() if doom.state == state and doom.due_at <= now]
        taken: set[str] = set()
        forgetting = sorted((self.doomed[key].due_at, key) for key in due if key.startswith(FORGOTTEN))
        for _, key in forgetting[:FORGOTTEN_AT_ONCE]:
            self.forget_outputs(key.removeprefix(FORGOTTEN))
            del self.doomed[key]
        for key in due:
            if key.startswith(FORGOTTEN):
                continue
            doom = self.doomed[key]
            if not self.needed(key):
                if key not in self.files or self.files[key].kept is None:
                    self.files.pop(key, None)
                doom.state, doom.due_at = "deleting", now
                taken.add(key)
            elif doom.epoch:
                self.doomed[key] = Doom("gone", now + DOUBT_MS, 0, doom.epoch)
            else:
                del self.doomed[key]
        return ("ToDelete", taken)

    def deletions_tried(self, outcomes: dict[str, str], epoch: int, now: int) -> Any:
        for key, outcome in outcomes.items():
            doom = self.doomed.get(key)
            if doom is None:
                continue
            if outcome == "gone":
                if key.endswith("/"):  # their records go with them
                    self.forget_outputs(key)
                if not doom.again:
                    self.doomed[key] = Doom("gone", now + URL_MS, 0, epoch, again=False)
                elif key.startswith("sources/"):
                    self.doomed[key] = Doom("gone", now + DOUBT_MS, 0, epoch)
                else:
                    del self.doomed[key]
            else:
                pause = min(FIRST_PAUSE_MS * 2**doom.tries, LONGEST_PAUSE_MS)
                doom.state = "waiting" if outcome == "refused" else "deleting"
                doom.due_at, doom.tries = now + pause, doom.tries + 1
        return ("Done",)

    def forget_outputs(self, prefix: str) -> None:
        *_, job_id, attempt, _ = prefix.split("/")
        self.outputs.pop((int(job_id), int(attempt)), None)

    def outputs_kept(self, keys: Sequence[str], lost: Sequence[tuple[int, int, str]], now: int) -> Any:
        """The copies are served from now on; the originals go when no URL names them any more."""
        for key in keys:
            if key not in self.files:
                self.doom(copy_of(key), now)
                continue
            self.files[key].kept, self.files[key].keeping = copy_of(key), False
            self.output_is_copied(key, copy_of(key))
            if key not in self.doomed or self.doomed[key].state in ("gone", "later"):
                self.doomed[key] = Doom("later", now + URL_MS, 0, getattr(self.doomed.get(key), "epoch", 0))
        return ("SomeChanged", sum(self.revoke(*each, now) for each in lost))

    def revoke(self, job_id: int, attempt: int, key: str, now: int) -> int:
        raise NotImplementedError

    def output_is_copied(self, key: str, to: str) -> None:
        raise NotImplementedError

    def begin_search(self, name: str, searcher: str, doom: bool, every: int | None, now: int) -> Any:
        search = self.searches.get(name)
        if search is not None and search.state == "running":
            if search.doom == doom:
                return self.take_up_search(name, searcher, now)
            if not search.given_up(now):
                return No("search-running")
        elif search is not None and every is not None and 0 <= now - (search.ended_at or 0) < every:
            return self.stands(name)
        self.searches[name] = Search(searcher, "running", doom, now, now, "sources/")
        return self.stands(name)

    def take_up_search(self, name: str, searcher: str, now: int) -> Any:
        search = self.searches.get(name)
        if search is not None and search.given_up(now):
            search.searcher, search.heard_at = searcher, now
        return self.stands(name)

    def advance_search(self, name: str, searcher: str, page: Any, error: str | None, ended: str, now: int) -> Any:
        """`page`: keys, and the place to go on at. Each object counts as one byte."""
        search = self.searches.get(name)
        if search is None or search.searcher != searcher or search.state != "running":
            return self.stands(name)
        search.heard_at = now
        if page is not None or error is not None:
            search.error = error
        if page is not None:
            keys, search.folder, search.cursor = page
            found = [key for key in keys if key not in self.doomed and not self.needed(key)]
            search.objects += len(keys)
            search.found += [(key, 1) for key in found]
            if search.doom:
                for key in found:
                    self.doom(key, now)
        if ended:
            search.state, search.ended_at, search.unfinished = ended, now, 7
            if ended == "done":
                search.error = None
        return self.stands(name)

    def stands(self, name: str) -> Any:
        search = self.searches.get(name)
        return ("SearchStands", search.row(name) if search is not None else None)

    def needed(self, key: str) -> bool:
        """A source with a job; an output that was accepted, or may still be."""
        if key.startswith("sources/"):
            return any(source_of(job.hash) == key for job in self.jobs.values())
        kind, _, job_id, attempt, _ = key.split("/")
        job = self.jobs.get(int(job_id))
        file = self.files.get(key)
        if self.lends(int(job_id), int(attempt)) and (file is None or file.kept is None):
            return True
        if job is None:
            return False
        if key.endswith("/"):
            result = job.attempt if job.status == "completed" else job.kept_attempt
            former = job.replaced[0] if job.replaced is not None else None
            return int(attempt) in (job.attempt, result, former)
        file = self.files.get(output_of(job.id, int(attempt)))
        if kind == "accepted":
            return file is not None and (file.kept == key or file.keeping)
        if file is not None:
            return file.kept is None
        comes = job.status == "running" or (job.status in ("pending", "dead") and job.lease is not None)
        return comes and job.attempt == int(attempt)


def served(job: Job) -> tuple[int | None, ...]:
    """The attempts whose outputs may be asked for."""
    result = job.attempt if job.status == "completed" else job.kept_attempt
    return (job.attempt, result, job.replaced[0] if job.replaced is not None else None)
