"""The installation's signing keys: manifests are signed with the latest one whose private half can be opened.

A key is 32 bytes of Ed25519 (RFC 8032), written in base64. Keys are never changed and never removed: one whose
private half cannot be opened any more, because the signing secret was lost, is followed by another, and what it has
signed is as good as before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class SigningKey(msgspec.Struct, frozen=True):
    """`sealed` is the private half, encrypted; `made_at` is in ms since the epoch."""

    public_key: str
    sealed: bytes
    made_at: int


class PrivateHalf(msgspec.Struct, frozen=True):
    """The 32 bytes that are sealed."""

    seed: bytes

    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def new_private_half() -> PrivateHalf:
    return PrivateHalf(Ed25519PrivateKey.generate().private_bytes_raw())


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half in base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """The key of this text. Raises ValueError."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
        if len(raw) != 32:
            raise ValueError
        return Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, binascii.Error):
        raise ValueError("a public key is 32 bytes in base64, 44 characters") from None


def fingerprint(public: str) -> str:
    """The SHA-256 of the public key, for people to compare, in the form of OpenSSH: `SHA256:` and base64."""
    digest = hashlib.sha256(base64.b64decode(public)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
