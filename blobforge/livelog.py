"""The log of an attempt while it runs: the limits of what a worker sends of it, and what is harmless in it."""

from __future__ import annotations

from typing import Final

MOST_SENT: Final = 65_536  # characters of one piece, the marks in it apart
MOST_PIECE: Final = MOST_SENT + 1_024  # with them
MOST_KEPT: Final = 131_072  # characters of one attempt that a server keeps
MOST_OF_ALL: Final = 8_388_608  # of all attempts together
WATCHED_SECONDS: Final = 1.0  # from one piece to the next while the log is being looked at
UNWATCHED_SECONDS: Final = 15.0

_REPLACED = "\ufffd"
_CONTROL = [each for each in (*range(0x20), *range(0x7F, 0xA0)) if each not in (0x09, 0x0A)]
_DIRECTION = [0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]
_HARMLESS = dict.fromkeys([*_CONTROL, *_DIRECTION, *range(0xD800, 0xE000)], _REPLACED)


def harmless(text: str) -> str:
    """The text with a sign instead of each control character, of each that turns the order around, and of each that
    is none. It is as long as before."""
    return text.translate(_HARMLESS)


def left_out(count: int) -> str:
    """The line that stands in the place of so many characters."""
    return f"[... {count:,} characters left out ...]\n"
