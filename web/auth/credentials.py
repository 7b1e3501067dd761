"""Reading the credential off a request. Identity comes from here and from nowhere else."""

from __future__ import annotations

from blobforge.access import Caller
from blobforge.refusals import Refusal, RefusalCode
from web.auth.keyring import NOBODY, Keyring
from web.auth.sessions import Sessions
from web.request import Request

LONGEST_SECRET = 512  # characters; ours have 46


async def authenticate(request: Request, keyring: Keyring, sessions: Sessions) -> Caller | Refusal:
    """The caller, by `Authorization: Bearer`, by `X-Worker-ID` with `X-Worker-Secret`, or by a session's cookie."""
    authorization = request.headers.get("Authorization")
    worker_secret = request.headers.get("X-Worker-Secret")
    if authorization is not None:
        if worker_secret is not None:
            return Refusal(
                RefusalCode.UNAUTHENTICATED, "Send one credential: an API token or a worker's, not both of them."
            )
        kind, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if kind.lower() != "bearer" or not secret or len(secret) > LONGEST_SECRET:
            return NOBODY
        return await keyring.token(secret)
    if worker_secret is not None and (worker_id := _worker_id(request)) is not None:
        if not worker_id or max(len(worker_id), len(worker_secret)) > LONGEST_SECRET:
            return NOBODY
        return await keyring.worker(worker_id, worker_secret)
    return await sessions.caller(request) or NOBODY


def _worker_id(request: Request) -> str | None:
    """The header's UTF-8, as clients send it; the bytes of a header reach us as Latin-1."""
    named = request.headers.get("X-Worker-ID")
    if named is None or named.isascii():
        return named
    try:
        return named.encode("latin-1").decode()
    except UnicodeError:
        return named


def claimed(request: Request) -> str | None:
    """The id that the request claims, for slowing down guesses: never a secret. None without a credential.

    A worker's secret without an id names no worker, as a token does: workers that forget it would slow each other
    down.
    """
    named = (_worker_id(request) or "")[:LONGEST_SECRET]
    if request.headers.get("X-Worker-Secret") is not None:
        return f"worker {named}" if named else "token"
    return "token" if request.headers.get("Authorization") is not None else None
