"""HMAC-SHA256 for one key and many messages: what the key alone decides is computed once, which halves the time of a
short message. Equal to the standard library's `hmac`, which tests/objects/test_keyed.py holds.

Source: RFC 2104, section 4.
"""

from __future__ import annotations

import hashlib

_BLOCK = 64  # bytes, SHA-256's
_INNER, _OUTER = bytes(value ^ 0x36 for value in range(256)), bytes(value ^ 0x5C for value in range(256))


class Keyed:
    """Signs messages with a key of any length. Safe to share between threads."""

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def hexdigest(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()
