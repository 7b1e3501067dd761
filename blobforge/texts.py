"""Texts by which jobs are found, and the trigrams into which an index cuts them. Pure.

A job is found by a text that stands in any of its source's paths or in a tag, whatever the case; and by the first
digits of its source's hash, or the name of the worker that runs it or ran it last.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec

from blobforge.job import Job

LENGTH: Final = 3  # characters of a trigram
MOST_INDEXED: Final = 50_000  # characters of one job: to cut up a text of many MB would hold up all others
SHORTEST_HASH: Final = 8  # hexadecimal digits by which a source is known
_HASH: Final = 64
_DIGITS: Final = frozenset("0123456789abcdef")


class JobTexts(msgspec.Struct, frozen=True):
    """The path and the tags of a job. `further`: how many paths its source has beside `path`."""

    job_id: int
    path: str | None
    tags: tuple[str, ...]
    further: int


def folded(text: str) -> str:
    """The text as texts are compared: with its case folded (Unicode)."""
    return text.casefold()


def indexed(paths: Iterable[str], tags: Iterable[str]) -> str | None:
    """The text of a job in the index; None: it is too long. A NUL becomes a line's end: an index
    may end a text there."""
    text = folded("\n".join((*paths, *tags))).replace("\0", "\n")
    return text if len(text) <= MOST_INDEXED else None


def trigrams(text: str) -> list[str]:
    """The trigrams of a folded text, each once. A text that is too short, or has a NUL, has none: no index is asked
    for it."""
    if "\0" in text:
        return []
    return list(dict.fromkeys(text[at : at + LENGTH] for at in range(len(text) - LENGTH + 1)))


@lru_cache(maxsize=65_536)
def number(trigram: str) -> int:
    """The trigram as a number of 16 bits. Some trigrams share one: each job that an index finds is looked at."""
    return (crc32(trigram.encode()) & 0xFFFF) - 0x8000


def hash_range(text: str) -> tuple[str, str] | None:
    """The hashes that begin with these digits: from the first on, below the second. None: the text is no beginning of
    a hash."""
    digits = text.lower()
    if not SHORTEST_HASH <= len(digits) <= _HASH or not _DIGITS.issuperset(digits):
        return None
    return digits, f"{digits}g"


def job_id(text: str) -> int | None:
    """The number of the job that the text names: `4711`, or `#4711`."""
    digits = text.strip().removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def is_said(text: str, job: Job) -> bool:
    """Whether the job is found by the text, by what its row says: its path, tags, worker, and the source's hash."""
    wanted = folded(text)
    digits = hash_range(text)
    return (
        wanted in folded(job.source_path or "")
        or any(wanted in folded(tag) for tag in job.tags)
        or job.worker_id == text
        or (digits is not None and job.source_hash.startswith(digits[0]))
    )
