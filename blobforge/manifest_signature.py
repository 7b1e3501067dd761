"""The signature of a manifest (`manifest.py`): how one is written, and how one is proven."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from blobforge.installation import fingerprint, public_key, public_text
from blobforge.manifest import (
    END_BEGINS,
    FORMAT,
    PIECE,
    ManifestEnd,
    ManifestError,
    ManifestHead,
    ManifestJob,
    ManifestMore,
    is_end,
    lines_of,
)

_SIGNED: Final = FORMAT.encode() + b"\n"


class _Last(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: ManifestEnd
    signature: str


class ManifestWriter:
    """Makes the lines of one manifest, in their order. State owned here: what has been written so far, in sums."""

    def __init__(self, key: Ed25519PrivateKey, *, installation: str, began: str, filter_: dict[str, Any]) -> None:
        self._key = key
        self._named = fingerprint(public_text(key))
        self._digest = hashlib.sha256()
        self._jobs = self._outputs = self._bytes = 0
        self.head = self._line(ManifestHead(installation=installation, key=self._named, began=began, filter=filter_))

    def job(self, job: ManifestJob) -> Iterator[bytes]:
        """The lines of a job: its own, and more of them for what does not go into one."""
        self._jobs += 1
        self._outputs += len(job.outputs)
        self._bytes += sum(each.size or 0 for each in job.outputs)
        yield self._line(replace(job, outputs=job.outputs[:PIECE], paths=job.paths[:PIECE]))
        for start in range(PIECE, len(job.paths), PIECE):
            yield self._line(ManifestMore(job.job_id, paths=job.paths[start : start + PIECE]))
        for start in range(PIECE, len(job.outputs), PIECE):
            yield self._line(ManifestMore(job.job_id, job.outputs[start : start + PIECE]))

    def end(self, *, ended: str) -> bytes:
        """The last line."""
        end = msgspec.json.encode(
            ManifestEnd(
                key=self._named,
                jobs=self._jobs,
                outputs=self._outputs,
                bytes=self._bytes,
                ended=ended,
                sha256=self._digest.hexdigest(),
            )
        )
        signature = base64.b64encode(self._key.sign(_SIGNED + end))
        return b'{"end":%b,"signature":"%b"}\n' % (end, signature)

    def _line(self, value: msgspec.Struct) -> bytes:
        line = msgspec.json.encode(value) + b"\n"
        self._digest.update(line)
        return line


def check(file: BinaryIO, public: str) -> ManifestEnd:
    """Read a manifest to its end; what was signed of it with this key. Raises ManifestError, ValueError (no key)."""
    key = public_key(public)
    digest = hashlib.sha256()
    last = b""
    for line in lines_of(file):
        if last.startswith(END_BEGINS):
            raise ManifestError("trailing", "Something stands behind the signed line: it was added later.")
        digest.update(last)
        last = line
    if not is_end(last):
        raise ManifestError("truncated", "It does not end with its signed line: it was cut off, or is no manifest.")
    said = _last(last)
    named = fingerprint(public)
    if said.end.key != named:
        raise ManifestError("other-key", f"It is signed with another key, {said.end.key}; yours is {named}.")
    try:
        key.verify(base64.b64decode(said.signature, validate=True), _SIGNED + msgspec.json.encode(said.end))
    except (InvalidSignature, binascii.Error):
        raise ManifestError(
            "forged", f"Its signature is none of the key {named}: the last line was changed."
        ) from None
    if digest.hexdigest() != said.end.sha256:
        text = "It is not what was signed: lines of it were changed, removed, added, or are in another order."
        raise ManifestError("changed", text)
    return said.end


def _last(line: bytes) -> _Last:
    try:
        said = msgspec.json.decode(line, type=_Last)
    except msgspec.MsgspecError as error:
        raise ManifestError("forged", f"Its last line is none that we write: {error}.") from error
    if line != b'{"end":%b,"signature":"%b"}\n' % (msgspec.json.encode(said.end), said.signature.encode()):
        raise ManifestError("forged", "Its last line says the same in another spelling: it was written anew.")
    return said
