"""A POST to a server of others: its name is resolved once, each of its addresses is judged, and the connection goes
to one that was judged; Host and SNI say the name. Redirects are not followed, and no proxy is asked.

However the other side behaves, a call takes no longer than `SECONDS` and no more than a few KiB.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, Protocol

import httpcore
import httpx
import msgspec
import trio
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from blobforge.outward.addresses import Allowed, HostAddress, Target, literal, refused, target

SECONDS: Final = 15.0  # for all of a call
CONNECT_SECONDS: Final = 5.0  # for one address
MOST_READ: Final = 1024  # bytes of an answer
LONGEST_HEADER: Final = 100  # bytes of one that is heeded
MOST_ADDRESSES: Final = 4  # that are tried

Resolve = Callable[[str, int], Awaitable[list[str]]]


class CallError(Exception):
    """There was no answer; in words that may be shown to administrators."""


class CallAnswer(msgspec.Struct, frozen=True):
    """The status, and the beginning of the body. `retry_after` is the header of that name."""

    status: int
    text: str
    retry_after: str = ""


class Connect(Protocol):
    """Opens a connection to an address, which is no name."""

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None) -> AsyncNetworkStream: ...


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises OSError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Judged(AsyncNetworkBackend):
    """Connects to the addresses that were judged, whatever name it is told."""

    def __init__(self, addresses: Iterable[HostAddress], connect: Connect) -> None:
        self._addresses = list(addresses)
        self._connect = connect

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:  # fmt: skip
        *others, last = self._addresses[:MOST_ADDRESSES]
        for address in others:
            try:
                return await self._connect.connect_tcp(str(address), port, CONNECT_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect.connect_tcp(str(last), port, CONNECT_SECONDS)


class Outward:
    """`allowed` is what the operator has named. `resolve` and `connect` are for tests."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        seconds: float = SECONDS,
        resolve: Resolve = resolve,
        connect: Connect | None = None,
    ) -> None:
        self.allowed = allowed
        self._seconds = seconds
        self._resolve = resolve
        self._connect = connect or httpcore.TrioBackend()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> CallAnswer:
        """Raises CallError."""
        to = target(url)
        if isinstance(to, str):
            raise CallError(f"the URL cannot be called: {to}")
        try:
            with trio.fail_after(self._seconds):
                return await self._post(to, await self._judged(to), body, headers)
        except trio.TooSlowError:
            raise CallError(f"it did not answer within {self._seconds:g} s") from None
        except httpcore.TimeoutException:
            raise CallError(f"no connection within {CONNECT_SECONDS:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            raise CallError(f"{_said(error)}") from error
        except (OSError, UnicodeError, httpcore.UnsupportedProtocol) as error:  # of a name that is none
            raise CallError(f"it cannot be reached: {error}") from error

    async def _judged(self, to: Target) -> list[HostAddress]:
        """All addresses of the host. Raises CallError where one of them may not be called, and OSError."""
        own = literal(to.host)
        named = [to.host] if own is not None else await self._resolve(to.host, to.port)
        found = [address for each in named if (address := literal(each)) is not None]
        if not found:
            raise CallError("its host has no address")
        for address in found:
            if (why := refused(to, address, self.allowed)) is not None:
                raise CallError(f"refused: {why}")
        return found

    async def _post(
        self, to: Target, addresses: list[HostAddress], body: bytes, headers: Mapping[str, str]
    ) -> CallAnswer:
        url = httpcore.URL(
            scheme=b"https" if to.https else b"http", host=to.host.encode(), port=to.port, target=to.path.encode()
        )
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        backend = _Judged(addresses, self._connect)
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls if to.https else None, network_backend=backend
            ) as pool,
            pool.stream("POST", url, headers=sent, content=body) as response,
        ):
            read = b""
            async for part in response.aiter_stream():
                read += part[: MOST_READ - len(read)]
                if len(read) >= MOST_READ:
                    break
            after = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
            text = read.decode("utf-8", "replace")
            return CallAnswer(response.status, text, after[:LONGEST_HEADER].decode("ascii", "replace"))


def _said(error: Exception) -> str:
    return f"the connection broke: {error}" if str(error) else "the connection broke"
