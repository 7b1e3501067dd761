"""Whether the machine or the document is at fault: pure statistics over how attempts have ended.

A worker is judged by its latest attempts of one type. A failure speaks against it, unless a sound worker has failed
the same document of the same cause. If a worker like the others would show as many failures less than once in 100,000
times, it is quarantined. docs/fleet.md explains it, with what it was measured to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import comb, sqrt

import msgspec
from msgspec.structs import replace

from blobforge.spans import due_in

LOOKED_AT = 50  # of the worker's latest attempts of the type
LOOKED_AT_OF_OTHERS = 20  # of each other one's
FEWEST_FAILED = 4  # documents that a worker must have failed to be judged
OTHERS_LOOKED_AT = 30  # other workers, beside those that have failed the same documents
FEWEST_OTHERS = 2  # that have completed something; fewer are no measure
FEWEST_OF_OTHERS = 20  # attempts of theirs, together
LEAST_SHARE = 0.05  # of failures that the others are taken to have, where they have fewer
FEWEST_IN_A_ROW = 2  # attempts that another worker has failed last, to count as one that fails, too
FEW = 3  # other documents, by which a worker is seen to be sound while it fails one
RAREST = 1e-5  # what happens less often to a worker like the others is no accident

FIRST_PAUSE_MS = 5 * 60_000  # before the first trial; each that fails doubles it
LONGEST_PAUSE_MS = 4 * 3_600_000
TRIALS_TO_RETURN = 2  # that succeed in a row


class EndedAttempt(msgspec.Struct, frozen=True):
    """How an attempt ended. `cause` is what its failure was, in words; None: it was completed. `completed_by`:
    another worker, which has completed the job; `failed_by`: other workers that failed it of the same cause."""

    job_id: int
    cause: str | None = None
    completed_by: str | None = None
    failed_by: tuple[str, ...] = ()
    started_at: int = 0  # ms, and until when: where it was lost, with others of the same silence
    ended_at: int = 0
    lost: bool = False
    attempt: int = 0  # which one of the job

    @property
    def failed(self) -> bool:
        return self.cause is not None


class Suspicion(msgspec.Struct, frozen=True):
    """Why a worker stands out: `failed` of its last `of` attempts, most of them of `cause` (`same`); `completed` of
    the documents were completed by other workers (`by`); `share` is the others' share of failures, 0 to 1. All that
    is looked at began at `since` (ms) or later."""

    failed: int
    of: int
    cause: str
    same: int
    completed: int
    by: tuple[str, ...]
    share: float
    since: int = 0


class Quarantine(msgspec.Struct, frozen=True):
    """A worker gets no jobs (since `since`, ms) but trials: one at a time, from `trial_at` on. `by`: the caller that
    has put it there by hand; then there are no trials, and it stays until it is readmitted. `failed` counts the
    trials that failed, `passed` those that have succeeded since. `type`: of the jobs that it has failed."""

    since: int
    evidence: str
    type: str | None = None
    by: str | None = None
    trial_at: int | None = None
    failed: int = 0
    passed: int = 0


def judge(
    latest: Sequence[EndedAttempt], others: Mapping[str, Sequence[EndedAttempt]], *, held: int = 0
) -> Suspicion | None:
    """Whether a worker stands out, by its attempts and those of each of the others, all of one type and each the
    latest first. None: it does not, or too few others are there to compare it with. `held`: how many more are in
    quarantine for what they have failed."""
    if not suspicious(latest):
        return None
    known = {worker: settled(ended[:LOOKED_AT_OF_OTHERS]) for worker, ended in others.items()}
    of = sum(map(len, known.values()))
    if sum(map(bool, known.values())) < FEWEST_OTHERS or of < FEWEST_OF_OTHERS:
        return None
    failures = [each for ended in known.values() for each in ended if each.failed]
    contradicted = sum(each.completed_by is not None for each in failures)
    own = [each for each in latest[:LOOKED_AT] if not is_documents_fault(each, others)]
    answered = [each for each in own if not each.failed or each.completed_by is not None]
    run = None if most_fail(others, held=held) else _stands_out(own, cautious(len(failures), of))
    run = run or _stands_out(answered, cautious(contradicted, of))
    return _finding(run, len(failures) / of) if run else None


def cost(
    finding: Suspicion, latest: Sequence[EndedAttempt], others: Mapping[str, Sequence[EndedAttempt]]
) -> list[EndedAttempt]:
    """What the machine that stands out has failed: since its last success at least, and as far back as was looked at
    to find it. What is the document's fault is not among it."""
    succeeded = next((each.started_at for each in latest if not each.failed), 0)
    since = min(finding.since, succeeded)
    failed = [each for each in latest if each.failed and each.started_at >= since]
    return [each for each in failed if not is_documents_fault(each, others)]


