"""What a text is looked for in, and how it is cut into trigrams, by which an index finds it. Pure.

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
    """What a job says that may be looked for. `further`: how many paths its source has beside `path`."""

    job_id: int
    path: str | None
    tags: tuple[str, ...]
    further: int


def folded(text: str) -> str:
    """As it is compared: letters of either case are the same."""
    return text.casefold()


def indexed(paths: Iterable[str], tags: Iterable[str]) -> str | None:
    """What the index holds of a job; None: it is too much for it. An index may end a text at a NUL."""
    text = folded("\n".join((*paths, *tags))).replace("\0", "\n")
    return text if len(text) <= MOST_INDEXED else None


def trigrams(text: str) -> list[str]:
    """Those of a text that is folded already, each once. None where it is too short to have one, or has a NUL: an
    index does not find such a text."""
    if "\0" in text:
        return []
    return list(dict.fromkeys(text[at : at + LENGTH] for at in range(len(text) - LENGTH + 1)))


@lru_cache(maxsize=65_536)
def number(trigram: str) -> int:
    """A trigram as a number of 16 bits. Some have the same: what an index finds is looked at all the same."""
    return (crc32(trigram.encode()) & 0xFFFF) - 0x8000


def hash_range(text: str) -> tuple[str, str] | None:
    """The hashes that begin with these digits: from the first on, below the second. None: it is no such text."""
    digits = text.lower()
    if not SHORTEST_HASH <= len(digits) <= _HASH or not _DIGITS.issuperset(digits):
        return None
    return digits, f"{digits}g"


def job_id(text: str) -> int | None:
    """The number of a job that is asked for by a text: `4711`, or `#4711`."""
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
