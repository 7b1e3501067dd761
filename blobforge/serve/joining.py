"""Becoming one of the servers of a database: what it shares with the others, and whether it may be one of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from actors.mailbox import ask
from actors.messages import EnsureAdminToken
from blobforge.access import Caller, Scope, hash_secret, new_token, shown_prefix
from blobforge.config import Settings
from blobforge.machinery import datadir
from blobforge.machinery.datadir import StartError
from blobforge.refusals import Refusal
from blobforge.serve.parts import Parts
from blobforge.store.commons import Secret, ServerState
from web.shared import Shared

EMBEDDED = "embedded"


def place_of_objects(settings: Settings) -> str:
    """Where this server's objects are, to tell places apart: a bucket and a prefix, or a folder of its own."""
    if settings.uses_s3:
        return f"{settings.s3_endpoint.rstrip('/')} {settings.s3_bucket} {settings.s3_prefix.strip('/')}"
    path = settings.data_path / "objects-id"
    if not path.exists():
        datadir.write_private(path, secrets.token_hex(8) + "\n")
    return f"{EMBEDDED} {path.read_text().strip()}"


async def first_token(settings: Settings, shared: Shared) -> str:
    """The first administrator's token: from the configuration, or made at the first start and kept."""
    if settings.admin_token:
        return settings.admin_token
    return await shared.ask(lambda commons: commons.secret(Secret.ADMIN_TOKEN, new_token))


async def join(settings: Settings, parts: Parts) -> list[ServerState]:
    """Be there for the others, where there can be some. Returns those that are there. Raises StartError where their
    objects are elsewhere."""
    if parts.shared.alone:
        return []
    parts.objects_place = place_of_objects(settings)
    others = await parts.presence.tell()
    own = parts.presence.servers()[0]
    for other in others:
        if other.objects != own.objects:
            await parts.presence.leave()
            raise StartError(_elsewhere(own, other))
    return others


def _elsewhere(own: ServerState, other: ServerState) -> str:
    embedded = [each for each in (own, other) if each.objects.startswith(EMBEDDED)]
    if not embedded:
        return (
            f"server {other.name} uses this database, too, and keeps objects in another place ({other.objects}) than "
            f"this one would ({own.objects}): give all servers the same BLOBFORGE_S3_*"
        )
    whose = "this server" if embedded[0] is own else f"server {other.name}"
    return (
        f"server {other.name} uses this database, too, and {whose} keeps objects in its own data folder, where the "
        "others do not reach them: several servers need an object store that all of them reach. Set BLOBFORGE_S3_* "
        f"for each, or stop {other.name}: one server alone may keep objects in its folder"
    )


async def ensure_administrator(settings: Settings, parts: Parts, others: Iterable[ServerState]) -> None:
    """The token is an administrator's, and those of former starts are revoked; not those that other servers live by.

    In the data folder the command line on this machine finds what was made.
    """
    path = settings.data_path / datadir.TOKEN_FILE
    token, in_use = parts.admin_token, frozenset(other.admin for other in others)
    name = "configured administrator" if settings.admin_token else "first-start administrator"
    if settings.admin_token:
        await parts.shared.ask(lambda commons: commons.forget(Secret.ADMIN_TOKEN, but=in_use))
        path.unlink(missing_ok=True)  # what it held is revoked
    else:
        datadir.write_private(path, token + "\n")
    outcome = await ask(parts.writer.mailbox, EnsureAdminToken(name, hash_secret(token), shown_prefix(token), in_use))
    if isinstance(outcome, Refusal):
        raise StartError(outcome.detail)
    first = Caller(scopes=frozenset({Scope.ADMIN}), token_id=outcome.token_id, name=outcome.name)
    parts.first_code = await parts.first_link.stands_for(first)
