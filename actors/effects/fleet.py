"""Workers: register, heartbeat, drain, leave; and their credentials."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from actors.effects import quarantine
from actors.effects.acting import acting
from actors.effects.converters import one_too_many
from actors.effects.returns import take_back_all
from actors.effects.transaction import Transaction
from actors.messages import (
    CreateWorker,
    DisableWorker,
    Drain,
    EnableWorker,
    ExpireWorkers,
    Heartbeat,
    HeartbeatSeen,
    JobBeat,
    Register,
    RemoveWorker,
    ReplaceSecret,
    SilentWorker,
    SomeChanged,
    Unregister,
    WorkerChanged,
    WorkerRegistered,
)
from blobforge import life
from blobforge.access import Caller
from blobforge.events import (
    AccessChanged,
    JobProgress,
    LeaseRenewed,
    WorkerDraining,
    WorkerGone,
    WorkerLabelled,
    WorkerOffline,
    WorkerOnline,
    WorkerRemoved,
    WorkerRetried,
    WorkerSeen,
)
from blobforge.job import Job
from blobforge.jobtype import Patience
from blobforge.refusals import Refusal, RefusalCode
from blobforge.webhook import worker_lost
from blobforge.worker import (
    Succession,
    Worker,
    WorkerStatus,
    bound_to_another,
    may_act,
    no_such_worker,
    not_registered,
    succession,
)

HEARD_WITHIN = 2.0  # heartbeat intervals: a process that was heard in this time is alive


def register(tx: Transaction, message: Register) -> WorkerRegistered | Refusal:
    """A worker process starts: it is online from here on. Registering is a sign of life, and ends a drain."""
    worker = _starting(tx, message)
    if isinstance(worker, Refusal):
        return worker
    if refusal := bound_to_another(worker, (message.type,)):
        return refusal
    if refusal := one_too_many(tx, message.converter, known=worker.converter):
        return refusal
    patience = round(HEARD_WITHIN * tx.rules.beat * 1000)
    silence = _silence(tx, worker, message.silent)
    match succession(worker, message.instance, message.replaces, silence_ms=silence, patience_ms=patience):
        case Succession.RIVAL:
            contested = replace(worker, contested_at=tx.now, contested_by=message.host)
            tx.store.save_worker(worker, contested)
            return WorkerRegistered(worker.id, alive=max(1.0, (patience - silence) / 1000))
        case Succession.SUCCESSOR:
            worker = _replaced(tx, worker)
        case Succession.SAME:
            pass
    online = replace(
        worker,
        instance=message.instance or worker.instance,
        contested_at=None,
        contested_by=None,
        type=message.type,
        status=WorkerStatus.ONLINE,
        drain=False,
        registered=True,
        last_heartbeat=tx.now,
        updated_at=tx.now,
        metadata=message.metadata,
        labels=message.labels,
        version=message.version,
        accepts=(),  # it will say anew what it heeds
        converter=message.converter,
    )
    tx.store.save_worker(worker, online)
    tx.store.forget_types(online.id)  # it will say anew what it asks for
    tx.events.append(WorkerOnline(online.id, online.type))
    tx.facts.append(WorkerSeen(online.id, tx.now))
    if worker.registered and worker.labels != online.labels:
        tx.facts.append(WorkerLabelled(online.id))
    return WorkerRegistered(online.id)


def _silence(tx: Transaction, worker: Worker, silent: float | None) -> int:
    """Milliseconds since the worker was heard of. A clock that is set forward makes no worker silent, one that is set
    back none alive, and what was heard since the caller looked counts."""
    by_clock = tx.now - (worker.last_heartbeat or 0)
    said = [] if silent is None else [round(silent * 1000)]
    return min([*said, by_clock] if by_clock >= 0 else said, default=0)


def _replaced(tx: Transaction, worker: Worker) -> Worker:
    """Another process of the worker takes over: what the former one ran goes back. Had it been a trial, it failed."""
    trials = tx.store.jobs_of_worker(worker.id) if worker.quarantine is not None else []
    take_back_all(tx, [worker.id], "another process of this worker has taken over", died=True)
    for job in trials:
        quarantine.gave_back(tx, worker.id, job)
    now = tx.store.worker(worker.id)
    assert now is not None
    return now


def _starting(tx: Transaction, message: Register) -> Worker | Refusal:
    """The worker that starts: new, one that the caller may speak for, or one that no other token owns any more."""
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        if message.caller.worker_id is not None:
            # Its credential went with it when it was removed; this request was authenticated just before.
            return no_such_worker(message.worker_id)
        new = Worker(
            id=message.worker_id,
            type=message.type,
            status=WorkerStatus.OFFLINE,
            created_at=tx.now,
            updated_at=tx.now,
            token_id=message.caller.token_id,
        )
        tx.store.save_worker(None, new)
        return new
    refusal = may_act(worker, message.caller)
    if refusal is None:
        return worker
    if not _orphaned(tx, worker, message.caller):
        return refusal
    # The token that registered it is gone, so no credential is its own any more: the new token starts it over.
    take_back_all(tx, [worker.id], "the worker was registered anew by another token")
    adopted = replace(worker, token_id=message.caller.token_id, instance=None)
    tx.store.save_worker(worker, adopted)
    return adopted


def _orphaned(tx: Transaction, worker: Worker, caller: Caller) -> bool:
    """Whether the worker belongs to a token that is no more, and a token asks for it."""
    if not worker.enabled or worker.secret_hash is not None or worker.token_id is None or caller.token_id is None:
        return False
    owner = tx.store.token(worker.token_id)
    return owner is None or owner.expired(tx.now)


def heartbeat(tx: Transaction, message: Heartbeat) -> HeartbeatSeen | Refusal:
    """A sign of life. Renews the leases of the jobs named, and says which are this worker's no longer. A job that it
    was given anew, while it still works on it by a lease that has ended, is its own."""
    worker = acting(tx, message)
    if isinstance(worker, Refusal):
        return worker
    if not worker.registered:
        return not_registered(worker.id)
    worker = show_life(tx, worker)
    named = [(beat.job_id, _renew(tx, worker, beat)) for beat in message.jobs]
    kept = {job.id for _, job in named if job is not None}
    abandon = tuple(job_id for job_id, job in named if job is None and job_id not in kept)
    lost = set(abandon)
    late = tuple(beat.job_id for beat in message.jobs if beat.job_id in lost and _may_come_late(tx, worker, beat))
    renewed_at = tx.now if kept else None
    patience = _shortest(tx, {job.type for _, job in named if job is not None}, worker)
    return HeartbeatSeen(drain=worker.drain, abandon=abandon, late=late, renewed=renewed_at, patience=patience)


def _shortest(tx: Transaction, types: set[str], worker: Worker) -> Patience | None:
    """The patience with that of its leases which ends first; None: each has the patience of all types."""
    each = [tx.patience(type_, worker) for type_ in types]
    own = [patience for patience in each if patience is not None]
    if not own:
        return None
    if len(own) < len(each):
        own.append(tx.rules.patience)
    return min(own, key=lambda patience: patience.lease)


def show_life(tx: Transaction, worker: Worker) -> Worker:
    """The worker has called: it is there. Returns it as it is now; one that was silent is back."""
    tx.facts.append(WorkerSeen(worker.id, tx.now))
    if worker.status is not WorkerStatus.OFFLINE:
        tx.store.beat_worker(worker, now=tx.now)
        return worker
    back = replace(
        worker,
        status=WorkerStatus.DRAINING if worker.drain else WorkerStatus.ONLINE,
        last_heartbeat=tx.now,
        updated_at=tx.now,
    )
    tx.store.save_worker(worker, back)
    tx.events.append(WorkerDraining(back.id, back.type) if back.drain else WorkerOnline(back.id, back.type))
    return back


def _renew(tx: Transaction, worker: Worker, beat: JobBeat) -> Job | None:
    """The job, if the worker holds it; then its lease runs anew from now."""
    job = tx.store.job(beat.job_id)
    if job is None or not life.holds(job, worker_id=worker.id, lease=beat.lease):
        return None
    tx.store.beat_job(job, progress=beat.progress, now=tx.now)
    tx.facts.append(renewed(tx, job, worker))
    if beat.progress is not None:
        tx.events.append(JobProgress(job.id, job.type, job.status, worker.id, Raw(beat.progress.encode())))
    return job


def renewed(tx: Transaction, job: Job, worker: Worker) -> LeaseRenewed:
    """That the worker's lease for this job runs anew from now."""
    patience = tx.patience(job.type, worker)
    return LeaseRenewed(job.id, job.attempt, tx.now, patience.lease if patience is not None else None)


