"""Whether a caller has the attempt that it wants to bring something for."""

from __future__ import annotations

import msgspec

from blobforge.access import Scope
from blobforge.job import Job
from blobforge.life import holds, lease_lost, may_come_late
from blobforge.refusals import Refusal, RefusalCode
from blobforge.worker import may_act
from web.api import wire_files
from web.routing import Call


class HeldAttempt(msgspec.Struct, frozen=True):
    """A job whose latest attempt is this worker's, and may still bring its output."""

    job: Job
    worker_id: str


def worker_of(call: Call, named: str | None) -> str | Refusal:
    """The worker that this call is made as: the credential's, or the one that a token's holder names."""
    own = call.caller.worker_id
    if own is None:
        if named is None:
            return Refusal(RefusalCode.INVALID, "worker_id is missing: say which worker you are.", field="worker_id")
        return named
    if named not in (None, own):
        return Refusal(RefusalCode.NOT_YOURS, f"You are worker {own!r}, not {named!r}.")
    return own


async def held_attempt(call: Call, body: wire_files.Destination | wire_files.SourceUrlBody) -> HeldAttempt | Refusal:
    """The job whose latest attempt is the caller's, and may still bring its output."""
    if not call.caller.may(Scope.WORK):
        return Refusal(RefusalCode.KEY_NOT_ALLOWED, "Only the worker that holds a job may upload its output.")
    job_id = body.job_id
    assert job_id is not None
    found = await call.services.reads.run(lambda reader: reader.job_with_attempts(job_id))
    if found is None:
        return Refusal(RefusalCode.NO_SUCH_JOB, f"There is no job {job_id}.")
    job, attempts = found
    last = attempts[-1] if attempts else None
    named = body.worker_id
    if named is None and body.lease is not None and call.caller.worker_id is None:
        # A token may stand for several workers; the lease says which attempt it is.
        named = job.worker_id or (last.worker_id if last is not None and last.lease == body.lease else None)
        if named is None:
            return lease_lost(job)
    worker_id = worker_of(call, named)
    if isinstance(worker_id, Refusal):
        return worker_id
    # An attempt whose completion would still be accepted must be able to bring its output.
    late = may_come_late(job, last, worker_id=worker_id, lease=body.lease)
    if not late and not holds(job, worker_id=worker_id, lease=body.lease):
        return lease_lost(job)
    if call.caller.worker_id is None and not await _registered_by(call, worker_id):
        return Refusal(RefusalCode.NOT_YOURS, f"Your token did not register worker {worker_id!r}.")
    return HeldAttempt(job, worker_id)


async def _registered_by(call: Call, worker_id: str) -> bool:
    worker = await call.services.reads.run(lambda reader: reader.worker(worker_id))
    return worker is not None and may_act(worker, call.caller) is None
