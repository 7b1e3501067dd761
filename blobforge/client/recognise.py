"""Whose answer it is: the server's, the object store's, or that of something in between.

Proxies, load balancers, captive portals and filters answer in a server's place, with any status and any body. Such an
answer says nothing about a job, so it counts as no answer: the caller asks again, as it does without an answer.

The server marks each of its answers with a header. Releases before that header are known by the shape of what they
say. An object store is known by the ETag of a success, and by the XML (S3) or the problem (the embedded store) of a
refusal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar, get_origin

import httpx
import msgspec

from blobforge.client.errors import ApiError, TransferRefused, UnexpectedAnswer

T = TypeVar("T")

MARK = "BlobForge"
"""The header that the server sets on all that it answers (`web/app.py`)."""

_PROBLEM = "urn:blobforge:problem:"
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,100})</Code>")
_TAG = re.compile(r"<[^>]*>")
_SHOWN = 300  # characters of a store's own words


class _Problem(msgspec.Struct, kw_only=True):
    """The members of an RFC 9457 answer that we read."""

    type: str = ""
    title: str = ""
    detail: str = ""
    error: str = ""
    request_id: str | None = None


_NOTHING = b"null"  # what an answer without a body (204) stands for


def decoded(response: httpx.Response, answer: type[T], url: str) -> T:
    """The body of a success. Raises UnexpectedAnswer for a body that the server did not send."""
    try:
        if not is_ours(response):
            _has_shape(response.content, answer)
        return msgspec.json.decode(response.content or _NOTHING, type=answer)
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(
            url, f"did not answer as a BlobForge server does ({_what(response)}; {error})"
        ) from error


def refusal(response: httpx.Response, url: str, retry_after: float | None) -> ApiError:
    """The error in an answer of 400 and more. Raises UnexpectedAnswer when the server did not send it."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    if not is_ours(response) and not problem.type.startswith(_PROBLEM):
        raise UnexpectedAnswer(url, f"did not answer as a BlobForge server does ({_what(response)})")
    detail = problem.detail or problem.error or problem.title or f"the server answered {response.status_code}"
    return ApiError(
        response.status_code,
        problem.type.rstrip("/").rpartition("/")[2].rpartition(":")[2],
        detail,
        problem.request_id or response.headers.get("X-Request-ID"),
        retry_after,
    )


def redirected(response: httpx.Response, url: str) -> UnexpectedAnswer:
    """The exception for a redirect. The server sends none to a program; it would lead the credential elsewhere."""
    target = response.headers.get("Location", "elsewhere")
    secure = url.startswith("http://") and target.startswith("https://")
    hint = "use https:// in the server URL" if secure else "is the server URL right?"
    return UnexpectedAnswer(url, f"redirects to {target}; {hint}")


def unexpected_status(response: httpx.Response, url: str) -> UnexpectedAnswer:
    """The exception for a status that the server never answers with (304, 333)."""
    return UnexpectedAnswer(url, f"did not answer as a BlobForge server does ({_what(response)})")


def stream(response: httpx.Response, url: str, media_type: str) -> None:
    """Raises UnexpectedAnswer for a success that is no stream of this kind."""
    if not response.headers.get("Content-Type", "").startswith(media_type):
        raise UnexpectedAnswer(url, f"did not answer with {media_type} ({_what(response)})")


def is_ours(response: httpx.Response) -> bool:
    """Whether the answer bears the server's mark."""
    return MARK in response.headers


def object_taken(response: httpx.Response) -> bool:
    """Whether a success of a PUT is an object store's. A portal's page has no ETag, or is HTML."""
    return "ETag" in response.headers and not _is_page(response)


def object_given(response: httpx.Response) -> bool:
    """Whether a success of a GET is an object store's: it has an ETag. A portal's page may, but gives no ranges."""
    return "ETag" in response.headers and (not _is_page(response) or "Accept-Ranges" in response.headers)


def store_refusal(response: httpx.Response, body: bytes, url: str) -> TransferRefused:
    """An object store's refusal. Raises UnexpectedAnswer when something else refused."""
    found = _CODE.search(body[:4096])
    problem = _Problem()
    if found is None:
        with suppress(msgspec.DecodeError):
            problem = msgspec.json.decode(body, type=_Problem)
        if not is_ours(response) and not problem.type.startswith(_PROBLEM):
            raise UnexpectedAnswer(url, f"did not answer as an object store does ({_what(response)})")
    detail = problem.detail or _TAG.sub(" ", body[:1000].decode("utf-8", "replace"))
    return TransferRefused(
        response.status_code, url, " ".join(detail.split())[:_SHOWN], found[1].decode() if found else ""
    )


def unexpected_object(response: httpx.Response, url: str) -> UnexpectedAnswer:
    """The exception for a success that is no object store's."""
    return UnexpectedAnswer(url, f"did not answer as an object store does ({_what(response)})")


def _has_shape(content: bytes, answer: Any) -> None:
    """Raises DecodeError unless an unmarked body has at least one member of the answer. `{}` fits all shapes."""
    if get_origin(answer) is list:
        return  # the decoder looks at it
    value = msgspec.json.decode(content)
    known = ("status", *getattr(answer, "__struct_fields__", ()))
    if not isinstance(value, Mapping) or not any(name in value for name in known):
        raise msgspec.ValidationError("no member of it is known")


def _is_page(response: httpx.Response) -> bool:
    return bool(response.headers.get("Content-Type", "").lower().startswith("text/html"))


def _what(response: httpx.Response) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    return f"{response.status_code}, {kind or 'no media type'}"
