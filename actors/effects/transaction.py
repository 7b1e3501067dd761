"""What every effect works with: the store, the rules in force, the time, and the list of what has happened; and how
one is undone."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

import msgspec
import structlog
from msgspec.structs import replace

from actors.repeats import WINDOW_SECONDS
from blobforge.batch import JobBatch
from blobforge.canary import MARK, is_comparison, ordinary
from blobforge.converters import MOST_CONVERTERS
from blobforge.events import (
    AttemptEnded,
    Audited,
    CredentialsRevoked,
    DeliveriesWait,
    Event,
    Fact,
    JobWaits,
    TypeFreed,
)
from blobforge.job import Job, JobStatus, Outcome, RetryPolicy
from blobforge.jobtype import HEEDS_INTERVAL, Patience, patience, retry_policy
from blobforge.machinery.redaction import redact
from blobforge.people import AuditEntry
from blobforge.quarantine import EndedAttempt
from blobforge.refusals import Refusal
from blobforge.requirements import MOST_SETS
from blobforge.store.errors import StoreUnavailable
from blobforge.store.opentransaction import Mark, Unrecoverable, Unwritable
from blobforge.store.writing import Store
from blobforge.webhook import Occasion, job_ended
from blobforge.worker import Worker

T = TypeVar("T")
M = TypeVar("M")
EffectPlace = tuple[int, ...]
log = structlog.get_logger("blobforge.effects")


class Rules(msgspec.Struct, frozen=True):
    """The settings that decide about jobs. `idempotency_window`, `url_lifetime`, `beat` between heartbeats,
    `worker_timeout`, after which a silent worker's lease ends, and `compare_for`, how long a result that was replaced
    is kept for a comparison, are in seconds. `quarantine`: whether machines that stand out get no jobs;
    `breaker`: how many failures in a row pause a type (0: none do)."""

    retry: RetryPolicy = RetryPolicy()
    max_attempts: int = 3
    max_types: int = 200
    max_converters: int = MOST_CONVERTERS
    max_requirement_sets: int = MOST_SETS
    idempotency_window: float = WINDOW_SECONDS
    beat: float = 30.0
    worker_timeout: float = 180.0
    url_lifetime: float = 3600.0
    compare_for: float = 604_800.0
    quarantine: bool = True
    breaker: int = 0

    @property
    def patience(self) -> Patience:
        """With leases of types for which no other is set."""
        return Patience(round(self.worker_timeout * 1000), round(self.beat * 1000))

    @property
    def url_lifetime_ms(self) -> int:
        return round(self.url_lifetime * 1000)

    @property
    def compare_ms(self) -> int:
        return round(self.compare_for * 1000)


class Spoiled(Exception):
    """An effect is to be undone, and some of it has been written already: the transaction is to be made again, in
    which the effect at this place comes to `outcome`. A place: that of the message, of the item in it, and so on."""

    def __init__(self, place: EffectPlace, outcome: Refusal | Exception) -> None:
        super().__init__(place, outcome)
        self.place = place
        self.outcome = outcome


LOST = (Spoiled, Unwritable, StoreUnavailable)  # what is raised when the transaction is


class Transaction(msgspec.Struct):
    """One transaction in the making. `now` is in milliseconds since the epoch.

    `events` and `facts` leave the writer only after COMMIT, and not at all when the effect is undone. `settled`: what
    is known of places from a former try of the same transaction. `careful`: what an effect has changed is written
    before the next one, so that it is known whose it was that could not be written.
    """

    store: Store
    rules: Rules
    now: int
    dice: random.Random
    revocations: int = 0  # how many were committed before, and how many this transaction has come to
    settled: Mapping[EffectPlace, Refusal | Exception] = {}
    careful: bool = False
    cut: set[int] = msgspec.field(default_factory=set)  # of what came of these, no stage is joined in this message
    stage_work: int = 0  # what this message has done about stages so far (joining.MOST_WORK)
    restored: set[int] = msgspec.field(default_factory=set)  # jobs that this message has put back as they had ended
    put_off: list[tuple[int, int, int]] = []  # stages (parent, attempt, step) that are too much for this message
    cancelling: set[int] = msgspec.field(default_factory=set)  # batches that this message cancels jobs of, as a whole
    events: list[Event] = []
    facts: list[Fact] = []
    failed: dict[tuple[str, str], list[EndedAttempt]] = {}  # by worker and type, so far in it; undone ones, too
    judged: set[tuple[str, str]] = set()  # workers that were, and for which type: once in a transaction
    _at: EffectPlace = ()

    def whole(self, place: int, effect: Callable[[Transaction, M], T], message: M) -> T:
        """All of an effect, or nothing: where it is refused or meets a bug, it has not happened.

        The one place where effects are undone. Raises what the effect raises; Spoiled where it cannot be undone
        alone.
        """
        outside = self._at
        self._at = here = (*outside, place)
        if here in self.settled:
            self._at = outside
            return cast(T, self._told(self.settled[here]))
        mark, events, facts, revocations = self.store.mark(), len(self.events), len(self.facts), self.revocations
        ended, put_off = len(self.store.ended), len(self.put_off)
        try:
            answer = effect(self, message)
            if not outside and len(self.store.ended) > ended and not isinstance(answer, Refusal):
                self._tell_of_ended(ended)
            if self.careful and not isinstance(answer, Refusal):
                self.store.ensure()
        except (Spoiled, StoreUnavailable):
            raise
        except Unwritable as error:
            if self.careful and isinstance(error.__cause__, Exception):
                raise Spoiled(here, error.__cause__) from error
            raise  # it may be another's
        except Exception as error:
            self._undo(mark, events, facts, error)
            self.revocations = revocations
            del self.put_off[put_off:]
            raise
        else:
            if isinstance(answer, Refusal):
                self._undo(mark, events, facts, answer)
                self.revocations = revocations
                del self.put_off[put_off:]
            return answer
        finally:
            self._at = outside

    def _told(self, outcome: Refusal | Exception) -> Refusal:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _undo(self, mark: Mark, events: int, facts: int, outcome: Refusal | Exception) -> None:
        del self.events[events:], self.facts[facts:]
        try:
            self.store.undo(mark)
        except Unrecoverable as error:
            raise Spoiled(self._at, outcome) from error

    def each(self, items: Iterable[M], effect: Callable[[Transaction, M], bool]) -> int:
        """Many in one message: a bug that one of them meets is logged, and spoils no other. How many came to True."""
        done = 0
        for place, item in enumerate(items):
            try:
                done += self.whole(place, effect, item)
            except LOST:
                raise
            except Exception:
                log.exception("effect failed")
        return done

    def end_attempt(
        self, before: Job, after: Job, outcome: Outcome, *, free: bool = False, **record: str | None
    ) -> None:
        """Write how the latest attempt of a job ended, and tell it. `before` is the job as it was until now;
        `record` is what `Store.end_attempt` keeps of it. `free`: its charge was given back."""
        self.store.end_attempt(before, after, outcome, now=self.now, free=free, **record)
        ran = before.status is JobStatus.RUNNING and before.started_at is not None
        seconds = max(0, self.now - (before.started_at or 0)) / 1000 if ran else None
        if not is_comparison(before.type):
            self.facts.append(AttemptEnded(before.type, outcome, seconds))
        if before.status is JobStatus.RUNNING and self.store.type_settings(before.type).max_running is not None:
            self.facts.append(TypeFreed(ordinary(before.type)))

    def hide_comparisons(self) -> None:
        """Subscribers are told nothing of the jobs of canaries."""
        self.events[:] = [event for event in self.events if MARK not in getattr(event, "type", "")]

    def retry_policy(self, type_: str) -> RetryPolicy:
        """Back-off and budgets of jobs of this type."""
        return retry_policy(self.store.type_settings(type_), self.rules.retry)

    def patience(self, type_: str, worker: Worker) -> Patience | None:
        """With a lease of this worker for a job of this type, where it is not the one of all types."""
        settings = self.store.type_settings(type_)
        if settings.worker_timeout is None:
            return None
        return patience(settings, self.rules.patience, heeds=HEEDS_INTERVAL in worker.accepts)

    def waits(self, job: Job) -> None:
        """Have the job, as it is saved, woken when its time has come."""
        assert job.waits_until is not None
        wait = max(0, job.waits_until - self.now) / 1000
        self.facts.append(JobWaits(job.id, job.waits_until, wait, start=job.waits_to_start))

    def expires(self, job: Job) -> None:
        """Have times be looked at when the job, as it is saved, is to be given up."""
        assert job.expires_at is not None
        wait = max(0, job.expires_at - self.now) / 1000
        self.facts.append(JobWaits(job.id, job.expires_at, wait, start=True))

    def is_wanted(self, occasion: Occasion) -> bool:
        """Whether an endpoint wants to hear of it."""
        return any(webhook.wants(occasion) for webhook in self.store.webhooks.all())

    def tell_webhooks(self, occasion: Occasion, *, ended: JobBatch | None = None) -> None:
        """Put it into the outbox, for each endpoint that wants it, and for the callback of a batch that `ended`."""
        told = [webhook.id for webhook in self.store.webhooks.all() if webhook.wants(occasion)]
        callback = ended.callback_to if ended is not None else None
        if told or callback is not None:  # names and errors are as others wrote them: no secret goes out
            occasion = replace(occasion, data={name: _clean(value) for name, value in occasion.data.items()})
        for webhook_id in told:
            self.store.webhooks.tell(webhook_id, occasion, at=self.now)
        if ended is not None and callback is not None:
            self.store.webhooks.tell(callback, occasion, at=self.now, sealed=ended.callback)
            told.append(callback)
        if told:
            self.facts.append(DeliveriesWait(tuple(told)))

    def _tell_of_ended(self, first: int) -> None:
        """The jobs that have ended in an effect that stands, whatever it was that ended them; but for those that it
        has brought back, as where a machine or a type was found to be broken, for those that had ended before, and
        whose retry was undone, and for comparisons."""
        if not self.store.webhooks.all():
            return
        for job in {job.id: job for job in self.store.ended[first:]}.values():
            if job.id in self.restored:
                continue
            now = self.store.job(job.id)
            if (now is None or now.status is job.status) and not is_comparison(job.type):
                # Before what is too long is cut off: half a secret is not known for one.
                clean = replace(job, source_path=_clean(job.source_path), last_error=_clean(job.last_error))
                self.tell_webhooks(job_ended(clean))

    def audit(self, entry: AuditEntry) -> None:
        """Append to the audit log, and tell it."""
        self.store.insert_audit(entry)
        self.facts.append(Audited())

    def revoke(self, *hashes: str, workers: tuple[str, ...] = ()) -> None:
        """Note that these credentials are good no longer (`CredentialsRevoked`)."""
        if hashes or workers:
            self.revocations += 1
            self.facts.append(CredentialsRevoked(hashes, workers))

    def new_lease(self) -> str:
        """An unguessable token for one attempt (128 bits)."""
        return os.urandom(16).hex()


def _clean(value: T) -> T:
    """Without secrets, where it is text, or a list of such."""
    if isinstance(value, list):
        return cast(T, [_clean(each) for each in value])
    return cast(T, redact(value)) if isinstance(value, str) else value


def transact(
    begun: Callable[[], Transaction], work: Callable[[Transaction], T], *, careful: bool = False
) -> tuple[T, int]:
    """Have `work` make its transaction, until no effect in it is left that cannot be undone alone; what it has come
    to, and how often it was made anew. Raises StoreUnavailable.

    What such an effect comes to is known then, and it is left out. Where something could not be written, it shows
    whose it was when each effect is written by itself.
    """
    settled: dict[EffectPlace, Refusal | Exception] = {}
    for tries in itertools.count():
        tx = begun()
        tx.settled, tx.careful = settled, careful
        try:
            return work(tx), tries
        except Spoiled as spoiled:
            settled[spoiled.place] = spoiled.outcome
        except Unwritable:
            if careful:
                raise
            careful = True
    raise AssertionError("it ends when no effect is left")
