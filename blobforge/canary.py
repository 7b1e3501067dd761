"""Canaries: documents that were converted before are converted once more, by a converter that is on trial, and both
results are compared. Pure: dice and times are arguments. Times are milliseconds since the epoch.

A comparison is a job of its own, under a type of its own: that of the document and the canary's number. No client can
name such a type, for it has slashes. So a comparison is found by no submission, stands in no list, moves no
statistics of ordinary jobs, and is given to no worker but those whose converter is the canary's.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import Final

import msgspec

from blobforge.comparison import Difference
from blobforge.job import JobStatus
from blobforge.refusals import Refusal, RefusalCode

MOST_JOBS: Final = 1000  # of one canary: all are made in one transaction
MOST_TYPES: Final = 20  # of one canary
MOST_OPEN: Final = 10  # that have not ended: a claim by their converter looks into each
KEPT_MS: Final = 7 * 86_400_000
LOWEST_PRIORITY: Final = 5
SLOWER: Final = 1.5  # times as long
FEWEST_TIMED: Final = 5  # pairs of which a median says anything
NOISE_MS: Final = 1000  # a job that takes so little longer is not slower, whatever the ratio
WORST: Final = 20  # that a report names
ONLY_COMPARISONS: Final = "comparisons-only"
"""The word by which a claim says that its worker takes comparisons, and no other jobs."""
MARK: Final = "/canary/"
"""In the types of comparisons, and of nothing else."""


# ------------------------------------------------------------------ types of comparisons


def type_for(type_: str, canary_id: int) -> str:
    """The type under which comparisons of a canary with jobs of this type stand."""
    return f"{type_}{MARK}{canary_id}"


def is_comparison(type_: str) -> bool:
    return MARK in type_


def ordinary(type_: str) -> str:
    """The type that the document has."""
    return type_.partition(MARK)[0]


def canary_of(type_: str) -> int | None:
    """The number of the canary whose comparisons have this type."""
    number = type_.partition(MARK)[2]
    return int(number) if number else None


# ------------------------------------------------------------------ what a canary is


class CanaryState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"  # each of its jobs has
    CANCELLED = "cancelled"


class Canary(msgspec.Struct, frozen=True):
    """`made_by` is the converter on trial; `against`, whose results it is held against (a filter; None: any).
    `asked` jobs were wanted, and `taken` were there. `slower`: so many times as long counts as slower. `closed_at`:
    since then no worker is given its jobs."""

    id: int
    types: tuple[str, ...]
    made_by: str
    against: str | None
    asked: int
    taken: int
    slower: float
    priority: int
    subject: str
    name: str
    created_at: int
    closed_at: int | None = None
    cancelled_at: int | None = None

    def state(self, left: int) -> CanaryState:
        """`left` of its jobs have not ended."""
        if self.cancelled_at is not None:
            return CanaryState.CANCELLED
        return CanaryState.RUNNING if left else CanaryState.ENDED


class CanaryPlan(msgspec.Struct, frozen=True):
    """What is asked for."""

    types: tuple[str, ...]
    made_by: str
    against: str | None = None
    sample: int = 200
    slower: float = SLOWER
    priority: int = LOWEST_PRIORITY
    need_worker: bool = False


def nothing_to_compare(plan: CanaryPlan) -> Refusal:
    made = f" by {plan.against}" if plan.against is not None else ""
    return Refusal(
        RefusalCode.NOTHING_TO_COMPARE,
        f"No job of type {either(plan.types)} was converted{made}: there is no result to compare with.",
    )


def either(types: Iterable[str]) -> str:
    return " or ".join(map(repr, types))


def no_such_canary(canary_id: int) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_CANARY, f"There is no canary {canary_id}, or it is kept no longer.")


def is_a_canarys(job_id: int, type_: str) -> Refusal:
    """The refusal of a change to one of its jobs."""
    number = canary_of(type_)
    return Refusal(
        RefusalCode.JOB_OF_CANARY,
        f"Job {job_id} is a comparison of canary {number}: it can be cancelled, and goes with the canary.",
    )


# ------------------------------------------------------------------ the sample


class SampleCandidate(msgspec.Struct, frozen=True):
    """A completed job. `cause`: the number of the cause for which an attempt of it has failed last, if one has."""

    job_id: int
    type: str
    size: int | None
    cause: int | None = None


def sample(found: Iterable[SampleCandidate], wanted: int, dice: random.Random) -> list[int]:
    """So many of them, spread evenly over types, sizes (by powers of four) and causes of former failures: of each
    such cell one in turn, until there are enough. In the order of their ids."""
    cells: dict[tuple[str, int, int | None], list[int]] = defaultdict(list)
    for each in found:
        cells[each.type, (each.size or 0).bit_length() // 2, each.cause].append(each.job_id)
    heaps = [cells[key] for key in sorted(cells, key=lambda key: (*key[:2], key[2] or 0))]
    for heap in heaps:
        dice.shuffle(heap)
    picked: list[int] = []
    while len(picked) < wanted and heaps:
        dice.shuffle(heaps)  # where not every cell gets one more
        for heap in heaps[: wanted - len(picked)]:
            picked.append(heap.pop())
        heaps = [heap for heap in heaps if heap]
    return sorted(picked)


# ------------------------------------------------------------------ what has come of it


class CanaryOutcome(StrEnum):
    """What one comparison has come to; `worse` ones first."""

    FAILED = "failed"
    DIFFERENT = "different"
    UNPROVEN = "unproven"  # of the same size, and a hash is not on record
    SAME = "same"
    GONE = "gone"  # the result that it was to be held against, or the comparison itself
    CANCELLED = "cancelled"
    RUNNING = "running"
    WAITING = "waiting"


class CanaryVerdict(StrEnum):
    """Of a whole canary."""

    FAILED = "failed"
    DIFFERENT = "different"
    UNPROVEN = "unproven"
    SLOWER = "slower"
    SAME = "same"
    NOTHING = "nothing"  # not one could be compared
    RUNNING = "running"


_WORSE: Final = tuple(CanaryOutcome)
_BAD: Final = (CanaryOutcome.FAILED, CanaryOutcome.DIFFERENT, CanaryOutcome.UNPROVEN)
_BY_STATUS: Final[Mapping[JobStatus, CanaryOutcome]] = {
    JobStatus.DEAD: CanaryOutcome.FAILED,
    JobStatus.CANCELLED: CanaryOutcome.CANCELLED,
    JobStatus.RUNNING: CanaryOutcome.RUNNING,
}
_BY_CHANGE: Final[Mapping[Difference, CanaryOutcome]] = {
    Difference.SAME: CanaryOutcome.SAME,
    Difference.UNPROVEN: CanaryOutcome.UNPROVEN,
}


class ComparedDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """A comparison (`job_id`), and the job whose result it is held against, by the attempt `against`. `before` and
    `now` are how long the two attempts took, in ms. `change`: what became of the outputs."""

    job_id: int
    original_id: int
    against: int
    type: str
    outcome: CanaryOutcome
    before: int | None = None
    now: int | None = None
    change: Difference | None = None
    error: str | None = None
    worker_id: str | None = None
    former_made_by: str | None = None
    source_size: int | None = None
    path: str | None = None

    @property
    def completed(self) -> bool:
        """Whether its result can be looked at."""
        return bool(self.type) and self.outcome is CanaryOutcome.GONE

    @property
    def ratio(self) -> float | None:
        """How many times as long it took."""
        if not self.before or self.now is None:
            return None
        return self.now / self.before

    def is_slower(self, than: float) -> bool:
        """Whether it took so many times as long, and longer than noise."""
        ratio = self.ratio
        return ratio is not None and ratio >= than and (self.now or 0) - (self.before or 0) >= NOISE_MS


def outcome_of(status: JobStatus | None, change: Difference | None) -> CanaryOutcome:
    """Of a comparison with this status (None: it is there no longer); `change` of a completed one, where the other
    result is still there."""
    if status is None or (status is JobStatus.COMPLETED and change is None):
        return CanaryOutcome.GONE
    if status is JobStatus.COMPLETED:
        assert change is not None
        return _BY_CHANGE.get(change, CanaryOutcome.DIFFERENT)
    return _BY_STATUS.get(status, CanaryOutcome.WAITING)


class Findings(msgspec.Struct, frozen=True):
    """How many comparisons came to what. `slower` of those that were completed took longer by what was said;
    `median` is the ratio of the one in the middle, of `timed` pairs. `is_slower`: the canary is, as a whole.
    `worst` are the comparisons to look at."""

    outcomes: dict[str, int]
    slower: int
    timed: int
    median: float | None
    is_slower: bool
    worst: list[ComparedDocument]

    @property
    def verdict(self) -> CanaryVerdict:
        """The worst that there is to say."""
        n = self.outcomes
        if n[CanaryOutcome.WAITING] or n[CanaryOutcome.RUNNING]:
            return CanaryVerdict.RUNNING
        for outcome in _BAD:
            if n[outcome]:
                return CanaryVerdict(outcome.value)
        if not n[CanaryOutcome.SAME]:
            return CanaryVerdict.NOTHING
        return CanaryVerdict.SLOWER if self.is_slower else CanaryVerdict.SAME


def report(found: Iterable[ComparedDocument], *, slower: float, worst: int = WORST) -> Findings:
    """Slower as a whole: the median is, which a few that were held up do not move, and there are enough of them."""
    outcomes: Counter[CanaryOutcome] = Counter()
    ratios: list[float] = []
    bad: list[ComparedDocument] = []
    slow = 0
    lasted = [0, 0]
    for each in found:
        outcomes[each.outcome] += 1
        if (ratio := each.ratio) is not None:
            ratios.append(ratio)
            lasted[0] += each.before or 0
            lasted[1] += each.now or 0
        slow += each.is_slower(slower)
        if each.outcome in _BAD or each.is_slower(slower):
            bad.append(each)
    middle = median(ratios) if ratios else None
    noise = lasted[1] - lasted[0] < NOISE_MS
    return Findings(
        {outcome.value: outcomes[outcome] for outcome in CanaryOutcome},
        slow,
        len(ratios),
        round(middle, 3) if middle is not None else None,
        middle is not None and middle >= slower and len(ratios) >= FEWEST_TIMED and not noise,
        sorted(bad, key=_worse)[:worst],
    )


def _worse(each: ComparedDocument) -> tuple[int, float, int]:
    return _WORSE.index(each.outcome), -(each.ratio or 0.0), each.job_id


def counted(counts: Sequence[tuple[str, int]]) -> tuple[dict[str, int], int]:
    """The jobs of a canary by status, and how many have not ended."""
    by_status: Counter[str] = Counter()
    for status, n in counts:
        by_status[status] += n
    ended = (JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.CANCELLED)
    return dict(by_status), sum(n for status, n in by_status.items() if status not in ended)
