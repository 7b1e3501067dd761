"""Where the embedded store keeps an object: a key as a path below its folder.

Names that begin with a dot are notes beside an object (`.<name>.json`), and a key may begin with one in any of its
parts: there the dot is written as U+0001, which no key has.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from blobforge.objects.keys import SOURCES, is_source_key

_DOT = "\x01"
_LONGEST = 255  # bytes of a file's name
_AROUND = len(".") + len(".json")


def path_of(root: Path, key: str) -> Path:
    """The file of an object; `key` has been confined."""
    if is_source_key(key):
        digest = key.removeprefix(SOURCES)
        return root / "sources" / digest[:2] / digest
    if "/." not in key:
        return root / key
    return root.joinpath(*(_DOT + part[1:] if part[0] == "." else part for part in key.split("/")))


def part_of(name: str) -> str:
    """The part of a key that a file or folder of this name stands for."""
    return f".{name[1:]}" if name[0] == _DOT else name


def note_beside(path: Path) -> Path:
    """The file with what is known of the object beyond its bytes."""
    name = path.name
    if len(name.encode()) > _LONGEST - _AROUND:
        name = hashlib.sha256(name.encode()).hexdigest()
    return path.with_name(f".{name}.json")
