"""The write side: what can be asked and done inside the one transaction that the writer has open.

Verbs are about rows, typed in and out; what may follow what is decided by the effects (`actors/effects/`). Times are
in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from blobforge.access import Token
from blobforge.batch import JobBatch
from blobforge.breaker import RowOfFailures
from blobforge.canary import Canary
from blobforge.chain import Kin
from blobforge.failures import Cause
from blobforge.fairness import Alone, GroupClock, InTurn
from blobforge.installation import SigningKey
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.jobtype import SettingsByType, TypeLoad, TypeSettings
from blobforge.machinery.tally import Spread
from blobforge.operation import KeptChange, Operation
from blobforge.options import LineGroup, QueueLine
from blobforge.outputs import Output
from blobforge.people import AuditEntry, Session, User
from blobforge.quarantine import EndedAttempt
from blobforge.requirements import RequirementSet, RequirementSets
from blobforge.search import Search, SearchName
from blobforge.store.canaries import Pair
from blobforge.store.figures import Backfilling, Drill, Horizon
from blobforge.store.files import Doom, SupersededResult
from blobforge.store.following import InHistory
from blobforge.store.keeping import DatabaseFile
from blobforge.store.needs import FailuresInARow, GroupPlace, LatestEnd, Needs
from blobforge.store.opentransaction import Mark
from blobforge.store.reading import Lookups
from blobforge.store.tallies import Tallies
from blobforge.store.whole import Whole
from blobforge.texts import JobTexts
from blobforge.webhook import Delivery, Occasion, Webhook
from blobforge.worker import Worker


class Rollups(Protocol):
    """Used inside the transaction that the Store has open."""

    # --- what an older database has not kept

    def backfill(self) -> Backfilling | None:
        """What is still to be filled in; None: nothing."""

    def begin_backfill(self, *, until: int) -> None:
        """What ended up to then (ms) has not been counted; a time that was said before stays."""

    def backfilled(self, *, next_job: int | None) -> None:
        """All jobs before that one are done; None: all."""

    def weighing(self) -> tuple[int, int] | None:
        """The first and the last job whose bytes may not be counted yet; None: all are."""

    def weighed(self, *, next_job: int | None) -> None:
        """All jobs before that one are done; None: all."""

    # --- depths

    def sample_depths(self, slots: Mapping[int, int]) -> None:
        """Keep how many jobs there are now, of each type and of each status that is a level, and how many workers, in
        a slot of each width (seconds); the last sample of a slot stands for it."""

    def sum_up(self, slots: Mapping[int, int], *, most: int) -> bool:
        """Sum what was kept of each type over all types, in slots of each width before these (so many at most of a
        width), where it is not summed yet. Whether there may be more."""

    # --- splits

    def spread_splits(self, under_way: int, *, limit: int) -> bool:
        """Spread fresh splits, so many at most, over all widths: those of all slots (of the narrowest) but that one.
        Whether there may be more."""

    # --- upkeep

    def purge(self, kept: Horizon, *, limit: int) -> bool:
        """Forget older figures, so many of each kind, and causes beyond so many. Whether there may be more."""


class Recovery(Protocol):
    """Used inside the transaction that the Store has open."""

    def restored_at(self) -> int | None:
        """When (ms) this database was restored, if that has not been settled yet."""

    def running(self, *, limit: int) -> list[Job]:
        """Jobs that hold a lease, so many at most, in any order."""

    def seconds_lost(self, *, now: int) -> int:
        """How long before `now` (ms) the newest record is: to be asked before anything is written."""

    def settle(self, *, ids: int, attempts: int, now: int) -> None:
        """Void the leases that lost attempts could still complete with, move all numbers of jobs and of attempts on
        by so many, and take the mark off."""

    def record_drill(self, drill: Drill, *, kept: int) -> None:
        """Record it, and keep so many of the latest ones."""


class Doomed(Protocol):
    """Times are in milliseconds since the epoch."""

    def get(self, key: str) -> Doom | None: ...
    def add(self, key: str, state: str, *, due_at: int, again: bool, over: tuple[str, str]) -> None:
        """A new entry. One that is there already is changed only where it has one of the states `over`, and keeps its
        epoch."""

    def put(self, key: str, state: str, *, due_at: int, tries: int, epoch: int = 0, again: bool = True) -> None:
        """Change an entry."""

    def drop(self, key: str) -> None: ...
    def due(self, state: str, *, now: int, limit: int) -> list[str]:
        """The keys of a state that are due, the earliest first."""

    def next_at(self, state: str) -> int | None:
        """When the first entry of a state is due."""

    # Of all that follow, at most so many entries at a time.

    def hasten(self, state: str, *, due_at: int, limit: int) -> None:
        """No entry of that state is due later than this."""

    def drop_due(self, state: str, *, again: bool, now: int, limit: int) -> bool:
        """Whether there may be more."""

    def move_due(self, state: str, to: str, *, again: bool, now: int, limit: int) -> None:
        """Entries of a state that are due get the other one, and none has been tried in it; as with `again`."""

    def forget_epochs(self, *, limit: int) -> bool:
        """Whether there may be more."""


class Outputs(Protocol):
    """The outputs of attempts that have several. Those that are chosen are part of the result, once their attempt is
    the accepted one."""

    def names(self, job_id: int, attempt: int) -> list[str]: ...
    def tell(self, job_id: int, attempt: int, outputs: Collection[Output]) -> None:
        """More of them, or more about them: what is not said again stays."""

    def choose(self, job_id: int, attempt: int, outputs: Collection[Output]) -> None:
        """These have been seen, with these sizes. Of what was never told, nothing is kept."""

    def choose_none(self, job_id: int, attempt: int) -> None: ...
    def chosen(self, job_id: int, attempt: int) -> tuple[int, int]:
        """How many there are, and their bytes together."""

    def chosen_of(self, job_id: int, attempt: int, *, after: str = "", limit: int) -> list[Output]:
        """So many of them behind this name, by name."""

    def is_chosen(self, job_id: int, attempt: int, name: str) -> bool: ...
    def attempts(self, job_id: int) -> list[int]:
        """The attempts of a job that told of any."""

    def forget(self, job_id: int, attempt: int, *, limit: int) -> bool:
        """Forget so many of them; whether there may be more."""


class Types(Protocol):
    """What is set for types of jobs."""

    def all(self) -> SettingsByType:
        """Those for which nothing is set are not there."""

    def save(self, type_: str, settings: TypeSettings) -> None: ...
    def pending(self, type_: str) -> int:
        """How many jobs of the type are pending."""


class Requirements(Protocol):
    """The distinct sets of requirements that jobs have."""

    def sets(self) -> RequirementSets: ...
    def add(self, type_: str, requires: str) -> RequirementSet:
        """One that is not there; it gets the lowest number that is free."""

    def forget_unused(self) -> int:
        """Forget those that no job has any more; how many these were."""


class PastAttempts(Protocol):
    """How attempts of workers have ended. Times are in ms."""

    def of(self, workers: Iterable[str], type_: str, *, since: int, most: int) -> Mapping[str, list[EndedAttempt]]:
        """Of each of these workers, of its attempts of a type that began from then on: the latest first, so many."""

    def held(self, type_: str) -> int:
        """How many workers are in quarantine, and there, for what they have failed of this type."""

    def quarantined(self, type_: str) -> list[Worker]:
        """Those that are in quarantine for what they have failed of this type."""

    def give_back(self, job_id: int, attempt: int, *, now: int) -> None:
        """Note that its charge was."""

    def cause(self, number: str) -> str:
        """The cause with this number, in words."""


class Superseded(Protocol):
    """Results that another one has replaced. Times are in ms."""

    def add(self, result: SupersededResult, *, at: int) -> None:
        """The latest of its job to be replaced."""

    def add_old(self, result: SupersededResult, *, at: int, newer: int) -> None:
        """One that was replaced before this was noted; so many of its job were since. Nothing where it is known."""

    def drop(self, job_id: int, attempt: int) -> None:
        """It goes for good."""

    def restored(self, job_id: int, attempt: int) -> None:
        """It is the result of its job again."""

    def keeps(self, job_id: int, attempt: int) -> bool:
        """Whether it is one of them."""

    def before(self, at: int, *, limit: int) -> list[SupersededResult]:
        """Those that were replaced before this time, and may go."""

    def beyond(self, kept: int, at: int, *, limit: int) -> list[SupersededResult]:
        """Of those of each job but the latest so many, those that were replaced before this time, and may go."""

    def to_find(self) -> tuple[int, int] | None:
        """The first and the last job whose former results are not on record yet."""

    def found(self, *, next_job: int | None) -> None:
        """Up to this job (None: the last) they are."""


class Arrivals(Protocol):
    """Used inside the transaction that the Store has open."""

    def add(self, whole: Whole, *, now: int) -> Job | None:
        """Store a job as it is; None when there is one of its source, type and options already."""

    def to_backfill(self, first: int, last: int) -> None:
        """What the jobs with these numbers have come to is still to be counted."""

    def go_on_above(self, job_id: int, attempt: int) -> None:
        """Numbers of jobs up to this one, and of attempts, were given where these jobs come from: never again."""


class Texts(Protocol):
    """The index of texts (`blobforge/texts.py`), which is made behind the commits. Used inside the transaction that
    the Store has open."""

    def changed(self, *, limit: int) -> list[tuple[int, JobTexts | None]]:
        """Jobs that are gone (None), or say something else than the index holds of them."""

    def unindexed(self, *, limit: int) -> list[JobTexts]:
        """The next jobs that are not in it, by id."""

    def further_paths(self, job_id: int) -> list[str]: ...
    def save(self, texts: Sequence[tuple[int, str]]) -> None:
        """These jobs say that (`texts.indexed`)."""

    def drop(self, job_ids: Sequence[int]) -> None:
        """These say nothing any more."""

    def leave_out(self, job_id: int) -> None:
        """It says too much for the index: each search looks at it."""

    def settle(self, job_ids: Sequence[int]) -> None:
        """Of these that were changed, the index holds what they say now."""

    def indexed(self, *, upto: int) -> None:
        """All jobs up to this one are in it."""


class Operations(Protocol):
    """Used inside the transaction that the Store has open; changes rows at once."""

    def get(self, operation_id: int) -> Operation | None: ...
    def starting_for(self, batch_id: int) -> list[int]:
        """Those that have not ended, and make what follows a job of this batch."""

    def joining_for(self, batches: Collection[int]) -> list[tuple[int, int, str]]:
        """Those that have not ended, and have still to look at a stage of a job of one of these batches: the batch,
        the operation, and its plan."""

    def joining_of(self, parents: Collection[int]) -> list[tuple[int, str, int]]:
        """The same, of stages of these jobs; each with the job."""

    def cancelling(self, batch_id: int) -> list[str]:
        """The plans of those that have not ended, and cancel jobs by a filter that ends with this batch."""

    def count_open(self) -> int:
        """How many have not ended."""

    def add(self, operation: Operation) -> int:
        """A new one (its `id` is ignored); returns its number."""

    def save(self, operation: Operation) -> None: ...
    def add_pages(self, operation_id: int, first: int, pages: Sequence[Sequence[object]]) -> None:
        """The ids of further jobs, or workers, or stages, in pages with numbers from `first` on."""

    def stages(self, operation_id: int, page: int) -> list[tuple[int, int, int]]:
        """The stages of a page (parent, attempt, step)."""

    def workers(self, operation_id: int, page: int) -> list[str]:
        """The workers of a page, of an operation over workers."""

    def page(self, operation_id: int, page: int) -> tuple[list[int], list[KeptChange]]:
        """The jobs of a page, and what was changed of them and can be undone."""

    def keep_changes(self, operation_id: int, page: int, changes: Sequence[KeptChange]) -> None: ...
    def prune(self, *, undo_before: int, ended_before: int, limit: int) -> int:
        """Forget so many pages whose changes can be undone until then (ms) at most, or, where there are fewer,
        operations that ended before that time; how many."""


class KinRows(Protocol):
    """What came of the outputs of accepted attempts."""

    def lends(self, parent: int, attempt: int) -> bool:
        """Whether an output of this attempt is the source of a job."""

    def lending(self, parent: int) -> set[int]:
        """The attempts of which an output is the source of a job."""

    def of_attempt(self, parent: int, attempt: int, *, limit: int) -> list[Kin]:
        """Some of what came of this attempt, by step and name; not what joins others."""

    def of(self, parent: int, *, after: tuple[int, int, str], limit: int) -> list[Kin]:
        """Some of what came of this job, by attempt, step and name, behind these."""

    def replace(self, parent: int, attempt: int, step: int, name: str, *, job_id: int, lent: bool) -> None:
        """Another job is what came of this output."""

    def of_stage(self, parent: int, attempt: int, step: int, *, limit: int) -> list[Kin]:
        """Some of what came of this attempt by that step, by name."""

    def of_jobs(self, job_ids: Sequence[int]) -> list[Kin]:
        """Which outputs the jobs came of, by which steps; not those that they join. By parent, attempt, step and
        name."""

    def of_join(self, job_id: int) -> list[Kin]:
        """The outputs that are lent to the job."""

    def is_unfinished(self, parent: int, attempt: int, step: int) -> bool:
        """Whether a job has not ended that came of this attempt by that step."""

    def add_manifest(self, source_hash: str, manifest: str) -> None:
        """What the source of this hash says."""

    def drop_manifest(self, source_hash: str) -> None: ...
    def lend(self, parent: int, attempt: int, job_id: int) -> None:
        """An output of this attempt is the source of a job that was taken in: nothing else of it is known."""

    def made_of(self, root: int) -> int:
        """How many jobs have come of this one, with those that were deleted since."""


class BatchRows(Protocol):
    """Used inside the transaction that the Store has open; changes rows at once."""

    def add(self, batch: JobBatch) -> int:
        """A new one (its `id` is ignored); returns its number."""

    def open_named(self, name: str) -> int | None:
        """The one of this name that is open."""

    def delete_empty(self, batch_id: int) -> bool:
        """Forget the batch, if no job is in it; whether it was."""

    def counts(self, batch_id: int) -> dict[str, int]:
        """How many of its jobs have each status; `gone`: were deleted since."""


class Searches(Protocol):
    """Searches through the object store, the latest of each name."""

    def get(self, name: SearchName) -> Search | None: ...
    def save(self, search: Search) -> None: ...
    def add_names(self, name: SearchName, n: int, keys: Sequence[str]) -> None:
        """It has found these, after `n` that it has named before."""

    def forget_names(self, name: SearchName) -> None:
        """It names none yet."""


class Canaries(Protocol):
    """Used inside the transaction that the Store has open; changes rows at once."""

    def get(self, canary_id: int) -> Canary | None: ...
    def count_open(self) -> int:
        """How many are not closed."""

    def add(self, canary: Canary) -> int:
        """A new one (its `id` is ignored); returns its number."""

    def save(self, canary: Canary) -> None: ...
    def forget(self, canary_id: int) -> None: ...
    def add_jobs(self, canary_id: int, pairs: Sequence[Pair]) -> None: ...
    def jobs(self, canary_id: int, *, after: int = 0, limit: int) -> list[int]:
        """The ids of its jobs above one, the lowest first."""

    def forget_job(self, canary_id: int, job_id: int) -> None: ...
    def open(self, *, limit: int) -> list[Canary]:
        """Those that are not closed, the oldest first."""

    def made_before(self, at: int, *, limit: int) -> list[Canary]:
        """The oldest of those that were begun before this time (ms)."""

    def counts(self, canary: Canary) -> list[tuple[str, int]]:
        """How many jobs it has of which status."""

    def workers(self, made_by: str, types: Iterable[str]) -> int:
        """How many workers with this converter are online for any of these types."""


class Webhooks(Protocol):
    """Endpoints that are told of what happens, and the outbox of what they are told."""

    def all(self) -> Sequence[Webhook]:
        """By id; also those that are deleted but for their deliveries. It costs no question, as a rule."""

    def add(self, webhook: Webhook) -> int:
        """A new one (its `id` is ignored); returns its number."""

    def save(self, webhook: Webhook) -> None: ...
    def tell(self, webhook_id: int, occasion: Occasion, *, at: int, sealed: str | None = None) -> None:
        """Put it into the outbox, with what else the transaction changes. `sealed`: as `Delivery.sealed`."""

    def told(self, webhook_id: int, occasion: Occasion, *, at: int) -> int:
        """The same, at once; returns the number of the delivery."""

    def delivery(self, delivery_id: int) -> Delivery | None: ...
    def save_delivery(self, delivery: Delivery) -> None:
        """Change what has become of it."""

    def waiting(self, webhook_id: int, *, limit: int) -> list[Delivery]:
        """What waits to be delivered, the first that are due first."""

    def next_due(self, webhook_id: int) -> int | None:
        """When (ms) the next one is; None: all have ended."""

    def between(
        self, webhook_id: int, since: int, until: int, *, after: int, limit: int
    ) -> tuple[list[Delivery], int | None]:
        """Some of those of this time (ms) that have ended, by id, behind `after`; and behind which to go on, where
        there may be more. Only so many others are passed by: there may be none, and more."""

    def callbacks(self, webhook_id: int, *, most: int) -> int:
        """How many batches that have not ended are to call it, and how many calls wait, each up to `most`."""

    def prune(self, before: int, *, limit: int) -> bool:
        """Forget so many older ones, and those of deleted endpoints. Whether there may be more."""


class Store(Lookups, InHistory, Protocol):
    """Used by one thread at a time: the writer's."""

    @property
    def rollups(self) -> Rollups: ...
    @property
    def recovery(self) -> Recovery: ...
    @property
    def doomed(self) -> Doomed: ...
    @property
    def operations(self) -> Operations: ...
    @property
    def arrivals(self) -> Arrivals: ...
    @property
    def texts(self) -> Texts: ...
    @property
    def outputs(self) -> Outputs: ...
    @property
    def superseded(self) -> Superseded: ...
    @property
    def past(self) -> PastAttempts: ...
    @property
    def types(self) -> Types: ...
    @property
    def searches(self) -> Searches: ...
    @property
    def batches(self) -> BatchRows: ...
    @property
    def kin(self) -> KinRows: ...
    @property
    def requirements(self) -> Requirements: ...
    @property
    def canaries(self) -> Canaries: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def ended(self) -> Sequence[Job]:
        """The jobs that have ended in this transaction, each as it was saved then."""

    # --- transactions

    def transaction(self, needs: Needs | None = None, now: int = 0) -> AbstractContextManager[None]:
        """All or nothing; what it needs is read ahead. `now` is this server's own time (ms). Raises StoreUnavailable
        when the engine cannot begin or commit, Unwritable for what it refuses to write."""

    def mark(self) -> Mark:
        """Where the transaction stands, to go back to."""

    def undo(self, mark: Mark) -> None:
        """All since then has not happened. Raises Unrecoverable where some of it has been written."""

    def ensure(self) -> None:
        """Write what is pending now, also where the engine would wait with it. Raises Unwritable."""

    @property
    def turn_seconds(self) -> Spread | None:
        """How long transactions took to begin: a round trip, and the wait for those of other servers. None: there are
        no other servers."""

    @property
    def commit_seconds(self) -> float:
        """How long the last COMMIT took."""

    @property
    def wrote(self) -> bool:
        """Whether the last transaction changed anything."""

    def move_counters(self, by: Tallies) -> None:
        """Beside what moves them anyway: by differences, so that what was counted meanwhile stays."""

    def close(self) -> None: ...
    @property
    def installation(self) -> str:
        """The id of this database, which is in the keys of its objects."""

    def become(self, installation: str) -> None:
        """This database, which never had a job, goes on as that installation: its objects are this one's."""

    def is_fresh(self) -> bool:
        """Whether this database never had a job."""

    def add_signing_key(self, key: SigningKey) -> None: ...

    # --- jobs

    def same_job(self, source_hash: str, type_: str, options: str | None) -> Job | None:
        """The job of this source and type, with these options."""

    def jobs_by_hash(self, source_hash: str) -> list[Job]:
        """All jobs of one source, whatever their type."""

    def pick_ready(self, lines: tuple[QueueLine, ...], limit: int, group: LineGroup = ()) -> list[Job]:
        """The next jobs that every worker may have: urgent first, then the oldest, over all `lines` together."""

    def pick_kept(self, line: QueueLine, limit: int) -> list[Job]:
        """The next jobs of a line that are kept from some workers, in the same order."""

    def failed_by(self, job_id: int, *, among: int) -> tuple[str, ...]:
        """The workers that have failed a job or given it back for trouble, by the last `among` of its attempts."""

    def another_worker(self, type_: str, but: tuple[str, ...], requires: str | None = None) -> bool:
        """Whether a worker that is online takes jobs of this type, and is none of those."""

    def pick_kept_of(self, group: LineGroup, limit: int, *, turned: bool = False) -> list[Job]:
        """The same of a group of lines. `turned`: their jobs have turns."""

    def pick_in_turn(self, group: LineGroup, limit: int, beside: Collection[Job] = ()) -> list[InTurn]:
        """The next jobs of lines of one type whose jobs take turns: of those that every worker may have, and those
        `beside`."""

    def group_clocks(self, type_: str) -> dict[int, GroupClock]:
        """The virtual times of a type, by priority: those of its jobs that have, or had, a group."""

    def alone(self, type_: str, priority: int) -> Alone:
        """What decides there between jobs without a group and those with one."""

    def last_turn(self, place: GroupPlace) -> int | None:
        """The turn of the last job of the group that entered the queue; None: it is long past."""

    def save_clock(self, type_: str, priority: int, clock: GroupClock) -> None: ...
    def save_turn(self, place: GroupPlace, turn: int, *, now: int) -> None:
        """That of a job that enters the queue at this virtual time. Turns that are long past by then are
        forgotten."""

    def knows_type(self, type_: str) -> bool:
        """Whether there is a job of this type (or was, until a moment ago)."""

    def count_types(self) -> int: ...
    def type_settings(self, type_: str) -> TypeSettings:
        """What is set for jobs of this type."""

    def type_load(self, type_: str) -> TypeLoad:
        """How much of the type's limits is taken, by what has happened in the transaction, too."""

    def save_owed(self, type_: str, load: TypeLoad) -> None:
        """Another load of its bucket; the number of running jobs follows these."""

    def in_a_row(self, type_: str) -> FailuresInARow:
        """What has failed in a row of this type, and what was completed, by what has happened in the transaction,
        too."""

    def save_in_a_row(self, type_: str, row: RowOfFailures | None) -> None:
        """None: nothing has."""

    def has_converter(self, converter: str) -> bool:
        """Whether a job has a result of this converter, or a worker works with it."""

    def count_converters(self) -> int:
        """Of how many that is so."""

    def jobs_between(self, first: int, last: int, *, limit: int) -> list[Job]:
        """Jobs with these ids, both ends included, in their order."""

    def jobs_of_worker(self, worker_id: str) -> list[Job]:
        """The jobs that this worker runs now."""

    def running_on(self, workers: Sequence[str], *, limit: int) -> list[Job]:
        """Some of the jobs that these workers run now, by worker and id."""

    def insert_jobs(self, jobs: list[Job]) -> list[Job]:
        """Store new jobs (their `id` is ignored), and return them with the ids that they got, in their order."""

    def save_job(self, before: Job, after: Job) -> None:
        """Write a transition, guarded by the state it started from. Raises StaleState."""

    def delete_job(self, job: Job, *, replaced: bool = False) -> None:
        """Remove the job with its tags, its results and the records of its attempts. `replaced`: another job stands
        for it in its batches, which do not count it as gone. Raises StaleState."""

    def ended_before(self, status: JobStatus, before: int, *, limit: int) -> list[Job]:
        """Jobs of a status that ended before that time (ms), the oldest first."""

    def ready_longest(self, line: QueueLine, priority: int, *, limit: int) -> list[Job]:
        """Jobs of a line with this priority that any worker may have, those with the lowest numbers first."""

    def compared_until(self, before: int, *, limit: int) -> list[Job]:
        """Jobs whose former result was to be kept until a time (ms) before that, the earliest first."""

    def due_starts(self, until: int, *, limit: int) -> list[Job]:
        """Pending jobs that were not to be started before a time (ms) up to that, the earliest first."""

    def due_expiries(self, until: int, *, limit: int) -> list[Job]:
        """Jobs that no worker was given, and that expire at a time (ms) up to that, the earliest first."""

    def next_time(self) -> int | None:
        """The earliest of the times (ms) of either kind that are left."""

    def beat_job(self, job: Job, *, progress: str | None, now: int) -> None:
        """Renew the lease of a running attempt and keep its progress, where it sent any."""

    # --- further paths of a source

    def has_path(self, job: Job, path: str) -> bool:
        """Whether this is one of the job's paths."""

    def add_path(self, job: Job, path: str) -> None:
        """A further one, the last that `job.more_paths` counts."""

    # --- chains

    def read_ahead(self, job_ids: Collection[int]) -> None:
        """These jobs are asked for soon: they are read in one question."""

    def add_kin(self, kin: Kin) -> None:
        """A job has come of an output; what came of it before stays."""

    def count_family(self, root: int, more: int) -> None:
        """So many more jobs have come of this one."""

    # --- batches

    def batch(self, batch_id: int) -> JobBatch | None: ...
    def save_batch(self, batch: JobBatch) -> None:
        """Closed, ended, or going on again: all else of it follows its jobs."""

    @property
    def has_batches_changed(self) -> bool:
        """Whether there would be any in `batches_changed`."""

    def batches_changed(self) -> list[JobBatch]:
        """Those of whose jobs some have ended, or have not any more, since this was asked; by their numbers."""

    def batch_changed(self, batch_id: int) -> None:
        """It is to be among these."""

    # --- attempts

    @property
    def attempt_floor(self) -> int:
        """New attempts have numbers above this one."""

    def attempt(self, job_id: int, attempt: int) -> Attempt | None: ...
    def attempts(self, job_id: int, *, limit: int) -> list[Attempt]:
        """The latest attempts of a job, oldest first."""

    def count_old_attempt(self, type_: str, attempt: Attempt, *, now: int) -> None:
        """Count an attempt that ended before such were counted."""

    def output_keys(self, job_id: int) -> list[str]:
        """What the attempts of a job were given to write to."""

    def start_attempt(self, job: Job) -> None: ...
    def end_attempt(
        self,
        before: Job,
        after: Job,
        outcome: Outcome,
        *,
        now: int,
        error: str | None = None,
        kind: str | None = None,
        traceback: str | None = None,
        log_tail: str | None = None,
        free: bool = False,
    ) -> None:
        """Write how the job's latest attempt ended; a late completion writes over `lost`. `before` is the job as it
        was until now. `free`: its charge is given back with it."""

    # --- results that are kept aside

    def keep_result(self, job: Job, result: str | None) -> None:
        """The result of the job's latest attempt, where it is kept aside, beside the one that it takes the place of.
        `job` is as it was until now."""

    def drop_result(self, job_id: int, attempt: int) -> None: ...

    # --- files

    def record_file(
        self,
        key: str,
        *,
        size: int | None,
        sha256: str | None,
        now: int,
        checked: bool,
        job_id: int | None = None,
        attempt: int | None = None,
        etag: str | None = None,
        version: str | None = None,
        keeping: bool = False,
    ) -> None: ...
    def keep_file(self, key: str, to: str) -> None:
        """Its copy is what is served from now on."""

    def forget_file(self, key: str) -> None: ...

    # --- workers

    def save_worker(self, before: Worker | None, after: Worker) -> None:
        """Insert or change a worker; `before` is what was read, None for a new one."""

    def beat_worker(self, worker: Worker, *, now: int) -> None:
        """Write a sign of life that changes nothing else."""

    def delete_worker(self, worker: Worker) -> None: ...
    def latest_ends(self, worker_id: str) -> list[LatestEnd]:
        """How the worker's latest attempts have ended, the latest first: some of them, as it was when the transaction
        began."""

    def sound_workers(self, type_: str, most: int) -> list[str]:
        """The workers that are online for this type and in no quarantine, by their ids; so many at most."""

    def note_types(self, worker: Worker, types: tuple[str, ...]) -> None:
        """The worker asks for jobs of these types."""

    def forget_types(self, worker_id: str) -> None:
        """It starts anew, or is no more."""

    # --- causes of failures

    def cause(self, fingerprint: str) -> int | None:
        """The number of a cause of failures, if it is known."""

    def count_causes(self) -> int: ...
    def add_cause(self, cause: Cause) -> int:
        """A cause that was not known; returns its number."""

    def see_cause(self, number: int, example: str, *, now: int) -> None:
        """An attempt failed of this cause."""

    # --- what may be repeated

    def claimed_with(self, worker_id: str, claim_key: str) -> list[tuple[int, int]]:
        """The (job, attempt) pairs that an earlier claim with this key was given."""

    def remember_claim(self, worker_id: str, claim_key: str, jobs: list[Job], *, now: int) -> None: ...
    def remember(self, subject: str, key: str, fingerprint: bytes, outcome: bytes, *, now: int) -> None: ...
    def purge(self, *, before: int, limit: int) -> bool:
        """Forget `limit` repeatable requests of each kind that are older than `before` (ms), the oldest first;
        whether there may be more."""

    # --- what can be undone

    def save_undo(self, token: str, job_id: int, was: str, became: str, *, now: int) -> None: ...
    def undos(self, token: str, *, since: int, limit: int) -> list[tuple[int, str, str, int]]:
        """(job, what it was, what it became, when) of what can be undone by this token, if it was done since (ms)."""

    def purge_undos(self, *, before: int, limit: int) -> None:
        """Forget so many of the undos that are older (ms)."""

    def delete_undo(self, token: str, job_id: int) -> None: ...

    # --- tokens

    def insert_token(self, token: Token) -> int:
        """Store a new token (its `id` is ignored); returns the id."""

    def make_token_admin(self, token: Token) -> None:
        """Give a token all rights and no expiry (the operator named it in the configuration)."""

    def delete_start_tokens(self, *, but: frozenset[str]) -> None:
        """Revoke the first administrator's tokens of former starts, all but those with these hashes."""

    def delete_token(self, token_id: int) -> None:
        """The sessions that were signed in with it go, too."""

    def forgettable_workers(self, before: int, *, limit: int) -> list[Worker]:
        """Offline workers without a job and a credential of their own, silent since before `before` (ms)."""

    def workers_of_token(self, token_id: int) -> list[str]:
        """The ids of the workers that an API token registered."""

    def touch_token(self, token_id: int, *, now: int) -> None: ...

    # --- people

    def save_user(self, user: User) -> int:
        """Insert or update by issuer and subject (`id` is ignored); returns the id."""

    def update_user(self, user: User) -> None: ...
    def user_of(self, issuer: str, subject: str) -> User | None: ...
    def session(self, hash_: str) -> Session | None: ...
    def session_hashes(self, *, user_id: int | None = None, token_id: int | None = None) -> list[str]:
        """The sessions of one user, or those that were signed in with one API token."""

    def insert_session(self, session: Session) -> None: ...
    def check_session(self, hash_: str, sealed: bytes | None, *, now: int) -> None:
        """Note that the provider confirmed the person just now."""

    def touch_session(self, hash_: str, *, now: int) -> None: ...
    def delete_session(self, hash_: str) -> bool:
        """Delete the session; whether there was one."""

    def delete_sessions_of(self, user_id: int) -> int:
        """Returns how many there were."""

    def sessions_beyond(self, most: int, *, user_id: int | None, token_id: int | None, limit: int) -> list[str]:
        """Of the sessions of a user, or by a token, `limit` of those that began before the latest `most`."""

    def purge_sessions(self, *, seen_before: int, now: int, limit: int) -> bool:
        """Forget those that are idle or over, at most so many of each; whether there may be more."""

    def insert_audit(self, entry: AuditEntry) -> None:
        """Append to the audit log (`id` is ignored)."""

    def prune_audit(self, before: int, *, limit: int) -> bool:
        """Remove up to `limit` entries older than `before` (ms), the oldest first; whether there may be more."""

    # --- upkeep

    @property
    def database_file(self) -> DatabaseFile | None:
        """The file that all is in; None where the engine keeps none that is ours."""

    def pulse(self, *, now: int) -> None:
        """Write something, to see whether it can be done."""
