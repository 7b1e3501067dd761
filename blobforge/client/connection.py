"""A client's connection to its server: the credential, the patience, and one call after the other.

The endpoints (`api.py`, `files.py`, `attempts.py`, `administration.py`) are methods on top of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from blobforge.client.transport import OnRetry, Transport
from blobforge.login.credentials import DEFAULT_URL

T = TypeVar("T")

DEFAULT_PATIENCE = 3.0
IN_BULK = 600.0  # seconds: the server changes jobs by the thousand, and answers once at the end


def is_credential(word: str) -> bool:
    """Whether an HTTP header can carry it. Of a file with Windows' line ends, \\r is left over."""
    return word.isascii() and word.isprintable() and " " not in word


class ClientConnection:
    """A connection to one server, with one credential.

    `token` is an API token; `worker` is a pair of worker id and secret. `patience` is how many seconds a call is
    repeated for while the server does not answer or says "later"; see `with_patience`.
    Raises ValueError for a base URL or a credential that is none.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        worker: tuple[str, str] | None = None,
        patience: float = DEFAULT_PATIENCE,
        on_retry: OnRetry | None = None,
    ) -> None:
        if not all(is_credential(word) for word in (token, *(worker or ())) if word is not None):
            raise ValueError("a credential is printable ASCII without spaces and line ends")
        auth: dict[str, str] = {}
        if token is not None:
            auth["Authorization"] = f"Bearer {token}"
        if worker is not None:
            auth["X-Worker-ID"], auth["X-Worker-Secret"] = worker
        self._transport = Transport(base_url, auth, user_agent="blobforge", on_retry=on_retry)
        self._patience = patience
        self._instance: str | None = None

    @property
    def base_url(self) -> str:
        """The server's URL, without a slash at its end."""
        return self._transport.base_url

    def with_patience(self, seconds: float) -> Self:
        """The same client, on the same connections, whose calls are repeated for `seconds` (`math.inf`: for ever)."""
        other = copy.copy(self)
        other._patience = seconds
        return other

    def with_instance(self, instance: str) -> Self:
        """The same client, on the same connections, whose calls as a worker say that this process makes them."""
        other = copy.copy(self)
        other._instance = instance
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def _call(self, method: str, path: str, answer: type[T], **how: Any) -> T:
        return await self._transport.call(method, path, answer, patience=self._patience, **how)

    async def _every_page(self, path: str, item: type[T], **params: Any) -> list[T]:
        return await self._transport.every_page(path, item, patience=self._patience, params=without_none(**params))

    async def _post(self, path: str, answer: type[T], body: Mapping[str, Any] | None = None, **how: Any) -> T:
        return await self._call("POST", path, answer, body=body, **how)


def without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def flag_text(flag: bool | None) -> str | None:
    """The flag as a query's text."""
    return None if flag is None else str(flag).lower()


def path_part(name: str) -> str:
    """An id as one part of a path: no character of it keeps a meaning there."""
    return quote(name, safe="")
