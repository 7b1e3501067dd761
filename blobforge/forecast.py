"""How long things take, and when they will have ended: as ranges, and "unknown" where too little is known.

Completed attempts are counted by type in buckets of their duration (`Durations`). From these come the expected end
of a running job and of the whole queue. Every range is the middle half of what may be expected: in one case of two
the truth lies outside, and the words say what was assumed.

Pure: `now` is an argument. Times are milliseconds, UTC, unless a name says seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from functools import cached_property

import msgspec
from msgspec.structs import replace

from blobforge.job import Job, JobStatus

SHORTEST_MS = 100  # what is shorter counts as this
BUCKETS_AN_OCTAVE = 4  # so that a bucket is 19 % wide, and its middle is at most 9 % off
LAST_BUCKET = 120  # 100 ms * 2**30: three years
ENOUGH = 5  # completed attempts of a type; with fewer, nothing is said
LOW, HIGH = 0.25, 0.75
QUARTILE = 0.6745  # of a normal distribution: this many standard deviations hold the middle half
STILL_MS = 1_800_000  # without news: half an hour
SMALLEST_SHARE = 0.02  # of progress; before that a job's own pace says nothing
_PERCENT = re.compile(r" *([0-9]{1,3}(?:\.[0-9]{1,9})?) *% *")


def bucket_of(ms: int) -> int:
    """The bucket that a duration is counted in."""
    if ms <= SHORTEST_MS:
        return 0
    return min(LAST_BUCKET, math.floor(math.log2(ms / SHORTEST_MS) * BUCKETS_AN_OCTAVE))


def lower_edge(bucket: int) -> float:
    """The shortest duration (ms) that this bucket counts."""
    return SHORTEST_MS * math.pow(2.0, bucket / BUCKETS_AN_OCTAVE) if bucket else 0.0


def upper_edge(bucket: int) -> float:
    return SHORTEST_MS * math.pow(2.0, (bucket + 1) / BUCKETS_AN_OCTAVE)


def _middle(bucket: int) -> float:
    return (lower_edge(bucket) + upper_edge(bucket)) / 2


class Durations(msgspec.Struct, frozen=True, dict=True):
    """How long the completed attempts of one type took: bucket -> how many, each as if in its middle. What is asked
    of it is computed once: a page asks it of each type."""

    counts: dict[int, int]

    @cached_property
    def n(self) -> int:
        return sum(self.counts.values())

    @cached_property
    def mean_ms(self) -> float:
        return sum(n * _middle(bucket) for bucket, n in self.counts.items()) / self.n if self.n else 0.0

    @cached_property
    def spread_ms(self) -> float:
        """The standard deviation."""
        if self.n < 2:
            return self.mean_ms
        mean = self.mean_ms
        # Within a bucket they lie evenly: a twelfth of the square of its width.
        squares = sum(
            n * ((_middle(bucket) - mean) ** 2 + (upper_edge(bucket) - lower_edge(bucket)) ** 2 / 12)
            for bucket, n in self.counts.items()
        )
        return math.sqrt(squares / (self.n - 1))

    def quantile(self, share: float, *, beyond: float = 0.0) -> float | None:
        """The duration (ms) that `share` of those attempts stayed below that took longer than `beyond` ms.

        None when fewer than ENOUGH took that long: then there is nothing to go by.
        """
        if beyond > 0:
            return self._quantile(share, beyond)
        if share not in self._of_all:
            self._of_all[share] = self._quantile(share, 0.0)
        return self._of_all[share]

    @cached_property
    def _of_all(self) -> dict[float, float | None]:
        """The quantiles that were asked for, by their shares."""
        return {}

    def _quantile(self, share: float, beyond: float) -> float | None:
        left = [(b, self._beyond(b, n, beyond)) for b, n in sorted(self.counts.items())]
        total = sum(n for _, n in left)
        if total < ENOUGH:
            return None
        wanted = share * total
        for bucket, n in left:
            if n > 0 and wanted <= n:
                start = max(lower_edge(bucket), beyond)
                return start + (upper_edge(bucket) - start) * wanted / n
            wanted -= n
        return upper_edge(left[-1][0])

    def _beyond(self, bucket: int, n: int, beyond: float) -> float:
        """How many of a bucket's attempts took longer, if they lie evenly in it."""
        low, high = lower_edge(bucket), upper_edge(bucket)
        return n * min(1.0, max(0.0, (high - max(low, beyond)) / (high - low)))


