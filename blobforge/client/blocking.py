"""How a script without an event loop calls the async client. State owned here: one thread, in which trio runs.

Everything is done by the AsyncClient in that thread, so that there is one way to retry, to verify and to stream.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio

from blobforge.client.connection import DEFAULT_PATIENCE
from blobforge.client.scripting import AsyncClient
from blobforge.client.transport import OnRetry

T = TypeVar("T")


class BlockingClient:
    """What `Client` is made of: it may be used from several threads, and not inside of trio (use AsyncClient there).

    Close it, or use it in a `with`: that ends its thread, and calls that still go on in it.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        patience: float = DEFAULT_PATIENCE,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._client = AsyncClient(base_url, token=token, patience=patience, on_retry=on_retry)
        self._loop = _Loop()

    @property
    def base_url(self) -> str:
        """The server's URL, without a slash at its end."""
        return self._client.base_url

    def with_patience(self, seconds: float) -> Self:
        """The same client, on the same connections, whose calls are repeated for `seconds` (`math.inf`: for ever)."""
        other = object.__new__(type(self))
        other._client, other._loop = self._client.with_patience(seconds), self._loop
        return other

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._loop.close(self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        return self._loop.run(call)

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items of an async generator; it is closed with this one."""
        end = object()
        try:
            while (item := self._loop.run(lambda: anext(items, cast(Any, end)))) is not end:
                yield item
        finally:
            self._loop.run(items.aclose)  # type: ignore[attr-defined]


class _Loop:
    """trio in a thread of its own, from the first call to `close`."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._end: trio.Event | None = None
        self._closed = False

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def called() -> T:
            return await call()

        return trio.from_thread.run(called, trio_token=self._started())

    def close(self, client: AsyncClient) -> None:
        with self._starting:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is None:
            return
        token, end = self._token, self._end
        assert token is not None
        assert end is not None
        trio.from_thread.run(client.__aexit__, None, None, None, trio_token=token)
        token.run_sync_soon(end.set)
        thread.join()

    def _started(self) -> trio.lowlevel.TrioToken:
        with self._starting:
            if self._closed:
                raise RuntimeError("this client is closed")
            if self._thread is None:
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=trio.run, args=(self._main, ready), name="blobforge-client", daemon=True
                )
                self._thread.start()
                ready.wait()
            assert self._token is not None
            return self._token

    async def _main(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._end = trio.Event()
        ready.set()
        await self._end.wait()
