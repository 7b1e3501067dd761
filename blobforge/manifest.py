"""Manifests: what jobs have made, as lines of JSON that are signed (`manifest_signature.py`).

    {"manifest":"blobforge-manifest-1","installation":...,"key":"SHA256:...","began":...,"filter":{...}}
    {"job_id":17,"type":"pdf","status":"completed",...,"outputs":[{"name":"a.md","size":3,"sha256":...}]}
    {"job_id":17,"outputs":[...]}                          further outputs of the job above
    {"end":{"key":"SHA256:...","jobs":1,"outputs":2,"bytes":6,"ended":...,"sha256":...},"signature":"..."}

`sha256` in the last line is of the bytes of all lines before it, as they stand, line ends too. The signature
(Ed25519, RFC 8032, in base64) is of `blobforge-manifest-1`, a line end, and the bytes of the object `end` as they
stand in the last line. So there is nothing to be made canonical: one byte that is another is another manifest.

Nothing in a manifest is believed before the signature of all of it has been checked with a key that came another way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

FORMAT: Final = "blobforge-manifest-1"
MANIFEST_TYPE: Final = "application/x-ndjson"
PIECE: Final = 500  # outputs, or paths, in one line
LONGEST_LINE: Final = 16 << 20  # bytes; what is longer is none of ours
END_BEGINS: Final = b'{"end":'
_MORE: Final = re.compile(rb'\{"job_id":\d+,"(outputs|paths)":')


class ManifestHead(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is the fingerprint of what signs; `filter` which jobs were asked for; `began` and all other times are
    RFC 3339."""

    manifest: str = FORMAT
    installation: str
    key: str
    began: str
    filter: dict[str, Any]


class ManifestOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """`size` in bytes. `sha256` is missing for what came without a checksum and was not read."""

    name: str
    size: int | None = None
    sha256: str | None = None
    media_type: str | None = None


class ManifestJob(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A job, as it was when it was read. `paths` are further ones of its source; `options` is a JSON object;
    `attempts` counts those that have begun; `made_by` is the converter of the result. `outputs_total` is of all lines
    of the job, of which this is the first."""

    job_id: int
    type: str
    status: str
    source_hash: str
    source_path: str | None = None
    source_size: int | None = None
    paths: list[str] = []
    options: Any = None
    attempts: int
    made_by: str | None = None
    created_at: str
    started_at: str | None = None
    completed_at: str | None = None
    outputs_total: int
    outputs: list[ManifestOutput] = []


class ManifestMore(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """More of the job above."""

    job_id: int
    outputs: list[ManifestOutput] = []
    paths: list[str] = []


class ManifestEnd(msgspec.Struct, frozen=True, kw_only=True):
    """`bytes`: of all outputs whose size is known. `sha256`: of all that stands above this line."""

    key: str
    jobs: int
    outputs: int
    bytes: int
    ended: str
    sha256: str


class ManifestError(Exception):
    """What is wrong with a manifest. `kind` is a word for programs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def is_end(line: bytes) -> bool:
    """Whether a line is the last one of a manifest, by its looks: what has none was cut off."""
    return line.startswith(END_BEGINS) and line.endswith(b"}\n")


def read(file: BinaryIO) -> Iterator[ManifestHead | ManifestJob | ManifestMore]:
    """The lines of a manifest that `check` has passed. Raises ManifestError for what we do not know how to read."""
    job, more = msgspec.json.Decoder(ManifestJob), msgspec.json.Decoder(ManifestMore)
    current: int | None = None
    try:
        for place, line in enumerate(lines_of(file)):
            if line.startswith(END_BEGINS):
                return
            if place == 0:
                found = msgspec.json.decode(line, type=ManifestHead)
                if found.manifest != FORMAT:
                    raise ManifestError("format", f"It is a {found.manifest}; this command reads {FORMAT}.")
                yield found
            elif _MORE.match(line):
                entry = more.decode(line)
                if entry.job_id != current:
                    raise ManifestError("format", f"It has more of job {entry.job_id} behind another one.")
                yield entry
            else:
                current = (whole := job.decode(line)).job_id
                yield whole
    except msgspec.MsgspecError as error:
        raise ManifestError(
            "format", f"It has a line that this command does not know how to read: {error}."
        ) from error


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines as they stand. Raises ManifestError for one that is too long."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise ManifestError("format", f"It has a line of more than {LONGEST_LINE >> 20} MiB: no manifest has.")
        yield line
