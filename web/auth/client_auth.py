"""How this server shows the provider's token endpoint that it is the client that it says it is (RFC 6749, 2.3.1)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote_plus

BASIC, POST, NONE = "client_secret_basic", "client_secret_post", "none"

Way = str | Callable[..., Any]  # as Authlib takes it: one of its own by name, or a function


def ways(client_id: str, secret: str, chosen: str, supported: Sequence[str] | None) -> list[Way]:
    """The ways to try, one after another as long as the provider knows no such client.

    `chosen` is the operator's word; `supported` is discovery's, where silence means `client_secret_basic`. Id and
    secret are form-encoded for it, as the RFC says. Some providers compare them as they come, and of a secret with a
    `+` or `%` that is something else: it is sent once more as it is.
    """
    if not secret:
        return [NONE]
    method = chosen or (POST if supported is not None and BASIC not in supported and POST in supported else BASIC)
    if method == POST:
        return [POST]
    as_it_is = quote_plus(client_id + secret) == client_id + secret
    return [encoded_basic] if as_it_is else [encoded_basic, plain_basic]


def encoded_basic(client: Any, _method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    """`client_secret_basic` to the letter; Authlib (1.9) leaves the encoding out."""
    return uri, _basic(headers, quote_plus(client.client_id), quote_plus(client.client_secret)), body


def plain_basic(client: Any, _method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    """The same without the encoding. (Authlib's own knows Latin-1 only.)"""
    return uri, _basic(headers, client.client_id, client.client_secret), body


def _basic(headers: Any, name: str, secret: str) -> Any:
    headers["Authorization"] = f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"
    return headers
