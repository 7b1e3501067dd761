"""Where in a folder a result goes: paths made of names that strangers chose, the same on every system.

A source's path and an output's name are what a submitter and a worker say. What comes out of here is a list of plain
names (`blobforge/safenames.py`): none leads out of the folder.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final, Literal

from blobforge.safenames import safe, shortened

Layout = Literal["path", "id", "hash"]
Names = tuple[str, ...]

LONGEST_PATH: Final = 1500  # of the 4,096 that a path may have, whatever the folder's own
DEEPEST: Final = 60

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
    return (*folders_of(source_path or ""), name)


def place_of_several(
    layout: Layout, *, job_id: int, source_hash: str, source_path: str | None, name: str
) -> tuple[Names, Names]:
    """The folder that a job with several outputs has for itself, and the names of this output in it. So what its
    outputs say of each other stays true, whatever others there are.

    `path`: the folder is called as the source, without its suffix. `id`, `hash`: it is the job's, or the source's.
    """
    *_, last = (source_path or "").replace("\\", "/").split("/")
    inside = (*folders_of(name), safe(name.rpartition("/")[2]) or f"job-{job_id}.output")
    if layout == "id":
        return (str(job_id),), inside
    if layout == "hash":
        return (source_hash[:2], source_hash), inside
    return (*folders_of(source_path or ""), safe(PurePosixPath(last).stem) or f"job-{job_id}"), inside


def name_beside(path: str | None, *, first: str | None, filename: str) -> str:
    """The name of a result beside a further path of its source: where it is called as the source's first path is, it
    is called as this one."""
    was, here = (PurePosixPath((each or "").replace("\\", "/")).stem for each in (first, path))
    suffix = filename.removeprefix(was)
    named_so = was and here and filename.startswith(was) and suffix[:1] in ("", ".")
    return f"{here}{suffix}" if named_so else filename


def folders_of(path: str) -> Names:
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


def apart(name: str, job_id: int, again: int = 0) -> str:
    """The name for a result whose own another one has: `report~17.md`; `again`: how often that was taken, too."""
    return shortened(name, f"~{job_id}-{again + 1}" if again else f"~{job_id}")


def key(names: Names) -> str:
    """What is equal for two paths that some file system takes for one: it may not tell case or composition."""
    decomposed = unicodedata.normalize("NFD", "/".join(names))
    return unicodedata.normalize("NFC", decomposed.casefold())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
