"""How soon memory goes back to the system, in the processes that serve.

The C library gives large blocks pages of their own, which go back as they are freed. By default "large" grows with
each one that is freed, up to 32 MiB: after one answer or transaction of many megabytes, all blocks of that size come
from the common heap, where one small neighbour keeps them. Here it stays what it is.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

LARGE: Final = 1 << 20  # bytes
_M_MMAP_THRESHOLD: Final = -3  # <malloc.h>


def settle() -> bool:
    """Call this before anything large is made. Returns whether the C library has it (glibc has)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, LARGE))
