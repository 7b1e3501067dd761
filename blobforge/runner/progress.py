"""Progress as programs say it: lines of their output, or a file that they write."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from blobforge.runner.job import Job, JobCancelled

NUMBERS = ("done", "total", "percent")
WORDS = ("stage", "message")
_LONGEST_LINE = 4096  # bytes; of a longer line the beginning counts, so that memory and the regex's time are bounded
_LOOK_EVERY = 0.5  # seconds
_IN_FILE = re.compile(
    r"(?P<percent>\d+(?:\.\d+)?)\s*%(?:\s+(?P<stage>\S.*))?"
    r"|(?P<done>\d+(?:\.\d+)?)(?:\s*/\s*(?P<total>\d+(?:\.\d+)?))?(?:\s+(?P<stage_too>\S.*))?"
)


class Pattern:
    """`--progress-regex`: what a line of output says about progress.

    Named groups are `done`, `total`, `percent`, `stage`, `message`. Without names one group is the percentage, two
    are done and total. Raises ValueError for a regex that is none, or that has no such group.
    """

    def __init__(self, regex: str) -> None:
        try:
            self._regex = re.compile(regex)
        except re.error as error:
            raise ValueError(f"{regex!r} is no regular expression: {error}") from error
        names = set(self._regex.groupindex)
        unknown = names - {*NUMBERS, *WORDS}
        if unknown:
            known = ", ".join((*NUMBERS, *WORDS))
            raise ValueError(f"the group {sorted(unknown)[0]!r} means nothing; these do: {known}")
        if not names and self._regex.groups not in (1, 2):
            raise ValueError("it needs named groups such as (?P<done>\\d+) and (?P<total>\\d+), or one group or two")
        self._named = bool(names)

    def read(self, line: str) -> dict[str, Any] | None:
        """The progress in the line; None when it has none."""
        found = self._regex.search(line)
        if found is None:
            return None
        if self._named:
            said = found.groupdict()
        else:
            names = ("percent",) if self._regex.groups == 1 else ("done", "total")
            said = dict(zip(names, found.groups(), strict=True))
        return _clean(said)


class Lines:
    """Cuts a stream into lines and reports what the pattern finds in them. One for each stream."""

    def __init__(self, pattern: Pattern, job: Job) -> None:
        self._pattern = pattern
        self._job = job
        self._rest = b""

    def add(self, data: bytes | bytearray) -> None:
        # A bar that is drawn over itself ends its lines with a carriage return.
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest[:_LONGEST_LINE]
        for line in lines:
            news = self._pattern.read(line[:_LONGEST_LINE].decode("utf-8", "replace"))
            if news:
                tell(self._job, news)


def tell(job: Job, news: dict[str, Any]) -> None:
    """Report for a program that cannot be told that its job was taken away; cancelling does that."""
    try:
        job.progress(**news)
    except JobCancelled:
        return


async def follow(path: Path, job: Job) -> None:
    """Report what is written to the progress file, until cancelled. Its last line that says something counts.

    A line is `12/90`, `45%`, each with a stage behind it if you like, or a JSON object with the names of the groups.
    """
    seen: tuple[int, int] | None = None
    while True:
        await trio.sleep(_LOOK_EVERY)
        found = await trio.to_thread.run_sync(_look, path, seen)
        if found is not None:
            seen, text = found
            news = next(filter(None, map(from_line, reversed(text.splitlines()))), None)
            job.life += 1  # whatever was written: something has happened
            if news:
                tell(job, news)


def _look(path: Path, seen: tuple[int, int] | None) -> tuple[tuple[int, int], str] | None:
    """The end of the file, when it has changed."""
    try:
        # O_NONBLOCK: the file is the command's to make, and a FIFO there must not hang us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        stat = os.fstat(fd)
        state = (stat.st_mtime_ns, stat.st_size)
        if state == seen or not stat.st_size:
            return None
        return state, os.pread(fd, _LONGEST_LINE, max(0, stat.st_size - _LONGEST_LINE)).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(fd)


def from_line(line: str) -> dict[str, Any] | None:
    """The progress in one line of a progress file; None for a line without any."""
    line = line.strip()
    if line.startswith("{"):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return _clean({name: said.get(name) for name in (*NUMBERS, *WORDS)})
    found = _IN_FILE.fullmatch(line)
    if found is None:
        return None
    said = found.groupdict()
    said["stage"] = said.pop("stage_too") or said["stage"]
    return _clean(said)


def _clean(said: dict[str, Any]) -> dict[str, Any]:
    """Finite numbers as numbers, words as words, nothing else."""
    clean: dict[str, Any] = {}
    convert: dict[str, Callable[[Any], Any]] = {**dict.fromkeys(NUMBERS, _number), **dict.fromkeys(WORDS, _words)}
    for name, value in said.items():
        kept = convert[name](value) if value is not None else None
        if kept is not None:
            clean[name] = kept
    return clean


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number


def _words(value: object) -> str | None:
    return " ".join(str(value).split()) or None
