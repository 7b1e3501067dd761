"""Whether the beginning of a file is that of a picture which browsers show, and how large the picture is.

A picture of a few kilobytes may take gigabytes once it is unpacked, and a name says nothing. So its first bytes are
read: PNG (RFC 2083), GIF89a, JPEG (ITU-T T.81, annex B) and WebP (RFC 9649).
"""

from __future__ import annotations

from typing import Final

MOST_BYTES: Final = 16 * 1024 * 1024
MOST_PIXELS: Final = 50_000_000  # 200 MB once unpacked: a page of A4 at 600 dpi has 35 million
_FRAMES = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def why_not(beginning: bytes, size: int) -> str | None:
    """Why a picture of `size` bytes is not shown; None: it is."""
    if size > MOST_BYTES:
        return f"The picture is too large to be shown here: more than {MOST_BYTES >> 20} MiB."
    found = dimensions(beginning)
    if found is None:
        return "This is not the picture that its name or its media type says."
    width, height = found
    if width * height > MOST_PIXELS:
        return f"The picture is too large to be shown here: {width:,} by {height:,} pixels."
    return None


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None where it is none of these formats, or its size does not stand there."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        found = _big(data[16:20]), _big(data[20:24])
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        found = _little(data[6:8]), _little(data[8:10])
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = _webp(data)
    elif data[:2] == b"\xff\xd8":
        found = _jpeg(data)
    else:
        return None
    return found if min(found) > 0 else None


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            return 1 + _little(data[24:27]), 1 + _little(data[27:30])
        case b"VP8L" if len(data) >= 25:
            bits = _little(data[21:25])
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
        case _:
            return 0, 0


def _jpeg(data: bytes) -> tuple[int, int]:
    """From segment to segment until the one that begins a frame."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            return _big(data[place + 7 : place + 9]), _big(data[place + 5 : place + 7])
        if marker == 0xFF:
            place += 1
        else:
            place += 2 if marker in _ALONE else 2 + max(2, _big(data[place + 2 : place + 4]))
    return 0, 0


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
