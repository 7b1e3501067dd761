"""The job that joins a stage: made in the transaction in which the last job of that ends, and anew when it ends anew.

Its source is the manifest of what they brought, which the database has at once; the intake puts it into the store.
The outputs that it names are lent to the joining job, and stay as long as that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from actors.effects.descent import cancelled_with, descend
from actors.effects.transaction import Transaction
from blobforge.batch import ENDED
from blobforge.chain import MOST_IN_FAMILY, ChainPlace, Join, Kin, Unjoined, join_step, source_path
from blobforge.events import JobUpdated, ManifestMade
from blobforge.job import Job, JobStatus
from blobforge.objects.keys import accepted_key, name_in, named_output_key, prefix_of
from blobforge.oneoutput import name_of
from blobforge.refusals import Refusal
from blobforge.stage import FORMAT, MOST_INPUTS, Input, Missing, StageManifest, written

TOO_WIDE = f"the stage has more than {MOST_INPUTS:,} jobs"
StageKey = tuple[int, int, int]
"""Parent, attempt and step."""
# What one message does about stages, and what is beyond is put off.
MOST_WORK = 2_000
TO_ASK = 20  # whether a stage has ended
TO_JOIN = 100  # and one for each job of it


def stages_of(tx: Transaction, jobs: Iterable[Job]) -> list[StageKey]:
    """The stages of those of these jobs that are marked as joined."""
    asked = [job.id for job in jobs if job.chain is not None and job.chain.joined]
    of: dict[int, list[StageKey]] = {job_id: [] for job_id in asked}
    for kin in tx.store.kin.of_jobs(asked) if asked else ():
        of[kin.job_id].append((kin.parent, kin.attempt, kin.step))
    return list(dict.fromkeys(stage for job_id in asked for stage in of[job_id]))


def settle(tx: Transaction, first: int) -> None:
    """At the end of each message: the stages of which the last job has ended. `first`: of the jobs that have ended in
    the transaction, those from this one on have in this message."""
    if joined := [job for job in tx.store.ended[first:] if job.chain is not None and job.chain.joined]:
        join_ended(tx, stages_of(tx, joined))


def join_ended(tx: Transaction, stages: Sequence[StageKey]) -> None:
    """Each of these stages that has ended gets the job that joins it, unless that very job is there. Where that is
    too much for one message, the others are put off."""
    for at, stage in enumerate(stages):
        if tx.stage_work >= MOST_WORK:
            tx.put_off += stages[at:]
            return
        join_if_ended(tx, stage)


def join_if_ended(tx: Transaction, stage: StageKey) -> bool:
    """Whether a job was made."""
    if (found := _ended(tx, stage)) is None:
        return False
    parent, join = found
    if parent.id in tx.cut:
        leave(tx, parent, stage[2], cut_off(parent.id), cut=True)
        return False
    return _join(tx, parent, join, stage)


def say_unjoined(tx: Transaction, stage: StageKey, why: str) -> bool:
    """The stage is not joined though it may have ended; the parent shows it, if so."""
    found = _ended(tx, stage)
    if found is not None:
        leave(tx, found[0], stage[2], why)
    return found is not None


def cut_off(parent_id: int) -> str:
    """Why no stage of this job is joined while what came of it is cancelled."""
    return f"what came of job {parent_id} was cancelled"


def _ended(tx: Transaction, stage: StageKey) -> tuple[Job, Join] | None:
    """The parent, and what is to join the stage; None: it has not ended, or is to be joined no more."""
    parent_id, attempt, step = stage
    tx.stage_work += TO_ASK
    parent = tx.store.job(parent_id)
    if parent is None or parent.chain is None or parent.result_attempt != attempt:
        return None  # what came of a former result is joined no more
    if parent.chain.rest is not None:
        return None  # when all of it has been made
    then = parent.chain.then
    join = then[step].join if step < len(then) else None
    if join is None or tx.store.kin.is_unfinished(parent_id, attempt, step):
        return None
    return parent, join


def _join(tx: Transaction, parent: Job, join: Join, stage: StageKey) -> bool:
    step = stage[2]
    if (batch := cancelled_with(tx, parent)) is not None:
        leave(tx, parent, step, f"batch {batch} was cancelled")
        return False
    stage_kin = tx.store.kin.of_stage(*stage, limit=MOST_INPUTS + 1)
    tx.stage_work += TO_JOIN + len(stage_kin)
    if len(stage_kin) > MOST_INPUTS:
        leave(tx, parent, step, TOO_WIDE)
        return False
    inputs, missing = _brought(tx, stage_kin)
    if not inputs:
        leave(tx, parent, step, "no job of the stage has brought an output")
        return False
    if len(inputs) > MOST_INPUTS:
        leave(tx, parent, step, f"the stage has more than {MOST_INPUTS:,} outputs")
        return False
    text, source_hash = written(StageManifest(FORMAT, *stage, inputs, missing))
    assert parent.chain is not None
    _leave_no_more(tx, parent, step, join)
    if _is_joined(tx, stage, source_hash, join):
        return False  # it ended as it had before
    root = parent.chain.family or parent.id
    if tx.store.kin.made_of(root) >= MOST_IN_FAMILY - 1:
        leave(tx, parent, step, f"its family has {MOST_IN_FAMILY:,} jobs")
        return False
    job = descend(
        tx,
        parent,
        type_=join.type,
        options=join.options,
        status=JobStatus.UPLOADING,
        source_hash=source_hash,
        source_path=source_path(parent.source_path, "manifest.json", several=True),
        source_size=len(text.encode()),
        place=ChainPlace(join.then or (), parent.id, root, parent.chain.depth + 2, joins=True),
    )
    if isinstance(job, Refusal):
        leave(tx, parent, step, job.detail)
        return False
    tx.store.kin.add_manifest(source_hash, text)
    parent_id, attempt, _ = stage
    tx.store.add_kin(Kin(parent_id, attempt, join_step(step), source_hash, job.id, False))
    for of, number in dict.fromkeys((each.job_id, each.attempt) for each in inputs):
        tx.store.add_kin(Kin(of, number, join_step(step), f"{parent_id}/{attempt}/{source_hash}", job.id, True))
    tx.store.count_family(root, 1)
    tx.facts.append(ManifestMade(job.id, source_hash))
    return True


def _is_joined(tx: Transaction, stage: StageKey, source_hash: str, join: Join) -> bool:
    """Whether the job of this manifest is there: one whose type was changed since is that job, too."""
    if tx.store.same_job(source_hash, join.type, join.options) is not None:
        return True
    parent_id, attempt, step = stage
    made = tx.store.kin.of_stage(parent_id, attempt, join_step(step), limit=MOST_INPUTS)
    return any(kin.name == source_hash and tx.store.job(kin.job_id) is not None for kin in made)


def nothing_joined(join: Join) -> str:
    """How what a parent says of it begins."""
    return f"nothing was joined as {join.type!r}: "


def _brought(tx: Transaction, stage: Sequence[Kin]) -> tuple[list[Input], list[Missing]]:
    tx.store.read_ahead([kin.job_id for kin in stage])
    inputs: list[Input] = []
    missing: list[Missing] = []
    for kin in stage:
        job = tx.store.job(kin.job_id)
        if job is None or len(inputs) > MOST_INPUTS:
            continue
        outputs = _outputs(tx, job, kin.name)
        inputs += outputs
        if not outputs:
            error = job.last_error[:200] if job.last_error is not None else None
            missing.append(Missing(kin.name, job.id, job.status, error))
    return inputs, missing


def _outputs(tx: Transaction, job: Job, name: str) -> list[Input]:
    """The outputs of a completed job of the stage, by the keys at which they stay."""
    key = job.output_key
    if job.status is not JobStatus.COMPLETED or key is None:
        return []
    if name_in(key) is not None:
        prefix = prefix_of(key)
        found = tx.store.outputs.chosen_of(job.id, job.attempt, limit=MOST_INPUTS + 1)
        return [
            Input(
                f"{name}/{each.name}",
                job.id,
                job.attempt,
                named_output_key(prefix, each.name),
                each.size,
                each.sha256,
            )
            for each in found
        ]
    record = tx.store.file(key)
    if record is None:
        return []
    kept = accepted_key(tx.store.installation, key) if record.keeping else record.kept
    return [
        Input(
            f"{name}/{name_of(job.result)}",
            job.id,
            job.attempt,
            kept or key,
            record.size,
            record.sha256,
            record.version,
        )
    ]


def stop(tx: Transaction, parent: Job, said: str | None) -> None:
    """The parent shows why less than its steps say has come of its result. None: nothing is left out any more."""
    now = tx.store.job(parent.id)
    if now is not None and now.chain is not None:
        _say(tx, now, replace(now.chain, stopped=said))


def leave(tx: Transaction, parent: Job, step: int, why: str, *, cut: bool = False) -> None:
    """The stage of this step has ended, and the parent shows why it is not joined: until it is, whatever becomes of
    other stages. `cut`: what came of the parent is being cancelled."""
    now = tx.store.job(parent.id)
    if now is None or now.chain is None:
        return
    join = now.chain.then[step].join
    assert join is not None
    others = [each for each in now.chain.unjoined if each.step != step]
    left = Unjoined(step, nothing_joined(join) + why, cut)
    unjoined = sorted([*others, left], key=lambda each: each.step)
    _say(tx, now, replace(now.chain, unjoined=tuple(unjoined)))


def _leave_no_more(tx: Transaction, parent: Job, step: int, join: Join) -> None:
    """What was said of the stage was before."""
    assert parent.chain is not None
    place = replace(parent.chain, unjoined=tuple(each for each in parent.chain.unjoined if each.step != step))
    if (place.stopped or "").startswith(nothing_joined(join)):
        place = replace(place, stopped=None)  # as servers of former releases say it
    _say(tx, parent, place)


def _say(tx: Transaction, now: Job, place: ChainPlace) -> None:
    if now.chain == place:
        return
    tx.store.save_job(now, replace(now, chain=place))
    tx.events.append(JobUpdated(now.id, now.type, now.status, worker_id=now.worker_id))


def is_unfinished(job: Job) -> bool:
    """Whether a stage still waits for the job."""
    return job.status not in ENDED
