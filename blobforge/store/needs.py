"""What a transaction needs, said before it begins, and what the engine has found of it.

Needs are a hint: they make of many questions a few. What an effect reads beside them is asked for by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from blobforge.batch import JobBatch
from blobforge.breaker import RowOfFailures
from blobforge.fairness import GroupClock
from blobforge.job import Attempt, Job
from blobforge.jobtype import TypeLoad
from blobforge.options import Lane, LineGroup, QueueLine
from blobforge.store.files import Doom, FileRecord
from blobforge.worker import Worker

LATEST_ENDS = 50  # of a worker, that are looked at whenever an attempt of it has failed


class LatestEnd(NamedTuple):
    """How one of a worker's latest attempts ended: `completed`, `failed` or `lost`. Times are in ms."""

    job_id: int
    type: str
    started_at: int
    ended_at: int
    outcome: str


class FailuresInARow(NamedTuple):
    """What has failed in a row of a type, and how many were completed by hour, from that of the first failure on."""

    row: RowOfFailures | None = None
    completed: dict[int, int] = {}  # noqa: RUF012 - never changed


class GroupPlace(NamedTuple):
    """Where the jobs of a group stand one behind the other."""

    type: str
    priority: int
    group: str


class TurnsRead(msgspec.Struct):
    """What was read of lines whose jobs have turns.

    `groups`: of which some jobs are ready, by priority, group and lane: how many, and how many run. `jobs`: the first
    ones of each of these, by turn. `last`: behind this place (priority, round, turn, id) groups were not read; None:
    all were. `in_hand`: the groups (priority, name) of jobs in hand: what they have ready is among these.
    """

    groups: dict[tuple[int, str, Lane], tuple[int, int]] = {}
    jobs: list[Job] = []
    last: tuple[int, int, int, int] | None = None
    in_hand: set[tuple[int, str]] = set()


class Claimant(NamedTuple):
    """A worker that asks for jobs: of these types, or (none) of that of the job `after` which it has completed. What
    it gets is in the lanes `accepted`, and in those of which its labels hold the requirements. With a `key` that is
    known, it is given what it was given before."""

    worker_id: str
    types: tuple[str, ...]
    accepted: tuple[Lane, ...]
    limit: int = 1
    after: int | None = None
    key: str | None = None


