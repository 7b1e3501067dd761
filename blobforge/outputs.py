"""The outputs of an attempt that has several: what they may be called, and what is known of each."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable

import msgspec

MOST = 10_000  # outputs of one attempt
AT_ONCE = 500  # of these in one request
LONGEST_NAME = 512  # bytes in UTF-8
LONGEST_PART = 255


class Output(msgspec.Struct, frozen=True):
    """`size` is in bytes, None before it has been seen or said; `sha256` is 64 hex digits; `media_type` as the worker
    said it."""

    name: str
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None


def wrong_name(name: str, *, longest: int = LONGEST_NAME) -> str | None:
    """Why an output cannot be called so, or None where it can. `longest` is in bytes."""
    try:
        encoded = name.replace("\\", "%5C").encode()  # as it is stored
    except UnicodeEncodeError:
        return "it is no UTF-8"
    if not encoded or len(encoded) > longest:
        return f"it has {len(encoded)} bytes, and may have 1 to {longest}"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it is no relative path: no part of it may be empty, '.' or '..'"
    if any(len(part) > LONGEST_PART for part in encoded.split(b"/")):
        return f"a part of it has more than {LONGEST_PART} bytes"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "there is a control character in it"
    if unicodedata.normalize("NFC", name) != name:
        return "it is not in Unicode's normal form C"
    return None


def in_the_way(names: Iterable[str], known: Collection[str]) -> tuple[str, str] | None:
    """Of `names` and `known` (which stand beside each other already), the first one that is to be both an output and
    the folder of another: (the folder's name, the output below it)."""
    new = set(names)
    every = new.union(known)
    folders: dict[str, str] = {}
    for name in sorted(every):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), name)
    for name in sorted(every & folders.keys()):
        return name, folders[name]
    return None
