"""A job's life as its clients were promised it: a small sequential model, written from the documentation.

A state is immutable; `after` says what an operation may have made of it, and nothing when its answer does not fit.
`by_itself` is what the server does unasked.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from tests.system.history import Kind, Operation

ARRIVING = "arriving"  # its source is there, and it is shown as uploading still


class Rules(msgspec.Struct, frozen=True):
    """What the server was told. `timeout` is in nanoseconds."""

    timeout: int
    max_attempts: int
    max_losses: int


class Try(msgspec.Struct, frozen=True):
    """One attempt: whose, by which claim, and how it ended (empty while it runs)."""

    worker: str
    key: str
    outcome: str = ""


class Life(msgspec.Struct, frozen=True):
    """`tries` has every attempt; `attempts` and `losses` are what was charged; `beat`: the last sign of life was not
    heard before this."""

    status: str = ""  # there is no such job yet
    tries: tuple[Try, ...] = ()
    attempts: int = 0
    losses: int = 0
    beat: int = 0

    @property
    def shown(self) -> str:
        return "uploading" if self.status == ARRIVING else self.status

    def held_by(self, attempt: int) -> bool:
        return self.status == "running" and len(self.tries) == attempt

    def may_be_completed_by(self, attempt: int) -> bool:
        """It holds the job, or lost its lease while nobody has started the job since."""
        late = self.status in ("pending", "dead") and len(self.tries) == attempt > 0
        return self.held_by(attempt) or (late and self.tries[-1].outcome == "lost")

    def was_completed_by(self, attempt: int) -> bool:
        return self.status == "completed" and len(self.tries) == attempt

    def ending(self, status: str, outcome: str, *, attempts: int = 0, losses: int = 0) -> Life:
        """The latest attempt ends so."""
        tries = (*self.tries[:-1], replace(self.tries[-1], outcome=outcome))
        return replace(
            self, status=status, tries=tries, attempts=self.attempts + attempts, losses=self.losses + losses
        )


def after(life: Life, done: Operation, rules: Rules) -> Iterator[Life]:
    """What the job may be after this operation, if its answer fits (for one that was not answered: any of its
    effects)."""
    if not done.returned:
        yield from _unanswered(life, done, rules)
        return
    match done.kind:
        case Kind.SUBMIT if done.status == 201:
            if not life.status and done.said["status"] in ("uploading", "pending"):
                yield replace(life, status=done.said["status"])
        case Kind.SUBMIT:
            if life.status and done.said["status"] == life.shown:
                yield life
        case Kind.UPLOAD:
            yield replace(life, status=ARRIVING) if life.status == "uploading" else life
        case Kind.CLAIM:
            mine = Try(done.worker, done.key)
            if life.status == "pending" and len(life.tries) == done.attempt - 1:
                yield _claimed(life, done)
            elif life.held_by(done.attempt) and life.tries[-1] == mine:
                yield replace(life, beat=done.invoked)  # the same claim, repeated
        case Kind.BEAT:
            if life.held_by(done.attempt) and not done.said["lost"]:
                yield replace(life, beat=max(life.beat, done.invoked))
            elif done.said["lost"] and not life.held_by(done.attempt):
                yield life
        case Kind.READ:
            if (
                life.shown == done.said["status"]
                and [[each.worker, each.outcome] for each in life.tries] == done.said["tries"]
                and life.attempts == done.said["attempts"]
            ):
                yield life
        case Kind.COMPLETE | Kind.FAIL | Kind.RELEASE:
            yield from _ended(life, done, rules)
        case _:
            raise ValueError(f"{done.kind} says nothing about a job's life")


def _unanswered(life: Life, done: Operation, rules: Rules) -> Iterator[Life]:
    match done.kind:
        case Kind.SUBMIT if not life.status:
            yield replace(life, status="uploading")
            yield replace(life, status="pending")
        case Kind.UPLOAD if life.status == "uploading":
            yield replace(life, status=ARRIVING)
        case Kind.CLAIM if life.status == "pending":
            yield _claimed(life, done)
        case Kind.BEAT if life.held_by(done.attempt):
            yield replace(life, beat=max(life.beat, done.invoked))
        case Kind.COMPLETE if life.may_be_completed_by(done.attempt):
            yield _completed(life)
        case Kind.FAIL if life.held_by(done.attempt):
            yield _failed(life, rules)
        case Kind.RELEASE if life.held_by(done.attempt):
            yield _released(life)
        case _:
            return


def _ended(life: Life, done: Operation, rules: Rules) -> Iterator[Life]:
    accepted = done.status == 200
    match done.kind:
        case Kind.COMPLETE if life.may_be_completed_by(done.attempt):
            if accepted:
                yield _completed(life)
        case Kind.COMPLETE if life.was_completed_by(done.attempt):
            if accepted:
                yield life  # repeated
        case Kind.FAIL if life.held_by(done.attempt):
            failed = _failed(life, rules)
            if accepted and done.said["will_retry"] == (failed.status == "failed"):
                yield failed
        case Kind.RELEASE if life.held_by(done.attempt):
            if accepted:
                yield _released(life)
        case _:
            if not accepted:
                yield life  # refused, and rightly


def by_itself(life: Life, rules: Rules) -> Iterator[tuple[Life, int]]:
    """What may happen unasked, each with the time before which it cannot."""
    match life.status:
        case "running":
            dead = life.losses + 1 >= rules.max_losses
            lost = life.ending("dead" if dead else "pending", "lost", attempts=-1, losses=1)
            yield lost, life.beat + rules.timeout
        case "failed" | "arriving":
            yield replace(life, status="pending"), 0
        case _:
            return


def _claimed(life: Life, done: Operation) -> Life:
    tries = (*life.tries, Try(done.worker, done.key))
    return replace(life, status="running", tries=tries, attempts=life.attempts + 1, beat=done.invoked)


def _completed(life: Life) -> Life:
    if life.status == "running":
        return life.ending("completed", "completed")
    return life.ending("completed", "completed", attempts=1, losses=-1)  # late: the charge is taken back


def _failed(life: Life, rules: Rules) -> Life:
    return life.ending("dead" if life.attempts >= rules.max_attempts else "failed", "failed")


def _released(life: Life) -> Life:
    return life.ending("pending", "released", attempts=-1)
