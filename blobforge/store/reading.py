"""The read side: what can be asked of the database beside the writer.

Each call sees one moment, and is short: a long read transaction would keep the backup from checkpointing. The calls
within `with reader.snapshot()` see the same moment. No call takes longer because there are more jobs: what could grow
is paged. Ids are neither consecutive nor in the order of time.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from blobforge.access import Token
from blobforge.batch import JobBatch
from blobforge.breaker import RowOfFailures
from blobforge.canary import Canary, ComparedDocument, SampleCandidate
from blobforge.chain import Kin
from blobforge.events import ManifestMade, OutputAccepted, ProofAwaited
from blobforge.forecast import Durations, Load
from blobforge.installation import SigningKey
from blobforge.job import Attempt, Job, JobStatus
from blobforge.jobtype import TypeSettings
from blobforge.operation import Operation
from blobforge.outputs import Output
from blobforge.people import AuditEntry, Session, User
from blobforge.scaling import Staff
from blobforge.search import Search, SearchName
from blobforge.store.figures import (
    CausesHistory,
    Census,
    Drill,
    Failure,
    SlotHistory,
    Space,
    Stats,
    StatusTotals,
    TagWeight,
    TimesHistory,
    TypeLately,
    TypeQueue,
    UnmatchedSet,
    WorkerRates,
)
from blobforge.store.files import FileRecord, SupersededTotals
from blobforge.store.filters import AuditFilter, JobFilter, TokenFilter, UserFilter
from blobforge.store.lists import (
    MOST_ATTEMPTS,
    NEWEST,
    AttemptPlace,
    Cursor,
    ListedWorker,
    Page,
    RosterPage,
    WorkerAttempt,
)
from blobforge.store.miscounts import Miscounts
from blobforge.store.sorting import JobSort
from blobforge.timerange import Slots
from blobforge.waiting import Surroundings
from blobforge.webhook import Delivery, DeliveryState, Webhook
from blobforge.worker import Worker, WorkerFilter

MOST_RUNNING = 5000  # running jobs that are looked through for those that stand still
MOST_RUNNERS = 5  # running jobs that are named where a type's limit is reached
MOST_AHEAD = 1000  # jobs before another that are counted at its own priority
MOST_LOST_WORKERS = 100
MOST_CONTESTED = 20
MOST_QUARANTINED = 20  # workers that are named
MOST_LOOKED_AT = 1000  # jobs of a cause that are shared out over their workers
MOST_SPLIT = 20  # workers that are named of them
MOST_UNMATCHED = 1000  # ready jobs of one set of requirements that are counted


class Lookups(Protocol):
    """Single things by their names, for the read side and inside the writer's transaction alike."""

    def job(self, job_id: int) -> Job | None: ...
    def file(self, key: str) -> FileRecord | None: ...
    def worker(self, worker_id: str) -> Worker | None: ...
    def token(self, token_id: int) -> Token | None: ...
    def token_by_hash(self, hash_: str) -> Token | None: ...
    def user(self, user_id: int) -> User | None: ...
    def signing_keys(self) -> list[SigningKey]:
        """All keys that this installation has had, the latest first."""

    def has_source(self, source_hash: str) -> bool:
        """Whether there is a job of this source."""

    def remembered(self, subject: str, key: str, *, since: int) -> tuple[bytes, bytes] | None:
        """(fingerprint, outcome) of an earlier request with this idempotency key, if it is young enough."""


