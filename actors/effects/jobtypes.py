"""What people set for types of jobs: a pause, limits, and how patient we are; and what that leaves for a claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from actors.effects import breaker
from actors.effects.avoidance import pick
from actors.effects.transaction import Transaction
from actors.messages import ChangeType, Claim, TypeChanged
from blobforge import jobtype
from blobforge.breaker import is_open
from blobforge.canary import is_comparison, ordinary
from blobforge.events import ComparisonsBegun, TypePaused, TypeResumed, TypeSet
from blobforge.job import Job
from blobforge.jobtype import NOTHING_SET, TypeRoom, TypeSettings
from blobforge.options import LineGroup, QueueLine
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.claim_order import place
from blobforge.typechain import wrong_for_type
from blobforge.webhook import type_paused, type_resumed


def change(tx: Transaction, message: ChangeType) -> TypeChanged | Refusal:
    """Set it. What it means for those that wait for jobs of the type is told to them, on all servers."""
    type_ = message.type
    before = tx.store.type_settings(type_)
    after = jobtype.changed(before, message.changes, by=message.by, now=tx.now)
    if isinstance(after, Refusal) or after == before:
        return after if isinstance(after, Refusal) else TypeChanged(type_, after)
    if after.then_steps != before.then_steps and (wrong := _wrong_chain(tx, type_, after)) is not None:
        return Refusal(RefusalCode.INVALID, f"then: {wrong}.", field="then")
    known = [each for each in tx.store.types.all() if not is_comparison(each)]
    if type_ not in known and not tx.store.knows_type(type_) and len(known) >= tx.rules.max_types:
        return Refusal(
            RefusalCode.INVALID,
            f"Something is set for {len(known)} types already (BLOBFORGE_MAX_TYPES), and there is no job of type"
            f" {type_!r}.",
            field="type",
        )
    tx.store.types.save(type_, after)
    breaker.overruled(tx, type_, before, after)
    if after.paused and (after.paused_by, after.reason) != (before.paused_by, before.reason):
        tx.events.append(TypePaused(message.by, type_, after.reason))
        tx.tell_webhooks(type_paused(type_, by=message.by, reason=after.reason))
    elif before.paused and not after.paused:
        tx.events.append(TypeResumed(message.by, type_))
        tx.tell_webhooks(type_resumed(type_, by=message.by))
    tx.facts.append(TypeSet(type_, tx.store.types.pending(type_)))
    if _of_type(tx, type_):
        tx.facts.append(ComparisonsBegun((type_,)))  # some may be given now that could not be
    return TypeChanged(type_, after)


def _wrong_chain(tx: Transaction, type_: str, after: TypeSettings) -> str | None:
    """Why jobs of some type could not be submitted, with what would be set for this one."""
    return wrong_for_type({**tx.store.types.all().then, type_: after.then}) if after.then else None


def rooms(tx: Transaction, types: tuple[str, ...]) -> dict[str, TypeRoom]:
    """How many more jobs may be given now of those of these types that are paused or have limits."""
    all_ = tx.store.types.all()
    found: dict[str, TypeRoom] = {}
    for type_ in types if all_ else ():
        settings = all_.get(type_, NOTHING_SET)
        if settings.paused and not is_open(settings):
            found[type_] = TypeRoom(type_, 0)
        elif settings.paused or settings.limited:
            found[type_] = _room(tx, type_, settings)
    return found


def _room(tx: Transaction, type_: str, settings: TypeSettings) -> TypeRoom:
    """By its limits, and where its breaker has paused it by what is let through."""
    left = breaker.room(tx, type_) if settings.paused else None
    if not settings.limited or (left is not None and not left.room):
        assert left is not None
        return left
    load = tx.store.type_load(type_)
    if settings.max_running is not None:
        load = replace(load, running=load.running + _comparisons(tx, type_))
    within = jobtype.room(type_, settings, load, now=tx.now)
    return within if left is None else TypeRoom(type_, min(1, within.room), within.again)


def _comparisons(tx: Transaction, type_: str) -> int:
    """How many comparisons of jobs of this type run now: they are not to be more, all together."""
    return sum(tx.store.type_load(each).running for each in _of_type(tx, type_))


def _of_type(tx: Transaction, type_: str) -> list[str]:
    """The types of comparisons of jobs of this type."""
    comparisons = tx.store.types.all().comparisons
    return [each for types in comparisons.values() for each in types if ordinary(each) == type_]


def pick_within(
    tx: Transaction, message: Claim, limited: Mapping[str, TypeRoom], group: LineGroup = ()
) -> tuple[list[Job], tuple[QueueLine, ...]]:
    """What `pick` gives, of each limited type no more than there is room for."""
    if not limited:
        return pick(tx, message.lines, message.limit, message.worker_id, group)
    lines, these = (tuple([line for line in each if line.type not in limited]) for each in (message.lines, group))
    picked, withheld = pick(tx, lines, message.limit, message.worker_id, these)
    for room in limited.values():
        if room.room:
            both = (message.lines, group)
            lines, these = (tuple([line for line in each if line.type == room.type]) for each in both)
            of_type, more = pick(tx, lines, min(message.limit, room.room), message.worker_id, these)
            picked += of_type
            withheld += more
    picked.sort(key=place)
    return picked[: message.limit], tuple(sorted(withheld))


def started(tx: Transaction, jobs: Sequence[Job]) -> None:
    """Take these jobs out of what the rates of their types leave."""
    for job in jobs:
        if is_open(tx.store.type_settings(job.type)):
            breaker.started(tx, job)
    for type_, n in Counter(ordinary(job.type) for job in jobs).items():
        settings = tx.store.type_settings(type_)
        if settings.rate_count is not None:
            tx.store.save_owed(type_, jobtype.spend(settings, tx.store.type_load(type_), n, now=tx.now))
