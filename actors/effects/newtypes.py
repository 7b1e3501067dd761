"""How many types of jobs there may be."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from blobforge.refusals import Refusal, RefusalCode


def one_type_too_many(tx: Transaction, type_: str, *, field: str = "type") -> Refusal | None:
    """Whether a job of this type would be the first of one more type than there may be. Lists and statistics cost as
    much as there are types: these are kinds of work, not labels."""
    if tx.store.knows_type(type_) or tx.store.count_types() < tx.rules.max_types:
        return None
    return Refusal(
        RefusalCode.INVALID,
        f"There are {tx.rules.max_types} job types already (BLOBFORGE_MAX_TYPES). Use tags to tell jobs apart.",
        field=field,
    )
