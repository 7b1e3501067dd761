"""The kept figures: which there are, how finely and how long they are kept, and the answers that are made of them."""

from __future__ import annotations

import msgspec

from blobforge.job import JobStatus, Outcome
from blobforge.worker import WorkerStatus

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
WEEK_MS = 7 * 86_400_000
WEEK = 604_800  # seconds
WEEKS_KEPT = 4  # of durations: converters get faster, documents change
WORKER_HOURS_KEPT = 26
FEW_FAILURES = 5  # of a worker: fewer are chance
RATE_HOURS = 24  # that a worker's rates are about, and a type's share of failures
RATE_STEP, RATE_SLOTS = 900, 5  # what a type completes in an hour: within four quarters and the one under way
# The widths of the slots that happenings and depths are kept in, and for how long each (seconds): a little more than
# the chart of that width shows (1 h, 24 h, 7 d, 30 d).
KEPT = {60: 2 * 3600, 900: 26 * 3600, 3600: 8 * 86_400, 21_600: 32 * 86_400}
# The same of splits, which have many rows a slot. By how long attempts ran they are kept by the WEEK, too.
SPLITS_KEPT = {300: 3 * 3600, 3600: 8 * 86_400, 21_600: 32 * 86_400}
NARROWEST = min(SPLITS_KEPT)
# The width that fresh splits stand under, in slots of the narrowest: of their type alone, until they are spread.
FRESH = 0
CAUSES_A_SLOT = 20  # of each type and slot that is over: what fewer failures had stands under no cause

SUBMITTED = "submitted"  # a happening beside the outcomes of attempts
ONLINE = "online"  # the depth of the workers, under the type ''
# What is split, and by what: attempts that ended by how long their jobs had stood in the queue, completed ones by how
# long they ran (buckets of blobforge/forecast.py), failed and lost ones by the number of their cause.
QUEUED, RAN, CAUSE = "queued", "ran", "cause"
NO_CAUSE = 0  # of those that stand under none
FLOWS = (SUBMITTED, *(outcome.value for outcome in Outcome))
# Ended jobs are not in the queue; the dead wait for a person.
LEVELS = tuple(
    status.value
    for status in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.UPLOADING, JobStatus.DEAD)
)


class Stats(msgspec.Struct, frozen=True):
    """The kept counters. `oldest_pending_at` is in ms since the epoch; `completed_per_minute` is a mean.

    `seconds_left` has the types with jobs that wait: how long these take at the rate of now; None where no worker is
    online, none was completed lately, or the type is paused. `deferred`: so many of the pending ones are not to be
    started yet, by their submission; they are neither in `seconds_left` nor the oldest.
    """

    jobs: dict[JobStatus, int]
    by_type: dict[str, dict[str, int]]
    by_priority: dict[int, dict[str, int]]
    workers: dict[WorkerStatus, int]
    oldest_pending_at: int | None
    completed_per_minute: float
    seconds_left: dict[str, float | None]
    bytes_by_type: dict[str, KeptSum] = {}
    bytes_by_status: dict[str, KeptSum] = {}
    deferred: int = 0


class StatusTotals(msgspec.Struct, frozen=True):
    """How many jobs there are, by priority and status, and how many workers by status."""

    by_priority: dict[int, dict[JobStatus, int]]
    workers: dict[WorkerStatus, int]

    @property
    def jobs(self) -> dict[JobStatus, int]:
        """Of all statuses, in their order."""
        of_each = self.by_priority.values()
        return {status: sum(each.get(status, 0) for each in of_each) for status in JobStatus}


class KeptSum(msgspec.Struct, frozen=True):
    """What is kept, in bytes: of sources that are there, and of results. A source of several jobs counts for each."""

    source_bytes: int = 0
    output_bytes: int = 0

    def plus(self, other: KeptSum) -> KeptSum:
        return KeptSum(self.source_bytes + other.source_bytes, self.output_bytes + other.output_bytes)


class TagWeight(msgspec.Struct, frozen=True):
    """The jobs of a tag, and what they have."""

    tag: str
    jobs: int
    source_bytes: int
    output_bytes: int

    @property
    def place(self) -> tuple[int, str]:
        """Tags are listed by it: those with most first."""
        return -(self.source_bytes + self.output_bytes), self.tag


class Space(msgspec.Struct, frozen=True):
    """Room on disks, in bytes: what the parts of the database take, by their names; of the disk that it is on, what
    is free and how much it is, where that is ours to see."""

    parts: dict[str, int]
    disk: tuple[int, int] | None = None


class Census(msgspec.Struct, frozen=True):
    """The kept counters row by row, zeros too: (status, type, priority, jobs). `oldest_pending` is by type, in ms;
    `bytes` (status, type, of sources, of results); `deferred` by type and priority: the pending jobs that are not to
    be started yet, of which `oldest_pending` knows nothing."""

    jobs: list[tuple[str, str, int, int]]
    oldest_pending: dict[str, int]
    workers: dict[WorkerStatus, int]
    bytes: list[tuple[str, str, int, int]]
    deferred: dict[tuple[str, int], int] = {}


