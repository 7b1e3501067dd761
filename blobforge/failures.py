"""What went wrong, without what is different each time: failures of one cause have one fingerprint.

A failure is known by its kind (the exception's type) and its place: the innermost frame of the traceback, file and
function but no line number, so that a new release of the converter does not make a new group of every old failure.
Without a traceback, the first line of the error stands in for the place, without numbers, paths, hex and quoted text.

Pure: no clock, no database. The store gives each fingerprint a number and keeps count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache

import msgspec

LONGEST_KIND = 200  # characters, of each part that is kept and shown
LONGEST_PLACE = 300
LONGEST_LINE = 4096  # of a traceback's line
# Of an error's line: what is behind it says nothing more about the cause, and a line of nothing but opening quotes
# costs the square of its length, on the writer's thread.
LONGEST_MESSAGE = 1000
MOST_GROUPS = 1000  # beyond, new causes are counted together: a longer list is of no help
OTHER = "other"  # the fingerprint of those

# The kinds of failures that no worker reports.
WORKER_LOST = "WorkerLost"
WORKER_SILENT = "WorkerSilent"
OUTPUT_MISSING = "OutputMissing"
SOURCE_MISSING = "SourceMissing"
EXPIRED = "Expired"
GIVEN_BACK = "GivenBack"

_PYTHON_FRAME = re.compile(r'^\s*File "([^"\n]{1,1000})", line \d+(?:, in (.{1,200}))?$')
_JAVA_FRAME = re.compile(r"^\s*at ([\w.$<>/-]{1,300})\(([^():\n]{1,200})(?::\d+)?\)$")
_NODE_FRAME = re.compile(r"^\s*at (?:(.{1,200}?) \()?([^()\s]{1,500}):\d+:\d+\)?$")
_CHAINED = ("During handling of the above", "The above exception was the direct cause", "Caused by:")

# In this order: what is inside quotes may be a path, and what is inside a path may be a number. Numbers and hex are
# one thing: eight digits may be either.
_VARIABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"""(?<!\w)(?:"[^"]*+"|'[^']*+'|`[^`]*+`|“[^”]*+”)"""), "<text>"),
    (re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s,;)]+"), "<url>"),
    (re.compile(r"(?<![\w<])(?:[A-Za-z]:)?(?:~|\.{1,2})?[\\/](?:[^\s:,;()<>]+)"), "<path>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"), "#"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "#"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b"), "#"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "#"),
    (re.compile(r"\s+"), " "),
)


class Cause(msgspec.Struct, frozen=True):
    """Why an attempt failed, as far as it is the same for others. `fingerprint` is 16 hex digits."""

    fingerprint: str
    kind: str
    place: str


@lru_cache(maxsize=64)  # what a transaction needs is named before, by this too
def cause(kind: str | None, error: str | None, traceback: str | None) -> Cause:
    """The cause of a failure from what the worker said of it. The same for the same cause; never raises."""
    named = _one_line(kind or "", LONGEST_KIND)
    place = _innermost_frame(traceback) if traceback else None
    if place is None:
        place = normalised(error or "")
    return made_of(named or _leading_kind(error or "") or "Error", place or "no message")


def made_of(kind: str, place: str) -> Cause:
    """The cause with this kind and place."""
    digest = hashlib.sha256(f"{kind}\n{place}".encode("utf-8", "surrogatepass")).hexdigest()
    return Cause(digest[:16], kind, place)


def normalised(error: str) -> str:
    """The first line of an error that says something, without what is different each time."""
    line = next((line for line in _lines(error) if line.strip()), "")[:LONGEST_MESSAGE]
    for pattern, stand_in in _VARIABLE:
        line = pattern.sub(stand_in, line)
    return _one_line(line, LONGEST_PLACE)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield line[:LONGEST_LINE]


def _one_line(text: str, most: int) -> str:
    """Without control characters, at most `most` characters."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text[: most * 4])
    return " ".join(kept.split())[:most].rstrip()


def _leading_kind(error: str) -> str | None:
    """`ValueError` of "ValueError: no such page": what most programs print by default."""
    found = re.match(r"\s*([A-Za-z_][\w.]{0,99}(?:Error|Exception|Failure|Timeout|Interrupt))\b", error)
    return found[1] if found else None


def _innermost_frame(traceback: str) -> str | None:
    """File and function of the frame that raised, or None where there is no frame that we can read.

    Python prints it last, of each exception in a chain; Java and Node print it first, below the exception.
    """
    python: str | None = None
    first: str | None = None
    for line in _lines(traceback):
        if found := _PYTHON_FRAME.match(line):
            python = _frame(found[1], found[2])
        elif (found := _JAVA_FRAME.match(line)) or (found := _NODE_FRAME.match(line)):
            first = first or _frame(found[2], found[1])
        elif line.startswith(_CHAINED):
            first = None  # what comes is nearer to the cause (Java), or what was raised from it (Python)
    return python or first


def _frame(path: str, function: str | None) -> str:
    # The folder is that of one machine's installation; the file is the same on all.
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return _one_line(f"{name} in {function}" if function else name, LONGEST_PLACE)
