"""What people set for types of jobs: a pause, and how patient we are with their jobs."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from actors.messages import ChangeType, TypeChanged
from blobforge import jobtype
from blobforge.events import TypePaused, TypeResumed, TypeSet
from blobforge.jobtype import NOTHING_SET, TypeRoom
from blobforge.refusals import Refusal, RefusalCode


def change(tx: Transaction, message: ChangeType) -> TypeChanged | Refusal:
    """Set it. What it means for those that wait for jobs of the type is told to them, on all servers."""
    type_ = message.type
    before = tx.store.type_settings(type_)
    after = jobtype.changed(before, message.changes, by=message.by, now=tx.now)
    if isinstance(after, Refusal) or after == before:
        return after if isinstance(after, Refusal) else TypeChanged(type_, after)
    known = tx.store.types.all()
    if type_ not in known and not tx.store.knows_type(type_) and len(known) >= tx.rules.max_types:
        return Refusal(
            RefusalCode.INVALID,
            f"Something is set for {len(known)} types already (BLOBFORGE_MAX_TYPES), and there is no job of type"
            f" {type_!r}.",
            field="type",
        )
    tx.store.types.save(type_, after)
    if after.paused and (after.paused_by, after.reason) != (before.paused_by, before.reason):
        tx.events.append(TypePaused(message.by, type_, after.reason))
    elif before.paused and not after.paused:
        tx.events.append(TypeResumed(message.by, type_))
    tx.facts.append(TypeSet(type_, tx.store.types.pending(type_)))
    return TypeChanged(type_, after)


def rooms(tx: Transaction, types: tuple[str, ...]) -> dict[str, TypeRoom]:
    """How many more jobs may be given now of those of these types that are paused or have limits."""
    settings = tx.store.types.all()
    if not settings:
        return {}
    return {type_: TypeRoom(type_, 0) for type_ in types if settings.get(type_, NOTHING_SET).paused}
