"""From the bytes of a request to a typed body, or a Refusal that says what is wrong with it.

A body of `null` is an empty one, and a member that is `null` an absent one: existing clients send both. A member
whose type takes None keeps it, so that a body of ours may give `null` a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Hashable
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeVar, cast

import msgspec
import msgspec.inspect
import trio
from werkzeug.datastructures import MultiDict

from blobforge import converters, requirements
from blobforge.refusals import Refusal, RefusalCode

DEEPEST = 64  # levels of arrays and objects
LONGEST_NUMBER = 20  # characters
LONGEST_NULL = 64  # bytes: the word with the space around it
SLICE = 64 * 1024  # bytes of a body that are looked at without a pause
NULL = b"null"
GOT_NULL = "got `null`"  # as msgspec says it
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level deeper, one less deep
_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
# Escapes of half a character, as Python's json writes a file name that is no UTF-8.
_HIGH_ALONE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})")
_LOW_ALONE = re.compile(rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
# What texts may be, by the patterns that the description has of them; a refusal says it in words.
# Spelt out: what \s stands for is not the same in Python and in a schema. Of spaces, only the common one: what cannot
# be told apart by a reader is no name.
NAMED = r"[^/\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
NO_SLASH = rf"^{NAMED}( *{NAMED})*\Z"
NO_NUMBER = rf"^(?![0-9]+\Z){NAMED}( *{NAMED})*\Z"  # which would be taken for one
PATTERNS_IN_WORDS = {
    converters.PATTERN: "a name and a version (PEP 440), as `marker 1.3.2`",
    converters.WANTED_PATTERN: "a name and the versions (PEP 440), as `marker<1.3`, `marker>=1.2,<2`, `marker==1.*` "
    "or `marker`; or `none`",
    requirements.PATTERN: "a label, alone or compared, as `gpu`, `zone=eu`, `memory_gib>=32` or `version>=1.4`",
    NO_SLASH: "a name without a slash or a control character, with no space at either end, and of spaces only the "
    "common one within",
    NO_NUMBER: "a name that is not digits only, without a slash or a control character, with no space at either end, "
    "and of spaces only the common one within",
    r"^[^\x00-\x1f\x7f]+\Z": "text without control characters",
    r"^[^\x00-\x1f\x7f]*\Z": "text without control characters",
    r"^[^\x00-\x1f\x7f-\x9f]+\Z": "text without control characters",
    r"^[^\x00]*\Z": "text without a NUL character",
    r"^[0-9a-f]{64}\Z": "64 lowercase hex digits",
    r"^[0-9a-f]+\Z": "lowercase hex digits",
    r"^(read|submit|work|admin)\Z": "read, submit, work or admin",
    r"^\d{1,19}:[^\x00]*\Z": "the `next_cursor` of an earlier answer",
    r"^whsec_[A-Za-z0-9+/]{32,86}={0,2}\Z": "`whsec_` and 24 to 64 bytes in base64",
    r"^[0-9]{1,18}:-?[0-9]{1,4}:[^\x00]*\Z": "the `next_cursor` of an earlier answer",
    r"^[\x20-\x7e]*\Z": "printable ASCII characters",
    r"^[\x20-\x7e]+\Z": "printable ASCII characters",
    r"^[\x21-\x7e]+\Z": "printable ASCII characters and no space",
    r"^[\x21\x23-\x7e]+\Z": "printable ASCII characters, no space and no quotation mark",
    r"^[A-Za-z0-9+/]{22}==\Z": "an MD5 in base64",
    r"^[0-9]{1,19}(,[0-9]{1,19})*$": "ids of jobs with commas between them",
}
_IN_WORDS = {f"matching regex {pattern!r}": words for pattern, words in PATTERNS_IN_WORDS.items()}
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$")


class UnfitMember(Exception):
    """A member of a request is well-formed, and cannot be taken, for the reason given. Answered as 422."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class Oversized(UnfitMember):
    """A member of the body is larger than what is kept of it."""

    def __init__(self, field: str, size: int, most: int) -> None:
        super().__init__(field, f"{size} bytes of JSON, and at most {most} are kept")


