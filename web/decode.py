"""From the bytes of a request to a typed body, or a Refusal that says what is wrong with it."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import accumulate
from typing import Any, TypeVar

import msgspec
from werkzeug.datastructures import MultiDict

from blobforge.refusals import Refusal, RefusalCode

DEEPEST = 64  # levels of arrays and objects
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level deeper, one less deep
_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_AT = re.compile(r" - at `\$\.?(.*)`$")


class Oversized(Exception):
    """A member of the body is larger than what is kept of it. Answered as 422."""

    def __init__(self, field: str, size: int, most: int) -> None:
        super().__init__(f"{field}: {size} bytes of JSON, and at most {most} are kept")
        self.field = field


def json_body(body: bytes, content_type: str | None, decoder: msgspec.json.Decoder[Any]) -> Any | Refusal:
    """Decode a JSON body. Returns the typed value, or 400, 415, 422 as a Refusal."""
    if not body or body.isspace():
        body = b"{}"  # a client that has nothing to say may say nothing
    elif not _is_json(content_type):
        return Refusal(
            RefusalCode.NOT_JSON,
            f"Send JSON with `Content-Type: application/json`, not {content_type or 'nothing'!r}.",
        )
    if len(body) > DEEPEST and body.count(b"[") + body.count(b"{") > DEEPEST and _too_deep(body):
        return Refusal(RefusalCode.MALFORMED, f"The body nests deeper than {DEEPEST} levels.")
    try:
        if not body.isascii():
            body.decode()  # parts that are kept as they come are not looked into by the decoder
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        return Refusal(RefusalCode.MALFORMED, f"The body is not UTF-8: {error.reason} at byte {error.start}.")
    except msgspec.ValidationError as error:
        return invalid(str(error))
    except (msgspec.DecodeError, RecursionError) as error:
        return Refusal(RefusalCode.MALFORMED, f"The body is not valid JSON: {error}.")


Q = TypeVar("Q")


def query(arguments: MultiDict[str, str], type_: type[Q]) -> Q | Refusal:
    """Decode a query string. An empty value counts as absent; unknown names are no error."""
    given = {name: value for name, value in arguments.items() if value != ""}
    if any("\0" in value for value in given.values()):
        return Refusal(RefusalCode.INVALID, "The query holds a NUL character.")
    try:
        found = msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        return invalid(str(error))
    # The decoder takes the word "null" for nothing: who asks for a status of that name would be given all jobs. It
    # takes a number for a time, too, in seconds since 1970.
    for name, value in given.items():
        meant = getattr(found, name, ...)
        if meant is None:
            return Refusal(RefusalCode.INVALID, f"{name}: {value!r} is no value; leave it out.", field=name)
        if isinstance(meant, datetime) and ":" not in value:
            return Refusal(RefusalCode.INVALID, f"{name}: Invalid RFC 3339 datetime.", field=name)
    return found


def invalid(message: str) -> Refusal:
    """A 422 from a decoder's message, with the field that it names."""
    at = _AT.search(message)
    field = at[1] if at else None
    text = message[: at.start()] if at else message
    where = f"{field}: " if field else ""
    return Refusal(RefusalCode.INVALID, f"{where}{text}.", field=field)


def _is_json(content_type: str | None) -> bool:
    if content_type == "application/json":
        return True
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _too_deep(body: bytes) -> bool:
    """Whether there are more levels than DEEPEST; exact for what is JSON, and what is not is refused anyway.

    No loop of ours over the brackets: a batch of a thousand jobs has thousands of them.
    """
    if b"\\" in body:  # a quote that is escaped ends no string
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(_STEPS, _NO_MARKS)
    steps = b"".join(marks.split(b'"')[::2])  # without those inside strings
    return max(accumulate(memoryview(steps).cast("b")), default=0) > DEEPEST
