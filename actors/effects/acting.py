"""The worker whose message it is, where the caller may speak for it, and the job that the message is about."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from actors.messages import (
    ChooseOutputs,
    Claim,
    Complete,
    Fail,
    Heartbeat,
    Release,
    TellOutputs,
    Unregister,
)
from blobforge.job import Job, no_such_job
from blobforge.refusals import Refusal
from blobforge.worker import Worker, may_act, no_such_worker


def acting(
    tx: Transaction,
    message: Claim | TellOutputs | ChooseOutputs | Complete | Fail | Release | Heartbeat | Unregister,
) -> Worker | Refusal:
    """The worker whose message this is, if the caller may speak for it."""
    worker = tx.store.worker(message.worker_id)
    if worker is None:
        return no_such_worker(message.worker_id)
    return may_act(worker, message.caller, message.instance) or worker


def acted_on(tx: Transaction, message: Complete | Fail | Release | TellOutputs | ChooseOutputs) -> Job | Refusal:
    """The job that a worker's message is about, if the caller may speak for the worker."""
    worker = acting(tx, message)
    if isinstance(worker, Refusal):
        return worker
    return tx.store.job(message.job_id) or no_such_job(message.job_id)
