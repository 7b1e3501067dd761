"""API tokens."""

from __future__ import annotations

from actors.effects.step import Step
from actors.messages import CreateToken, DeleteToken, Done, EnsureAdminToken, TokenCreated, TouchTokens
from blobforge.access import Scope, Token
from blobforge.events import AccessChanged
from blobforge.refusals import Refusal, RefusalCode


def create_token(step: Step, message: CreateToken) -> TokenCreated:
    token_id = step.store.insert_token(
        Token(0, message.name, message.hash, message.prefix, message.scopes, step.now, message.expires_at)
    )
    step.facts.append(AccessChanged())
    return TokenCreated(token_id, message.name)


def ensure_admin_token(step: Step, message: EnsureAdminToken) -> TokenCreated:
    """The token is there and an administrator's, whoever may have changed it since."""
    known = step.store.token_by_hash(message.hash)
    if known is None:
        admin = CreateToken(message.name, message.hash, message.prefix, frozenset({Scope.ADMIN}))
        return create_token(step, admin)
    step.store.make_token_admin(known)
    step.facts.append(AccessChanged())
    return TokenCreated(known.id, known.name)


def delete_token(step: Step, message: DeleteToken) -> Done | Refusal:
    if not step.store.delete_token(message.token_id):
        return Refusal(RefusalCode.NO_SUCH_TOKEN, f"There is no token {message.token_id}.")
    step.facts.append(AccessChanged())
    return Done()


def touch_tokens(step: Step, message: TouchTokens) -> Done:
    for token_id, used_at in message.uses:
        step.store.touch_token(token_id, now=used_at)
    return Done()
