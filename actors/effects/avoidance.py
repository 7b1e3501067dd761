"""A retry goes to another worker: one that has failed a job does not get it again for a while, if another is there.

One machine without a library fails every document at once, and asks again before any other worker does: without this
it would eat all the attempts of a queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge
from itertools import chain

from actors.effects.transaction import Transaction
from blobforge.events import JobReady
from blobforge.fairness import InTurn
from blobforge.job import Job
from blobforge.options import LineGroup, QueueLine
from blobforge.store.claim_order import place

LOOKED_AT = 50  # of a job's latest attempts, to see which workers have failed it
# Jobs of one line that a claim looks at, of those that are kept from some workers. All of them may be kept from this
# one; then it gets the further ones when every worker may have them, unless others take them before.
KEPT_LOOKED_AT = 100


def kept_from(tx: Transaction, job: Job) -> tuple[str, ...]:
    """The workers that are not to get the job at first: those that have failed it, if another one is there for it."""
    failed = tx.store.failed_by(job.id, among=LOOKED_AT) if job.attempt else ()
    return failed if failed and tx.store.another_worker(job.type, failed, job.requires) else ()


def claimable(tx: Transaction, job: Job) -> None:
    """Tell that the job, as it is saved, may be claimed: by any worker, or by all but those that have failed it."""
    tx.facts.append(JobReady(job.type, job.id, job.priority, job.lane, job.turn))
    if job.avoid_until is not None:
        tx.waits(job)


def pick(
    tx: Transaction, lines: tuple[QueueLine, ...], limit: int, worker_id: str, group: LineGroup = ()
) -> tuple[list[Job], tuple[QueueLine, ...]]:
    """The next jobs for this worker in claim order, of these lines and of a group of them; and the lines of which
    some are kept from it.

    The only worker there gets what is kept from it, too: those for which it was kept have gone meanwhile.
    """
    jobs = tx.store.pick_ready(lines, limit, group)
    kept = [tx.store.pick_kept(line, KEPT_LOOKED_AT) for line in dict.fromkeys(lines)]
    if group:
        kept.append(tx.store.pick_kept_of(group, KEPT_LOOKED_AT))
    if not any(kept):
        return jobs, ()
    return _with_kept(tx, jobs, kept, limit, worker_id)


def pick_in_turn(
    tx: Transaction, lines: LineGroup, limit: int, worker_id: str
) -> tuple[list[InTurn], tuple[QueueLine, ...]]:
    """The same of lines whose jobs take turns."""
    mine, withheld = _kept(tx, tx.store.pick_kept_of(lines, KEPT_LOOKED_AT, turned=True), worker_id)
    return tx.store.pick_in_turn(lines, limit, mine), withheld


def _with_kept(
    tx: Transaction, jobs: list[Job], kept: Iterable[list[Job]], limit: int, worker_id: str
) -> tuple[list[Job], tuple[QueueLine, ...]]:
    """Those that every worker may have, and of those that are kept from some workers the ones for this one."""
    mine, withheld = _kept(tx, chain.from_iterable(kept), worker_id)
    if mine:
        mine.sort(key=place)
        jobs = list(merge(jobs, mine, key=place))[:limit]
    return jobs, withheld


def _kept(tx: Transaction, kept: Iterable[Job], worker_id: str) -> tuple[list[Job], tuple[QueueLine, ...]]:
    """Of jobs that are kept from some workers, those that this one may have; and the lines of the others."""
    mine: list[Job] = []
    withheld: set[QueueLine] = set()
    others: dict[tuple[str, tuple[str, ...], str | None], bool] = {}
    for job in kept:
        key = (job.type, job.avoid, job.requires)
        if worker_id in job.avoid and key not in others:
            others[key] = tx.store.another_worker(*key)
        if others.get(key) and worker_id in job.avoid:
            withheld.add(job.line)
        else:
            mine.append(job)
    return mine, tuple(sorted(withheld))
