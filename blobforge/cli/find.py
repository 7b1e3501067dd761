"""Which files the arguments of `submit` and `ingest` mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TYPES = {".pdf": "pdf"}
"""The job type of a file by its suffix. Other suffixes name their own: `.epub` is `epub`."""


@dataclass(frozen=True)
class Candidate:
    """A file to submit, as a job of this type."""

    path: Path
    type: str


@dataclass
class Found:
    """What the arguments amount to, and what is wrong with some of them."""

    files: list[Candidate] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)


def find(paths: Sequence[Path], job_type: str | None) -> Found:
    """The files that `paths` name. In folders only those with the type's suffix count; hidden ones never do."""
    found = Found()
    seen: set[Path] = set()

    def take(path: Path, type: str) -> None:
        if path not in seen:
            seen.add(path)
            found.files.append(Candidate(path, type))

    for path in paths:
        if path.is_dir():
            wanted = job_type or "pdf"
            before = len(found.files)
            for inner in _in_folder(path, f".{wanted}"):
                take(inner, wanted)
            if len(found.files) == before:
                found.errors.append((str(path), f"no .{wanted} file in this folder"))
        elif not path.exists():
            found.errors.append((str(path), "no such file or folder"))
        elif not path.is_file():
            found.errors.append((str(path), "not a file"))
        elif type := job_type or TYPES.get(path.suffix.lower()) or path.suffix.lower().lstrip("."):
            take(path, type)
        else:
            found.errors.append((str(path), "its name does not tell its type: give --type"))
    return found


def _in_folder(folder: Path, suffix: str) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() == suffix and not hidden and path.is_file():
            yield path
