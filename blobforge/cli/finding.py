"""What `blobforge doctor` finds."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failure", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """One result. `advice` says what to do; `code` is the exit code that a failure asks for."""

    check: str
    level: Level
    text: str
    advice: str = ""
    code: int = 1
