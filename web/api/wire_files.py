"""The shapes of files: where they are fetched from and sent to, whole or in parts, and objects that no job has.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from web.api.wire_attempts import MediaType, OutputName
from web.api.wire_common import _BASE64, Instance, JobId, Lease, ObjectKey, Sha256, Size, WorkerId


class OrphansQuery(msgspec.Struct, frozen=True):
    """Of the names that are listed."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 10
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1, description="`next_cursor` of the page before")] = 0


class SupersededQuery(msgspec.Struct, frozen=True):
    """A rule: those replaced more than so many seconds ago, and of each job all but the latest so many."""

    older_than: Annotated[float, Meta(ge=0, le=100 * 365 * 86_400)] | None = None
    keep: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class SupersededAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Results that another one of their job has replaced, and those that would go by the rule (`older_than`, `keep`;
    without either none does)."""

    results: int
    bytes: int
    due_results: int
    due_bytes: int
    older_than: float | None = None
    keep: int | None = None


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload becomes: a source (`source_hash`), or the output of an attempt that the caller holds (`job_id`,
    `lease`)."""

    source_hash: Sha256 | None = None
    job_id: JobId | None = None
    lease: Lease | None = None
    worker_id: WorkerId | None = None


class SourceUrlBody(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt whose source is to be fetched."""

    job_id: JobId
    lease: Lease | None = None
    worker_id: WorkerId | None = None


class NamedUpload(msgspec.Struct, frozen=True):
    """One of several outputs, to be uploaded. With `checksum` the store takes no other bytes; with `multipart`, where
    the store has that, it is begun in parts (`size` is needed then)."""

    name: OutputName
    multipart: bool = False
    checksum: Sha256 | None = None
    size: Size | None = None
    media_type: MediaType | None = None


class UploadBody(Destination, frozen=True, kw_only=True):
    """With `names`: for several outputs of an attempt, up to 500 in one request."""

    key: ObjectKey | None = None
    content_type: Annotated[str, Meta(max_length=200, pattern=r"^[\x20-\x7e]*\Z")] | None = None
    checksum: Sha256 | None = None
    write_once: bool = False
    names: Annotated[list[OutputName | NamedUpload], Meta(min_length=1, max_length=500)] | None = None
    instance: Instance | None = None


class UploadAnswer(msgspec.Struct, frozen=True):
    url: str
    key: str
    headers: dict[str, str]


class SmallSource(msgspec.Struct, frozen=True):
    """`data` is base64."""

    source_hash: Sha256
    data: Annotated[bytes, Meta(extra_json_schema={"pattern": _BASE64})]


class SmallSources(msgspec.Struct, frozen=True):
    """As many as fit into one request body."""

    sources: Annotated[list[SmallSource], Meta(min_length=1, max_length=1000)]


UploadId = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[\x21-\x7e]+\Z")]
PartNumber = Annotated[int, Meta(ge=1, le=10_000)]


class PartsDestination(Destination, frozen=True, kw_only=True):
    """`name`: which of an attempt's several outputs, after `POST /api/files/upload-url` has been told of it."""

    name: OutputName | None = None


class MultipartBody(PartsDestination, frozen=True, kw_only=True):
    size: Size


class PartDone(msgspec.Struct, frozen=True):
    """`etag` as the PUT answered it, without its quotes."""

    number: PartNumber
    etag: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[\x21\x23-\x7e]+\Z")]


class PartStored(msgspec.Struct, frozen=True):
    number: int
    size: int
    etag: str


class NamedUploadUrl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one of several outputs goes: a URL and the headers of the PUT, or an upload in parts (`POST
    /api/files/multipart/part`, with `name`). The PUT is answered 412 where the object is there already."""

    name: str
    key: str
    url: str | None = None
    headers: dict[str, str] | None = None
    upload_id: str | None = None
    part_size: int | None = None
    parts: list[PartStored] | None = None


class UploadUrls(msgspec.Struct, frozen=True):
    urls: list[NamedUploadUrl]


class MultipartAnswer(msgspec.Struct, frozen=True):
    """`parts`: what is there already of an upload that broke off. `stored`: the object itself is; nothing to do."""

    stored: bool
    upload_id: str | None = None
    part_size: int = 0
    parts: list[PartStored] = []


class PartBody(PartsDestination, frozen=True, kw_only=True):
    """`md5`: base64 of the part's MD5; the store then refuses other bytes."""

    upload_id: UploadId
    number: PartNumber
    md5: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{22}==\Z")] | None = None


class PartUrl(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]


class MultipartDone(PartsDestination, frozen=True, kw_only=True):
    upload_id: UploadId
    parts: Annotated[list[PartDone], Meta(min_length=1, max_length=10_000)]


class MultipartGone(PartsDestination, frozen=True, kw_only=True):
    upload_id: UploadId


class Url(msgspec.Struct, frozen=True):
    url: str


class UrlQuery(msgspec.Struct, frozen=True):
    """`name`: which of several outputs. `former`: of the result that is kept to be compared."""

    name: str | None = None
    former: bool = False


class WantedUrl(msgspec.Struct, frozen=True):
    """`name`: which of several outputs. `former`: of the result that is kept to be compared."""

    job_id: JobId
    kind: Literal["source", "output"]
    name: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\x00]*\Z")] | None = None
    former: bool = False


class WantedUrls(msgspec.Struct, frozen=True):
    items: Annotated[list[WantedUrl], Meta(min_length=1, max_length=500)]


class FileUrl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is at the URL: the name to save it under, its bytes and its SHA-256, as far as they are known."""

    job_id: int
    kind: str
    url: str
    filename: str
    key: str
    size: int | None = None
    sha256: str | None = None
    name: str | None = None


class OrphanBody(msgspec.Struct, frozen=True):
    dry_run: bool = True


class Orphans(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`state` is `never`, `running`, `done` or `failed` (then `error` says why).

    `objects` is how many were looked at, `bytes` the size of the orphans; `unfinished` uploads began more than a day
    ago and never ended. Nothing that came within a day is counted as an orphan. With `dry_run: false`, what was found
    is on the list of what will be deleted. `examples` is a page of their names, of which a thousand are kept;
    `next_cursor` is there when the search has named more.
    """

    state: str
    dry_run: bool
    objects: int
    orphans: int
    bytes: int
    unfinished: int
    examples: list[str]
    next_cursor: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    error: str | None = None
