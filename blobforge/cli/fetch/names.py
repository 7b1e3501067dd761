"""Where in the folder a result goes: paths made of names that strangers chose, the same on every system.

A source's path and an output's name are what a submitter and a worker say. What comes out of here is a list of plain
names: none leads out of the folder, none is hidden, none means something to a terminal, and Windows takes each of
them. A character that may not stand in a name is written as in a URL, `%3A`. Letters are left as they came, composed
or not, whichever way they are read.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final, Literal, get_args

Layout = Literal["path", "id", "hash"]
LAYOUTS: Final = get_args(Layout)
Names = tuple[str, ...]

# Below what file systems take, 255, so that there is room for what keeps two apart.
LONGEST_NAME: Final = 200  # bytes of UTF-8
LONGEST_SUFFIX: Final = 20
LONGEST_PATH: Final = 1500  # of the 4,096 that a path may have, whatever the folder's own
DEEPEST: Final = 60

# What Windows forbids, what a terminal obeys, and what turns the direction of the letters around it.
_FORBIDDEN = re.compile(
    '[<>:"|?*\\\\/\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]'
)
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file: with any suffix, too.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|\Z)", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")


def place(layout: Layout, *, job_id: int, source_hash: str, source_path: str | None, filename: str) -> Names:
    """The names of the folders and of the file, before others are heeded.

    `path`: in the source's folder. `id`: in a folder for each job. `hash`: in one for each source.
    """
    name = safe(filename) or f"job-{job_id}.output"
    if layout == "id":
        return (str(job_id), name)
    if layout == "hash":
        return (source_hash[:2], source_hash, name)
    return (*_folders(source_path or ""), name)


def _folders(path: str) -> Names:
    """The folders of a source's path, as either system writes it, below a folder of ours: `/` and `C:\\` are its
    top, and `..` leads no higher than that."""
    *parts, _ = path.replace("\\", "/").split("/")
    if parts and _DRIVE.fullmatch(parts[0]):
        parts[0] = parts[0][:1]
    found: list[str] = []
    for part in parts:
        if part == "..":
            del found[-1:]
        elif part not in ("", "."):
            found.append(safe(part))
    if len(found) > DEEPEST or sum(len(each.encode()) + 1 for each in found) > LONGEST_PATH:
        return (f"~{_digest('/'.join(found))}",)
    return tuple(found)


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
    return _shortened(name, f"~{_digest(name)}")


def apart(name: str, job_id: int, again: int = 0) -> str:
    """The name for a result whose own another one has: `report~17.md`; `again`: how often that was taken, too."""
    return _shortened(name, f"~{job_id}-{again + 1}" if again else f"~{job_id}")


def key(names: Names) -> str:
    """What is equal for two paths that some file system takes for one: it may not tell case or composition."""
    decomposed = unicodedata.normalize("NFD", "/".join(names))
    return unicodedata.normalize("NFC", decomposed.casefold())


def _shortened(name: str, mark: str) -> str:
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
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
