"""Making secrets so that a repeated request shows the same one, without our keeping it.

A secret is made of a random salt, by HMAC under a secret of this server. The salt goes along with the message and
comes back with its outcome, which an Idempotency-Key keeps for a day; alone it is worth nothing. The database holds
the hash of the secret, as always.
"""

from __future__ import annotations

import base64
import hmac
import secrets

from web.routing import Call


def new_salt() -> str:
    """256 random bits."""
    return secrets.token_hex(32)


def new_undo(call: Call) -> str:
    """A token to undo by. A request that is repeated with its Idempotency-Key goes on under the one it began with."""
    if call.repeat is None:
        return secrets.token_hex(16)
    asked = b"\n".join((call.repeat.subject.encode(), call.repeat.key.encode(), call.repeat.fingerprint))
    return hmac.digest(call.services.signing_secret, b"undo\n" + asked, "sha256").hex()[:32]


def made_of(call: Call, prefix: str, salt: str) -> str:
    """The secret of this kind that the salt stands for."""
    digest = hmac.digest(call.services.signing_secret, f"{prefix}\n{salt}".encode(), "sha256")
    return prefix + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
