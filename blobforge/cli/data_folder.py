"""The data folder as `blobforge doctor` sees it, where the server runs on this machine."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from blobforge.cli import output
from blobforge.cli.finding import Finding
from blobforge.login import credentials
from blobforge.machinery.datadir import LINK_FILE, READY_FILE, SECRET_FILE, TOKEN_FILE

LITTLE_SPACE = 1 << 30  # bytes
_PRIVATE = (TOKEN_FILE, SECRET_FILE, LINK_FILE, READY_FILE)


class _Ready(msgspec.Struct):
    url: str
    pid: int


def look_at_data_folder(server: str) -> Iterator[Finding]:
    """Findings about the folder, if it is that of `server`."""
    folder = credentials.admin_token_file().parent
    try:
        ready = msgspec.json.decode((folder / READY_FILE).read_bytes(), type=_Ready)
    except PermissionError:
        text = f"{folder} is there, and not ours to read"
        yield Finding("data folder", "warning", text, "Run this as the user that the server runs as.")
        return
    except (OSError, msgspec.DecodeError):
        yield Finding("data folder", "skipped", f"no running server's data in {folder}")
        return
    if urlsplit(ready.url).port != urlsplit(server).port or urlsplit(server).hostname not in credentials.LOOPBACK:
        yield Finding("data folder", "skipped", f"{folder} is that of another server, {ready.url}")
        return
    problems = [*_permissions(folder), *_process(ready), *_space(folder)]
    yield from problems or [Finding("data folder", "ok", f"{folder.resolve()}, private to its owner")]


def _permissions(folder: Path) -> Iterator[Finding]:
    for path in (folder, *(folder / name for name in _PRIVATE)):
        try:
            found = path.stat()
        except OSError:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            right = "700" if path == folder else "600"
            text = f"{path} may be used by others (mode {mode:o})"
            yield Finding("data folder", "failure", text, f"chmod {right} {path}")
        if found.st_uid != os.geteuid():
            text = f"{path} belongs to user {found.st_uid}, and this is user {os.geteuid()}"
            yield Finding(
                "data folder", "warning", text, "The server must own its data: chown, or start it as that user."
            )


def _process(ready: _Ready) -> Iterator[Finding]:
    try:
        os.kill(ready.pid, 0)
    except ProcessLookupError:
        text = f"its server (process {ready.pid}) is gone without a word"
        yield Finding("data folder", "warning", text, "Start it again: what it had acknowledged is there.")
    except PermissionError:  # it is there, and belongs to another user
        return


def _space(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    if usage.free < LITTLE_SPACE:
        text = f"only {output.size_text(usage.free)} are free on its disk"
        yield Finding("data folder", "warning", text, "Without room nothing can be written: make some, or move it.")