class Expected(msgspec.Struct, frozen=True):
    """When a running job will probably have ended (ms since the epoch), and what that goes by."""

    earliest: int
    latest: int
    by: str  # "progress" or "durations"


def expected_end(job: Job, durations: Durations | None, *, now: int) -> Expected | None:
    """When the running job will have ended; None when that cannot be said.

    By its own pace where it reports how far it is; else by how long others of its type took that were not yet done
    after as long as this one has run.
    """
    if job.status is not JobStatus.RUNNING or job.started_at is None:
        return None
    share = share_done(job.progress)
    since = job.progress_at if job.progress_at is not None else job.heartbeat_at
    if share is not None and share >= SMALLEST_SHARE and since is not None and since > job.started_at:
        ran = since - job.started_at
        left = ran * (1 - share) / share
        # The pace so far is a sample of the whole: the less of it there is, the wider the range.
        doubt = 0.5 * (1 - share) + 0.05
        return Expected(
            max(now, since + round(left * (1 - doubt))), max(now, since + round(left * (1 + doubt))), "progress"
        )
    if durations is None:
        return None
    ran = max(0, now - job.started_at)
    low, high = durations.quantile(LOW, beyond=ran), durations.quantile(HIGH, beyond=ran)
    if low is None or high is None:
        return None
    return Expected(job.started_at + round(low), job.started_at + round(high), "durations")


def still_for(job: Job, durations: Durations | None, *, now: int) -> float | None:
    """For how many seconds a running job has shown no progress, if that is longer than can be expected; else None.

    One that reports progress should do so within half an hour, or within the time that a whole job of its type
    mostly takes. One that reports none is only noticed when it takes three times as long as nearly all others.
    """
    if job.status is not JobStatus.RUNNING or job.started_at is None:
        return None
    known = durations is not None and durations.n >= ENOUGH
    if job.progress_at is not None:
        patience = max(STILL_MS, (durations.quantile(0.5) or 0.0) if durations is not None else 0.0)
        quiet = now - job.progress_at
    elif known and durations is not None:
        patience = max(STILL_MS, 3 * (durations.quantile(0.95) or 0.0))
        quiet = now - job.started_at
    else:
        return None
    return quiet / 1000 if quiet > patience else None


def share_done(progress: str | None) -> float | None:
    """How much of the job is done, 0 to 1, from what its worker reported: `percent`, or `done` of `total`.

    Existing workers report percent as a bare number, or as `"50%"`.
    """
    if progress is None:
        return None
    try:
        told = msgspec.json.decode(progress)
    except msgspec.DecodeError:
        return None
    if isinstance(told, str) and (found := _PERCENT.fullmatch(told)):
        told = float(found[1])
    try:
        match told:
            case bool():
                return None
            case int() | float() as percent:
                share = percent / 100
            case {"percent": int() | float() as percent} if not isinstance(percent, bool):
                share = percent / 100
            case {"done": int() | float() as done, "total": int() | float() as total} if total > 0:
                share = done / total
            case _:
                return None
    except OverflowError:
        return None  # JSON's integers may be larger than any float
    return min(1.0, max(0.0, share)) if math.isfinite(share) else None


class Load(msgspec.Struct, frozen=True):
    """The work of one type: how many wait (for a worker, or for the end of a back-off), how many run, and how many
    may run at once (None: no limit is set; 0 of a type that is paused)."""

    waiting: int
    running: int
    most: int | None = None


class Outlook(msgspec.Struct, frozen=True):
    """When the queue will be empty: a range in seconds from now, or None with the reason in `words`. `types` says the
    same of each type that waits or runs. `rest`: where that cannot be said of some types, all the others together."""

    low_seconds: float | None
    high_seconds: float | None
    words: str
    types: dict[str, Outlook] = {}
    rest: Outlook | None = None


def outlook(loads: Mapping[str, Load], durations: Mapping[str, Durations], online: Container[str]) -> Outlook:
    """When all that waits and runs now will be done, if as many jobs of each type go on side by side as run now.

    Types go on side by side, so that the slowest decides; the whole is known only where each type is. `online` are
    the types that a worker is there for.
    """
    busy = {type_: load for type_, load in sorted(loads.items()) if load.waiting or load.running}
    if not busy:
        return Outlook(0.0, 0.0, "Nothing waits and nothing runs.")
    types = {type_: _of_type(load, durations.get(type_), type_ in online) for type_, load in busy.items()}
    unknown = {type_: each for type_, each in types.items() if each.low_seconds is None}
    if unknown:
        why = "; ".join(f"{type_}: {each.words}" for type_, each in list(unknown.items())[:3])
        more = f"; and {len(unknown) - 3} more types" if len(unknown) > 3 else ""
        known = {type_: each for type_, each in types.items() if type_ not in unknown}
        rest = _side_by_side(known, busy, durations) if known else None
        return Outlook(None, None, f"Unknown as a whole. {why}{more}.", types, rest)
    return replace(_side_by_side(types, busy, durations), types=types)


