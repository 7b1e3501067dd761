"""The list of objects to delete: what gets on it, what is deleted when, and what was needed again meanwhile.

Objects are deleted after the commit that made them useless, from a list in the database (`Doomed` in
`store/writing.py`), so that a crash, or a store that does not answer, only delays it. Two things could go wrong, and
both are prevented here:

- A job needs the object again before it is its turn. The transaction that begins a deletion looks
  whether a job has come meanwhile; then the object leaves the list.
- A request saw the object, and it was deleted before what was seen is committed. From the commit that begins a
  deletion to the one that knows its outcome, a submission of that source is refused (come again in a moment).
  Afterwards nothing is believed that was seen before: `epoch` is how many deletions had ended when the look began.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from actors.effects.transaction import Transaction
from actors.messages import (
    DeletionsTried,
    Done,
    ObjectSeen,
    Seen,
    TakeDoomed,
    ToDelete,
)
from blobforge import life
from blobforge.events import (
    ObjectsDoomed,
)
from blobforge.job import JobStatus
from blobforge.objects.keys import (
    attempt_of,
    forgotten_key,
    forgotten_prefix,
    incoming_of,
    is_attempts_prefix,
    is_incoming_key,
    is_output_key,
    is_source_key,
    name_in,
    output_of,
    shared_source,
    source_key,
)
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.files import DELETING, GONE, LATER, WAITING

FIRST_PAUSE_MS = 30_000  # after a deletion that failed: longer than the thread of a lost one can still be at it
LONGEST_PAUSE_MS = 300_000
EVER = 2**62  # ms: later than all
DOUBT_MS = 600_000  # no request that looked at an object is still under way after this
COME_AGAIN_SECONDS = 2
OUTPUTS_AT_ONCE = 1_000  # records of one attempt's outputs that one transaction forgets
ENTRIES_AT_ONCE = 500  # of the list, that one transaction moves on by their times
FORGOTTEN_AT_ONCE = 4  # attempts of which one transaction forgets so many


def doom(tx: Transaction, key: str, *, again: bool, due_at: int | None = None) -> None:
    """Have the object deleted when it is its turn, or from `due_at` on; with `again`, once more when URLs to upload
    it have expired. What is on the list already stays as it is, but for what was gone, or was to go later."""
    state = WAITING if due_at is None else LATER
    due_at = tx.now if due_at is None else due_at
    tx.store.doomed.add(key, state, due_at=due_at, again=not again, over=(GONE, LATER))


def take_doomed(tx: Transaction, message: TakeDoomed) -> ToDelete:
    """What to delete now; from this commit on the store may be told. What is needed again leaves the list."""
    listed = tx.store.doomed
    doubtful = False
    if message.first:  # no request is left that saw an object before it was deleted
        dropped = listed.drop_due(GONE, again=True, now=EVER, limit=ENTRIES_AT_ONCE)
        doubtful = listed.forget_epochs(limit=ENTRIES_AT_ONCE) or dropped
    # A clock that was set back delays nothing until a day that is over.
    soon, late = tx.now + LONGEST_PAUSE_MS, tx.now + max(DOUBT_MS, tx.rules.url_lifetime_ms)
    for state, due_at in ((WAITING, soon), (DELETING, soon), (GONE, late), (LATER, late)):
        listed.hasten(state, due_at=due_at, limit=ENTRIES_AT_ONCE)
    listed.drop_due(GONE, again=True, now=tx.now, limit=ENTRIES_AT_ONCE)
    listed.move_due(GONE, WAITING, again=False, now=tx.now, limit=ENTRIES_AT_ONCE)
    listed.move_due(LATER, WAITING, again=True, now=tx.now, limit=ENTRIES_AT_ONCE)
    taken = []
    forgetting = 0
    for key in listed.due(_tried(tx), now=tx.now, limit=message.limit):
        entry = listed.get(key)
        assert entry is not None
        if (prefix := forgotten_prefix(key)) is not None:
            forgetting += 1
            if forgetting <= FORGOTTEN_AT_ONCE and not forget_outputs(tx, prefix):
                listed.drop(key)
            continue
        if _needed(tx, key):
            if entry.epoch:  # it was gone before, and what was seen then is still doubted
                listed.put(key, GONE, due_at=tx.now + DOUBT_MS, tries=0, epoch=entry.epoch)
            else:
                listed.drop(key)
            continue
        record = tx.store.file(key)
        if record is None or record.kept is None:  # of one that is kept, the copy is still needed
            tx.store.forget_file(key)
        listed.put(key, DELETING, due_at=tx.now, tries=entry.tries, epoch=entry.epoch, again=entry.again)
        taken.append(key)
    times = [listed.next_at(state) for state in (_tried(tx), GONE, LATER)]
    next_at = tx.now if doubtful else min((time for time in times if time is not None), default=None)
    return ToDelete(tuple(taken), next_at, doubtful)


def _tried(tx: Transaction) -> str:
    """The state of those that are tried now. As long as a deletion was begun and not answered, no other is begun:
    each keeps the jobs waiting that need its object, and a store that does not answer one will not answer the
    next."""
    return WAITING if tx.store.doomed.next_at(DELETING) is None else DELETING


def deletions_tried(tx: Transaction, message: DeletionsTried) -> Done:
    """What the store said. Without an answer, the key stays in deletion until there is one: it may yet happen."""
    # Where several servers look and delete, a look is told from an earlier one by how far it knew the history.
    epoch = tx.store.turn + 1 if tx.store.server else message.epoch
    for key in message.gone:
        entry = tx.store.doomed.get(key)
        if entry is None:
            continue
        if is_attempts_prefix(key) and forget_outputs(tx, key):
            tx.store.doomed.put(key, WAITING, due_at=tx.now, tries=0, again=entry.again)
        elif not entry.again:
            until = tx.now + max(DOUBT_MS, tx.rules.url_lifetime_ms)
            tx.store.doomed.put(key, GONE, due_at=until, tries=0, epoch=epoch, again=False)
        elif is_source_key(key):
            tx.store.doomed.put(key, GONE, due_at=tx.now + DOUBT_MS, tries=0, epoch=epoch)
        else:
            tx.store.doomed.drop(key)  # an output is not looked for before it is uploaded
    for key in message.more:
        if (entry := tx.store.doomed.get(key)) is not None:
            tx.store.doomed.put(key, WAITING, due_at=tx.now, tries=0, again=entry.again)
    for key in message.spared:
        tx.store.doomed.drop(key)
    for keys, state in ((message.refused, WAITING), (message.unanswered, DELETING)):
        for key in keys:
            entry = tx.store.doomed.get(key)
            if entry is not None:
                pause = min(FIRST_PAUSE_MS * 2 ** min(entry.tries, 20), LONGEST_PAUSE_MS)
                tx.store.doomed.put(
                    key, state, due_at=tx.now + pause, tries=entry.tries + 1, epoch=entry.epoch, again=entry.again
                )
    return Done()


def spare_source(tx: Transaction, source_hash: str, seen: ObjectSeen) -> ObjectSeen | Refusal:
    """A job needs this source from now on. Returns what may be believed of what was seen of it."""
    key = source_key(source_hash)
    entry = tx.store.doomed.get(key)
    if entry is None:
        return seen
    if entry.state == DELETING:
        return being_removed(key)
    # One that waits stays on the list: the transaction that takes it from there finds the job.
    return seen if seen.epoch >= entry.epoch else replace(seen, seen=Seen.UNKNOWN, size=None, sha256=None)


def doubted(tx: Transaction, source_hash: str, epoch: int) -> Refusal | None:
    """The refusal where an object that was seen there may have been deleted since."""
    key = source_key(source_hash)
    entry = tx.store.doomed.get(key)
    if entry is None or (entry.state != DELETING and epoch >= entry.epoch):
        return None
    return being_removed(key)


def being_removed(key: str) -> Refusal:
    said = f"{key!r} is being removed, as no job needed it any more. Send it again in a moment."
    return Refusal(RefusalCode.BEING_REMOVED, said, retry_after=COME_AGAIN_SECONDS)


def unneeded(tx: Transaction, keys: Iterable[str], *, dooms: bool) -> list[str]:
    """Which of these objects no job needs; with `dooms`, they are put on the list."""
    found = [key for key in keys if tx.store.doomed.get(key) is None and not _needed(tx, key)]
    if dooms:
        for key in found:
            doom(tx, key, again=False)
        if found:
            tx.facts.append(ObjectsDoomed())
    return found


def _needed(tx: Transaction, key: str) -> bool:
    """A source, and a result that all its jobs share, as long as there is one of them; a source that comes in, as
    long as a job waits for it.

    An output, if it was accepted and is not served from a copy, or may still be accepted.
    """
    source = shared_source(key)
    if source is not None:
        return tx.store.has_source(source)
    if is_incoming_key(key):
        return any(job.status is JobStatus.UPLOADING for job in tx.store.jobs_by_hash(incoming_of(key)))
    if is_attempts_prefix(key):
        return _prefix_needed(tx, key)
    output = output_of(key)
    if output.installation not in (None, tx.store.installation):
        return True  # another database's
    record = tx.store.file(key)
    if (record is None or record.kept is None) and tx.store.kin.lends(output.job_id, output.attempt):
        return True  # it is the source of a job that came of it
    job = tx.store.job(output.job_id)
    if job is None:
        return False
    if not is_output_key(key):
        attempt = tx.store.attempt(output.job_id, output.attempt)
        record = tx.store.file(attempt.output_key) if attempt is not None else None
        return record is not None and (record.kept == key or record.keeping)
    if record is not None:
        return record.kept is None
    may_come = job.status is JobStatus.RUNNING or (
        job.status in {JobStatus.PENDING, JobStatus.DEAD} and job.lease is not None
    )
    name = name_in(key)
    if name is None:
        return job.upload_key == key and may_come
    if job.attempt == output.attempt and may_come:
        return True
    return tx.store.outputs.is_chosen(job.id, output.attempt, name)


def _prefix_needed(tx: Transaction, prefix: str) -> bool:
    """The outputs of an attempt, as long as it is the latest one, or its result is served or kept."""
    whose = attempt_of(prefix)
    if tx.store.kin.lends(whose.job_id, whose.attempt):
        return True  # some of them are the sources of jobs that came of them
    job = tx.store.job(whose.job_id)
    if job is None:
        return False
    former = life.former_result(job)
    return whose.attempt in (job.attempt, job.result_attempt, former.attempt if former is not None else None)


def forget_later(tx: Transaction, prefix: str) -> None:
    """Have the records of the outputs that this prefix stands for forgotten piece by piece; their objects stay."""
    tx.store.doomed.add(forgotten_key(prefix), WAITING, due_at=tx.now, again=True, over=(GONE, LATER))


def forget_outputs(tx: Transaction, prefix: str) -> bool:
    """Forget some of the outputs that this prefix stands for; whether there may be more."""
    whose = attempt_of(prefix)
    return tx.store.outputs.forget(whose.job_id, whose.attempt, limit=OUTPUTS_AT_ONCE)
