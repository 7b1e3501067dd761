"""How many converters there may be. Filters by version look at each of them, so these are releases, not builds.

Those of the results that are kept, and of the workers that are known, count: in the transaction in which one is said,
on each engine, whatever was said before. What an attempt was begun with is its result's, also where nothing else has
it any more by then: no conversion is refused for it."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from blobforge.refusals import Refusal, RefusalCode


def one_too_many(tx: Transaction, converter: str | None, *, known: str | None) -> Refusal | None:
    """The refusal of a converter where there are as many as there may be. `known`: what was said before, by the
    same worker or of the same attempt, and costs no look."""
    if converter is None or converter == known:
        return None
    most = tx.rules.max_converters
    if tx.store.has_converter(converter) or tx.store.count_converters() < most:
        return None
    return Refusal(
        RefusalCode.INVALID,
        f"Results and workers have {most:,} converters already, and {converter!r} would be one more. Say a released "
        "version (a build's number belongs into the worker's metadata), or none.",
        field="converter",
    )