class SlotHistory(msgspec.Struct, frozen=True):
    """Aligned series. `at` are the beginnings of the slots in seconds since the epoch; None is a slot in which the
    server did not run. The last slot is not over yet."""

    step: int
    at: list[int]
    flows: dict[str, list[int | None]]
    levels: dict[str, list[int | None]]
    workers: list[int | None]


class TimesHistory(msgspec.Struct, frozen=True):
    """Of attempts that ended in each slot: how many had stood in the queue how long, and of the completed ones how
    many ran how long, by buckets (blobforge/forecast.py). `since`: from when on such is kept (seconds since the
    epoch), as far as it is there still; None: there is nothing yet."""

    queued: dict[int, dict[int, int]]
    ran: dict[int, dict[int, int]]
    since: int | None


class CausesHistory(msgspec.Struct, frozen=True):
    """Attempts that failed or were lost in each slot, by the number of their cause; NO_CAUSE: of any other. `causes`
    are those that are known still."""

    n: dict[int, dict[int, int]]
    causes: dict[int, Failure]
    since: int | None


class Failure(msgspec.Struct, frozen=True):
    """A cause. `failed` and `dead` are the jobs that show it now; `n` the attempts that ever failed so."""

    id: int
    fingerprint: str
    kind: str
    place: str
    example: str
    first_seen: int
    last_seen: int
    n: int
    failed: int
    dead: int

    @property
    def jobs(self) -> int:
        return self.failed + self.dead

    @property
    def rank(self) -> tuple[int, int, int]:
        """Causes are listed by it: most jobs first, then the latest."""
        return -self.jobs, -self.last_seen, self.id


class WorkerRates(msgspec.Struct, frozen=True):
    """How a worker's attempts ended within RATE_HOURS."""

    outcomes: dict[str, int] = {}

    def n(self, outcome: Outcome) -> int:
        return self.outcomes.get(outcome, 0)

    @property
    def ended(self) -> int:
        """Those that ended by themselves: a release or a cancellation says nothing of the worker."""
        return self.n(Outcome.COMPLETED) + self.n(Outcome.FAILED) + self.n(Outcome.LOST)

    @property
    def failure_rate(self) -> float | None:
        """The share of failed and lost ones; None while none has ended."""
        return (self.ended - self.n(Outcome.COMPLETED)) / self.ended if self.ended else None

    def is_above(self, fleet: WorkerRates) -> bool:
        """Whether a person should look at it: several failures, and a share three times that of the other workers.
        No more than a colour: the judgement that has consequences is in blobforge/quarantine.py."""
        others = WorkerRates({of: max(0, n - self.outcomes.get(of, 0)) for of, n in fleet.outcomes.items()})
        share, common = self.failure_rate or 0.0, others.failure_rate
        return self.ended - self.n(Outcome.COMPLETED) >= FEW_FAILURES and common is not None and share >= 3 * common


class UnmatchedSet(msgspec.Struct, frozen=True):
    """Ready jobs of one type with these requirements, which no worker that is there has. `pending` is counted up to
    MOST_UNMATCHED; `lacking` are those of the requirements that not one of the workers holds."""

    type: str
    requires: tuple[str, ...]
    pending: int
    lacking: tuple[str, ...]


class TypeQueue(msgspec.Struct, frozen=True):
    """The pending jobs of one type. `oldest_at` is when the oldest was submitted (ms). `not_accepted`: some have
    options, and no worker that is there heeds them."""

    type: str
    pending: int
    oldest_at: int | None
    has_worker: bool
    not_accepted: bool = False


class TypeLately(msgspec.Struct, frozen=True):
    """How attempts of one type ended: `completed_per_hour` by the last 60 to 75 minutes, `completed` in each of the
    last RATE_HOURS (the last one is not over), `failed` (or lost) in all of these."""

    completed_per_hour: float
    completed: tuple[int, ...]
    failed: int

    @property
    def ended(self) -> int:
        return sum(self.completed) + self.failed

    @property
    def failure_rate(self) -> float | None:
        """The share of failed and lost ones; None while none has ended."""
        return self.failed / self.ended if self.ended else None


class Backfilling(msgspec.Struct, frozen=True):
    """Jobs from `next_job` to `last_job` are to be looked at. `until` (ms): what ended later was counted."""

    next_job: int
    last_job: int
    counts: bool
    until: int | None


class Horizon(msgspec.Struct, frozen=True):
    """From where on figures are kept: the slots of each width (seconds), those of splits, the hour of
    rates of workers. `over`: the slots of each width that are over, from one on up to before another; of each
    `causes_a_slot` causes are kept. `fresh`: the slot of the narrowest width that is not over. A cause goes that no
    job shows, and that was not seen since `causes_seen_at` (ms); where there are still `causes` or more, `room` is
    made for new ones."""

    slots: dict[int, int]
    splits: dict[int, int]
    over: dict[int, tuple[int, int]]
    fresh: int
    causes_a_slot: int
    hour: int
    causes_seen_at: int
    causes: int
    room: int


class Drill(msgspec.Struct, frozen=True):
    """A drill's record; times are in ms since the epoch. `proven_until`: all until then was in the backup. `id` is
    the record's place among them, 0 before it has one."""

    started_at: int
    ended_at: int
    ok: bool
    proven_until: int | None
    detail: str
    id: int = 0