def _side_by_side(
    types: Mapping[str, Outlook], loads: Mapping[str, Load], durations: Mapping[str, Durations]
) -> Outlook:
    """That of all these types, each of which is known."""
    slots = sum(loads[type_].running for type_ in types)
    seen = sum(durations[type_].n for type_ in types)
    words = (
        f"If {slots:,} {'job goes' if slots == 1 else 'jobs go'} on side by side as now, and jobs take as long as "
        f"the last {seen:,} that were completed. Further attempts of what fails, and new jobs, are not in it. "
        "In one case of two it is sooner or later than this."
    )
    low = max(each.low_seconds or 0.0 for each in types.values())
    return Outlook(low, max(each.high_seconds or 0.0 for each in types.values()), words)


def batch_outlook(
    waiting: Mapping[str, int],
    running: Mapping[str, int],
    uploading: int,
    loads: Mapping[str, Load],
    durations: Mapping[str, Durations],
    online: Container[str],
) -> Outlook:
    """When those jobs of a batch will be done that wait and run now, by type: at the least if they go first, at the
    most if all that waits now goes before them. `uploading` of its jobs wait for their sources, and are not in it."""
    types: dict[str, Outlook] = {}
    for type_ in sorted({*waiting, *running}):
        load = loads.get(type_, Load(0, 0))
        left = min(waiting.get(type_, 0), load.waiting)
        first = _of_type(replace(load, waiting=left), durations.get(type_), type_ in online)
        whole = _of_type(load, durations.get(type_), type_ in online) if left else first
        types[type_] = Outlook(first.low_seconds, whole.high_seconds, whole.words)
    sources = f" Jobs whose sources are not there yet are not in it: {uploading:,}." if uploading else ""
    unknown = [f"{type_}: {each.words}" for type_, each in types.items() if each.low_seconds is None]
    if unknown or not types:
        why = "; ".join(unknown[:3]) or "nothing of it waits for a worker or runs"
        return Outlook(None, None, f"Unknown: {why}.{sources}", types)
    words = f"At the least if its jobs go first, at the most if all that waits now goes before them.{sources}"
    low = max(each.low_seconds or 0.0 for each in types.values())
    return Outlook(low, max(each.high_seconds or 0.0 for each in types.values()), words, types)


def _of_type(load: Load, known: Durations | None, online: bool) -> Outlook:
    """The time of n jobs, after k observed ones, is n times their mean, give or take the spread of a sum of n and the
    error of the mean itself."""
    if load.waiting and load.most == 0:
        return Outlook(None, None, "paused: no job of it is given out")
    if not online:
        return Outlook(None, None, "no worker is online")
    if not load.running:
        return Outlook(None, None, "jobs wait, and none runs")
    if known is None or known.n < ENOUGH:
        return Outlook(None, None, f"fewer than {ENOUGH} jobs have been completed")
    low, high = _drained(load, known)
    side = f"{load.running:,} {'goes' if load.running == 1 else 'go'} on side by side"
    return Outlook(low / 1000, high / 1000, f"{side}, as long as the last {known.n:,}")


def _drained(load: Load, known: Durations) -> tuple[float, float]:
    """The middle half of the time (ms) until all of one type is done."""
    # A job that runs is, seen from any moment, half done in the mean.
    n = load.waiting + load.running / 2
    mean, spread, seen = known.mean_ms, known.spread_ms, known.n
    doubt = QUARTILE * spread * math.sqrt(n + n * n / seen)
    low, high = max(0.0, n * mean - doubt) / load.running, (n * mean + doubt) / load.running
    # However many run side by side, the last one takes as long as one takes.
    one_low = known.quantile(LOW) or 0.0
    one_high = known.quantile(HIGH) or 0.0
    if load.waiting:
        low, high = max(low, one_low), max(high, one_high)
    return low, max(high, low)
