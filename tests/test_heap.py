"""Large blocks go back to the system as they are freed, whatever was freed before them."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A block of 30 MiB is freed: from then on smaller ones come from the common heap. Eight of these are freed, and what
# lies behind them keeps them.
PROGRAM = """
import sys, psutil
if sys.argv[1] == "settled":
    from blobforge.machinery import heap
    assert heap.settle()
del bytearray(30 << 20)[:]
kept = [bytearray(8 << 20) for _ in range(8)]
small = [bytes(100_000) for _ in range(10)]
before = psutil.Process().memory_info().rss
del kept
print((before - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_is_large_goes_back() -> None:
    def given_back(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True).stdout)

    assert given_back("settled") >= 60 > given_back("as it is")
