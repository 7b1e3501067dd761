"""Why a job does not run, in words and as a code. Pure: what it goes by is an argument."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from blobforge.breaker import is_open
from blobforge.canary import canary_of, ordinary
from blobforge.job import PRIORITIES, Job, JobStatus
from blobforge.jobtype import NOTHING_SET, TypeLoad, TypeSettings, free_at
from blobforge.requirements import Requirement, requirements, words


class Reason(StrEnum):
    SOURCE = "source"  # its source is not there yet
    NOT_BEFORE = "not-before"  # by its submission it is not to be started yet
    BACK_OFF = "back-off"  # an attempt failed, or was given back for trouble; the next one waits
    KEPT = "kept"  # for a worker that has not failed it
    NOT_ACCEPTED = "not-accepted"  # it has options, and no worker that is there heeds them
    LABELS = "labels"  # no worker that is there has the labels that it requires
    PAUSED = "paused"  # its type is paused
    LIMIT = "limit"  # as many jobs of its type run as may
    RATE = "rate"  # as many jobs of its type were started as its rate gives
    NO_WORKER = "no-worker"  # no worker has ever registered for its type
    ALL_OFFLINE = "all-offline"
    ALL_DISABLED = "all-disabled"
    ALL_DRAINING = "all-draining"
    ALL_QUARANTINED = "all-quarantined"  # those that are there have failed too much, or were put there
    TURN = "turn"  # jobs of groups take turns, and others come first
    QUEUED = "queued"  # others are before it
    CANARY = "canary"  # a comparison: it is for workers of one converter alone
    NEXT = "next"  # the next that is asked for is this one


class Fleet(msgspec.Struct, frozen=True):
    """The workers that take jobs of one type, each counted once: what stands in its way first decides where."""

    ready: int = 0
    draining: int = 0
    disabled: int = 0
    offline: int = 0
    deaf: int = 0  # they are there, and do not heed the options that the job has
    unlabelled: int = 0  # they are there, and their labels are not what the job requires
    lacking: tuple[str, ...] = ()  # of what it requires: what not one of these has
    quarantined: int = 0

    @property
    def total(self) -> int:
        others = self.draining + self.disabled + self.offline + self.deaf + self.unlabelled
        return self.ready + others + self.quarantined


class Surroundings(msgspec.Struct, frozen=True):
    """The facts around the job that its wait depends on. `ahead` are pending jobs of its type that come first; it may
    be a lower bound.

    `running` are those of its type that run now, comparisons too, `runners` the first of them where no more may;
    `settings` are what is set for the type, `load` what is taken of its rate. `quarantined` are the first workers of
    the fleet that are.
    `own` are those of `ahead` that are of the job's own group, `own_running` those of it that run;
    `others_in_groups`: there are jobs of groups that take turns with one that has none. `probe_at` (ms): when the
    next job is let through, where the type's breaker has paused it.
    """

    fleet: Fleet = Fleet()
    ahead: int = 0
    ahead_exact: bool = True
    running: int = 0
    settings: TypeSettings = NOTHING_SET
    runners: tuple[int, ...] = ()
    load: TypeLoad = TypeLoad()
    quarantined: tuple[str, ...] = ()
    own: int = 0
    own_running: int = 0
    others_in_groups: bool = False
    probe_at: int | None = None


class Waiting(msgspec.Struct, frozen=True):
    """`until` (ms since the epoch) is when it will end by itself, where that is known. `change` are commands by which
    a person changes it; `held_by` jobs in its way, the first few; `ahead` how many come before it, at least;
    `expires` (ms) when the job is given up if no worker was given it."""

    reason: Reason
    text: str
    until: int | None = None
    change: tuple[str, ...] = ()
    held_by: tuple[int, ...] = ()
    ahead: int | None = None
    expires: int | None = None


def waiting(job: Job, around: Surroundings, *, source_until: int | None, now: int) -> Waiting | None:
    """Why the job waits; None when it runs or has ended. `source_until` (ms since the epoch): so long its source is
    awaited, where it is."""
    found = _why(job, around, source_until, now)
    return replace(found, expires=job.expiry) if found is not None and job.expiry is not None else found


def _awaited(job: Job, source_until: int | None) -> Waiting:
    if job.waits_for_proof:
        return Waiting(
            Reason.SOURCE, "Its source is an output of the job that it came of, which the server still reads."
        )
    if job.chain is not None and job.chain.joins:
        text = "The server puts its source, which names what the stage before has made, into the store."
        return Waiting(Reason.SOURCE, text)
    return Waiting(
        Reason.SOURCE,
        "Its source is not in the store yet. Upload it, and the job is ready; if it never comes, it is dead.",
        source_until,
        (f"blobforge submit FILE --type {_quoted(job.type)}",),
    )


def _why(job: Job, around: Surroundings, source_until: int | None, now: int) -> Waiting | None:
    match job.status:
        case JobStatus.UPLOADING:
            return _awaited(job, source_until)
        case JobStatus.FAILED:
            left = job.max_attempts - job.attempts
            again = "this is its last attempt" if left == 1 else f"{left} attempts are left"
            return Waiting(
                Reason.BACK_OFF,
                f"Its last attempt failed. It is tried again by itself; {again}.",
                job.not_before,
                (f"blobforge jobs retry {job.id}",),
            )
        case JobStatus.PENDING:
            return next(found for rule in RULES if (found := rule(job, around, now)) is not None)
        case _:
            return None


def _quoted(name: str) -> str:
    return shlex.quote(name)


def _not_before(job: Job, around: Surroundings, now: int) -> Waiting | None:
    if not job.waits_to_start:
        return None
    text = "By its submission it is not to be started before a time. Then it is ready."
    return Waiting(Reason.NOT_BEFORE, text, job.not_before, (_now(job),))


def _now(job: Job) -> str:
    """What has it wait for no time any more."""
    return f"blobforge jobs cancel {job.id} && blobforge jobs retry {job.id}"


def _compared(job: Job, around: Surroundings, now: int) -> Waiting | None:
    """What is set for the type of the documents holds for comparisons, too."""
    number = canary_of(job.type)
    if number is None:
        return None
    if (held := _paused(job, around, now) or _full(job, around, now) or _slowed(job, around, now)) is not None:
        return held
    text = (
        f"It is a comparison of canary {number}: a worker with the canary's converter is given it, where no ordinary "
        "job of its priority or a more urgent one waits for that worker."
    )
    return Waiting(Reason.CANARY, text, change=(f"blobforge canary show {number}",))


def _given_back(job: Job, around: Surroundings, now: int) -> Waiting | None:
    if job.not_before is None:
        return None
    times = "once" if job.releases == 1 else f"{job.releases} times in a row"
    return Waiting(
        Reason.BACK_OFF,
        f"Workers have given it back {times}, for trouble of their own. Others go first; then it is ready again.",
        job.not_before,
    )


def _paused(job: Job, around: Surroundings, now: int) -> Waiting | None:
    if not around.settings.paused:
        return None
    type_ = ordinary(job.type)
    why = f": {around.settings.reason}" if around.settings.reason else ""
    if is_open(around.settings):
        return Waiting(
            Reason.PAUSED,
            f"Type {type_} was paused by its breaker{why}. Now and then one job of it is let through; the first "
            "one that succeeds ends the pause.",
            around.probe_at,
            change=(f"blobforge types resume {_quoted(type_)}",),
        )
    return Waiting(
        Reason.PAUSED,
        f"Type {type_} was paused by {around.settings.paused_by}{why}. No job of it is given out before it is "
        "resumed.",
        change=(f"blobforge types resume {_quoted(type_)}",),
    )


def _full(job: Job, around: Surroundings, now: int) -> Waiting | None:
    most = around.settings.max_running
    if most is None or around.running < most:
        return None
    type_ = ordinary(job.type)
    if most == 0:
        text = f"No job of type {type_} may run (its max_running is 0)."
    else:
        runs = (
            f"1 job of type {type_} runs" if around.running == 1 else f"{around.running:,} jobs of type {type_} run"
        )
        text = f"{runs} now, and at most {most:,} may. It may be started when one has ended."
    quoted = _quoted(type_)
    more = (f"blobforge types set {quoted} --max-running {around.running + 1}",)
    return Waiting(
        Reason.LIMIT,
        text,
        change=(*more, f"blobforge types set {quoted} --unset max-running"),
        held_by=around.runners,
    )


def _kept(job: Job, around: Surroundings, now: int) -> Waiting | None:
    if job.avoid_until is None or not around.fleet.ready:
        return None
    who = ", ".join(job.avoid[:3]) + (f" and {len(job.avoid) - 3} more" if len(job.avoid) > 3 else "")
    return Waiting(
        Reason.KEPT,
        f"It failed on {who}, and is kept for another worker of its type for a while; then anybody may have it.",
        job.avoid_until,
    )


def _without_worker(job: Job, around: Surroundings, now: int) -> Waiting | None:
    if around.fleet.ready:
        return None
    found = _nobody(job, around)
    if found.reason is Reason.ALL_QUARANTINED:
        return replace(found, change=("blobforge workers readmit WORKER",))
    if found.reason in (Reason.ALL_DRAINING, Reason.ALL_DISABLED):
        return replace(found, change=("blobforge workers enable WORKER",))
    labels = "".join(map(_label, requirements(job.requires))) if job.requires is not None else ""
    return replace(found, change=(f"blobforge work --type {_quoted(job.type)}{labels} --exec COMMAND",))


def _label(required: Requirement) -> str:
    """The option by which a worker says that it has this."""
    if not required.operator:
        return f" --label {required.label}"
    value = required.value if "=" in required.operator else "VALUE"
    return f" --label {_quoted(f'{required.label}={value}')}"


def _slowed(job: Job, around: Surroundings, now: int) -> Waiting | None:
    until = free_at(around.settings, around.load, now=now)
    if until is None or until <= now:
        return None
    type_ = ordinary(job.type)
    count, seconds = around.settings.rate_count or 0, (around.settings.rate_ms or 0) / 1000
    return Waiting(
        Reason.RATE,
        f"{count:,} {'job' if count == 1 else 'jobs'} of type {type_} may be started in {seconds:g} s, and "
        f"{'has' if count == 1 else 'have'} been. The next one may be then.",
        until,
        (f"blobforge types set {_quoted(type_)} --unset rate",),
        ahead=around.ahead,
    )


def _its_turn(job: Job, around: Surroundings, now: int) -> Waiting | None:
    """Of a job with a group: by its group's turn, and not by age."""
    if job.of_group is None or around.ahead == 0:
        return None
    own = f"{around.own:,}" if around.ahead_exact else f"at least {around.own:,}"
    comes = "comes" if around.own == 1 and around.ahead_exact else "come"
    n = around.ahead - around.own
    do = "other does" if n == 1 else "others do"
    others = f" At least {n:,} {do}, too: more urgent, or of groups whose turn is earlier." if n else ""
    runs = f"{around.own_running:,} {'job runs' if around.own_running == 1 else 'jobs run'}"
    change = (f"blobforge jobs priority {job.id} 1",) if job.priority > 1 else ()
    return Waiting(
        Reason.TURN,
        f"Groups take turns by how many of their jobs run: of its group {job.of_group} {runs} now, and {own} more "
        f"{comes} before it.{others} Jobs without a group take turns with these; {_machines(around)}"
        f"{_will_be_urgent(job, around)}",
        change=change,
        ahead=around.ahead,
    )


