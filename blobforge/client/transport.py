"""One HTTP exchange with the server, and when it is worth repeating. Nothing outside this package sees httpx.

A request is repeated only when a second delivery cannot do a second thing: reads, idempotent verbs, POSTs that
carry an Idempotency-Key, and those that the contract makes repeatable (claims by `claim_key`, heartbeats).
Repeats are worth it when no answer of the server came (`recognise.py`), or one that says "later": 408, 429, 503
(Retry-After is honoured). A 500 of the server is a bug that may have passed: it is worth a few repeats, and no more.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec
import trio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay
from tenacity.wait import wait_exponential, wait_random

from blobforge.client import recognise
from blobforge.client.errors import ApiError, ClientError, ServerUnreachable
from blobforge.client.text import encode

T = TypeVar("T")

OnRetry = Callable[[ClientError, float], None]
"""Told before each repeat: what went wrong, and the seconds until the next try."""

LATER = frozenset({408, 429, 500, 502, 503, 504})
MOST_BROKEN = 8  # tries that end in a 500, some 40 s in all, after which waiting does not help
CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0
LONGEST_RETRY_AFTER = 120.0  # a server that asks for more is asked again sooner: it may have restarted meanwhile
# What OpenSSL says of a first record that is none; the one or the other, by its version.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_back_off = wait_exponential(multiplier=0.2, max=15.0) + wait_random(0, 0.3)


class Glance(msgspec.Struct, frozen=True):
    """The head of one answer: its status, the other side's clock (None: it does not say), seconds that it took."""

    status: int
    date: datetime | None
    seconds: float


class Preflight(msgspec.Struct, frozen=True):
    """What a browser is told before it sends something elsewhere: the status, and whether it may."""

    status: int
    allows: bool