class Insights(Protocol):
    """What the dashboard reads beside lists and statistics."""

    # --- charts

    def history(self, slots: Slots, *, now: int, type_: str | None = None) -> SlotHistory:
        """The series of all types or of one, in slots of a width of KEPT. The one in which `now` (ms since the epoch)
        lies shows what is."""

    def times_history(self, slots: Slots, *, type_: str | None = None) -> TimesHistory:
        """How long attempts of all types or of one took, in slots of a width of SPLITS_KEPT."""

    def causes_history(self, slots: Slots, *, type_: str | None = None) -> CausesHistory:
        """Why attempts failed, in slots of a width of SPLITS_KEPT."""

    def lately(self, types: Collection[str], *, now: int) -> dict[str, TypeLately]:
        """How attempts of each of these types ended within the last hour and day."""

    def completed_since(self, type_: str, hour: int) -> int:
        """How many attempts of the type were completed from this hour (since the epoch) on."""

    def marks(self, since: int, until: int, *, type_: str | None, limit: int) -> list[AuditEntry]:
        """What is on record of pauses of types, of all or of one, between these times (ms), the latest first; also
        other settings that were changed."""

    # --- how long things take

    def durations(self, *, now: int) -> dict[str, Durations]:
        """By type, of the last WEEKS_KEPT weeks."""

    def loads(self) -> dict[str, Load]:
        """How many jobs wait and run, by type."""

    def staff(self, type_: str | None) -> Staff:
        """The workers that may be given jobs of this type (None: of any)."""

    # --- causes of failures

    def failures(self) -> list[Failure]:
        """All causes, by their rank."""

    def workers_of_failure(self, failure_id: int) -> list[tuple[str, int]]:
        """Which workers failed so, most jobs first: of MOST_LOOKED_AT jobs whose latest failure it is, MOST_SPLIT
        workers."""

    def filling(self) -> float | None:
        """How much of what an older release did not keep has been filled in (a share); None: all of it."""

    # --- what needs attention

    def count(self, status: JobStatus) -> int: ...
    def types_with_workers(self) -> set[str]:
        """The types that a worker is online for."""

    def workers_of_type(self, type_: str, *, limit: int) -> list[Worker]:
        """Those that have registered for it or asked for it, by their rank (`Roster.by_rank`)."""

    def converters_of_type(self, type_: str, *, limit: int) -> list[tuple[str, int]]:
        """What made the results that jobs of the type have, and of how many: most jobs first."""

    def workers_by_type(self) -> dict[str, int]:
        """How many workers are online for each of these types: a worker of several counts for each."""

    def queues(self) -> list[TypeQueue]:
        """Every type that has pending jobs, the longest wait first."""

    def unmatched(self) -> list[UnmatchedSet]:
        """Ready jobs that require what no worker has that is there and takes jobs of their type, by their
        requirements."""

    def running_jobs(self) -> Iterator[Job]:
        """One by one, in short (`Reader.job_in_short`): so many at once would be held for nothing. Read to its end
        within a snapshot."""

    def lost_workers(self, *, now: int) -> list[Worker]:
        """Registered workers that fell silent with work in hand, within RATE_HOURS or still, the latest first; one
        that was idle, or has unregistered, is merely away."""

    def contested_workers(self, *, now: int) -> list[Worker]:
        """Workers whose id another process has asked for within the hour, the latest first."""

    def quarantined_workers(self) -> list[Worker]:
        """Workers that get no jobs but trials, by id: as many as are shown."""

    # --- workers

    def worker_rates(self, *, now: int) -> dict[str, WorkerRates]:
        """By worker."""

    def fleet_rates(self, *, now: int) -> WorkerRates:
        """Of all workers together; without the attempts that were counted late, which stand in no chart."""

    def rates_among(self, workers: Collection[str], *, now: int) -> dict[str, WorkerRates]:
        """The same of these workers alone."""

    def rates_of(self, worker_id: str, *, now: int) -> WorkerRates: ...

    # --- one job

    def surroundings(self, job: Job) -> Surroundings:
        """What a waiting job waits for."""

    def records_about(self, job_id: int, *, before: int, limit: int) -> list[AuditEntry]:
        """What people did to this one job: the latest records with ids below `before`, newest first."""

    # --- the audit log

    def audit(self, filter_: AuditFilter, *, before: int, limit: int) -> tuple[list[AuditEntry], int | None]:
        """The newest records with an id below `before` that match, and where to go on, if there may be more."""


class OutputLookups(Protocol):
    """The outputs of attempts that have several."""

    def told(self, job_id: int, attempt: int) -> list[Output]:
        """All that the attempt has told of, by name, whether they have come or not."""

    def page(self, job_id: int, attempt: int, *, after: str, limit: int) -> list[Output]:
        """Those that the attempt has brought, by name, behind `after`."""

    def these(self, wanted: Collection[tuple[int, int, str]]) -> dict[tuple[int, int, str], Output]:
        """Of these (job, attempt, name), those that were brought."""


class KinLookups(Protocol):
    """What came of the outputs of accepted attempts."""

    def of(self, parent: int, *, after: tuple[int, int, str] = (0, 0, ""), limit: int) -> list[Kin]:
        """By attempt, step and name, behind these."""

    def manifest(self, source_hash: str) -> str | None:
        """What the source of a job says that joins others."""

    def awaited_manifests(self) -> list[ManifestMade]:
        """Those of jobs that wait for theirs."""

    def count(self, parent: int, *, most: int) -> int:
        """How many there are, at most so many."""


