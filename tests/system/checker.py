"""Whether a history is one that a server that keeps its promises can have given.

Each job by itself: is there an order of its operations, each at one moment between request and answer, that the model
of a job's life (`life.py`) goes through? That is linearizability, searched for as Wing and Gong did, with Lowe's
memory of what was tried. A request without an answer may have had its effect while its server lived, or none.
Then all jobs together: none lost, none invented, no completion accepted twice, outputs as the accepted attempt made
them.

    python -m tests.system.checker FILE     checks a history that was saved
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from tests.system.history import Kind, Operation, load
from tests.system.life import Life, Rules, after, by_itself

EVER = 2**63
ABOUT_A_JOB = {
    Kind.SUBMIT, Kind.UPLOAD, Kind.CLAIM, Kind.BEAT, Kind.COMPLETE, Kind.FAIL, Kind.RELEASE, Kind.READ,
}  # fmt: skip
# The announced ones besides success: who asks so is to be told so.
FITTING = {
    Kind.SUBMIT: {200, 201}, Kind.COMPLETE: {200, 409}, Kind.FAIL: {200, 409}, Kind.RELEASE: {200, 409},
}  # fmt: skip


# What is done (a bit for each operation), the job as it is then, when that is at the earliest, and the way to it.
_Place = tuple[int, Life, int, tuple[Operation, ...]]


class Order:
    """The search for one job. `operations`: those that were answered must be in it, the others may be, until their
    `deadlines`. `servers`: from when to when a process was alive."""

    def __init__(
        self,
        operations: Sequence[Operation],
        deadlines: Sequence[int],
        servers: Sequence[tuple[int, int]],
        rules: Rules,
    ) -> None:
        self._operations = operations
        self._ends = deadlines
        self._servers = servers
        self._rules = rules
        self._must = sum(1 << index for index, each in enumerate(operations) if each.returned)
        self._tried: set[tuple[int, Life, int]] = set()
        self.longest: tuple[Operation, ...] = ()

    def exists(self) -> bool:
        # Depth first, with a stack of its own: histories are longer than Python's.
        stack: list[_Place] = [(0, Life(), 0, ())]
        while stack:
            place = stack.pop()
            done, life, since, path = place
            if done & self._must == self._must:
                return True
            if (done, life, since) in self._tried:
                continue
            self._tried.add((done, life, since))
            if len(path) > len(self.longest):
                self.longest = path
            stack += self._onwards(place)
        return False

    def _onwards(self, place: _Place) -> list[_Place]:
        """Where one can go from here; what is to be tried first comes last."""
        done, life, since, path = place
        left = [index for index in range(len(self._operations)) if not done >> index & 1]
        # What begins after another has ended comes behind it.
        soonest = min((self._ends[index] for index in left if self._operations[index].returned), default=EVER)
        if soonest < since:
            return []
        moves: list[_Place] = [
            (done, changed, max(since, at), path)
            for changed, earliest in by_itself(life, self._rules)
            if (at := self._expiry(earliest) if earliest else 0) <= soonest
        ]
        for index in reversed(left):
            operation = self._operations[index]
            if operation.invoked > soonest or self._ends[index] < since:
                continue
            for changed in after(life, operation, self._rules):
                move = (done | 1 << index, changed, max(since, operation.invoked), (*path, operation))
                if operation.returned and changed == life and operation.invoked <= since:
                    return [move]  # it fits and changes nothing: there is no better place for it
                moves.append(move)
        return moves

    def _expiry(self, earliest: int) -> int:
        """When a lease that may expire from then on can have done so: each server gives it a fresh period first."""
        times = ((max(earliest, up + self._rules.timeout), down) for up, down in self._servers)
        return min((at for at, down in times if at < down), default=EVER)


class History:
    """A whole history, sorted out by job."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        said = next(each.said for each in operations if each.kind is Kind.RULES)
        self.rules = Rules(said["timeout"], said["max_attempts"], said["max_losses"])
        self.operations = operations
        self._lives: dict[int, list[tuple[int, int]]] = {}
        for server in {each.server for each in operations if each.kind is Kind.UP}:
            ups, downs = (
                [each.ended for each in operations if each.kind is kind and each.server == server]
                for kind in (Kind.UP, Kind.DOWN)
            )
            self._lives[server] = list(zip_longest(ups, downs, fillvalue=EVER))
        self._servers = [life for lives in self._lives.values() for life in lives]
        self._lasting = said.get("lasting", 0)
        self.ids = {each.source: each.job for each in operations if each.kind is Kind.SUBMIT and each.returned}
        self.by_job: dict[int, list[Operation]] = defaultdict(list)
        self.lost_claims: dict[str, list[Operation]] = defaultdict(list)
        for each in operations:
            if each.kind is Kind.CLAIM and not each.returned:
                self.lost_claims[each.worker].append(each)
            elif each.kind in ABOUT_A_JOB and (job := each.job or self.ids.get(each.source, 0)):
                self.by_job[job].append(each)

    def faults(self) -> list[str]:
        """What is wrong, a sentence each; empty when all is well."""
        return [
            *self._odd_answers(),
            *self._lost_and_invented(),
            *self._leases(),
            *self._outputs(),
            *(fault for job in sorted(self.by_job) for fault in self._disorder(job)),
        ]

    def _odd_answers(self) -> list[str]:
        return [
            f"job {each.job}: {each.kind} was answered {each.status} {each.said}"
            for each in self.operations
            if each.returned and each.kind in ABOUT_A_JOB
            and (each.status not in FITTING.get(each.kind, {200}) or "output-missing" in str(each.said))
        ]  # fmt: skip

    def _lost_and_invented(self) -> list[str]:
        found = []
        listed = {job for each in self.operations if each.kind is Kind.LIST for job in each.said["jobs"]}
        asked = any(each.kind is Kind.LIST for each in self.operations)
        submitted = set(self.ids.values())
        if asked:
            found += [f"job {job} was acknowledged, and is lost" for job in sorted(submitted - listed)]
            found += [f"job {job} was never submitted, and is there" for job in sorted(listed - submitted)]
        found += [f"job {job} was never submitted, and was given" for job in sorted(set(self.by_job) - submitted)]
        sources: dict[int, str] = {}
        for each in self.operations:
            if each.kind is not Kind.SUBMIT or not each.returned:
                continue
            if sources.setdefault(each.job, each.source) != each.source:
                found.append(f"job {each.job} stands for two sources")
            if self.ids[each.source] != each.job:
                found.append(f"source {each.source} has two jobs: {each.job} and {self.ids[each.source]}")
        # Attempts that nobody was told of are those whose claim's answer was lost.
        for worker, count in sorted(self._untold().items()):
            if count > len(self.lost_claims[worker]):
                found.append(f"worker {worker} has {count} attempts that it has not asked for")
        return found

    def _told(self, job: int) -> set[int]:
        return {each.attempt for each in self.by_job[job] if each.kind is Kind.CLAIM}

    def _tries(self, job: int) -> list[list[str]]:
        """What was read of its attempts last."""
        reads = [each for each in self.by_job[job] if each.kind is Kind.READ and each.returned and each.status == 200]
        return list(reads[-1].said["tries"]) if reads else []

    def _untold(self) -> Counter[str]:
        untold: Counter[str] = Counter()
        for job in self.by_job:
            told = self._told(job)
            untold.update(
                worker for number, (worker, _) in enumerate(self._tries(job), start=1) if number not in told
            )
        return untold

    def _leases(self) -> list[str]:
        found = []
        attempts: dict[str, tuple[int, int]] = {}
        leases: dict[tuple[int, int], str] = {}
        for each in self.operations:
            if each.kind is Kind.CLAIM and each.returned and each.job:
                attempt = (each.job, each.attempt)
                if attempts.setdefault(each.lease, attempt) != attempt:
                    found.append(f"one lease for {attempt} and {attempts[each.lease]} (job, attempt)")
                if leases.setdefault(attempt, each.lease) != each.lease:
                    found.append(f"two leases for attempt {each.attempt} of job {each.job}")
        return found

    def _outputs(self) -> list[str]:
        found = []
        for job, operations in sorted(self.by_job.items()):
            accepted = {each.attempt: each.sha256 for each in operations
                        if each.kind is Kind.COMPLETE and each.returned and each.status == 200}  # fmt: skip
            if len(accepted) > 1:
                found.append(f"job {job}: completions of {len(accepted)} attempts were accepted: {sorted(accepted)}")
        sent = {(each.job, each.attempt): each.sha256 for each in self.operations if each.kind is Kind.COMPLETE}
        for each in self.operations:
            if each.kind is Kind.OUTPUT:
                completed = [n for n, (_, outcome) in enumerate(self._tries(each.job), 1) if outcome == "completed"]
                if [each.said["sha256"]] != [sent.get((each.job, n)) for n in completed[-1:]]:
                    found.append(f"job {each.job}: its output is not what its accepted attempt {completed} sent")
        return found

    def _disorder(self, job: int) -> list[str]:
        mine = self.by_job[job]
        workers = {worker for number, (worker, _) in enumerate(self._tries(job), 1) if number not in self._told(job)}
        keys = {(each.worker, each.key) for each in mine if each.kind is Kind.CLAIM}
        perhaps = [
            each
            for worker in {*workers, *(worker for worker, _ in keys)}
            for each in self.lost_claims[worker]
            if worker in workers or (worker, each.key) in keys
        ]
        operations = sorted([*mine, *perhaps], key=lambda each: each.invoked)
        deadlines = [self._deadline(each) for each in operations]
        order = Order(operations, deadlines, self._servers, self.rules)
        if order.exists():
            return []
        lines = "\n".join(f"    {_line(each)}" for each in operations)
        fitted = ", ".join(each.kind for each in order.longest)
        return [f"job {job}: no order explains what was answered (as far as it goes: {fitted}):\n{lines}"]

    def _deadline(self, operation: Operation) -> int:
        """When an operation must have had its effect: when it was answered, or when its server was dead. A database
        elsewhere may still commit what it was sent before that: for so long as it is said to."""
        if operation.returned:
            return operation.ended
        begun = [down for up, down in self._lives[operation.server] if up < operation.ended]
        return min(begun[-1] + self._lasting, EVER) if begun else operation.ended


def _line(each: Operation) -> str:
    began, took = each.invoked / 1e9, (each.ended - each.invoked) / 1e6
    answer = f"{each.status} {each.said}" if each.returned else "no answer"
    return f"{began:.6f} +{took:.1f} ms {each.client} {each.kind} attempt {each.attempt} {each.key}: {answer}"


def main(paths: list[str]) -> int:
    history = History(load(map(Path, paths)))
    faults = history.faults()
    for fault in faults:
        print(fault)
    print(f"{len(history.operations)} operations, {len(history.by_job)} jobs, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
