"""The embedded object store over HTTP: GET, HEAD and PUT on the URLs that a LocalStore signed.

The signature is the only credential here, as with S3: no cookie, no token is looked at. What is served are
strangers' bytes on the dashboard's origin, hence the headers that keep a browser from rendering them.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from quart import Blueprint, Response, request
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import RequestTimeout

from blobforge.objects import ObjectInfo, ObjectStoreError
from blobforge.objects.disposition import attachment
from blobforge.objects.incoming import (
    AlreadyThereError,
    DigestMismatchError,
    NotWantedError,
    StoreFullError,
    TooLargeError,
)
from blobforge.objects.links import PATH, Denied, Grant
from blobforge.objects.local import LocalStore
from blobforge.refusals import Refusal, RefusalCode
from web.asgi import QuartRequest
from web.problems import refused

OnReceived = Callable[[str, ObjectInfo], Awaitable[None]]
Permit = Callable[[str], Awaitable[None]]

OBJECTS = "objects"  # the blueprint's name

_C = RefusalCode
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the URL is a credential
    "Cache-Control": "private, no-store",
}


def object_routes(
    store: LocalStore,
    *,
    max_size: int,
    on_received: OnReceived | None = None,
    permit: Permit | None = None,
    idle_timeout: float = 60.0,
) -> Blueprint:
    """The routes below `/objects/`.

    An upload may have `max_size` bytes, and may pause for `idle_timeout` seconds. `on_received(key, info)` is
    awaited after an object was stored and before the client hears of it; it must not raise. `permit(key)` is awaited
    before the first byte of an upload is read, and before the object gets its name; it may raise NotWantedError.
    """
    handler = _Handler(store, max_size, on_received, permit, idle_timeout)
    blueprint = Blueprint(OBJECTS, __name__)
    blueprint.add_url_rule(f"{PATH}<path:key>", "object", handler.handle, methods=["GET", "HEAD", "PUT"])
    return blueprint


class _Handler:
    def __init__(
        self,
        store: LocalStore,
        max_size: int,
        on_received: OnReceived | None,
        permit: Permit | None,
        idle_timeout: float,
    ) -> None:
        self._store = store
        self._max_size = max_size
        self._on_received = on_received
        self._permit = permit
        self._idle_timeout = idle_timeout

    async def handle(self, key: str) -> Response:
        query = request.args.to_dict()
        grant = self._store.verify(request.method, key, query)
        if isinstance(grant, Denied):
            return _refused(_C.OBJECT_URL_REFUSED, grant.reason)
        if len(query) != len(list(request.args.items(multi=True))):
            return _refused(_C.OBJECT_URL_REFUSED, "it gives a parameter twice")
        try:
            return await (self._put(grant) if grant.op == "put" else self._get(grant))
        except StoreFullError as error:
            return _refused(_C.OBJECT_STORE_FULL, str(error))
        except ObjectStoreError as error:
            return _refused(_C.OBJECT_STORE_FAILED, str(error), retry_after=5)

    async def _get(self, grant: Grant) -> Response:
        found = await self._store.find(grant.key)
        if found is None:
            return _refused(_C.OBJECT_MISSING, f"{grant.key} is not here")
        size, etag = found.info.size, found.info.sha256
        if etag is not None and request.if_none_match.contains_weak(etag):
            answer = _answer(b"", 304)
            answer.set_etag(etag)
            return answer
        span = _span(size, etag)
        if span is None:
            answer = _refused(_C.RANGE_OUTSIDE, f"the object has {size} bytes")
            answer.content_range = ContentRange("bytes", None, None, size)
            return answer
        start, stop, status = span
        content = self._store.read(found, start, stop - start) if request.method == "GET" else b""
        answer = _answer(content, status)
        answer.content_length = stop - start
        answer.accept_ranges = "bytes"
        answer.headers["Content-Disposition"] = attachment(grant.filename)
        if status == 206:
            answer.content_range = ContentRange("bytes", start, stop, size)
        if etag is not None:
            answer.set_etag(etag)
        return answer

    async def _put(self, grant: Grant) -> Response:
        content_type = request.headers.get("Content-Type")
        if grant.content_type not in (None, content_type):
            detail = f"this URL is for Content-Type {grant.content_type}, not {content_type}"
            return _refused(_C.OBJECT_URL_REFUSED, detail)
        try:
            if (request.content_length or 0) > self._max_size:
                raise TooLargeError(self._max_size)
            permit = partial(self._permit, grant.key) if self._permit is not None else None
            if permit is not None:
                await permit()
            asked: QuartRequest = request._get_current_object()  # type: ignore[attr-defined]
            async with aclosing(asked.rest.parts(self._idle_timeout)) as chunks:
                info = await self._store.receive(
                    grant.key,
                    chunks,
                    max_size=self._max_size,
                    expected_sha256=grant.sha256,
                    content_type=content_type,
                    permit=permit,
                )
        except NotWantedError as error:
            return _refused(_C.OBJECT_FINAL, str(error))
        except AlreadyThereError as error:
            return _refused(_C.OBJECT_EXISTS, str(error))
        except TooLargeError as error:
            return _refused(_C.OBJECT_TOO_LARGE, str(error))
        except DigestMismatchError as error:
            return _refused(_C.DIGEST_MISMATCH, str(error))
        except RequestTimeout:
            detail = f"nothing came for {self._idle_timeout:g} s; start the upload again"
            return _refused(_C.UPLOAD_STALLED, detail)
        if self._on_received is not None:
            await self._on_received(grant.key, info)
        answer = _answer(b"", 200)
        if info.sha256 is not None:
            answer.set_etag(info.sha256)
        return answer


def _span(size: int, etag: str | None) -> tuple[int, int, int] | None:
    """(start, stop, status) of what the request asks for, or None for a range outside the object.

    If-Range: a part, only if the client has the rest of the same object. With several ranges the whole is sent,
    as RFC 9110 (14.2) allows: a download asks for one, and many are a way to make one request cost much.
    """
    wanted = request.range
    same = "If-Range" not in request.headers or (etag is not None and request.if_range.etag == etag)
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or not same:
        return 0, size, 200
    start, stop = wanted.ranges[0]
    if start < 0:  # so many bytes at the end; more than there are mean the whole
        return (max(0, size + start), size, 206) if size else None
    return (start, min(size, stop or size), 206) if start < size else None


def _answer(content: bytes | AsyncGenerator[bytes, None], status: int) -> Response:
    # The type is never the uploader's: it is a download, whatever they called it.
    answer = Response(content, status, headers=_HEADERS, content_type="application/octet-stream")
    answer.timeout = None  # a transfer takes as long as it takes
    answer.headers["Content-Disposition"] = "attachment"
    return answer


def _refused(code: RefusalCode, detail: str, *, retry_after: int | None = None) -> Response:
    """A refusal, from the table of all. The query is left out of `instance`: it holds the signature."""
    request_id = secrets.token_hex(8)
    refusal = Refusal(code, detail, retry_after=retry_after)
    answer = refused(refusal, instance=request.path, request_id=request_id).response()
    answer.headers.update(_HEADERS)
    answer.headers["Content-Disposition"] = "attachment"
    answer.headers["X-Request-ID"] = request_id
    return answer
