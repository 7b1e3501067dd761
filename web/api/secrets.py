"""Making secrets so that a repeated request shows the same one, without our keeping it.

With an Idempotency-Key, the secret is derived from the key by HMAC under a secret of this server; the database
holds only the hash, as always.
"""

from __future__ import annotations

import base64
import hmac

from blobforge.access import TOKEN_PREFIX, WORKER_SECRET_PREFIX, new_token, new_worker_secret
from web.routing import Call


def api_token(call: Call) -> str:
    return _derived(call, TOKEN_PREFIX) or new_token()


def worker_secret(call: Call) -> str:
    return _derived(call, WORKER_SECRET_PREFIX) or new_worker_secret()


def _derived(call: Call, prefix: str) -> str | None:
    if call.repeat is None:
        return None
    text = "\n".join((prefix, call.repeat.subject, call.repeat.key))
    digest = hmac.digest(call.services.signing_secret, text.encode() + call.repeat.fingerprint, "sha256")
    return prefix + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
