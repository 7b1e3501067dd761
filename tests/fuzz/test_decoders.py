"""Whatever bytes come, the decoders give a typed value or say no in a sentence; they never raise, and never hang.

Every type that a route takes is tried: with text that is nearly JSON, with JSON that nearly fits, and with bytes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from blobforge.refusals import Refusal, RefusalCode
from web import decode as decoding
from web.app import routes
from web.decode import DEEPEST, UnfitMember, json_body, query

SOAK = "SOAK" in os.environ
BODIES = sorted({route.body for route in routes() if route.body is not None}, key=str)
QUERIES = sorted({route.query for route in routes() if route.query is not None}, key=str)
NO = {RefusalCode.MALFORMED, RefusalCode.INVALID, RefusalCode.NOT_JSON}
FUZZING = settings(
    max_examples=5000 if SOAK else 40,
    derandomize=not SOAK,
    database=None,
    print_blob=True,
)

EDGES = [0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf")]
TEXTS = [
    "",
    "\0",
    "null",
    "true",
    "1",
    "-1",
    "1e9",
    "a" * 64,
    "A" * 64,
    "é",
    "\ud800",
    "../..",
    "2026-01-01T00:00:00Z",
]
SCALARS = st.none() | st.booleans() | st.sampled_from(EDGES) | st.sampled_from(TEXTS) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
NOISE = st.sampled_from(
    [b"", b"\x00", b"{", b"}", b"[", b'"', b"\\", b",", b"\xff", b"\xed\xa0\x80", b"1e999", b"NaN"]
)


def fitting(type_: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the members that the type has; their values fit by luck."""
    names = [field.encode_name for field in msgspec.structs.fields(type_)]
    return st.dictionaries(st.sampled_from(names) if names else st.text(), VALUES, max_size=6)


def judged(found: Any, type_: Any) -> None:
    if isinstance(found, Refusal):
        assert found.code in NO
        assert found.detail.endswith(".")
        found.detail.encode()  # it goes into an answer
    else:
        assert isinstance(found, type_)


def decode(body: bytes, type_: Any, kind: str | None = "application/json") -> None:
    with suppress(UnfitMember):  # answered as 422, see web/dispatch.py
        judged(json_body(body, kind, msgspec.json.Decoder(type_)), type_)


@pytest.mark.parametrize("type_", BODIES, ids=lambda type_: type_.__name__)
def test_bodies_that_nearly_fit(type_: Any) -> None:
    @FUZZING
    @given(fitting(type_), st.lists(st.tuples(st.integers(0, 400), NOISE), max_size=2))
    def check(value: dict[str, Any], noise: list[tuple[int, bytes]]) -> None:
        body = json.dumps(value, ensure_ascii=bool(noise)).encode("utf-8", "surrogatepass")
        for at, what in noise:
            body = body[:at] + what + body[at:]
        decode(body, type_)

    check()


@FUZZING
@given(st.binary(max_size=200), st.sampled_from(BODIES), st.none() | st.text(max_size=40))
def test_bytes_of_any_kind(body: bytes, type_: Any, kind: str | None) -> None:
    decode(body, type_, kind)


@FUZZING
@given(st.integers(1, 100_000), st.sampled_from([b"[", b'{"a":', b'[{"a":', b'{"jobs":[']), st.sampled_from(BODIES))
def test_nesting_of_any_depth(depth: int, opening: bytes, type_: Any) -> None:
    decode(opening * depth, type_)


DEEP = st.recursive(
    st.sampled_from([0, "]", '[{"', "\\", '\\"[[', "a\\\\"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(['"[', "}{", "\\"]), inner, max_size=2)
    ),
    max_leaves=30,
)


@FUZZING
@given(DEEP, st.integers(DEEPEST - 6, DEEPEST + 6), st.integers(1, 40))
def test_the_limit_of_depth_is_exact(value: Any, around: int, slice_: int) -> None:
    """Brackets and quotes in strings do not count, whatever is escaped, and wherever a slice of the body ends."""
    for _ in range(around):
        value = [value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "SLICE", slice_)
        decoder = msgspec.json.Decoder(msgspec.Raw)
        found = json_body(json.dumps(value).encode(), "application/json", decoder)
    assert isinstance(found, Refusal) == (depth(value) > DEEPEST)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@pytest.mark.parametrize("type_", QUERIES, ids=lambda type_: type_.__name__)
def test_queries(type_: Any) -> None:
    names = st.sampled_from([field.encode_name for field in msgspec.structs.fields(type_)])
    # What cannot be encoded has been replaced by the time that a query is split.
    text = (
        st.sampled_from([each for each in TEXTS if each != "\ud800"])
        | st.text(max_size=20)
        | st.sampled_from(EDGES).map(str)
    )

    @FUZZING
    @given(st.lists(st.tuples(names, text), max_size=5))
    def check(pairs: list[tuple[str, str]]) -> None:
        judged(query(MultiDict(pairs), type_), type_)

    check()
