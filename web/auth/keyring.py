"""From a credential to its caller. State owned here: a cache of valid credentials, and uses not yet written.

The cache is emptied by the commit that changes any credential, before that commit is answered: a revoked token is
refused from that moment on.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from actors.mailbox import Envelope, Mailbox, Reply
from actors.messages import TouchTokens
from blobforge.access import (
    EXPIRED_TOKEN,
    UNKNOWN_TOKEN,
    UNKNOWN_WORKER,
    Caller,
    Scope,
    Token,
    hash_secret,
)
from blobforge.events import AccessChanged, CredentialsRevoked, Fact
from blobforge.refusals import Refusal, RefusalCode
from blobforge.worker import Worker, disabled
from web.reads import ReadPool

NO_HASH = "0" * 64  # that no secret has
CACHED = 20_000  # credentials; a fleet of ten thousand fits twice
TOUCH_MS = 60_000  # a token's last use is written at most once in this time

NOBODY = Refusal(
    RefusalCode.UNAUTHENTICATED,
    "Send an API token (`Authorization: Bearer bf_...`) or a worker's credential (`X-Worker-ID`, `X-Worker-Secret`).",
)


class Keyring:
    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({AccessChanged, CredentialsRevoked})

    def __init__(
        self,
        reads: ReadPool,
        writer: Mailbox[Envelope[Any]],
        *,
        now: Callable[[], int],
        is_fresh: Callable[[], bool] = lambda: True,
    ) -> None:
        """`is_fresh`: whether what other servers have revoked is known here."""
        self._reads = reads
        self._is_fresh = is_fresh
        self._writer = writer
        self._now = now
        # With the caller that each stands for, as of now: whatever changes that empties both.
        self._tokens: dict[str, tuple[Token, Caller]] = {}
        self._workers: dict[str, tuple[Worker, Caller]] = {}
        self._changes = 0
        self.revocations = 0  # that were committed in this run: as of how many a caller was found good
        self._touched: dict[int, int] = {}

    def post(self, facts: Sequence[Fact]) -> None:
        """Empty the caches after a commit, before its requests are answered."""
        self._changes += 1
        self.revocations += sum(isinstance(fact, CredentialsRevoked) for fact in facts)
        self._tokens.clear()
        self._workers.clear()

    async def token(self, secret: str) -> Caller | Refusal:
        """The caller that an API token stands for."""
        digest = hash_secret(secret)
        cached = self._tokens.get(digest) if self._is_fresh() else None
        if cached is None:
            changes, as_of = self._changes, self.revocations
            token = await self._reads.run(lambda reader: reader.token_by_hash(digest))
            if token is None:
                return UNKNOWN_TOKEN
            cached = token, replace(token.caller(), as_of=as_of)
            if changes == self._changes and len(self._tokens) < CACHED:
                self._tokens[digest] = cached
        token, caller = cached
        now = self._now()
        if token.expired(now):
            return EXPIRED_TOKEN
        self._note_use(token, now)
        return caller

    async def worker(self, worker_id: str, secret: str) -> Caller | Refusal:
        """The caller that a worker's own credential stands for."""
        cached = self._workers.get(worker_id) if self._is_fresh() else None
        if cached is None:
            changes, as_of = self._changes, self.revocations
            worker = await self._reads.run(lambda reader: reader.worker(worker_id))
            if worker is not None:
                cached = worker, _caller(worker, as_of)
                if changes == self._changes and len(self._workers) < CACHED:
                    self._workers[worker_id] = cached
        # Compared even when there is no such worker, so that the time says nothing.
        known = (cached[0].secret_hash if cached is not None else None) or NO_HASH
        if not hmac.compare_digest(known, hash_secret(secret)) or cached is None:
            return UNKNOWN_WORKER
        worker, caller = cached
        return caller if worker.enabled else disabled(worker_id)

    def _note_use(self, token: Token, now: int) -> None:
        last = max(self._touched.get(token.id, 0), token.last_used_at or 0)
        if now - last < TOUCH_MS:
            return
        # No caller waits for it, and when the writer is busy it can wait for the next use.
        if self._writer.offer(Envelope(TouchTokens(((token.id, now),)), Reply())):
            self._touched[token.id] = now


def _caller(worker: Worker, as_of: int) -> Caller:
    scopes = frozenset({Scope.WORK})
    name = worker.name or worker.id
    return Caller(scopes, worker_id=worker.id, name=name, secret_hash=worker.secret_hash, as_of=as_of)
