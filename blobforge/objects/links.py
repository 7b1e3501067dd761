"""URLs that this server signs and serves itself, and the check of one that comes back. Pure: no file is touched.

    /objects/<key>?op=get|put&expires=<unix seconds>[&filename=..][&sha256=..][&type=..]&sig=<hex HMAC-SHA256>

They promise what S3's presigned URLs do: one key, one verb, one lifetime. The signature covers the key and every
parameter, so that nothing can be added, dropped or changed.
"""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from blobforge.objects.keyed import Keyed
from blobforge.objects.keys import is_key

PATH = "/objects/"
_VERBS = {"get": ("GET", "HEAD"), "put": ("PUT",)}
# The secret may sign other things elsewhere: a text that begins like this is only ever an object URL.
_DOMAIN = "blobforge-object-url-1"
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")  # what is not percent-encoded
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/-]*")


class Grant(msgspec.Struct, frozen=True):
    """What the bearer of a URL may do. For `put`, `sha256` and `content_type` bind the upload where not None."""

    op: Literal["get", "put"]
    key: str
    filename: str | None = None
    sha256: str | None = None
    content_type: str | None = None


class Denied(msgspec.Struct, frozen=True):
    """Why a URL opens nothing, for the person or the log that reads it."""

    reason: str


class Links:
    """Signs and checks. `clock` gives Unix seconds; `secret` is at least 16 random bytes."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        if len(secret) < 16:
            raise ValueError("the secret for object URLs must have at least 16 bytes")
        self._secret = Keyed(secret)
        self._clock = clock

    def url(self, grant: Grant, *, expires_in: int) -> str:
        """Return the relative URL of `grant`, good for `expires_in` seconds (at least 1)."""
        if not is_key(grant.key):
            raise ValueError(f"not a key of this store: {grant.key!r}")
        if expires_in < 1:
            raise ValueError(f"expires_in must be at least 1 second, not {expires_in}")
        # Encoded once, for the URL and for the signature, where they stand in the order of their names.
        expires = f"expires={math.ceil(self._clock()) + expires_in}"
        filename = f"&filename={_encoded(grant.filename)}" if grant.filename is not None else ""
        rest = f"&sha256={_encoded(grant.sha256)}" if grant.sha256 is not None else ""
        if grant.content_type is not None:
            rest += f"&type={_encoded(grant.content_type)}"
        signature = self._signed(grant.key, f"{expires}{filename}&op={grant.op}{rest}")
        path = grant.key if _PLAIN_PATH.fullmatch(grant.key) else quote(grant.key)
        return f"{PATH}{path}?op={grant.op}&{expires}{filename}{rest}&sig={signature}"

    def verify(self, method: str, key: str, query: Mapping[str, str]) -> Grant | Denied:
        """Check a request for `key` with the decoded parameters `query`, each given once."""
        params = {name: value for name, value in query.items() if name != "sig"}
        # The signature comes first: nothing that a stranger wrote is looked at before it. Bytes, because
        # compare_digest raises on text that is not ASCII; `replace`, for text that has no encoding.
        given = query.get("sig", "").encode(errors="replace")
        if not is_key(key) or not hmac.compare_digest(self._signature(key, params).encode(), given):
            return Denied("this URL was not signed by this server, or was changed since")
        op = params["op"]
        assert op in ("get", "put"), "signed by us"
        if method not in _VERBS[op]:
            return Denied(f"this URL is for {' or '.join(_VERBS[op])}, not {method}")
        if self._clock() >= int(params["expires"]):
            return Denied("this URL has expired; ask for a new one")
        return Grant(
            op=op,  # type: ignore[arg-type]
            key=key,
            filename=params.get("filename"),
            sha256=params.get("sha256"),
            content_type=params.get("type"),
        )

    def _signature(self, key: str, params: Mapping[str, str]) -> str:
        # Percent-encoding keeps the text unambiguous: no value can hold a line feed, `&` or `=`. A request may hold
        # bytes that are no UTF-8; they match nothing that we signed, and must not raise either.
        listed = urlencode(sorted(params.items()), quote_via=quote, errors="replace")
        return self._signed(key, listed)

    def _signed(self, key: str, listed: str) -> str:
        """`listed`: all parameters, percent-encoded, in the order of their names."""
        return self._secret.hexdigest(f"{_DOMAIN}\n{key}\n{listed}".encode(errors="replace"))


def _encoded(value: str) -> str:
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="")
