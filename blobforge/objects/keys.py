"""The names of objects. Every key is made here, and none is signed or served that is not one of these.

    sources/<sha256>                                     a submitted file; its name is its content
    incoming/<sha256>/<nonce>                            one that is said to be that, until its bytes have been read
    outputs/<installation>/<job>/<attempt>/output        what one attempt writes; no other attempt can name it
    outputs/<installation>/<job>/<attempt>/<name>        the same, of an attempt with several outputs; the name may
                                                         have slashes in it (see `named_output_key`)
    outputs/<job>/<attempt>/<name>                       the first, of an attempt that an older release has given out
    outputs/<sha256>                                     the result of all jobs of that source, taken over from the
                                                         original BlobForge; nothing uploads to it
    accepted/<installation>/<job>/<attempt>/<name>       a copy of what was accepted: no URL to upload names it
    installations/<installation>                         the mark of a database that keeps its objects here

An installation is one database: its id is in the keys, so that another one beside the same bucket, or a new one after
it, never meets them. It begins with a letter, as the number of a job does not.

Confinement is ours: botocore signs `sources/../litestream/x` as it stands.
"""

from __future__ import annotations

import re
import secrets
from functools import lru_cache

import msgspec

_INSTALLATION_ID = r"[a-z][a-z0-9]{7,31}"
_ATTEMPT = r"[1-9][0-9]{0,18}/[1-9][0-9]{0,17}"
_PLAIN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
# The confinement only: which names are taken says `blobforge/outputs.py`.
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}"
_INSTALLATION = re.compile(_INSTALLATION_ID)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCE = re.compile(r"sources/[0-9a-f]{64}")
_INCOMING = re.compile(r"incoming/[0-9a-f]{64}/[0-9a-f]{32}")
_OLD_OUTPUT = re.compile(rf"outputs/{_ATTEMPT}/{_PLAIN}")
_NEW_OUTPUT = re.compile(rf"(outputs/{_INSTALLATION_ID}/{_ATTEMPT}/)({_PART}(?:/{_PART})*)")
_OUTPUT = re.compile(f"{_OLD_OUTPUT.pattern}|{_NEW_OUTPUT.pattern}")
_ATTEMPTS_PREFIX = re.compile(rf"outputs/{_INSTALLATION_ID}/{_ATTEMPT}/")
_ACCEPTED = re.compile(rf"accepted/{_INSTALLATION_ID}/{_ATTEMPT}/{_PLAIN}")
_ORIGINAL_OUTPUT = re.compile(r"outputs/[0-9a-f]{64}")
_MARK = re.compile(rf"installations/{_INSTALLATION_ID}")
# One question for each kind: each URL that is signed asks it.
_TO_UPLOAD = re.compile("|".join(each.pattern for each in (_SOURCE, _OUTPUT, _INCOMING)))
_OURS = re.compile("|".join(each.pattern for each in (_TO_UPLOAD, _ACCEPTED, _ORIGINAL_OUTPUT, _MARK)))

OUTPUT_NAME = "output"
_ALIKE = re.compile(rf"{OUTPUT_NAME}~*")
_TO_ESCAPE, _ESCAPED = re.compile(r"\\|%(?=25|5C)"), re.compile("%25|%5C")
SOURCES = "sources/"
INCOMING = "incoming/"
OUTPUTS = "outputs/"
ACCEPTED = "accepted/"
_FORGOTTEN = "forgotten/"  # no object: see forgotten_key
MARKS = "installations/"
PREFIXES = (ACCEPTED, INCOMING, MARKS, OUTPUTS, SOURCES)
UNKNOWN_INSTALLATION = "unknown0"  # whose objects were there before the first database that leaves marks


class OutputKey(msgspec.Struct, frozen=True):
    """Whose output a key names. `installation` is None in keys of older releases."""

    installation: str | None
    job_id: int
    attempt: int


def is_sha256(text: str) -> bool:
    """Whether `text` is 64 lowercase hex digits."""
    return _SHA256.fullmatch(text) is not None


@lru_cache(maxsize=4096)  # one submission asks several times, in a batch of up to 1,000
def source_key(source_hash: str) -> str:
    """The key of a source. Raises ValueError for what is no SHA-256."""
    if _SHA256.fullmatch(source_hash) is None:
        raise ValueError(f"not a SHA-256 in lowercase hex: {source_hash!r}")
    return f"{SOURCES}{source_hash}"


def incoming_prefix(source_hash: str) -> str:
    """The prefix of the keys of this source's uploads that are not bound to its checksum."""
    return f"{INCOMING}{source_key(source_hash).removeprefix(SOURCES)}/"


def incoming_key(source_hash: str) -> str:
    """A new key for one upload of a source."""
    return f"{incoming_prefix(source_hash)}{secrets.token_hex(16)}"


def incoming_of(key: str) -> str:
    """The SHA-256 of the source that an upload to this key is said to be."""
    return key.split("/")[1]


def output_key(installation: str, job_id: int, attempt: int) -> str:
    """The key that one attempt writes its output to: its fence against every other attempt."""
    if _INSTALLATION.fullmatch(installation) is None:
        raise ValueError(f"not the id of an installation: {installation!r}")
    return f"{OUTPUTS}{installation}/{job_id}/{attempt}/{OUTPUT_NAME}"


