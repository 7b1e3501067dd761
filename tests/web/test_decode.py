"""Bodies of JSON: how deep they may be nested, and what reading them costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from werkzeug.datastructures import MultiDict

from blobforge.refusals import Refusal, RefusalCode
from tests.fixtures.local import LocalServer
from web import events
from web.api import ROUTES
from web.api.wire_files import SupersededQuery
from web.decode import invalid, json_body, query


@pytest.mark.timeout(60)
def test_a_string_that_never_ends_does_not_freeze_the_server() -> None:
    """The depth check went back and tried again at every character: an hour for one body of 1 MiB."""
    body = b"[" + b"[]," * 65 + b'"' + b'\\"' * 500_000
    refusal = json_body(body, "application/json", msgspec.json.Decoder(Any))
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.MALFORMED


def test_depth_counts_brackets_and_not_what_strings_hold() -> None:
    decoder = msgspec.json.Decoder(Any)
    assert json_body(b'["' + b"[{" * 200 + b'"]', "application/json", decoder) == ["[{" * 200]
    deep = json_body(b"[" * 65 + b"]" * 65, "application/json", decoder)
    assert isinstance(deep, Refusal)
    assert json_body(b"[" * 64 + b"]" * 64 + b" ", "application/json", decoder) is not None
    assert json_body(b"[" + b"[]," * 100 + b"[]]", "application/json", decoder) == [[]] * 101


@pytest.mark.parametrize(
    ("asked", "keep"),
    [
        ("keep=2", 2),
        ("keep=2&keep=2", 2),
        ("keep=2&keep=", 2),
        ("keep=2&other=1&other=3", 2),
        ("keep=2&keep=3", None),
    ],
)
def test_a_name_in_a_query_has_one_value(asked: str, keep: int | None) -> None:
    found = query(MultiDict(parse_qsl(asked, keep_blank_values=True)), SupersededQuery)
    if keep is not None:
        assert isinstance(found, SupersededQuery)
        assert found.keep == keep
    else:
        assert isinstance(found, Refusal)
        assert (found.code, found.field) == (RefusalCode.INVALID, "keep")
        assert "give it once" in found.detail


def patterns(of: Any) -> Iterator[str]:
    """All that texts in this type are held to, at any depth."""
    seen: set[Any] = set()
    waiting = [msgspec.inspect.type_info(of)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, msgspec.inspect.StrType) and each.pattern is not None:
            yield each.pattern
        if isinstance(each, msgspec.inspect.StructType):
            if each.cls in seen:
                continue
            seen.add(each.cls)
        for name in getattr(each, "__struct_fields__", ()):
            value = getattr(each, name)
            parts = value if isinstance(value, tuple) else (value,)
            waiting += [part.type if isinstance(part, msgspec.inspect.Field) else part for part in parts]


def test_what_a_text_may_be_is_said_in_words() -> None:
    """Of every pattern that a request is held to."""
    taken = [type_ for route in (*ROUTES, *events.ROUTES) for type_ in (route.body, route.query) if type_ is not None]
    assert len(taken) > 50
    for type_ in taken:
        for pattern in patterns(type_):
            refusal = invalid(f"Expected `str` matching regex {pattern!r} - at `$.type`")
            assert "regex" not in refusal.detail, (type_, pattern)
            assert refusal.field == "type"


async def test_so_is_what_a_request_is_told(local: LocalServer, autojump_clock: Any) -> None:
    for body, words in (({"type": " a"}, "no space at either end"), ({"requires": ["a b"]}, "`memory_gib>=32`")):
        _, problem = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": "ab" * 32} | body)
        assert (problem["status"], words in problem["detail"]) == (422, True), problem
    _, problem = await local.call("POST", "/api/types/%20a/pause")
    assert "no space at either end" in problem["detail"]