def suspicious(latest: Sequence[EndedAttempt]) -> bool:
    """Whether it can come to a finding at all, whatever the others do: cheap, and most often not."""
    return _stands_out(latest[:LOOKED_AT], LEAST_SHARE) is not None


def most_fail(others: Mapping[str, Sequence[EndedAttempt]], *, held: int) -> bool:
    """Whether more than half of the other workers fail now, too, `held` ones in quarantine included: then it is not
    the machines, unless another one has completed what this one failed."""
    failing = sum(
        len(ended) >= FEWEST_IN_A_ROW and all(each.failed for each in ended[:FEWEST_IN_A_ROW])
        for ended in others.values()
    )
    return 2 * (failing + held) > len(others) + held


def cautious(failed: int, of: int) -> float:
    """The share of failures that the others are taken to have, 0 to 1: not less than `LEAST_SHARE`, and above it two
    standard errors more than was seen, because few attempts say little."""
    share = failed / of
    if share <= LEAST_SHARE:
        return LEAST_SHARE
    return min(1.0, share + 2 * sqrt(share * (1 - share) / of))


def settled(latest: Sequence[EndedAttempt]) -> Sequence[EndedAttempt]:
    """The attempts from the last one on that was completed. What a worker has failed since then says nothing about
    others and about documents: it may be broken."""
    first = next((at for at, each in enumerate(latest) if not each.failed), len(latest))
    return latest[first:]


def is_documents_fault(ended: EndedAttempt, others: Mapping[str, Sequence[EndedAttempt]]) -> bool:
    """Whether no worker has completed the document, and a sound worker has failed it of the same cause: one that has
    completed another since."""
    if ended.completed_by is not None:
        return False
    return any(_is_sound_since(others.get(worker, ()), ended.job_id) for worker in ended.failed_by)


def _is_sound_since(latest: Sequence[EndedAttempt], job_id: int) -> bool:
    known = settled(latest)
    return bool(known) and all(each.job_id != job_id for each in latest[: len(latest) - len(known)])


def has_failed_soundly(latest: Sequence[EndedAttempt], job_id: int, *, cause: str) -> bool:
    """Whether a worker with these attempts has failed the document of this cause, and has completed another one
    since."""
    return any(each.job_id == job_id and each.cause == cause for each in latest) and _is_sound_since(latest, job_id)


def completes_others(latest: Sequence[EndedAttempt], job_id: int) -> bool:
    """Whether a worker with these attempts has completed one of the last few documents beside this one."""
    others = [each for each in latest if each.job_id != job_id]
    return any(not each.failed for each in others[:FEW])


@lru_cache(maxsize=4096)  # most workers are looked at with the same few numbers
def chance(failed: int, of: int, share: float) -> float:
    """How probable it is that `failed` or more of `of` attempts fail, if each fails with the probability `share`."""
    return sum(comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(failed, of + 1))


def _stands_out(latest: Sequence[EndedAttempt], share: float) -> Sequence[EndedAttempt] | None:
    """The latest attempts, as many as make the shortest run that is no accident."""
    for run in _runs(latest):
        failed = sum(each.failed for each in run)
        if share**failed < RAREST and chance(failed, len(run), share) < RAREST:  # the first is cheap, and never more
            return run
    return None


