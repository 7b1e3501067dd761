"""Text that may hold bytes of a file's name that are no UTF-8: Python keeps each as a lone surrogate (PEP 383).

JSON has no place for those. They are sent as `%E9`, so that no name and no message keeps a request from being made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

_SURROGATE = re.compile("[\ud800-\udfff]")


def sendable(text: str) -> str:
    """The text as UTF-8 can say it: `caf\\xe9.txt` becomes `caf%E9.txt`."""
    return _SURROGATE.sub(_escaped, text)


def encode(body: Any, *, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """The body as JSON, whatever texts are in it."""
    try:
        return msgspec.json.encode(body, enc_hook=enc_hook)
    except UnicodeEncodeError:
        return msgspec.json.encode(_all_sendable(msgspec.to_builtins(body, enc_hook=enc_hook)))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"%{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else "\ufffd"


def _all_sendable(value: Any) -> Any:
    match value:
        case str():
            return sendable(value)
        case dict():
            return {_all_sendable(name): _all_sendable(member) for name, member in value.items()}
        case list() | tuple():
            return [_all_sendable(member) for member in value]
        case _:
            return value
