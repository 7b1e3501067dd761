"""A request as handlers see it, filled by both ways in: by the lean reader, and by Quart."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol, overload
from urllib.parse import parse_qsl

from werkzeug.datastructures import ImmutableMultiDict, MultiDict
from werkzeug.sansio.http import parse_cookie


class Headers(Protocol):
    """Header lines by name, in whichever case. Of several with one name `get` gives the first, `getlist` all."""

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, default: str, /) -> str: ...

    def getlist(self, name: str, /) -> list[str]: ...

    def __contains__(self, name: str, /) -> bool: ...


class Request:
    """`path` is without percent signs; `query_string` as it came; `remote_addr` the peer's address."""

    def __init__(
        self,
        method: str,
        path: str,
        query_string: bytes,
        headers: Headers,
        *,
        remote_addr: str | None,
        scheme: str = "http",
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.remote_addr = remote_addr
        self.scheme = scheme

    @property
    def full_path(self) -> str:
        """Path and query, with a question mark between them in any case."""
        return f"{self.path}?{self.query_string.decode('latin1')}"

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """The query's parameters. What is no UTF-8 stays percent-encoded, as Werkzeug has it."""
        text = self.query_string.decode("ascii", "replace")
        return ImmutableMultiDict(parse_qsl(text, keep_blank_values=True, errors="werkzeug.url_quote"))

    @property
    def cookies(self) -> MultiDict[str, str]:
        return parse_cookie(self.headers.get("Cookie"))
