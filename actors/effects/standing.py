"""Whether the credential behind a message is still good when its effect is about to be made.

A request is authenticated at the door, and may then wait: for its body, for the object store, for work. What was
revoked meanwhile is judged here, in the transaction that would make the effect. A transaction takes what revokes
first, so that nothing is done for a credential that is revoked beside it.
"""

from __future__ import annotations

from typing import Any, assert_never

from actors.effects.transaction import Transaction
from actors.messages import (
    TAKES_RIGHTS,
    AdvanceOperation,
    Batch,
    EndSession,
    Message,
    RenewSession,
    SignIn,
)
from blobforge.access import (
    EXPIRED_TOKEN,
    RIGHTS_CHANGED,
    SESSION_ENDED,
    UNKNOWN_TOKEN,
    UNKNOWN_WORKER,
    Caller,
    Token,
)
from blobforge.people import User
from blobforge.refusals import Refusal
from blobforge.worker import disabled

_REVOKING = (*TAKES_RIGHTS, EndSession, RenewSession, SignIn)


def may_revoke(message: Message[Any]) -> bool:
    """Whether the message may take a caller's rights: such messages go first in their transaction."""
    if isinstance(message, AdvanceOperation):
        return bool(message.workers)
    items: tuple[object, ...] = message.items if isinstance(message, Batch) else (message,)
    return any(isinstance(each, _REVOKING) for each in items)


def stands(tx: Transaction, caller: Caller | None) -> Refusal | None:
    """Why the caller's credential is good no longer. Nothing is read where nothing was revoked since it was found
    good, which is nearly always."""
    if caller is None or caller.secret_hash is None:
        return None
    if caller.expires_at is not None and caller.expires_at <= tx.now:
        return SESSION_ENDED if caller.session is not None else EXPIRED_TOKEN
    if caller.as_of == tx.revocations:
        return None
    if caller.session is not None:
        return _session_stands(tx, caller)
    if caller.token_id is not None:
        return None if tx.store.token(caller.token_id) is not None else UNKNOWN_TOKEN
    assert caller.worker_id is not None
    worker = tx.store.worker(caller.worker_id)
    if worker is None or worker.secret_hash != caller.secret_hash:
        return UNKNOWN_WORKER
    return None if worker.enabled else disabled(worker.id)


def _session_stands(tx: Transaction, caller: Caller) -> Refusal | None:
    assert caller.session is not None
    session = tx.store.session(caller.session)
    holder: User | Token | None = None
    if session is not None and session.user_id is not None:
        holder = tx.store.user(session.user_id)
    elif session is not None and session.token_id is not None:
        holder = tx.store.token(session.token_id)
    match holder:
        case None:
            return SESSION_ENDED
        case User() | Token():
            return None if holder.caller().scopes == caller.scopes else RIGHTS_CHANGED
        case _:
            assert_never(holder)
