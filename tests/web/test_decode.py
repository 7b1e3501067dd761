"""Bodies of JSON: how deep they may be nested, and what reading them costs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from blobforge.refusals import Refusal, RefusalCode
from web.decode import json_body


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
