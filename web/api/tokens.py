"""API tokens: list, create, delete."""

from __future__ import annotations

from quart import Response

from actors.messages import CreateToken, DeleteToken
from blobforge.access import DEFAULT_SCOPES, TOKEN_PREFIX, Scope, Token, hash_secret, shown_prefix
from blobforge.refusals import Refusal
from blobforge.store.filters import TokenFilter
from web.api import arrays, encode, secrets, wire_access, wire_common
from web.decode import query
from web.routing import Access, Call, Route

DAY_MS = 86_400_000


async def listed(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_access.TokensQuery)
    if isinstance(wanted, Refusal):
        return wanted
    filter_ = TokenFilter(call.services.now(), wanted.q, wanted.scope, wanted.expired)
    found = await call.services.reads.run(
        lambda reader: reader.tokens(filter_, after=wanted.cursor, limit=wanted.limit + 1)
    )
    page = found[: wanted.limit]
    return arrays.one_page(
        call, [_wire(token) for token in page], following=page[-1].id if len(found) > len(page) else None
    )


async def create(call: Call, body: wire_access.TokenBody) -> wire_access.TokenMade | Refusal:
    """The token is shown in this answer and never again: only its hash is kept."""
    scopes = {Scope(scope) for scope in body.scopes or DEFAULT_SCOPES}
    if body.is_admin:
        scopes = {Scope.ADMIN}
    expires = call.services.now() + round(body.expires_in * DAY_MS) if body.expires_in else None
    salt = secrets.new_salt()
    secret = secrets.made_of(call, TOKEN_PREFIX, salt)
    outcome = await call.ask(
        CreateToken(body.name, hash_secret(secret), shown_prefix(secret), frozenset(scopes), expires, salt),
        about=f"{body.name} ({' '.join(sorted(scopes))})",
    )
    if isinstance(outcome, Refusal):
        return outcome
    return wire_access.TokenMade(outcome.token_id, secrets.made_of(call, TOKEN_PREFIX, outcome.salt), outcome.name)


async def delete(call: Call) -> wire_common.Status | Refusal:
    outcome = await call.ask(DeleteToken(call.params["token_id"]))
    return outcome if isinstance(outcome, Refusal) else wire_common.Status("deleted")


def _wire(token: Token) -> wire_access.TokenWire:
    return wire_access.TokenWire(
        id=token.id,
        name=token.name,
        prefix=token.prefix,
        scopes=sorted(token.scopes),
        is_admin=Scope.ADMIN in token.scopes,
        created_at=encode.rfc3339(token.created_at),
        expires_at=encode.time_or_none(token.expires_at),
        last_used_at=encode.time_or_none(token.last_used_at),
    )


def _under(prefix: str, *, hidden: bool) -> list[Route]:
    return [
        Route("GET", prefix, Access.ADMIN, listed, "API tokens by id, as a JSON array",
          gives=list[wire_access.TokenWire], query=wire_access.TokensQuery, hidden=hidden),
        Route("POST", prefix, Access.ADMIN, create, "Create an API token; it is shown once",
              body=wire_access.TokenBody, gives=wire_access.TokenMade, status=201, hidden=hidden,
              audit="token.create"),
        Route("DELETE", f"{prefix}/<id:token_id>", Access.ADMIN, delete, "Revoke an API token, at once",
              gives=wire_common.Status, hidden=hidden, audit="token.delete"),
    ]  # fmt: skip


# Existing clients know the second address.
ROUTES = [*_under("/api/admin/tokens", hidden=False), *_under("/api/tokens", hidden=True)]