def _may_come_late(tx: Transaction, worker: Worker, beat: JobBeat) -> bool:
    job = tx.store.job(beat.job_id)
    if job is None:
        return False
    last = tx.store.attempt(job.id, job.attempt)
    return life.may_come_late(job, last, worker_id=worker.id, lease=beat.lease)


def unregister(tx: Transaction, message: Unregister) -> WorkerChanged | Refusal:
    """The worker leaves by its own word: its jobs go back at once, at no cost."""
    worker = acting(tx, message)
    if isinstance(worker, Refusal):
        return worker
    returned = take_back_all(tx, [worker.id], "the worker unregistered")
    gone = replace(worker, registered=False)
    tx.store.save_worker(worker, gone)
    return _changed(_go_offline(tx, gone), returned)


def drain(tx: Transaction, message: Drain) -> WorkerChanged | Refusal:
    """No new jobs from now on; what it runs, it may end. Lasts until it registers anew or is enabled."""
    worker = _chosen(tx, message)
    if isinstance(worker, Refusal):
        return worker
    # An offline worker stays offline; it drains when it is back.
    status = worker.status if worker.status is WorkerStatus.OFFLINE else WorkerStatus.DRAINING
    draining = replace(worker, drain=True, status=status, updated_at=tx.now)
    tx.store.save_worker(worker, draining)
    tx.events.append(WorkerDraining(worker.id, worker.type))
    return _changed(draining)


