"""API tokens, and the keys that the installation signs with."""

from __future__ import annotations

import msgspec

from actors.effects.returns import take_back_all
from actors.effects.transaction import Transaction
from actors.messages import (
    AddSigningKey,
    CreateToken,
    DeleteToken,
    Done,
    EnsureAdminToken,
    TokenCreated,
    TouchTokens,
)
from blobforge.access import Scope, Token
from blobforge.events import AccessChanged
from blobforge.installation import SigningKey
from blobforge.refusals import Refusal, RefusalCode


def create_token(tx: Transaction, message: CreateToken) -> TokenCreated:
    token_id = tx.store.insert_token(
        Token(0, message.name, message.hash, message.prefix, message.scopes, tx.now, message.expires_at)
    )
    tx.facts.append(AccessChanged())
    return TokenCreated(token_id, message.name, message.salt)


def ensure_admin_token(tx: Transaction, message: EnsureAdminToken) -> TokenCreated:
    """Make the token an administrator's again, whatever was changed in it since; the tokens of former starts are
    revoked, but for those that other servers live by."""
    tx.store.delete_start_tokens(but=message.in_use | {message.hash})
    tx.facts.append(AccessChanged())
    known = tx.store.token_by_hash(message.hash)
    if known is not None:
        tx.store.make_token_admin(known)
        return TokenCreated(known.id, known.name)
    token = Token(0, message.name, message.hash, message.prefix, frozenset({Scope.ADMIN}), tx.now)
    token_id = tx.store.insert_token(token)
    tx.store.make_token_admin(msgspec.structs.replace(token, id=token_id))
    return TokenCreated(token_id, message.name)


def delete_token(tx: Transaction, message: DeleteToken) -> Done | Refusal:
    """Delete the token. The workers that it registered have no credential any more: their jobs go back at once, at no
    cost."""
    token = tx.store.token(message.token_id)
    if token is None:
        return Refusal(RefusalCode.NO_SUCH_TOKEN, f"There is no token {message.token_id}.")
    take_back_all(tx, tx.store.workers_of_token(token.id), "the API token of its worker was revoked")
    sessions = tx.store.session_hashes(token_id=token.id)
    tx.store.delete_token(token.id)
    tx.revoke(token.hash, *sessions)
    tx.facts.append(AccessChanged())
    return Done()


def touch_tokens(tx: Transaction, message: TouchTokens) -> Done:
    for token_id, used_at in message.uses:
        tx.store.touch_token(token_id, now=used_at)
    return Done()


def add_signing_key(tx: Transaction, message: AddSigningKey) -> Done:
    """All servers sign with one key: of two that make one at once, the first one's is it."""
    if len(tx.store.signing_keys()) == message.known:
        tx.store.add_signing_key(SigningKey(message.public_key, message.sealed, tx.now))
    return Done()