class TypeLookups(Protocol):
    def settings(self) -> Mapping[str, TypeSettings]:
        """What is set for types; those for which nothing is are not there."""

    def in_a_row(self, type_: str) -> RowOfFailures | None:
        """What has failed in a row of this type."""

    def known(self) -> tuple[Mapping[str, TypeSettings], Mapping[str, Mapping[str, int]]]:
        """The same, and of each type of which there are jobs how many by status."""

    def names(self) -> list[str]:
        """Those of which there are jobs, in their order."""


class SupersededLookups(Protocol):
    """Results that another one has replaced."""

    def totals(self) -> SupersededTotals: ...
    def due(self, *, before: int | None, kept: int | None) -> SupersededTotals:
        """Those that were replaced before this time (ms), and those that are not the latest so many of their job."""


BatchCounts = dict[tuple[str, str], int]
"""How many jobs of a batch have each status, or are gone, and are of each type."""


class BatchLookups(Protocol):
    def get(self, batch_id: int) -> JobBatch | None: ...
    def page(self, *, before: int = NEWEST, limit: int, name: str | None, going: bool) -> list[JobBatch]:
        """Those with numbers below `before`, the newest first: of this name, or those that are `going` on, or all."""

    def counts(self, batches: Collection[int]) -> dict[int, BatchCounts]: ...


class SearchLookups(Protocol):
    """Searches through the object store, the latest of each name."""

    def get(self, name: SearchName) -> Search | None: ...
    def names(self, name: SearchName) -> list[str]:
        """The first keys that it has found, `MOST_NAMED` at most."""


class WebhookLookups(Protocol):
    """Endpoints that are told of what happens, but for those that are deleted."""

    def all(self) -> list[Webhook]:
        """By id."""

    def get(self, webhook_id: int) -> Webhook | None: ...
    def deliveries(
        self, webhook_id: int, *, before: int, limit: int, state: DeliveryState | None = None
    ) -> tuple[list[Delivery], int | None]:
        """Those with ids below `before`, the newest first, `limit` at most; and before which to go on, None where
        there are no more. Of a `state`: those among the next few thousand, so that there may be fewer, or none, and
        more behind them."""

    def waiting(self, webhook_id: int, *, most: int) -> tuple[int, int | None]:
        """How many are still to be delivered, `most` at most; and the earliest time (ms) of what these tell of."""


class Roster(Protocol):
    """The workers as they are listed: by a filter, page by page, each with the ids of the first jobs that it runs."""

    def worker(self, worker_id: str) -> ListedWorker | None: ...
    def by_id(self, wanted: WorkerFilter, *, after: str, limit: int) -> tuple[list[ListedWorker], bool]:
        """A page of workers by id, behind `after`; and whether there are more."""

    def by_rank(self, wanted: WorkerFilter, *, after: tuple[int, str], limit: int) -> RosterPage: ...
    def among(self, wanted: WorkerFilter, ids: list[str]) -> list[ListedWorker]:
        """Those of a page of workers that match, in the order in which they are named."""


class CanaryLookups(Protocol):
    def get(self, canary_id: int) -> Canary | None: ...
    def page(self, *, before: int, limit: int) -> list[Canary]:
        """Those with numbers below `before`, the newest first."""

    def counts(self, canary: Canary) -> list[tuple[str, int]]:
        """How many jobs it has of which status."""

    def workers(self, made_by: str, types: Iterable[str]) -> int:
        """How many workers with this converter are online for any of these types."""

    def types(self) -> list[str]:
        """Those with completed jobs, by name."""

    def converters(self, *, limit: int) -> list[str]:
        """Those of workers that are online, by name; so many at most."""

    def jobs(self, canary_id: int, *, after: int = 0, limit: int) -> list[int]:
        """The ids of its jobs above one, the lowest first."""

    def compared(self, canary_id: int, *, after: int, limit: int) -> list[ComparedDocument]:
        """Its comparisons with ids above `after`, the lowest first. The results are not looked at: one that was
        completed is `gone` until it is known what its result is held against."""

    def candidates(self, type_: str, against: str | None, *, most: int, dice: random.Random) -> list[SampleCandidate]:
        """About `most` completed jobs of a type, from all over it; with results of converters that the filter
        takes. It costs as much as so many, however many there are."""


class TextLookups(Protocol):
    """The index of texts (`blobforge/texts.py`)."""

    def unindexed(self, *, most: int) -> int:
        """How many jobs are not in it yet, up to so many. A search looks at them one by one."""


