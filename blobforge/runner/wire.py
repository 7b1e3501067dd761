"""What a worker and its handlers' processes say to each other: JSON, one message a line, over two pipes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import msgspec

from blobforge.client import Job as JobRecord
from blobforge.client import text
from blobforge.runner.address import Address


class LoadFunction(msgspec.Struct, frozen=True, tag="load"):
    """The first message: which function to run."""

    address: Address


class Convert(msgspec.Struct, frozen=True, tag="convert"):
    """Run it for one job. `cookie` is for the environment of what it starts."""

    record: JobRecord
    workdir: str
    source: str
    cookie: str


class CancelConvert(msgspec.Struct, frozen=True, tag="cancel"):
    """The job under way was taken away."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The function is loaded. `made_with`: what it declares to be, a converter's name and version."""

    made_with: str | None = None


class NotReady(msgspec.Struct, frozen=True, tag="not-ready"):
    """The function cannot be loaded."""

    error: str


class News(msgspec.Struct, frozen=True, tag="news"):
    """Progress."""

    progress: dict[str, Any]


class Returned(msgspec.Struct, frozen=True, tag="done"):
    """The function has returned. `memory` is what the process then holds, in bytes. `paths` are what it returned:
    their bytes, a character each, as a path need not be UTF-8."""

    memory: int = 0
    paths: list[str] | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It raised JobFailed, or anything that counts as it."""

    error: str
    kind: str
    log_tail: str | None = None
    traceback: str | None = None
    retryable: bool = True
    memory: int = 0


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """It raised WorkerTrouble, or found the disk full."""

    error: str
    memory: int = 0


Order = LoadFunction | Convert | CancelConvert
ChildReply = Ready | NotReady | News | Returned | Failed | Trouble

LONGEST = 16 << 20  # bytes of one message: 10,000 long paths fit; a writer of more is not ours
_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_replies: msgspec.json.Decoder[ChildReply] = msgspec.json.Decoder(ChildReply)


def encode(message: Order | ChildReply) -> bytes:
    """The message as one line."""
    return text.encode(message, enc_hook=str) + b"\n"


def order(line: bytes | str) -> Order:
    return _orders.decode(line)


def reply(line: bytes | str) -> ChildReply:
    return _replies.decode(line)


def paths_said(paths: list[Path] | None) -> list[str] | None:
    """Paths as they are sent."""
    return [os.fsencode(each).decode("latin-1") for each in paths] if paths is not None else None


def paths_heard(said: list[str] | None) -> list[Path] | None:
    """Paths as they were before they were sent."""
    return [Path(os.fsdecode(each.encode("latin-1"))) for each in said] if said is not None else None


def numbers_only(progress: dict[str, Any]) -> dict[str, Any]:
    """A handler may report numpy's numbers, and infinities: what JSON has no word for is converted, or left out."""
    kept = {}
    for name, value in progress.items():
        plain = value if isinstance(value, int | str) else float(value)
        if not isinstance(plain, float) or math.isfinite(plain):
            kept[name] = plain
    return kept
