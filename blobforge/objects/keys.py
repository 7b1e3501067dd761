"""The names of objects. Every key that this server ever signs is made or checked here.

    sources/<sha256>                     a submitted file; its name is its content
    outputs/<job>/<attempt>/<name>       what one attempt wrote; no other attempt can name it

Confinement is ours: botocore signs `sources/../litestream/x` as it stands.
"""

from __future__ import annotations

import re

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCE = re.compile(r"sources/[0-9a-f]{64}")
_OUTPUT = re.compile(r"outputs/[1-9][0-9]{0,18}/[1-9][0-9]{0,17}/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

OUTPUT_NAME = "output"
SOURCES = "sources/"
OUTPUTS = "outputs/"


def is_sha256(text: str) -> bool:
    """Whether `text` is 64 lowercase hex digits."""
    return _SHA256.fullmatch(text) is not None


def source_key(source_hash: str) -> str:
    """The key of a source. Raises ValueError for what is no SHA-256."""
    if not is_sha256(source_hash):
        raise ValueError(f"not a SHA-256 in lowercase hex: {source_hash!r}")
    return f"sources/{source_hash}"


def output_key(job_id: int, attempt: int) -> str:
    """The key that one attempt writes its output to: its fence against every other attempt."""
    return f"outputs/{job_id}/{attempt}/{OUTPUT_NAME}"


def output_of(key: str) -> tuple[int, int]:
    """(job, attempt) that this output belongs to. Raises ValueError for what is no output's key."""
    if _OUTPUT.fullmatch(key) is None:
        raise ValueError(f"not the key of an output: {key!r}")
    _, job_id, attempt, _ = key.split("/")
    return int(job_id), int(attempt)


def is_source_key(key: str) -> bool:
    """Whether `key` names a source, exactly."""
    return _SOURCE.fullmatch(key) is not None


def is_key(key: str) -> bool:
    """Whether `key` is one that this server may sign or serve."""
    return is_source_key(key) or _OUTPUT.fullmatch(key) is not None


def check_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix below which there is more than this server's objects (its backup, for one)."""
    if prefix not in (SOURCES, OUTPUTS):
        raise ValueError(f"not a prefix of our keys: {prefix!r}")


def check_upload(key: str, sha256: str | None) -> str | None:
    """The SHA-256 that an upload to `key` is bound to: the one asked for, or a source's name, or None.

    Raises ValueError for what is no key or no SHA-256, and for a source that is to hold other bytes than its name
    says: such an upload could only fail.
    """
    source = is_source_key(key)
    if not source and not is_key(key):
        raise ValueError(f"not a key of this store: {key!r}")
    if sha256 is not None and not is_sha256(sha256):
        raise ValueError(f"not a SHA-256 in lowercase hex: {sha256!r}")
    if not source:
        return sha256
    name = key.removeprefix("sources/")
    if sha256 not in (None, name):
        raise ValueError(f"{key} cannot hold bytes with the SHA-256 {sha256}")
    return name
