"""The outputs of attempts that have several: how they are told of, and chosen.

They are told of in pieces, and chosen in pieces: nothing of it can be fetched, until the transaction that accepts the
attempt. That one looks only how many there are.
"""

from __future__ import annotations

from actors.effects.acting import acted_on
from actors.effects.transaction import Transaction
from actors.messages import ChooseOutputs, OutputsTold, Several, TellOutputs
from blobforge import life
from blobforge.job import Job, JobStatus
from blobforge.objects.keys import output_of
from blobforge.outputs import MOST, in_the_way, wrong_name
from blobforge.refusals import Refusal, RefusalCode


def tell_outputs(tx: Transaction, message: TellOutputs) -> OutputsTold | Refusal:
    job = _held(tx, message)
    if isinstance(job, Refusal):
        return job
    for each in message.outputs:
        if (wrong := wrong_name(each.name)) is not None:
            return _misnamed(f"An output cannot be called {each.name!r}: {wrong}.")
    known = tx.store.outputs.names(job.id, job.attempt)
    new = {each.name for each in message.outputs}
    if len(new.union(known)) > MOST:
        return _misnamed(f"An attempt has at most {MOST:,} outputs. Pack some of them into one file.")
    if (clash := in_the_way(new, known)) is not None:
        folder, below = clash
        return _misnamed(f"An output cannot be called {folder!r}, which is the folder of {below!r}.")
    tx.store.outputs.tell(job.id, job.attempt, message.outputs)
    return OutputsTold(job.id, job.attempt)


def choose_outputs(tx: Transaction, message: ChooseOutputs) -> OutputsTold | Refusal:
    job = _held(tx, message)
    if isinstance(job, Refusal):
        return job
    if message.first:
        tx.store.outputs.choose_none(job.id, job.attempt)
    tx.store.outputs.choose(job.id, job.attempt, message.outputs)
    return OutputsTold(job.id, job.attempt)


def not_chosen(tx: Transaction, job: Job, several: Several) -> Refusal | None:
    """The refusal of a completion whose outputs are not those that were chosen for it."""
    if tx.store.outputs.chosen(job.id, job.attempt) == (several.count, several.size):
        return None
    said = f"The outputs of attempt {job.attempt} were chosen by another request meanwhile. Complete it again."
    return Refusal(RefusalCode.UNAVAILABLE, said, retry_after=1)


def _held(tx: Transaction, message: TellOutputs | ChooseOutputs) -> Job | Refusal:
    """The job, whose attempt this worker has, and may still complete."""
    job = acted_on(tx, message)
    if isinstance(job, Refusal):
        return job
    if not life.holds(job, worker_id=message.worker_id, lease=message.lease):
        last = None if job.status is JobStatus.RUNNING else tx.store.attempt(job.id, job.attempt)
        if not life.may_come_late(job, last, worker_id=message.worker_id, lease=message.lease):
            return life.lease_lost(job)
    if output_of(job.upload_key or "").installation is None:
        said = "This attempt was claimed from an older release, and has one output. Its next one may have several."
        return Refusal(RefusalCode.WRONG_STORE, said)
    return job


def _misnamed(said: str) -> Refusal:
    return Refusal(RefusalCode.INVALID, said, field="names")
