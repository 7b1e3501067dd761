"""Jobs that go for good with all that they have, and former results that go of jobs that stay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from actors.effects import wide
from actors.effects.deletions import DOUBT_MS, doom, forget_later
from actors.effects.joining import is_unfinished, join_ended, stages_of
from actors.effects.transaction import Transaction
from actors.messages import (
    DeleteJob,
    JobDeleted,
    Prune,
    Pruned,
)
from blobforge import life
from blobforge.canary import is_a_canarys, is_comparison
from blobforge.chain import Kin
from blobforge.events import (
    JobRemoved,
    JobsPruned,
    ObjectsDoomed,
    SourceSettled,
    WorkerGone,
    WorkerRemoved,
)
from blobforge.job import Job, JobStatus, no_such_job
from blobforge.objects.keys import (
    accepted_key,
    attempt_of,
    is_sha256,
    name_in,
    named_output_key,
    output_key,
    output_of,
    prefix_of,
    shared_source,
    source_key,
)
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.files import SupersededResult
from blobforge.store.turns import give_up_turn


def delete_job(tx: Transaction, message: DeleteJob) -> JobDeleted | Refusal:
    """Remove a job that does not run, and its objects unless they are to stay."""
    job = tx.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    if is_comparison(job.type):
        return is_a_canarys(job.id, job.type)
    if message.submitter is not None:
        if job.submitter != message.submitter:
            detail = f"Job {job.id} was submitted by another. With the scope submit, you delete your own; admin, any."
            return Refusal(RefusalCode.NOT_YOURS, detail)
        if job.status is not JobStatus.UPLOADING:
            detail = f"Job {job.id} is {job.status}. With the scope submit, you delete it only while it is uploading."
            return Refusal(RefusalCode.JOB_NOT_UPLOADING, detail)
    if job.status is JobStatus.RUNNING:
        return Refusal(RefusalCode.JOB_RUNNING, f"Job {job.id} is running. Cancel it first, then delete it.")
    remove(tx, job, objects=message.objects)
    tx.events.append(JobRemoved(job.id, job.type))
    return JobDeleted(job.id)


def prune(tx: Transaction, message: Prune) -> Pruned:
    """Remove some of the jobs, of the audit log, and of the silent workers, that have been kept long enough."""
    found = [
        job
        for status, before in message.ended_before
        for job in tx.store.ended_before(status, before, limit=message.limit)
    ][: message.limit]
    removed = tx.each(found, partial(_prune, objects=message.objects))
    more = removed > 0 and len(found) == message.limit
    if removed:
        tx.events.append(JobsPruned(removed))
    if message.audit_before is not None:
        more = tx.store.prune_audit(message.audit_before, limit=message.limit) or more
    if message.workers_before is not None:
        gone = tx.store.forgettable_workers(message.workers_before, limit=message.limit)
        for worker in gone:
            tx.store.delete_worker(worker)
            tx.events.append(WorkerRemoved(worker.id, worker.type))
            tx.facts.append(WorkerGone(worker.id))
        more = len(gone) == message.limit or more
    if message.deliveries_before is not None:
        more = tx.store.webhooks.prune(message.deliveries_before, limit=message.limit) or more
    if message.compared_before is not None:
        compared = tx.store.compared_until(message.compared_before, limit=message.limit)
        tx.each(compared, partial(_end_comparison, objects=message.objects))
        more = more or len(compared) == message.limit
    former = _superseded(tx, message)
    results = tx.each(former, _remove_former)
    if results:
        tx.facts.append(ObjectsDoomed())
    return Pruned(removed, more or (results > 0 and len(former) >= message.limit), results)


def _superseded(tx: Transaction, message: Prune) -> list[SupersededResult]:
    """Some of the former results that have been kept long enough, or that are too many."""
    found: list[SupersededResult] = []
    if message.superseded_before is not None:
        found += tx.store.superseded.before(message.superseded_before, limit=message.limit)
    if message.superseded_kept is not None and len(found) < message.limit:
        # A URL that was given out for it opens for as long as it says.
        given_out = tx.now - tx.rules.url_lifetime_ms
        known = {(each.job_id, each.attempt) for each in found}
        beyond = tx.store.superseded.beyond(message.superseded_kept, given_out, limit=message.limit)
        found += [each for each in beyond if (each.job_id, each.attempt) not in known]
    return found[: message.limit]


def _remove_former(tx: Transaction, former: SupersededResult) -> bool:
    """The objects of a result that another one has replaced; its job and its attempt stay."""
    job = tx.store.job(former.job_id)
    tx.store.superseded.drop(former.job_id, former.attempt)
    if job is None or job.result_attempt == former.attempt:
        return True
    _doom_result(tx, former.key)
    tx.store.drop_result(job.id, former.attempt)
    without = life.forget_result(job, attempt=former.attempt, now=tx.now)
    if without is not None:
        tx.store.save_job(job, without)
    return True


def _doom_result(tx: Transaction, key: str, *, objects: bool = True) -> None:
    """The objects of the result whose (main) output has this key: no job serves it any more. Those that are the
    sources of jobs that came of them go with these. Without `objects` they stay, and their records go."""
    whose = output_of(key)
    if tx.store.kin.lends(whose.job_id, whose.attempt):
        return
    if name_in(key) is not None:
        if objects:
            doom(tx, prefix_of(key), again=False)
        else:
            forget_later(tx, prefix_of(key))
        return
    record = tx.store.file(key)
    for each in [key] if record is None or record.kept is None else [key, record.kept]:
        tx.store.forget_file(each)
        if objects:
            doom(tx, each, again=False)


def _prune(tx: Transaction, job: Job, *, objects: bool) -> bool:
    remove(tx, job, objects=objects)
    return True


def _end_comparison(tx: Transaction, job: Job, *, objects: bool) -> bool:
    """The former result has been kept long enough beside the one that took its place."""
    served = tx.store.file(job.output_key) if job.output_key is not None else None
    if served is not None and served.checked_at is None:
        # The new output was accepted unseen. If it is not there, the former one is served again.
        tx.store.save_job(job, replace(job, compare_until=tx.now + DOUBT_MS))
        return False
    former = life.former_result(job)
    # Nothing about the job has changed for those that follow it.
    tx.store.save_job(job, life.without_former(job, now=job.updated_at))
    if former is None:
        return True
    tx.store.drop_result(job.id, former.attempt)
    if former.output_key is None or not objects:
        return True
    tx.store.superseded.drop(job.id, former.attempt)
    if shared_source(former.output_key) is None:
        _doom_result(tx, former.output_key)
    tx.facts.append(ObjectsDoomed())
    return True


def remove(tx: Transaction, job: Job, *, objects: bool) -> None:
    """The job with all that it has."""
    # After the end only an attempt that may still complete is given URLs: in time, none brings anything back.
    late = job.status is JobStatus.DEAD and job.lease is not None
    recent = late or job.completed_at is None or job.completed_at + tx.rules.url_lifetime_ms > tx.now
    doomed: dict[str, bool] = {}
    # What its outputs have started still needs them: they go with the last of these.
    lent = tx.store.kin.lending(job.id) if job.chain is not None else set()
    for key in tx.store.output_keys(job.id):
        if lent and shared_source(key) is not None:
            continue  # the search for objects that no job needs finds it later
        if lent and output_of(key).attempt in lent:
            tx.store.forget_file(key)
            continue
        doomed[key] = recent
        record = tx.store.file(key)
        if record is not None and record.kept is not None:
            doomed[record.kept] = False
    prefixes = [prefix for prefix in _prefixes(tx, job) if attempt_of(prefix).attempt not in lent]
    stages = stages_of(tx, [job]) if is_unfinished(job) else []
    wide.parent_goes(tx, job)
    give_up_turn(tx.store, job)
    joined = tx.store.kin.of_join(job.id) if job.chain is not None and job.chain.joins else []
    tx.store.delete_job(job)
    join_ended(tx, stages)
    doomed |= dict.fromkeys(prefixes, recent)
    _give_back(tx, job, joined, objects=objects)
    if is_sha256(job.source_hash):
        doomed[source_key(job.source_hash)] = True
    if tx.store.has_source(job.source_hash):
        doomed = {key: again for key, again in doomed.items() if shared_source(key) is None}
    for key, again in doomed.items():
        tx.store.forget_file(key)
        if objects:
            doom(tx, key, again=again)
    if not objects:
        for prefix in prefixes:
            forget_later(tx, prefix)
    if objects or prefixes:
        tx.facts.append(ObjectsDoomed())
    if job.status is JobStatus.UPLOADING:
        tx.facts.append(SourceSettled(job.id, job.source_hash))


def _prefixes(tx: Transaction, job: Job) -> list[str]:
    """What the keys of the several outputs of the job's attempts begin with: they are deleted by these, piece by
    piece, as they may be very many."""
    several = set(tx.store.outputs.attempts(job.id))
    if not several:
        return []
    keys = [key for key in tx.store.output_keys(job.id) if output_of(key).attempt in several]
    return [prefix_of(key) for key in keys if output_of(key).installation is not None]


def _give_back(tx: Transaction, job: Job, joined: Sequence[Kin], *, objects: bool) -> None:
    """The job has gone for good: the output that was its source, or those that it joins, go, too, where no other job
    needs them. Without `objects` they stay."""
    for kin in joined:
        _take_back_lent(tx, kin.parent, kin.attempt, None, objects=objects)
    if joined and not tx.store.has_source(job.source_hash):
        tx.store.kin.drop_manifest(job.source_hash)
    if job.chain is None or job.chain.source is None:
        return
    key = job.chain.source
    whose = output_of(key)
    _take_back_lent(tx, whose.job_id, whose.attempt, key, objects=objects)


def _take_back_lent(tx: Transaction, job_id: int, number: int, key: str | None, *, objects: bool) -> None:
    """An output of this attempt is the source of one job less, or is joined by one less. `key`: one of them, where
    its job may be gone."""
    parent = tx.store.job(job_id)
    if parent is not None:
        former = life.former_result(parent)
        served = (parent.attempt, parent.result_attempt, former.attempt if former is not None else None)
        if number in served or tx.store.superseded.keeps(parent.id, number):
            return
    attempt = tx.store.attempt(job_id, number)
    main = attempt.output_key if attempt is not None else output_key(tx.store.installation, job_id, number)
    if shared_source(main) is not None:
        return  # all jobs of its source share it
    if (key is not None and name_in(key) is not None) or number in tx.store.outputs.attempts(job_id):
        _doom_result(tx, key or named_output_key(prefix_of(main), "any"), objects=objects)
    elif key is not None and attempt is None:
        _doom_result(tx, key, objects=objects)
    else:
        _doom_result(tx, main, objects=objects)
        if attempt is None:
            _doom_result(tx, accepted_key(tx.store.installation, main), objects=objects)
    tx.facts.append(ObjectsDoomed())
