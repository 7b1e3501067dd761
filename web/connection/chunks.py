"""A body in chunks, read strictly: no extensions, no trailers, no leniency. State owned here: the place in the
body."""

from __future__ import annotations

import re
from enum import IntEnum

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_BEGINNING_OF_SIZE = re.compile(rb"[0-9A-Fa-f]{0,16}|[0-9A-Fa-f]{1,16}\r")
_CRLF = b"\r\n"


class ChunkError(Exception):
    """The bytes are no body in chunks."""


class _Next(IntEnum):
    """The part of the body that comes next: a size, data, or a line end."""

    SIZE = 0
    DATA = 1
    END_OF_CHUNK = 2
    END_OF_BODY = 3
    NOTHING = 4


class Chunks:
    """Reads one body. `ended`: its last byte has been read."""

    __slots__ = ("_left", "_next")

    def __init__(self) -> None:
        self._next = _Next.SIZE
        self._left = 0  # bytes of the chunk under way that have not come

    @property
    def ended(self) -> bool:
        return self._next is _Next.NOTHING

    def take(self, data: bytes) -> tuple[int, list[bytes]]:
        """How many bytes of `data` have been read, and the parts of the body that are in them.

        What was not read (the beginning of a line, or what stands behind the body) is for the next call, with more.
        Raises ChunkError.
        """
        at, parts = 0, []
        while self._next is not _Next.NOTHING and at < len(data):
            if self._next is _Next.DATA:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._next = _Next.END_OF_CHUNK
            elif self._next is _Next.SIZE:
                found = _SIZE.match(data, at)
                if found is None:
                    if not _BEGINNING_OF_SIZE.fullmatch(data, at):
                        raise ChunkError
                    break
                at = found.end()
                self._left = int(found[1], 16)
                self._next = _Next.DATA if self._left else _Next.END_OF_BODY
            else:
                end = data[at : at + 2]
                if not _CRLF.startswith(end):
                    raise ChunkError
                if len(end) < 2:
                    break
                at += 2
                self._next = _Next.SIZE if self._next is _Next.END_OF_CHUNK else _Next.NOTHING
        return at, parts
