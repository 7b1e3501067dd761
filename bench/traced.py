"""A server that notes each call of the project's own code, and each step of a task, for `bench.calls`.

    python .../bench/traced.py FILE    `blobforge serve` of the checkout that is the current folder; FILE is written
                                       at its end

This is run with an earlier revision's code, too: it imports nothing of the project but what it runs.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

OWN = tuple(f"{os.getcwd()}/{folder}/" for folder in ("actors", "blobforge", "web"))
calls: list[tuple[float, int, str]] = []  # when, in which thread, of which file
steps: list[float] = []  # when a task of trio's went on
_own: dict[Any, str] = {}  # of each code object: its file, where it is one of ours


def note(frame: FrameType, event: str, _: object) -> None:
    """Called by the interpreter; a coroutine that goes on is a call, too."""
    if event == "call":
        code = frame.f_code
        file = _own.get(code)
        if file is None:
            name = code.co_filename
            file = _own[code] = name if name.startswith(OWN) else ""
        if file:
            calls.append((time.perf_counter(), threading.get_ident(), file))


def main(target: str) -> None:
    # Its own folder has modules with the names of others' ones.
    sys.path[0] = os.getcwd()
    import trio  # noqa: PLC0415 - behind the change of the path

    class Steps(trio.abc.Instrument):
        def before_task_step(self, _: trio.lowlevel.Task) -> None:
            steps.append(time.perf_counter())

    run = trio.run
    trio.run = lambda *args, **options: run(*args, **options, instruments=[Steps()])
    from blobforge.cli import main as blobforge  # noqa: PLC0415 - the checkout's

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        blobforge(["serve"])
    finally:
        sys.setprofile(None)
        with open(target, "w", encoding="utf-8") as file:
            json.dump({"calls": calls, "steps": steps}, file)


if __name__ == "__main__":
    main(sys.argv[1])
