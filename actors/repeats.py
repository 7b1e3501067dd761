"""What an idempotency key was answered before: looked up here alone, by the writer inside its transaction and by bulk
actions and drills before they begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from actors.messages import Answer, Repeatable
from blobforge.refusals import Refusal, RefusalCode

WINDOW_SECONDS = 86_400.0  # for which an answer is kept

MISMATCH = Refusal(
    RefusalCode.IDEMPOTENCY_MISMATCH,
    "This Idempotency-Key was used with another request within the last 24 hours. Use a new key.",
    field="Idempotency-Key",
)


class Memory(Protocol):
    """What has the earlier answers: a reader, or the writer's transaction."""

    def remembered(self, subject: str, key: str, *, since: int) -> tuple[bytes, bytes] | None: ...


def earlier(memory: Memory, repeat: Repeatable, *, now: int, window: float = WINDOW_SECONDS) -> Answer | None:
    """The answer that this key was given in the `window` (s) before `now` (ms); MISMATCH: to another request."""
    found = memory.remembered(repeat.subject, repeat.key, since=now - round(window * 1000))
    if found is None:
        return None
    fingerprint, encoded = found
    return _decoded(encoded) if fingerprint == repeat.fingerprint else MISMATCH


_decoded: Callable[[bytes], Answer] = msgspec.msgpack.Decoder(Answer).decode