def remove(tx: Transaction, message: RemoveWorker) -> WorkerChanged | Refusal:
    worker = _chosen(tx, message)
    if isinstance(worker, Refusal):
        return worker
    returned = take_back_all(tx, [worker.id], "the worker was removed")
    tx.store.delete_worker(worker)
    _revoke(tx, worker)
    tx.events.append(WorkerRemoved(worker.id, worker.type))
    tx.facts += [WorkerGone(worker.id), AccessChanged()]
    return _changed(worker, returned)


def _chosen(tx: Transaction, message: Drain | RemoveWorker | EnableWorker) -> Worker | Refusal:
    """The worker, as long as it is what it was chosen for."""
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        return no_such_worker(message.worker_id)
    if message.only is not None and not message.only.matches(worker):
        state = worker.status if worker.enabled else "disabled"
        text = f"Worker {worker.id!r} is {state} now, and no longer what it was chosen for."
        return Refusal(RefusalCode.WORKER_MOVED_ON, text)
    return worker


def create(tx: Transaction, message: CreateWorker) -> WorkerChanged | Refusal:
    """Give a worker a credential of its own before it first calls."""
    if tx.store.worker(message.worker_id) is not None:
        return Refusal(
            RefusalCode.WORKER_EXISTS,
            f"Worker {message.worker_id!r} exists already. Regenerate its secret, or choose another id.",
            field="id",
        )
    worker = Worker(
        id=message.worker_id,
        type=message.type,
        status=WorkerStatus.OFFLINE,
        created_at=tx.now,
        updated_at=tx.now,
        name=message.name,
        secret_hash=message.secret_hash,
        bound_type=message.type,
    )
    tx.store.save_worker(None, worker)
    tx.facts.append(AccessChanged())
    return replace(_changed(worker), salt=message.salt)


def replace_secret(tx: Transaction, message: ReplaceSecret) -> WorkerChanged | Refusal:
    """A new credential; the old one, or the token that registered the worker, is worth nothing from now on."""
    return _set_access(tx, message)


def enable(tx: Transaction, message: EnableWorker) -> WorkerChanged | Refusal:
    worker = _chosen(tx, message)
    if isinstance(worker, Refusal):
        return worker
    draining = worker.status is WorkerStatus.DRAINING
    enabled = replace(
        worker,
        enabled=True,
        drain=False,
        status=WorkerStatus.ONLINE if draining else worker.status,
        updated_at=tx.now,
    )
    tx.store.save_worker(worker, enabled)
    tx.facts.append(AccessChanged())
    if draining:
        tx.events.append(WorkerOnline(worker.id, worker.type))
    if worker.drain:
        tx.facts.append(WorkerRetried(worker.id))
    return _changed(enabled)


def disable(tx: Transaction, message: DisableWorker) -> WorkerChanged | Refusal:
    """Its credential is refused from now on, and its jobs go back at once, at no cost."""
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        return no_such_worker(message.worker_id)
    returned = take_back_all(tx, [worker.id], "the worker was disabled")
    disabled = replace(worker, enabled=False)
    tx.store.save_worker(worker, disabled)
    _revoke(tx, worker)
    tx.facts.append(AccessChanged())
    return _changed(_go_offline(tx, disabled), returned)


def expire_workers(tx: Transaction, message: ExpireWorkers) -> SomeChanged:
    """Silent for too long: offline. Leases expire by themselves, whatever their worker's status."""
    return SomeChanged(tx.each(message.workers, _expire_worker))


def _expire_worker(tx: Transaction, silent: SilentWorker) -> bool:
    worker = tx.store.worker(silent.worker_id)
    if worker is None or worker.last_heartbeat != silent.beat or worker.status is WorkerStatus.OFFLINE:
        return False
    _go_offline(tx, worker)
    tx.tell_webhooks(worker_lost(worker.id, worker.type))
    return True


def _go_offline(tx: Transaction, worker: Worker) -> Worker:
    offline = replace(worker, status=WorkerStatus.OFFLINE, updated_at=tx.now)
    tx.store.save_worker(worker, offline)
    tx.facts.append(WorkerGone(worker.id))
    if worker.status is not WorkerStatus.OFFLINE:
        tx.events.append(WorkerOffline(worker.id, worker.type))
    return offline


def _set_access(tx: Transaction, message: ReplaceSecret) -> WorkerChanged | Refusal:
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        return no_such_worker(message.worker_id)
    returned = take_back_all(tx, [worker.id], "the credential of its worker was replaced")
    changed = replace(worker, secret_hash=message.secret_hash, token_id=None, updated_at=tx.now)
    tx.store.save_worker(worker, changed)
    _revoke(tx, worker)
    tx.facts.append(AccessChanged())
    return replace(_changed(changed, returned), salt=message.salt)


def _revoke(tx: Transaction, worker: Worker) -> None:
    """Revoke the worker's credential."""
    tx.revoke(*([worker.secret_hash] if worker.secret_hash is not None else []), workers=(worker.id,))


def _changed(worker: Worker, returned: int = 0) -> WorkerChanged:
    return WorkerChanged(worker.id, worker.status, worker.type, worker.name, returned)
