"""Whether the beginning of a file is that of a picture which browsers show, and how large the picture is.

A picture of a few kilobytes may take gigabytes once it is unpacked, and a name says nothing. So its first bytes are
read, by `imagesize`.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Final

import imagesize

MOST_BYTES: Final = 16 * 1024 * 1024
MOST_PIXELS: Final = 50_000_000  # 200 MB once unpacked: a page of A4 at 600 dpi has 35 million
# imagesize reads more formats: SVG, whose size says nothing, and some that no browser shows.
_SIGNATURES: Final = (b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\xff\xd8", b"RIFF")


def why_not(beginning: bytes, size: int) -> str | None:
    """Why a picture of `size` bytes is not shown; None: it is."""
    if size > MOST_BYTES:
        return f"The picture is too large to be shown here: more than {MOST_BYTES >> 20} MiB."
    found = dimensions(beginning)
    if found is None and size > len(beginning) and beginning.startswith(_SIGNATURES):
        return "The picture is not shown here: how large it is does not stand at its beginning."
    if found is None:
        return "This is not the picture that its name or its media type says."
    width, height = found
    if width * height > MOST_PIXELS:
        return f"The picture is too large to be shown here: {width:,} by {height:,} pixels."
    return None


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of PNG, GIF, JPEG or WebP; None where it is none of these, or its size does not
    stand there."""
    if not data.startswith(_SIGNATURES):
        return None
    width, height = imagesize.get(BytesIO(data), exif_rotation=False)  # -1 where it has none; it raises nothing
    if min(width, height) <= 0:
        return None
    if data.startswith(b"GIF"):
        reach = _reach(data)
        return (max(width, reach[0]), max(height, reach[1])) if reach is not None else None
    return width, height


def _reach(data: bytes) -> tuple[int, int] | None:
    """How far the first image of a GIF reaches: browsers make a smaller screen as large as that, and imagesize only
    says how large the screen is."""
    at = 13 + (3 << (1 + (data[10] & 7)) if len(data) > 10 and data[10] & 0x80 else 0)  # behind the table of colours
    while at < len(data) and data[at] == 0x21:  # an extension: its label, and blocks up to an empty one
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if data[at : at + 1] != b"," or at + 9 > len(data):
        return None
    x, y, width, height = struct.unpack_from("<4H", data, at + 1)
    return x + width, y + height
