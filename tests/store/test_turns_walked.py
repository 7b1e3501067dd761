"""Whatever happens in a transaction, a claim gives out of groups what a walk over all jobs has it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.effects import claims
from actors.messages import (
    AdvanceOperation,
    BeginOperation,
    Cancel,
    CancelJobs,
    ChangeType,
    Claim,
    Complete,
    DeleteJob,
    DeleteJobs,
    Due,
    Fail,
    HeedTimes,
    HurryJobs,
    OperationPlan,
    PrioritiseJobs,
    Register,
    Release,
    RequireJobs,
    Retry,
    RetryJobs,
    Retype,
    RetypeJobs,
    SelectJobs,
    SetPriority,
    SetRequirements,
    Undo,
    UndoOperation,
    WakeJobs,
    Work,
)
from blobforge.access import Caller, Scope
from blobforge.job import Job, JobStatus, ReleaseCause
from blobforge.jobtype import TypeChanges
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, submission
from tests.store.walking import Walk, do

SEEDS = int(os.environ.get("SEEDS") or 24)
LABELS = {"w": None, "v": '["gpu"]', "u": '["gpu", "big"]'}
OVER = (JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.DEAD)
ROOT = Caller(frozenset({Scope.ADMIN}), name="root")
ACCEPTED: tuple[tuple[str, ...], ...] = ((), ("options",))


class Deeds:
    """Messages, chosen at random; of jobs as they were before the transaction. `plain`: jobs of one type with nothing
    but a group, which begin and end, of few groups and of many."""

    def __init__(self, dice: random.Random, seed: int, *, plain: bool) -> None:
        self._dice = dice
        self._plain = plain
        many = (3, 8, 60)[seed % 3] if plain else dice.choice((1, 2, 3, 5, 12, 60))
        self._groups = [f"g{n}" for n in range(many)]
        self._types = ("pdf", "doc", "map")[: 1 if plain else 1 + seed % 3]
        self._undos: list[str] = []
        self._operations = 0
        self._now = 0
        self._jobs: list[Job] = []
        self._ways: dict[Callable[[], Any], int] = {self._submit: 8, self._claim: 9, self._complete: 8}
        if plain:
            self._ways |= {self._release: 2, self._priority: 5, self._cancel: 1}
            return
        of_others = {self._cancel: 1, self._priority: 2, self._retype: 1, self._requires: 1, self._delete: 1}
        of_many = {self._operation: 2, self._turns: 5, self._taken_back: 1}
        rare = {self._retry: 2, self._times: 2, self._undo: 2, self._weights: 1, self._limit: 1, self._register: 1}
        self._ways |= {self._fail: 4, self._release: 2, **of_others, **of_many, **rare}

    def of_one_transaction(self, jobs: Sequence[Job], now: int) -> list[Any]:
        self._jobs, self._now = sorted(jobs, key=lambda job: job.id), now
        ways = self._dice.choices(list(self._ways), list(self._ways.values()), k=self._dice.randrange(1, 9))
        messages = (message for way in ways if (message := way()) is not None)
        return [each for message in messages for each in (message if isinstance(message, list) else [message])]

    def _some(self, *status: JobStatus) -> Job | None:
        found = [job for job in self._jobs if job.status in status]
        return self._dice.choice(found) if found else None

    def _submit(self) -> Any:
        dice, more = self._dice, dict[str, Any]()
        if self._plain:
            return submission(dice.random(), group=dice.choice([*self._groups, None]), max_attempts=9)
        if dice.random() < 0.25:
            more["requires"] = dice.choice(('["gpu"]', '["big","gpu"]', '["big"]'))
        if dice.random() < 0.25:
            more["options"] = '{"a":1}'
        if dice.random() < 0.1:
            more["not_before"] = self._now + dice.randrange(20_000)
        if dice.random() < 0.1:
            more["expires_at"] = self._now + dice.randrange(5_000, 60_000)
        more |= {
            "type_": dice.choice(self._types),
            "group": dice.choice([*self._groups, *[None] * len(self._groups)]),
        }
        return submission(dice.random(), priority=dice.choice((3, 3, 3, 2, 4)), max_attempts=9, **more)

    def _claim(self) -> Any:
        types = tuple(self._dice.sample(self._types, self._dice.randrange(1, len(self._types) + 1)))
        limit, accepts = (
            self._dice.choice((1, 1, 2, 5) if self._plain else (1, 1, 2, 3, 5, 64)),
            self._dice.choice(ACCEPTED),
        )
        return Claim(ADMIN, self._dice.choice(list(LABELS)), types, limit, accepts=accepts)

    def _complete(self) -> Any:
        if (job := self._some(JobStatus.RUNNING)) is not None and job.worker_id is not None:
            following, accepts = self._dice.random() < 0.7, self._dice.choice(ACCEPTED)
            return Complete(ADMIN, job.worker_id, job.id, lease=job.lease, claim_next=following, accepts=accepts)
        return None

    def _fail(self) -> Any:
        if (job := self._some(JobStatus.RUNNING)) is not None and job.worker_id is not None:
            return Fail(ADMIN, job.worker_id, job.id, "no", lease=job.lease)
        return None

    def _release(self) -> Any:
        if (job := self._some(JobStatus.RUNNING)) is not None and job.worker_id is not None:
            return Release(ADMIN, job.worker_id, job.id, cause=self._dice.choice(list(ReleaseCause)))
        return None

    def _cancel(self) -> Any:
        if (job := self._some(*JobStatus)) is None:
            return None
        self._undos.append(f"undo {len(self._undos)}")
        return Cancel(job.id, undo=self._undos[-1])

    def _priority(self) -> Any:
        job = self._some(JobStatus.RUNNING) if self._plain else self._some(*JobStatus)
        return SetPriority(job.id, self._dice.choice((2, 3, 3, 4))) if job is not None else None

    def _retype(self) -> Any:
        job = self._some(JobStatus.PENDING, JobStatus.FAILED)
        return Retype(job.id, self._dice.choice(self._types)) if job is not None else None

    def _requires(self) -> Any:
        job = self._some(JobStatus.PENDING, JobStatus.FAILED)
        return SetRequirements(job.id, self._dice.choice((None, '["gpu"]', '["big"]'))) if job is not None else None

    def _delete(self) -> Any:
        return DeleteJob(job.id) if (job := self._some(*OVER)) is not None else None

    def _retry(self) -> Any:
        return Retry(job.id, reset_attempts=True) if (job := self._some(*OVER)) is not None else None

    def _times(self) -> Any:
        times = [(job.id, job.not_before or job.avoid_until) for job in self._jobs]
        due = tuple(Due(job_id, until) for job_id, until in times if until is not None and self._dice.random() < 0.5)
        return self._dice.choice((HeedTimes(50), HurryJobs(3), WakeJobs(due)))

    def _undo(self) -> Any:
        return Undo(self._undos.pop()) if self._undos else None

    def _operation(self) -> Any:
        """Over some jobs, three with each of its turns."""
        if not self._jobs:
            return None
        works: tuple[Work, ...] = (
            CancelJobs(),
            RetryJobs(reset_attempts=True, completed_too=True),
            PrioritiseJobs(self._dice.choice((2, 3, 4))),
            RetypeJobs(self._dice.choice(self._types)),
            RequireJobs(self._dice.choice((None, '["gpu"]'))),
            DeleteJobs(),
        )
        ids = tuple(sorted(job.id for job in self._dice.sample(self._jobs, min(9, len(self._jobs)))))
        pages = tuple(ids[at : at + 3] for at in range(0, len(ids), 3))
        self._operations += 1
        begin = BeginOperation(OperationPlan(self._dice.choice(works), ids), ROOT)
        return [begin, SelectJobs(self._operations, 0, pages, len(ids))]

    def _turns(self) -> Any:
        """The first turns of an operation; those that were made already are not made again."""
        which = self._dice.randrange(self._operations) + 1 if self._operations else 0
        return [AdvanceOperation(which, page) for page in range(self._dice.randrange(1, 4))]

    def _taken_back(self) -> Any:
        if not self._operations:
            return None
        return UndoOperation(self._dice.randrange(self._operations) + 1, ROOT)

    def _weights(self) -> Any:
        named = self._dice.sample([*self._groups, ""], min(3, len(self._groups)))
        weights = {group: self._dice.choice((1, 2, 3, 1000)) for group in named}
        changes = TypeChanges(weights=self._dice.choice((None, weights)))
        return ChangeType(self._dice.choice(self._types), "token:1", changes)

    def _limit(self) -> Any:
        changes = TypeChanges(max_running=self._dice.choice((None, None, 4, 9)))
        return ChangeType(self._dice.choice(self._types), "token:1", changes)

    def _register(self) -> Any:
        worker_id = self._dice.choice(list(LABELS))
        return Register(ADMIN, worker_id, self._dice.choice(self._types), labels=LABELS[worker_id])


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("engine", "seed"), [*(("memory", n) for n in range(SEEDS)), *(("postgres", n) for n in range(SEEDS // 8))]
)
def test_claims_of_groups_are_as_a_walk_has_it(
    tmp_path: Path, engine: str, seed: int, monkeypatch: pytest.MonkeyPatch, *, plain: bool
) -> None:
    dice = random.Random(seed)
    book = Book(ENGINES[engine](tmp_path / "x.db"), seed=seed)
    walk, deeds, ahead = Walk(book), Deeds(dice, seed, plain=plain), dice.random() < 0.5
    monkeypatch.setattr(claims, "with_groups", walk.held_against(vars(claims)["with_groups"]))
    book.do(*(Register(ADMIN, worker_id, "pdf", labels=labels) for worker_id, labels in LABELS.items()))
    for _ in range(50):
        book.now += dice.choice((1_000, 1_000, 1_000, 30_000, 400_000))
        with book.store.transaction():
            jobs = list(walk.jobs().values())
        if messages := deeds.of_one_transaction(jobs, book.now):
            undone = dice.randrange(len(messages)) if dice.random() < 0.3 else None
            do(book, messages, undone, ahead=ahead)
            assert book.database.broken() == [], messages
    assert walk.checked > 5
    book.close()
