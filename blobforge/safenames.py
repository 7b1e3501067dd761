"""A name that a stranger chose, as a file's name on this machine: the same on every system.

It is hidden from no listing, means nothing to a terminal, and Windows takes it. A character that may not stand in a
name is written as in a URL, `%3A`. Letters are left as they came, composed or not, whichever way they are read.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Final

# Below what file systems take, 255, so that there is room for what keeps two apart.
LONGEST_NAME: Final = 200  # bytes of UTF-8
LONGEST_SUFFIX: Final = 20

# What Windows forbids, what a terminal obeys, and what turns the direction of the letters around it.
_FORBIDDEN = re.compile(
    '[<>:"|?*\\\\/\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]'
)
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file: with any suffix, too.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|\Z)", re.IGNORECASE)


def safe(name: str) -> str:
    """The name as any file system takes it, at most LONGEST_NAME bytes; empty for one that is none."""
    if name in ("", ".", ".."):
        return ""
    name = _FORBIDDEN.sub(lambda found: _escaped(found[0]), name)
    if name[0] == "." or _DEVICE.match(name):
        name = _escaped(name[0]) + name[1:]
    if name[-1] in ". ":
        name = name[:-1] + _escaped(name[-1])
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return shortened(name, f"~{_digest(name)}")


def shortened(name: str, mark: str) -> str:
    """The name with `mark` before its suffix, and as much of what it was as fits."""
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > LONGEST_SUFFIX:
        suffix = ""
    stem = name.removesuffix(suffix) if suffix else name
    room = LONGEST_NAME - len(mark) - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + mark + suffix


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
