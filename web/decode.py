"""From the bytes of a request to a typed body, or a Refusal that says what is wrong with it.

A body of `null` is an empty one, and a member that is `null` an absent one: existing clients send both. A member
whose type takes None keeps it, so that a body of ours may give `null` a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeVar, cast

import msgspec
import msgspec.inspect
from werkzeug.datastructures import MultiDict

from blobforge.refusals import Refusal, RefusalCode

DEEPEST = 64  # levels of arrays and objects
LONGEST_NUMBER = 20  # characters
LONGEST_NULL = 64  # bytes: the word with the space around it
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level deeper, one less deep
_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_MISSING = re.compile(r"Object missing required field `(\w+)`")
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
    elif len(body) < LONGEST_NULL and body.strip() == b"null":
        body = b"{}"
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
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            if b"null" not in body:
                raise
        return msgspec.convert(without_nulls(msgspec.json.decode(body), decoder.type), decoder.type)
    except UnicodeDecodeError as error:
        return Refusal(RefusalCode.MALFORMED, f"The body is not UTF-8: {error.reason} at byte {error.start}.")
    except msgspec.ValidationError as error:
        return invalid(str(error))
    except (msgspec.DecodeError, RecursionError) as error:
        return Refusal(RefusalCode.MALFORMED, f"The body is not valid JSON: {error}.")


def without_nulls(value: Any, type_: Any) -> Any:
    """The decoded JSON without those members that are null and whose type has no None.

    Only members that `type_` describes are looked at: what a client keeps with us (metadata) stays as it is.
    """
    return _pruned(value, _described(type_))


def _pruned(value: Any, shape: msgspec.inspect.Type) -> Any:
    match shape:
        case msgspec.inspect.StructType() if isinstance(value, dict):
            kept = dict(value)
            for field in shape.fields:
                if (name := field.encode_name) in kept:
                    if kept[name] is None and not _takes_none(field.type):
                        del kept[name]
                    else:
                        kept[name] = _pruned(kept[name], field.type)
            return kept
        case msgspec.inspect.ListType() if isinstance(value, list):
            return [_pruned(each, shape.item_type) for each in value]
        case msgspec.inspect.RawType():
            return msgspec.Raw(msgspec.json.encode(value))
        case msgspec.inspect.UnionType():
            for option in shape.types:
                value = _pruned(value, option)
            return value
        case _:
            return value


def _takes_none(shape: msgspec.inspect.Type) -> bool:
    options = shape.types if isinstance(shape, msgspec.inspect.UnionType) else (shape,)
    return any(isinstance(each, msgspec.inspect.NoneType | msgspec.inspect.AnyType) for each in options)


@lru_cache(maxsize=256)  # one for each route
def _described(type_: Any) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(type_)


Q = TypeVar("Q")
# Of a number in a query: what is too small or too large is taken as the least or the most, and what is no number as
# if it were absent. A place in a list is not moved back: who pages by it would be given the same page for ever.
LENIENT = {"lenient": True}
LENIENT_PLACE = {"lenient": "below"}


def query(arguments: MultiDict[str, str], type_: type[Q]) -> Q | Refusal:
    """Decode a query string. An empty value counts as absent; unknown names are no error."""
    given = {name: value for name, value in arguments.items() if value != ""}
    if any("\0" in value for value in given.values()):
        return Refusal(RefusalCode.INVALID, "The query holds a NUL character.")
    for name, (least, most) in lenient(cast(Hashable, type_)).items():
        if name in given:
            number = _number(given.pop(name))
            if number is not None:
                given[name] = str(max(number, least) if most is None else min(max(number, least), most))
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


@lru_cache(maxsize=64)  # one for each kind of query
def lenient(type_: Hashable) -> dict[str, tuple[int, int | None]]:
    """The names of the LENIENT numbers of a query, each with the least and the most; None: more is refused."""
    found: dict[str, tuple[int, int | None]] = {}
    for field in msgspec.structs.fields(cast("type[msgspec.Struct]", type_)):
        shape = msgspec.inspect.type_info(field.type)
        if isinstance(shape, msgspec.inspect.Metadata) and shape.extra in (LENIENT, LENIENT_PLACE):
            assert isinstance(shape.type, msgspec.inspect.IntType)
            assert shape.type.ge is not None
            assert shape.type.le is not None
            found[field.encode_name] = shape.type.ge, shape.type.le if shape.extra == LENIENT else None
    return found


def _number(text: str) -> int | None:
    try:
        return int(text) if text.isascii() and len(text) < LONGEST_NUMBER else None
    except ValueError:
        return None


def invalid(message: str) -> Refusal:
    """A 422 from a decoder's message, with the field that it names."""
    at = _AT.search(message)
    field = at[1] if at else None
    text = message[: at.start()] if at else message
    if missing := _MISSING.fullmatch(text):
        field = f"{field}.{missing[1]}" if field else missing[1]
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