class Transport:
    """A connection pool to one server.

    `patience` (seconds) in each call is how long repeats may go on: 0 is one try, `math.inf` until cancelled.
    """

    def __init__(
        self, base_url: str, auth: Mapping[str, str], *, user_agent: str, on_retry: OnRetry | None = None
    ) -> None:
        try:
            parts = httpx.URL(base_url)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ValueError(f"not a URL: {base_url!r} ({error})") from error
        if parts.scheme not in {"http", "https"} or not parts.host:
            raise ValueError(f"not an http:// or https:// URL: {base_url!r}")
        self.base_url = base_url.rstrip("/")
        self._auth = dict(auth)
        self._on_retry = on_retry
        self.http = httpx.AsyncClient(
            timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
            # A proxy that the environment names is for the outside; this machine is never reached through it.
            mounts={f"all://{host}": None for host in _LOOPBACK},
            headers={"User-Agent": user_agent},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def aclose(self) -> None:
        """Close the pool."""
        await self.http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        patience: float,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        once_only: bool = False,
        answer_timeout: float = ANSWER_TIMEOUT,
        links: dict[str, Any] | None = None,
    ) -> T:
        """Make one call and decode what it answers. `links` is given those of the answer's `Link` header.

        `once_only` marks a POST whose repeat would do a second thing: it gets an Idempotency-Key, the same for
        every repeat. Raises ApiError, ServerUnreachable or UnexpectedAnswer.
        """
        headers = dict(self._auth)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if once_only:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        request = self.http.build_request(
            method,
            self.base_url + path,
            params={name: value for name, value in (params or {}).items() if value is not None},
            content=None if body is None else encode(body),
            headers=headers,
            timeout=httpx.Timeout(answer_timeout, connect=CONNECT_TIMEOUT),
        )

        async def once() -> T:
            with unreachable_as_client_error(request.url):
                response = await self.http.send(request)
            if links is not None:
                links.update({str(relation): each for relation, each in response.links.items()})
            return self._decode(response, answer)

        result: T = await self.patiently(once, patience)
        return result

    async def every_page(
        self, path: str, item: type[T], *, patience: float, params: Mapping[str, Any] | None = None
    ) -> list[T]:
        """GET a list that is a JSON array, page after page: of the `Link` to the next one, the parameters are taken.

        A server that knows no pages answers the whole list. Raises what `call` does.
        """
        found: list[T] = []
        wanted: Mapping[str, Any] | None = params or {}
        while wanted is not None:
            links: dict[str, Any] = {}
            page = await self.call("GET", path, list[item], patience=patience, params=wanted, links=links)  # type: ignore[valid-type]
            found += page
            following = links.get("next", {}).get("url")
            # An empty page leads nowhere: whatever it says, the same would come again.
            wanted = dict(httpx.URL(following).params) if following and page else None
        return found

    async def open(
        self, path: str, *, params: Mapping[str, Any], headers: Mapping[str, str], silence: float, patience: float
    ) -> httpx.Response:
        """GET a stream: the answer's body is still to come, and is the caller's to close.

        `headers` say in `Accept` what it is a stream of; `silence` is how many seconds may pass without a byte.
        Raises ApiError, ServerUnreachable and UnexpectedAnswer.
        """
        request = self.http.build_request(
            "GET",
            self.base_url + path,
            params=params,
            headers={**self._auth, **headers},
            timeout=httpx.Timeout(silence, connect=CONNECT_TIMEOUT),
        )

        async def once() -> httpx.Response:
            with unreachable_as_client_error(request.url):
                response = await self.http.send(request, stream=True)
                try:
                    if response.is_success:
                        recognise.stream(response, without_query(request.url), headers["Accept"])
                        return response
                    await response.aread()
                    raise _refusal(response)
                except BaseException:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                        await response.aclose()
                    raise

        response: httpx.Response = await self.patiently(once, patience)
        return response

    async def glance(self, url: str, *, headers: Mapping[str, str] | None = None) -> Glance:
        """GET any URL once, without our credential, and look at the head of the answer only.

        Raises ServerUnreachable.
        """
        with unreachable_as_client_error(url):
            started = trio.current_time()
            async with self.http.stream("GET", url, headers=dict(headers or {}), timeout=CONNECT_TIMEOUT) as response:
                return Glance(
                    response.status_code, _date(response.headers.get("Date")), trio.current_time() - started
                )

    async def preflight(self, url: str, *, origin: str, method: str, names: Sequence[str]) -> Preflight:
        """Ask what a browser asks before a page of `origin` may send this to the URL, with headers of these names.

        Raises ServerUnreachable.
        """
        headers = {"Origin": origin, "Access-Control-Request-Method": method,
                   "Access-Control-Request-Headers": ",".join(names)}  # fmt: skip
        with unreachable_as_client_error(url):
            answer = await self.http.request("OPTIONS", url, headers=headers, timeout=CONNECT_TIMEOUT)
            said = {
                kind: [
                    each.strip().lower() for each in answer.headers.get(f"Access-Control-Allow-{kind}", "").split(",")
                ]
                for kind in ("Origin", "Methods", "Headers")
            }
        allows = (
            answer.is_success
            and not {"*", origin.lower()}.isdisjoint(said["Origin"])
            and not {"*", method.lower()}.isdisjoint(said["Methods"])
            and ("*" in said["Headers"] or {each.lower() for each in names} <= set(said["Headers"]))
        )
        return Preflight(answer.status_code, allows)

    async def patiently(self, once: Callable[[], Any], patience: float) -> Any:
        """Run `once`, and again while what it raises is worth it and `patience` seconds are not over."""
        retrying = AsyncRetrying(
            sleep=trio.sleep,
            retry=retry_if_exception(worth_repeating),
            wait=_wait,
            stop=_StopRetrying(patience),
            before_sleep=self._tell,
            reraise=True,
        )
        return await retrying(once)

    def _tell(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        if self._on_retry is not None and isinstance(failure, ClientError):
            self._on_retry(failure, state.upcoming_sleep)

    def _decode(self, response: httpx.Response, answer: type[T]) -> T:
        if not response.is_success:
            raise _refusal(response)
        return recognise.decoded(response, answer, without_query(response.url))


def worth_repeating(error: BaseException) -> bool:
    """Whether the same request may succeed if it is made again."""
    return isinstance(error, ServerUnreachable) or (isinstance(error, ApiError) and error.status in LATER)


def without_query(url: httpx.URL | str) -> str:
    """The URL as it may be shown: a signed URL's query is a credential."""
    return urlunsplit(urlsplit(str(url))._replace(query="", fragment=""))


class unreachable_as_client_error:  # noqa: N801 - used as a statement, `with unreachable_as_client_error(url):`
    """Turn httpx's connection errors into ServerUnreachable with a reason in plain words."""

    def __init__(self, url: httpx.URL | str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, httpx.TransportError):
            raise ServerUnreachable(without_query(self._url), _reason(error)) from error
        if type(error) is UnicodeError:  # what Python says of a host name that cannot be one
            raise ServerUnreachable(without_query(self._url), "there can be no host of that name") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if _speaks_plain(error):
        return "it speaks plain HTTP: use http:// in the server URL"
    code = _errno(error)
    if code in {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET, errno.EPIPE}:
        return os.strerror(code).lower()
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _speaks_plain(error: BaseException | None, depth: int = 10) -> bool:
    """Whether TLS was begun with what answered in another protocol."""
    if error is None or depth == 0:
        return False
    if isinstance(error, ssl.SSLError):
        return error.reason in _NO_TLS
    return any(_speaks_plain(inner, depth - 1) for inner in (error.__cause__, error.__context__))


def _errno(error: BaseException | None, depth: int = 10) -> int | None:
    """The system's error number at the root of a connection error, looked for in causes and groups."""
    if error is None or depth == 0:
        return None
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return error.errno
    nested = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    for inner in (*nested, error.__cause__, error.__context__):
        code = _errno(inner, depth - 1)
        if code is not None:
            return code
    return None


def _wait(state: RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.retry_after if isinstance(failure, ApiError) else None
    return max(_back_off(state), min(asked or 0.0, LONGEST_RETRY_AFTER))


class _StopRetrying(stop_before_delay):
    """When `patience` is over, and after MOST_BROKEN tries that met a bug of the server."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        failure = retry_state.outcome.exception() if retry_state.outcome else None
        broken = isinstance(failure, ApiError) and failure.status == 500
        return super().__call__(retry_state) or (broken and retry_state.attempt_number >= MOST_BROKEN)


def _refusal(response: httpx.Response) -> ClientError:
    """The error in an answer that is no success."""
    url = without_query(response.url)
    if response.is_redirect:
        return recognise.redirected(response, url)
    if response.status_code < 400:
        return recognise.unexpected_status(response, url)
    return recognise.refusal(response, url, _retry_after(response.headers.get("Retry-After")))


def _date(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value else None
    except ValueError:
        return None


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which is a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