class Needs(msgspec.Struct):
    """What the messages of one transaction need, all together.

    `ready`: how many ready jobs of each line may be handed out; `next_of`: jobs of which each may be followed by
    another one of its type from the lane beside it, which is asked for once these are there; `kept`: of each line,
    how many of those that are kept from some workers are looked at. `running_of`: workers whose running jobs are
    needed. `sources`: hashes of sources, of which all jobs are needed; `beside`: jobs whose source's jobs are, all of
    them. `failed`: jobs of which is asked which workers have failed them, by as many
    of their attempts as `among` says; `sources_of`: jobs whose source's record is needed. `files` and `dooms` are
    keys: what is known of these objects, and their places on the list of deletions. `paths` are (hash of a source,
    further path) pairs: which jobs have them. `claim_keys` are (worker, key)
    pairs; `ready_for`: what is to be ready, by line, for the claim with that key, if it is a new one. `repeated` are
    (subject, idempotency key) pairs, `attempts` (job, number) pairs, `causes` fingerprints of causes of
    failures. `loads`: types of which is asked how much of their limits is taken, beside those of `ready` that have
    any. `claimants`: those that may have jobs with requirements or groups, where there are any; of which lines is
    known with their rows, and asked for by `groups`: the lines that are read as one, and how many ready jobs of them;
    and by `turned`, those whose jobs have groups, which are read by turn. `clocks`: types whose virtual times are
    needed; `turns`: (type, priority, group) of which the last turn is; `runs`: of which is asked how many jobs run;
    `in_hand`: jobs of which the groups are needed where they run, with what these have ready. `in_a_row`: types of
    which is asked what has failed in a row; `in_a_row_of`: jobs of whose types it is, which an engine may leave for
    later.
    `new_jobs`: how many jobs may be made, at most. `latest`: workers of which is asked how their latest attempts have
    ended. `batches`: those to which jobs may come; `ending`: jobs that may end, or begin anew, whose batches are
    needed.
    """

    jobs: set[int] = set()
    workers: set[str] = set()
    running_of: set[str] = set()
    ready: dict[QueueLine, int] = {}
    next_of: set[tuple[int, Lane]] = set()
    kept: int = 0
    sources: set[str] = set()
    beside: set[int] = set()
    failed: set[int] = set()
    among: int = 0
    sources_of: set[int] = set()
    attempts: set[tuple[int, int]] = set()
    files: set[str] = set()
    dooms: set[str] = set()
    paths: set[tuple[str, str]] = set()
    claim_keys: set[tuple[str, str]] = set()
    ready_for: dict[tuple[str, str], dict[QueueLine, int]] = {}
    repeated: set[tuple[str, str]] = set()
    causes: set[str] = set()
    loads: set[str] = set()
    claimants: list[Claimant] = []
    groups: dict[LineGroup, int] = {}
    turned: dict[LineGroup, int] = {}
    clocks: set[str] = set()
    turns: set[GroupPlace] = set()
    runs: set[GroupPlace] = set()
    in_hand: set[int] = set()
    in_a_row: set[str] = set()
    in_a_row_of: set[int] = set()
    new_jobs: int = 0
    latest: set[str] = set()
    batches: set[int] = set()
    ending: set[int] = set()


class Found(msgspec.Struct):
    """What there is of what was needed; what is not here is not there. `files`: None for the source of a job of
    which nothing is known.

    `ready` and `kept` are in claim order (priority, then id), as many as were asked for unless there are fewer;
    `ready_of` and `kept_of` are the first ones of groups of lines, in any order; `turned` those that are ready of
    lines whose jobs have turns. `clocks` are by type and priority, and `alone` how many jobs without a group run of
    these (not `counted`: what is pending may say otherwise); `runs`: how many run of a group, where that was found.
    `dooms` are by key of the object; `paths` hold ids of jobs; `claim_keys` hold (job, attempt) pairs; `repeated`
    (fingerprint, outcome, made at in ms); `causes` numbers by fingerprint. `new_ids` are numbers of jobs that were
    never given, as many as `new_jobs` asked for: neither consecutive nor, beyond this transaction, in the order of
    time. `latest` are the latest first, as they were when the transaction began.
    """

    jobs: list[Job] = []
    workers: list[Worker] = []
    ready: dict[QueueLine, list[Job]] = {}
    kept: dict[QueueLine, list[Job]] = {}
    ready_of: dict[LineGroup, list[Job]] = {}
    kept_of: dict[LineGroup, list[Job]] = {}
    turned: dict[LineGroup, TurnsRead] = {}
    failed: dict[int, tuple[str, ...]] = {}
    attempts: list[Attempt] = []
    files: dict[str, FileRecord | None] = {}
    dooms: dict[str, Doom] = {}
    paths: dict[tuple[str, str], frozenset[int]] = {}
    claim_keys: dict[tuple[str, str], list[tuple[int, int]]] = {}
    repeated: dict[tuple[str, str], tuple[bytes, bytes, int]] = {}
    causes: dict[str, int] = {}
    loads: dict[str, TypeLoad] = {}
    in_a_row: dict[str, FailuresInARow] = {}
    clocks: dict[tuple[str, int], GroupClock] = {}
    alone: dict[tuple[str, int], int] = {}
    counted: bool = True
    turns: dict[GroupPlace, int] = {}
    runs: dict[GroupPlace, int] = {}
    new_ids: list[int] = []
    latest: dict[str, list[LatestEnd]] = {}
    batches: list[JobBatch] = []