def json_body(body: bytes, content_type: str | None, decoder: msgspec.json.Decoder[Any]) -> Any | Refusal:
    """Decode a JSON body. Returns the typed value, or 400, 415, 422 as a Refusal."""
    turns = _in_turns(body, content_type, decoder)
    while True:
        try:
            next(turns)
        except StopIteration as done:
            return done.value


async def large_json_body(body: bytes, content_type: str | None, decoder: msgspec.json.Decoder[Any]) -> Any | Refusal:
    """The same of a body that takes long to look at: other tasks have their turns in between."""
    turns = _in_turns(body, content_type, decoder)
    while True:
        await trio.lowlevel.checkpoint()
        try:
            next(turns)
        except StopIteration as done:
            return done.value


def _in_turns(
    body: bytes, content_type: str | None, decoder: msgspec.json.Decoder[Any]
) -> Generator[None, None, Any | Refusal]:
    if not body or body.isspace():
        body = b"{}"  # a client that has nothing to say may say nothing
    elif len(body) < LONGEST_NULL and body.strip() == NULL:
        body = b"{}"
    elif content_type != "application/json" and not _is_json(content_type):
        return Refusal(
            RefusalCode.NOT_JSON,
            f"Send JSON with `Content-Type: application/json`, not {content_type or 'nothing'!r}.",
        )
    if len(body) > DEEPEST and body.count(b"[") + body.count(b"{") > DEEPEST and (yield from _too_deep(body)):
        return Refusal(RefusalCode.MALFORMED, f"The body nests deeper than {DEEPEST} levels.")
    try:
        return _decoded(body, decoder)
    except msgspec.ValidationError as error:
        return invalid(str(error))
    except (msgspec.DecodeError, RecursionError) as error:
        return Refusal(RefusalCode.MALFORMED, f"The body is not valid JSON: {error}.")
    except UnicodeDecodeError as error:
        return Refusal(RefusalCode.MALFORMED, f"The body is not UTF-8: {error.reason} at byte {error.start}.")


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The typed value. Raises DecodeError and UnicodeDecodeError."""
    if not body.isascii():
        body.decode()  # parts that are kept as they come are not looked into by the decoder
    try:
        return _without_nulls_if_need_be(body, decoder)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        whole = _whole_characters(body)
        if whole == body:
            raise
        return _without_nulls_if_need_be(whole, decoder)


def _without_nulls_if_need_be(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if GOT_NULL not in str(error):
            raise
    return decoder.decode(without_nulls(body, decoder.type))


def _whole_characters(body: bytes) -> bytes:
    """The JSON with U+FFFD for each half of a character, as the original read it: no report of a worker that puts the
    name of a file into its error is refused for that.
    """
    if b"\\u" not in body or b"\0" in body:  # NUL stands for an escaped backslash here; in JSON it is an error
        return body
    text = body.replace(b"\\\\", b"\0")
    text = _LOW_ALONE.sub(rb"\\ufffd", _HIGH_ALONE.sub(rb"\\ufffd", text))
    return text.replace(b"\0", b"\\\\")


def without_nulls(body: bytes, type_: Any) -> bytes:
    """The JSON without those members that are null and whose type has no None.

    Only members that `type_` describes are looked at: what a client keeps with us (metadata, a result) stays as it
    is, byte for byte, and is not even decoded.
    """
    return bytes(_pruned(msgspec.Raw(body), _described(type_)))


def _pruned(value: msgspec.Raw, shape: msgspec.inspect.Type) -> msgspec.Raw:
    if isinstance(shape, msgspec.inspect.UnionType):
        for option in shape.types:
            value = _pruned(value, option)
        return value
    try:
        match shape:
            case msgspec.inspect.StructType():
                members = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
                for field in shape.fields:
                    if (name := field.encode_name) in members:
                        if _is_null(members[name]) and not _takes_none(field.type):
                            del members[name]
                        else:
                            members[name] = _pruned(members[name], field.type)
                return msgspec.Raw(msgspec.json.encode(members))
            case msgspec.inspect.ListType():
                items = msgspec.json.decode(value, type=list[msgspec.Raw])
                if shape.max_length is not None and len(items) > shape.max_length:
                    return value  # refused, whatever is in them
                return msgspec.Raw(msgspec.json.encode([_pruned(each, shape.item_type) for each in items]))
            case _:
                return value
    except msgspec.ValidationError:
        pass  # no object, or no list: the decoder says so
    return value


def _is_null(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[: len(NULL) + 1]) == NULL


def _takes_none(shape: msgspec.inspect.Type) -> bool:
    options = shape.types if isinstance(shape, msgspec.inspect.UnionType) else (shape,)
    return any(isinstance(each, msgspec.inspect.NoneType | msgspec.inspect.AnyType) for each in options)


@lru_cache(maxsize=256)  # one for each route
def _described(type_: Any) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(type_)


Q = TypeVar("Q")
# Of a number in a query: what is too small or too large is taken as the least or the most, and what is no number as
# if it were absent. A place in a list is not moved back: a client that pages by it would be given the same page for
# ever.
LENIENT = {"lenient": True}
LENIENT_PLACE = {"lenient": "below"}


def query(arguments: MultiDict[str, str], type_: type[Q]) -> Q | Refusal:
    """Decode a query string. An empty value counts as absent; unknown names are no error. A name that has two values
    is one: whichever was taken, the client would have meant the other, too."""
    for name, values in arguments.lists():
        if len(values) > 1 and len({*values} - {""}) > 1 and name in names(cast(Hashable, type_)):
            detail = f"{name}: given {len(values)} times, and not with the same value; give it once."
            return Refusal(RefusalCode.INVALID, detail, field=name)
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
    # The decoder takes the word "null" for nothing: a client that asks for a status of that name would be given all
    # jobs. It takes a number for a time, too, in seconds since 1970.
    for name, value in given.items():
        meant = getattr(found, name, ...)
        if meant is None:
            return Refusal(RefusalCode.INVALID, f"{name}: {value!r} is no value; leave it out.", field=name)
        if isinstance(meant, datetime) and ":" not in value:
            return Refusal(RefusalCode.INVALID, f"{name}: Invalid RFC 3339 datetime.", field=name)
    return found


@lru_cache(maxsize=64)  # one for each kind of query
def names(type_: Hashable) -> frozenset[str]:
    """Those that a query may have."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(cast("type[msgspec.Struct]", type_)))