def _machines(around: Surroundings, there: str = "there") -> str:
    workers = "one worker is" if around.fleet.ready == 1 else f"{around.fleet.ready:,} workers are"
    run = f"{around.running:,} {'job runs' if around.running == 1 else 'jobs run'} now"
    held = f"; in quarantine: {_named(around)}" if around.quarantined else ""
    return f"{workers} {there}, and {run}{held}."


def _in_line(job: Job, around: Surroundings, now: int) -> Waiting | None:
    taking_turns = ", in turns with jobs that have a group" if around.others_in_groups else ""
    if job.of_group is not None:  # how many there are without a group was not counted
        taking_turns = ", in turns with jobs without a group, where any are ready"
    if around.ahead == 0:
        return Waiting(
            Reason.NEXT,
            f"It is the next of type {job.type}{taking_turns}; {_machines(around, 'there for it')}",
            ahead=0,
        )
    ahead = f"{around.ahead:,}" if around.ahead_exact else f"more than {around.ahead:,}"
    jobs = "job of its type is" if around.ahead_exact and around.ahead == 1 else "jobs of its type are"
    return Waiting(
        Reason.QUEUED,
        f"{ahead} {jobs} before it (more urgent, or older at priority {job.priority}){taking_turns}; "
        f"{_machines(around)}{_will_be_urgent(job, around)}",
        change=(f"blobforge jobs priority {job.id} 1",) if job.priority > 1 else (),
        ahead=around.ahead,
    )