def output_of(key: str) -> OutputKey:
    """Whose output this is, or a copy of it. Raises ValueError for what is no output's key."""
    if not is_output_key(key) and _ACCEPTED.fullmatch(key) is None:
        raise ValueError(f"not the key of an output: {key!r}")
    first, *more = key.split("/")[1:]
    named = not first[0].isdigit()
    job_id, attempt = more[:2] if named else (first, more[0])
    return OutputKey(first if named else None, int(job_id), int(attempt))


def prefix_of(key: str) -> str:
    """What the keys of all outputs of the same attempt begin with. Raises ValueError for what is no output's key, or
    one that an older release has given out: there is one output."""
    found = _NEW_OUTPUT.fullmatch(key)
    if found is None:
        raise ValueError(f"not the key of one of several outputs: {key!r}")
    return found[1]


def named_output_key(prefix: str, name: str) -> str:
    """The key of one of an attempt's several outputs. It is never the key that a claim gives out: URLs to upload that
    one may write over it. And it has no backslash, which some stores take for a slash."""
    written = _TO_ESCAPE.sub(lambda found: "%5C" if found[0] == "\\" else "%25", name)
    return f"{prefix}{written}~" if _ALIKE.fullmatch(written) else f"{prefix}{written}"


def name_in(key: str) -> str | None:
    """Which of an attempt's several outputs this is; None: the key that a claim gave out, or none of an output."""
    found = _NEW_OUTPUT.fullmatch(key)
    if found is None or found[2] == OUTPUT_NAME:
        return None
    written = found[2][:-1] if _ALIKE.fullmatch(found[2]) else found[2]
    return _ESCAPED.sub(lambda each: "\\" if each[0] == "%5C" else "%", written)


def is_attempts_prefix(key: str) -> bool:
    """Whether this is what the keys of all outputs of one attempt begin with."""
    return _ATTEMPTS_PREFIX.fullmatch(key) is not None


def forgotten_key(prefix: str) -> str:
    """What stands on the list of deletions for records of outputs that go while their objects stay."""
    return f"{_FORGOTTEN}{prefix}"


def forgotten_prefix(key: str) -> str | None:
    """What the keys of the outputs begin with whose records go, where it is that which stands on the list."""
    return key.removeprefix(_FORGOTTEN) if key.startswith(_FORGOTTEN) else None


def attempt_of(prefix: str) -> OutputKey:
    """Whose outputs begin with this prefix."""
    return output_of(f"{prefix}{OUTPUT_NAME}")


def accepted_key(installation: str, key: str) -> str:
    """Where the accepted output of this key is copied to."""
    output = output_of(key)
    name = key.rpartition("/")[2]
    return f"{ACCEPTED}{installation}/{output.job_id}/{output.attempt}/{name}"


def copied_from(key: str) -> str | None:
    """The key of the output that an accepted one is a copy of; None: this is no copy."""
    return f"{OUTPUTS}{key.removeprefix(ACCEPTED)}" if _ACCEPTED.fullmatch(key) is not None else None


def original_output_key(source_hash: str) -> str:
    """Where the original BlobForge kept the result of all jobs of a source. Raises ValueError: no SHA-256."""
    return f"{OUTPUTS}{source_key(source_hash).removeprefix(SOURCES)}"


def mark_key(installation: str) -> str:
    """The object by which this installation tells others that it keeps its objects here."""
    return f"{MARKS}{installation}"


def is_source_key(key: str) -> bool:
    """Whether `key` names a source, exactly."""
    return _SOURCE.fullmatch(key) is not None


def is_incoming_key(key: str) -> bool:
    """Whether `key` names an upload that may become a source."""
    return _INCOMING.fullmatch(key) is not None


def is_output_key(key: str) -> bool:
    """Whether `key` is one that an attempt writes to."""
    return _OUTPUT.fullmatch(key) is not None


def is_original_output_key(key: str) -> bool:
    """Whether `key` is a result that was taken over from the original BlobForge."""
    return _ORIGINAL_OUTPUT.fullmatch(key) is not None


def shared_source(key: str) -> str | None:
    """The source whose jobs share this object: it is needed as long as there is one of them. None: no such object."""
    return key.rpartition("/")[2] if is_of_any_installation(key) else None


def is_of_any_installation(key: str) -> bool:
    """Whether `key` names no database that it belongs to: a source, or a result that was taken over."""
    return is_source_key(key) or is_original_output_key(key)


def is_key(key: str) -> bool:
    """Whether `key` is one that this server may ask for, sign for a download, or serve."""
    return _OURS.fullmatch(key) is not None


def check_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix below which there is more than this server's objects (its backup, for one)."""
    ours = prefix in PREFIXES or is_attempts_prefix(prefix) or is_incoming_key(f"{prefix}{'0' * 32}")
    if not ours:
        raise ValueError(f"not a prefix of our keys: {prefix!r}")


def check_upload(key: str, sha256: str | None) -> str | None:
    """The SHA-256 that an upload to `key` is bound to: the one asked for, or a source's name, or None.

    Raises ValueError for what is no key of an upload or no SHA-256, and for a source that is to hold other bytes than
    its name says: such an upload could only fail.
    """
    if _TO_UPLOAD.fullmatch(key) is None:
        raise ValueError(f"not a key to upload to: {key!r}")
    if sha256 is not None and not is_sha256(sha256):
        raise ValueError(f"not a SHA-256 in lowercase hex: {sha256!r}")
    if not key.startswith(SOURCES):
        return sha256
    name = key.removeprefix(SOURCES)
    if sha256 not in (None, name):
        raise ValueError(f"{key} cannot hold bytes with the SHA-256 {sha256}")
    return name
