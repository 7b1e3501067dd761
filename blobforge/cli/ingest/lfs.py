"""Git LFS: a small file in the work tree that stands for a large one elsewhere.

The content comes out of the repository's own store of objects or, where it is not there, through `git lfs smudge`,
which downloads it into that store. The work tree is never written to, so that no interruption can leave it changed;
what was downloaded for an upload is removed again after it.

Format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from blobforge.cli.common import CliError
from blobforge.cli.ingest.cache import Content

LARGEST_POINTER = 1024  # bytes, by the specification
_POINTER = re.compile(
    rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n"
    rb"(?:[a-z0-9.-]+ [^\n]*\n)*?oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n(?:[a-z0-9.-]+ [^\n]*\n)*\Z"
)
_REMOVE_SECONDS = 10.0
_INSTALL = "Install it (Debian, Ubuntu: apt-get install git-lfs) and run the same command again."


def pointer(data: bytes) -> Content | None:
    """The hash and size that a pointer file names; None for another file."""
    found = _POINTER.match(data)
    return None if found is None else Content(found[1].decode(), int(found[2]), pointer=True)


@asynccontextmanager
async def content(path: str, wanted: Content) -> AsyncGenerator[Path, None]:
    """The file that the pointer at `path` stands for, for as long as it is needed. Raises CliError."""
    store = await _object_store(path)
    target = store / wanted.sha256[:2] / wanted.sha256[2:4] / wanted.sha256
    brought = not await trio.to_thread.run_sync(_is_whole, target, wanted.size)
    try:
        if brought:
            await _download(path)
            if not await trio.to_thread.run_sync(_is_whole, target, wanted.size):
                raise CliError(f"Git LFS did not deliver {wanted.sha256}", hint="Does `git lfs pull` bring it?")
        yield target
    finally:
        if brought:
            with trio.move_on_after(_REMOVE_SECONDS, shield=True):
                await trio.to_thread.run_sync(_remove, target)


async def _object_store(path: str) -> Path:
    folder = _folder(path)
    if shutil.which("git") is None:
        raise CliError("it is a Git LFS pointer, and there is no git here", hint=_INSTALL)
    found = await _git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir")
    if found.returncode:
        raise CliError(
            "it is a Git LFS pointer, and in no Git repository that would know its content",
            hint="Submit the file itself, or use --no-lfs to submit the pointer as it stands.",
        )
    common = Path(os.fsdecode(found.stdout.rstrip(b"\n")))
    configured = (await _git(folder, "config", "--type=path", "lfs.storage")).stdout.rstrip(b"\n")
    # A relative one is below the .git folder, as Git LFS has it.
    return common / (os.fsdecode(configured) or "lfs") / "objects"


async def _download(path: str) -> None:
    folder = _folder(path)
    if (await _git(folder, "lfs", "version")).returncode:
        raise CliError(
            "it is a Git LFS pointer whose content is not here, and git-lfs is not installed", hint=_INSTALL
        )
    data = await trio.Path(path).read_bytes()
    # Filters say what a checkout brings; here is asked for this one file.
    command = ["-c", "lfs.fetchinclude=", "-c", "lfs.fetchexclude=", "lfs", "smudge"]
    done = await _git(folder, *command, stdin=data)
    if done.returncode:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        reason = next((line for line in said if "rror" in line), said[-1] if said else "no reason given")
        raise CliError(
            f"Git LFS cannot bring its content: {reason.strip()[:500]}", hint="Does `git lfs pull` bring it?"
        )


async def _git(folder: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    environment.pop("GIT_LFS_SKIP_SMUDGE", None)  # it is why there are pointers
    # What `smudge` delivers on its stdout is in the store as well; it may be many GiB.
    output: dict[str, Any] = {"stdout": subprocess.DEVNULL} if "smudge" in arguments else {"capture_stdout": True}
    return await trio.run_process(
        ["git", *arguments],
        cwd=folder,
        stdin=stdin,
        capture_stderr=True,
        check=False,
        env=environment,
        **output,
    )


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return