class Reader(Lookups, Protocol):
    """Used by one thread at a time."""

    @property
    def insights(self) -> Insights: ...
    @property
    def roster(self) -> Roster: ...
    @property
    def outputs(self) -> OutputLookups: ...
    @property
    def superseded(self) -> SupersededLookups: ...
    @property
    def texts(self) -> TextLookups: ...
    @property
    def types(self) -> TypeLookups: ...
    @property
    def searches(self) -> SearchLookups: ...
    @property
    def batches(self) -> BatchLookups: ...
    @property
    def kin(self) -> KinLookups: ...
    @property
    def canaries(self) -> CanaryLookups: ...
    @property
    def webhooks(self) -> WebhookLookups: ...
    def outages_told(self) -> AbstractContextManager[None]:
        """Around what is asked: raises DatabaseError where the engine cannot answer."""

    def close(self) -> None: ...
    def snapshot(self) -> AbstractContextManager[None]:
        """The calls within see one moment. One inside another is the same one."""

    # --- single things, with what belongs to them

    def job_in_short(self, job_id: int) -> Job | None:
        """The job without its metadata, its result and its last error: one of many, to show or to judge."""

    def job_with_attempts(
        self, job_id: int, *, before: int = NEWEST, most_result: int = 0
    ) -> tuple[Job, list[Attempt]] | None:
        """The job and the records of its latest attempts (those with lower numbers than `before`), oldest first, of
        one moment; with a result that is kept aside, where it has at most `most_result` bytes."""

    def job_to_name(self, job_id: int, *, former: bool = False) -> Job | None:
        """The job, to name its output by: of a result that is kept aside, the members that say what it is. `former`:
        with its former result in the place of its own, and None where none is kept to be compared."""

    def named(self, job: Job) -> Job:
        """The same of a job that was read; of one with its former result (`life.with_former`), too."""

    def jobs_to_name(self, job_ids: Collection[int]) -> dict[int, Job]:
        """Those of many that are there, by their ids, with no more of what was written at length than names them."""

    def files(self, keys: Collection[str]) -> dict[str, FileRecord]:
        """What is known of those of these objects that are on record."""

    def result(self, job_id: int, *, former: bool = False) -> tuple[Job, str | None] | None:
        """The job and its result, whole; `former`: see `job_to_name`."""

    def whole_result(self, job: Job) -> str | None:
        """The result of a job that was read, whole."""

    def attempts(self, job_id: int, *, before: int = NEWEST, limit: int = MOST_ATTEMPTS) -> list[Attempt]:
        """The latest attempts of a job below a number, newest first: as many as `limit` and a page's size hold."""

    def attempts_in_short(self, job_id: int, *, before: int, limit: int) -> list[Attempt]:
        """The same, each with the beginning of its error, without traceback and log tail."""

    def count_attempts(self, job_id: int) -> int: ...
    def jobs_running_on(self, worker_id: str, *, limit: int) -> list[int]:
        """The ids of the jobs that a worker runs, the first `limit` of them."""

    def attempts_of_worker(self, worker_id: str, *, after: AttemptPlace, limit: int) -> list[WorkerAttempt]:
        """The attempts of a worker, the newest first."""

    def paths(self, job_id: int, *, after: int = 0, limit: int) -> list[tuple[int, str]]:
        """The further paths of a job's source with numbers above `after`, in their order."""

    def tokens(self, wanted: TokenFilter, *, after: int, limit: int) -> list[Token]: ...
    def session(self, hash_: str) -> tuple[Session, User | Token | None] | None:
        """A session with the user or the token that it stands for."""

    def users(self, wanted: UserFilter, *, after: int, limit: int) -> list[User]: ...
    def sessions_of(self, user_id: int, *, after: tuple[int, str], limit: int) -> list[Session]:
        """The sessions of a user, the oldest first, behind a time of creation and a hash."""

    def latest_sessions(
        self, *, user_id: int | None = None, token_id: int | None = None, limit: int
    ) -> list[Session]:
        """The sessions that began last, of a user or by a token, the latest first."""

    # --- lists

    def list_jobs(self, filter_: JobFilter, *, limit: int, cursor: Cursor, offset: int = 0) -> Page:
        """A page in list order: urgent first, then newest. `offset` skips that many and costs as much."""

    def sorted_jobs(self, filter_: JobFilter, sort: JobSort, *, limit: int, cursor: Cursor) -> Page:
        """A page in another order; `cursor` is of a page in the same one. `total` is as in `list_jobs`."""

    def jobs_by_id(self, filter_: JobFilter, *, after: int, limit: int) -> tuple[list[Job], int | None]:
        """Jobs that match, with ids above `after`, the lowest first, in short (`job_in_short`); and the id behind
        which to go on (None: there are no more). There may be fewer than `limit`, even none, and still be more."""

    def attempts_of(self, job_ids: Collection[int]) -> dict[int, int]:
        """How many attempts these jobs have had; those that had any."""

    def options_of(self, job_ids: Collection[int]) -> dict[int, str]:
        """The options of these jobs, as they are kept; those that have any."""

    def errors_of(self, job_ids: Collection[int]) -> dict[int, str]:
        """The beginning of the latest error of these jobs, 2,000 characters of it; of those that have one."""

    # --- operations

    def operation(self, operation_id: int) -> Operation | None: ...
    def operations(self, *, before: int, limit: int) -> list[Operation]:
        """Those with ids below `before`, the newest first."""

    def open_operations(self, *, limit: int) -> list[Operation]:
        """Those that have not ended, the oldest first."""

    def operation_jobs(self, operation_id: int, page: int) -> list[int]:
        """The ids of a page of its jobs."""

    def operation_workers(self, operation_id: int, page: int) -> list[str]:
        """The ids of a page of its workers, of an operation over workers."""

    # --- statistics

    def stats(self, *, now: int) -> Stats:
        """The kept counters and a few index look-ups: the same time whatever the number of jobs. It grows with the
        number of types and priorities of which jobs are there."""

    def totals(self) -> StatusTotals:
        """What of that stands around each page: the same time whatever the number of types."""

    def tag_weights(self, *, after: tuple[int, str], limit: int) -> list[TagWeight]:
        """Tags behind a place (`TagWeight.place`), those with most bytes first."""

    def tags_beginning(self, text: str, *, limit: int) -> list[str]:
        """Tags of jobs that begin so, by name."""

    def converters_beginning(self, text: str, *, limit: int) -> list[str]:
        """Converters with results that begin so, by name."""

    def groups_beginning(self, text: str, *, limit: int) -> list[str]:
        """Groups with jobs that waited lately that begin so, by name; of the first 10,000 lines."""

    def census(self) -> Census:
        """What the metrics show. Raises DatabaseError when it cannot be read."""

    def miscounts(self, *, most: int) -> Miscounts | None:
        """What kept counters lack, at most so much of each kind; None where no server of an older release can have
        moved anything. It counts all jobs, and takes seconds with a million of them. Raises DatabaseError."""

    def space(self) -> Space:
        """What the database takes on its disk. Raises DatabaseError where it takes a question that fails."""

    # --- what the actors read at a start

    def running(self) -> list[tuple[int, int, int, int | None]]:
        """(job, attempt, heartbeat_at, how long (ms) a lease of its type lasts where that is set) of every attempt
        that holds a lease."""

    def live_workers(self) -> list[tuple[str, int | None]]:
        """(id, last_heartbeat) of every worker that is not offline."""

    def waiting_for_time(self) -> list[tuple[int, int, int]]:
        """(job, until when, updated_at; both in ms) of each in its back-off, or kept from workers that failed it."""

    def awaited_proofs(self) -> list[ProofAwaited]:
        """The outputs that are sources of jobs, and have not been read yet."""

    def awaited_sources(self) -> list[tuple[int, str, int]]:
        """(job, source_hash, since when in ms) of every job whose source is to be uploaded by a client, and is not
        there yet."""

    def is_doomed(self, key: str) -> bool:
        """Whether the object is on the list of those to delete, or was lately."""

    def held_sources(self, hashes: set[str]) -> set[str]:
        """Those of which there is a job that does not wait for its source."""

    def outputs_to_keep(self) -> list[OutputAccepted]:
        """Accepted outputs that URLs to upload may still reach."""

    def unchecked_outputs(self) -> list[tuple[int, int, str]]:
        """(job, attempt, key) of completions accepted while the object store gave no answer."""

    def drills(self, *, limit: int, before: int = NEWEST, ok: bool | None = None) -> list[Drill]:
        """The last drills with ids below `before`, newest first; `ok` None: whatever became of them."""

    def proven_until(self) -> int | None:
        """Until when (ms) a drill has found everything in the backup."""

    def sanity(self) -> None:
        """Raises DatabaseError when the database cannot be read."""
