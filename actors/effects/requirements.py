"""What jobs require of workers: the lanes that they stand in by that, and those that a worker may have jobs from."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from actors.messages import Claim
from blobforge.events import RequirementSetMade, RequirementSetsForgotten
from blobforge.options import Lane, LineGroup, lanes
from blobforge.refusals import Refusal, RefusalCode
from blobforge.requirements import in_groups, lane_of
from blobforge.worker import Worker


def groups_for(tx: Transaction, message: Claim, worker: Worker) -> tuple[LineGroup, tuple[LineGroup, ...]]:
    """The lines of jobs with requirements that this worker's labels hold, together; and those of jobs that have a
    group, those of each type together. None where no job has any."""
    sets = tx.store.requirements.sets()
    if not len(sets):
        return (), ()
    asked = (message.types, worker.labels, lanes(message.accepts))
    return sets.lines(*asked), sets.lines_in_turns(*asked) if sets.any_in_groups else ()


def lane_for(
    tx: Transaction, type_: str, requires: str | None, options: str | None, group: str | None
) -> Lane | Refusal:
    """The lane of a job of this type that requires this (canonical), and has a group or none; made where there is
    none yet."""
    if group is not None:
        requires = in_groups(requires)
    if requires is None:
        return lane_of(0, options)
    sets = tx.store.requirements.sets()
    number = sets.number(type_, requires)
    if number is None:
        most = tx.rules.max_requirement_sets
        if len(sets) >= most and tx.store.requirements.forget_unused():
            tx.facts.append(RequirementSetsForgotten())
            sets = tx.store.requirements.sets()
        if len(sets) >= most:
            return Refusal(
                RefusalCode.INVALID,
                f"Jobs have {len(sets):,} different sets of requirements already, and this would be one more. "
                "Requirements are kinds of machines, not documents: use some that others have, or delete the jobs "
                "that have those which nobody needs any more. Jobs with a group are sets of their own, one more a "
                "type.",
                field="requires" if requires != in_groups(None) else "group",
            )
        new = tx.store.requirements.add(type_, requires)
        number = new.number
        tx.facts.append(RequirementSetMade(type_, number, requires))
    return lane_of(number, options)