def _will_be_urgent(job: Job, around: Surroundings) -> str:
    after = around.settings.urgent_after
    if after is None or job.priority == PRIORITIES[0]:
        return ""
    return f" It is urgent when it has been ready for {after / 1000:g} s."


def _nobody(job: Job, around: Surroundings) -> Waiting:
    """No worker can take it. The state that is the easiest to mend is named first."""
    fleet = around.fleet
    if fleet.total == 0:
        return Waiting(Reason.NO_WORKER, f"No worker for type {job.type} is registered. Start one.")
    if fleet.unlabelled:
        return Waiting(Reason.LABELS, _unlabelled(job, fleet))
    if fleet.deaf:
        are = "one worker is" if fleet.deaf == 1 else f"{fleet.deaf:,} workers are"
        return Waiting(
            Reason.NOT_ACCEPTED,
            f"It has options, and {are} there for type {job.type} that heed none. Start one that claims with "
            '`accepts: ["options"]`, as `blobforge work` does.',
        )
    if fleet.quarantined:
        others = "" if fleet.total == fleet.quarantined else " (the others are away, disabled or draining)"
        return Waiting(
            Reason.ALL_QUARANTINED,
            f"Every worker there for type {job.type} is in quarantine{others}: {_named(around)}. One that "
            "failed too much gets one job at a time as a trial, after a pause, and all again when two in a row have "
            "succeeded; one that was put there by hand gets none.",
        )
    if fleet.draining:
        others = "" if fleet.total == fleet.draining else " (the others are away or disabled)"
        return Waiting(
            Reason.ALL_DRAINING,
            f"Every worker there for type {job.type} is draining{others}. Enable one, or start another.",
        )
    if fleet.offline:
        others = "" if fleet.total == fleet.offline else " or disabled"
        return Waiting(Reason.ALL_OFFLINE, f"Every worker for type {job.type} is offline{others}. Start one.")
    return Waiting(Reason.ALL_DISABLED, f"Every worker for type {job.type} is disabled. Enable one.")


def _named(around: Surroundings) -> str:
    """Those in quarantine."""
    more = around.fleet.quarantined - len(around.quarantined[:3])
    return ", ".join(around.quarantined[:3]) + (f" and {more:,} more" if more > 0 else "")


def _unlabelled(job: Job, fleet: Fleet) -> str:
    required = ", ".join(words(job.requires))
    are = "one worker is" if fleet.unlabelled == 1 else f"{fleet.unlabelled:,} workers are"
    if fleet.lacking and fleet.lacking != words(job.requires):
        what = f"none has {', '.join(fleet.lacking)}"
    else:
        what = "none of them has these labels" if fleet.lacking else "none of them has all of these labels"
    return (
        f"It requires {required}; {are} there for type {job.type}, and {what}. Start a worker with such labels "
        "(`blobforge work --label`), or change what the job requires."
    )


# What keeps a pending job from a worker, in the order in which it is asked: the first that does is the reason. A rule
# that is new has its place here; what it goes by stands in Surroundings.
WaitingRule = Callable[[Job, Surroundings, int], Waiting | None]
RULES: tuple[WaitingRule, ...] = (
    _not_before, _given_back, _compared, _paused, _full, _kept, _without_worker, _slowed, _its_turn, _in_line,
)  # fmt: skip