@lru_cache(maxsize=64)
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
    for pattern, expected in _IN_WORDS.items():
        if text.endswith(pattern):
            text = f"Expected {expected}"
    where = f"{field}: " if field else ""
    return Refusal(RefusalCode.INVALID, f"{where}{text}.", field=field)


def _is_json(content_type: str | None) -> bool:
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _too_deep(body: bytes) -> Generator[None, None, bool]:
    """Whether there are more levels than DEEPEST; exact for what is JSON, and what is not is refused anyway.

    No loop of ours over the brackets: a batch of a thousand jobs has thousands of them. It yields after each SLICE,
    which takes a few milliseconds at most.
    """
    depth = at = 0
    inside = False  # whether the slice begins in a string
    while at < len(body):
        part = body[at : at + SLICE]
        if (len(part) - len(part.rstrip(b"\\"))) % 2:  # what its last byte escapes belongs to it
            part = body[at : at + SLICE + 1]
        at += len(part)
        if b"\\" in part:  # a quote that is escaped ends no string
            part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
        texts = part.translate(_STEPS, _NO_MARKS).split(b'"')
        steps = b"".join(texts[1::2] if inside else texts[::2])  # without those inside strings
        inside ^= len(texts) % 2 == 0
        levels = memoryview(steps).cast("b")
        if max(accumulate(levels, initial=depth)) > DEEPEST:
            return True
        depth += sum(levels)
        yield
    return False