def _runs(latest: Sequence[EndedAttempt]) -> Iterator[Sequence[EndedAttempt]]:
    """Those that begin with a failure, and hold as many failed documents as are needed."""
    documents: set[int] = set()
    for at, ended in enumerate(latest, 1):
        if ended.failed:
            documents.add(ended.job_id)
            if len(documents) >= FEWEST_FAILED:
                yield latest[:at]


def _finding(run: Sequence[EndedAttempt], share: float) -> Suspicion:
    causes = [each.cause for each in run if each.cause is not None]
    cause = max(causes, key=causes.count)
    by = [each.completed_by for each in run if each.failed and each.completed_by is not None]
    workers = tuple(sorted(set(by), key=lambda worker: (-by.count(worker), worker)))
    return Suspicion(len(causes), len(run), cause, causes.count(cause), len(by), workers, share, run[-1].started_at)


def evidence(finding: Suspicion) -> str:
    """The finding in words, for people."""
    same = "" if finding.same == finding.failed else f"{finding.same} of them "
    words = f"{finding.failed} of its last {finding.of} failed, {same}with {finding.cause}"
    if finding.completed:
        named = ", ".join(finding.by[:3]) + (" and others" if len(finding.by) > 3 else "")
        all_ = finding.completed == finding.failed
        which = "the same documents" if all_ else f"{finding.completed} of the same documents"
        words += f"; {which} succeeded on {named}"
    return f"{words}; the others' share is {_percent(finding.share)}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.01 else "below 1 %"


def quarantined(finding: Suspicion, *, now: int, type_: str | None = None) -> Quarantine:
    """A worker that stands out among those for jobs of this type, from now on."""
    return Quarantine(now, evidence(finding), type_, trial_at=now + FIRST_PAUSE_MS)


def after_trial(quarantine: Quarantine, *, passed: bool, now: int) -> Quarantine | None:
    """The quarantine once a trial has ended; None: it is over. A trial that failed makes the pauses longer."""
    if passed:
        if quarantine.passed + 1 >= TRIALS_TO_RETURN:
            return None
        return replace(quarantine, passed=quarantine.passed + 1, trial_at=now)
    after = replace(quarantine, passed=0, failed=quarantine.failed + 1)
    return replace(after, trial_at=now + _pause(after))


def _pause(quarantine: Quarantine) -> int:
    """Between two trials (ms)."""
    if quarantine.passed:
        return 0
    return min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << min(quarantine.failed, 16))


def may_try(quarantine: Quarantine, *, running: int, now: int) -> bool:
    """Whether the worker, which runs so many jobs, may have one as a trial."""
    return quarantine.trial_at is not None and running == 0 and trial_in(quarantine, now=now) == 0


def trial_in(quarantine: Quarantine, *, now: int) -> int:
    """How long (ms) the worker waits for a trial. 0: it may have one, or there is none before it is readmitted."""
    if quarantine.trial_at is None:
        return 0
    return due_in(quarantine.trial_at, now=now, longest=_pause(quarantine))


def is_trial(quarantine: Quarantine, *, started_at: int, now: int) -> bool:
    """Whether an attempt that its worker began then is a trial: what it had before the quarantine is none. Where the
    clock has been set back since, that is not known."""
    return quarantine.by is None and (started_at > quarantine.since or quarantine.since > now)


def trial_types(quarantine: Quarantine, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Of which types a worker that asks for these gets its trial: of the one that it has failed, where it asks for
    that."""
    return (quarantine.type,) if quarantine.type is not None and quarantine.type in asked else asked


def one_a_silence(latest: Sequence[EndedAttempt]) -> list[EndedAttempt]:
    """The attempts, the latest first, of those that were lost in one silence only one: the machine failed once,
    whatever it ran side by side. That is the first one to have been started, or one that others have lost, too: it
    may be what killed the machine. What was started before the first one of a silence had ended belongs to it."""
    kept: list[EndedAttempt] = []
    silence: EndedAttempt | None = None  # the first of it
    for each in reversed(latest):
        if each.lost and silence is not None and each.started_at <= silence.ended_at:
            if each.failed_by and not kept[-1].failed_by and kept[-1].lost:
                kept[-1] = each
            continue
        if each.lost:
            silence = each
        kept.append(each)
    return kept[::-1]
