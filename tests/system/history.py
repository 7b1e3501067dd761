"""What clients saw, operation by operation, as lines of JSON: written while it happens, read by the checker.

All times are nanoseconds of the machine's monotonic clock, which all of its processes share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec


class Kind(StrEnum):
    RULES = "rules"  # the first line: what the server was told (`said`)
    UP = "up"  # a server process was started
    DOWN = "down"  # it is dead and reaped
    SUBMIT = "submit"
    UPLOAD = "upload"  # of the source
    CLAIM = "claim"
    BEAT = "beat"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    READ = "read"
    OUTPUT = "output"  # the bytes of an output were fetched: `said["sha256"]`
    LIST = "list"  # all jobs that there are: `said["jobs"]`
    AWAY = "away"  # a request was told that nothing was changed, and to come again


class Operation(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One request of one client, or something that was done to the server.

    `returned` is None where no answer came: then `ended` is when the client gave up, and the request may have had
    its effect, or have it still while that server lives. `said` is what matters of the answer.
    """

    kind: Kind
    invoked: int
    ended: int
    returned: bool = True
    client: str = ""
    server: int = 0  # which of several was asked, started or killed
    status: int = 0
    source: str = ""
    job: int = 0
    attempt: int = 0
    worker: str = ""
    key: str = ""  # of a claim
    lease: str = ""
    sha256: str = ""  # of the output that a completion is about
    said: dict[str, Any] = {}


def now() -> int:
    return time.monotonic_ns()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Operation).decode


class Book:
    """Appends operations to a file, one write each, so that it is whole up to where its process was killed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, operation: Operation) -> None:
        os.write(self._file, _encode(operation) + b"\n")

    def close(self) -> None:
        os.close(self._file)


def load(paths: Iterable[Path]) -> list[Operation]:
    """All operations of these files, in the order of their beginning."""
    lines = (line for path in paths for line in path.read_bytes().splitlines())
    return sorted(map(_decode, lines), key=lambda each: each.invoked)


def save(path: Path, operations: Iterable[Operation]) -> None:
    path.write_bytes(b"".join(_encode(each) + b"\n" for each in operations))
