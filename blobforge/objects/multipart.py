"""Large objects in parts: what a store offers for them (`Multipart`), and S3's way (`S3Multipart`).

The store itself keeps what has been uploaded of an object, so that a client that comes back with the same object
after an interruption goes on with it. Keys are those of `keys.py`; a URL is for one part of one upload. Source of the
limits: Amazon S3's "multipart upload limits".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
from botocore.exceptions import ClientError

from blobforge.objects import NotOfferedError, ObjectTooLargeError, SignedUpload
from blobforge.objects.answers import status_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

T = TypeVar("T")

MIB = 1 << 20
PART = 16 * MIB  # bytes: what a broken connection costs at most
MOST_PARTS = 10_000  # S3's own limit
LARGEST_PART = 5 << 30  # bytes: S3's own limit, and that of an object which is written, or copied, by one request
_THERE_ALREADY = 412
NOT_OFFERED = 501
_NO_PARTS = frozenset({403, 405, NOT_OFFERED})  # the key pair may not, or the store does not know them
_FAILED = 500
_ABSENT = 404
_TOO_LARGE = "EntityTooLarge"
_GONE = frozenset({"NoSuchUpload", "404"})
_UNLIKE = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})


class UploadedPart(msgspec.Struct, frozen=True):
    """A part that the store has. `number` counts from 1; `etag` is the MD5 of its bytes in hex on most stores."""

    number: int
    size: int
    etag: str


class Upload(msgspec.Struct, frozen=True):
    """An upload under way, and which parts of it are there already. `part_size` in bytes; the last may be shorter."""

    id: str
    part_size: int
    parts: list[UploadedPart]


class Multipart(Protocol):
    """The async methods raise ObjectStoreError when the store does not answer, or refuses."""

    async def begin(self, key: str, size: int) -> Upload:
        """Take up the newest upload of `key` that has not ended, or start one, for an object of `size` bytes.

        Raises ObjectTooLargeError and NotOfferedError.
        """
        ...

    def sign_part(self, key: str, upload_id: str, number: int, *, expires_in: int, md5: str | None) -> SignedUpload:
        """Return a URL to PUT one part. With `md5` (base64) the store refuses other bytes. No I/O."""
        ...

    async def complete(
        self, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, write_once: bool = False
    ) -> bool:
        """Make the object out of `parts`, (number, etag) in order; with `write_once`, only where there is none.

        False: there is no such upload (any more), or its parts are not these, or there is an object that is not to be
        written over. Raises ObjectTooLargeError.
        """
        ...

    async def abort(self, key: str, upload_id: str) -> None:
        """Throw the upload and its parts away; one that is not there is no error."""
        ...


def part_size(size: int) -> int:
    """Bytes in each part of an object of `size` bytes: whole MiB, and never more than MOST_PARTS of them.

    Raises ObjectTooLargeError.
    """
    each = max(PART, math.ceil(size / MOST_PARTS / MIB) * MIB)
    if each > LARGEST_PART:
        raise ObjectTooLargeError(
            f"{size} bytes are more than {MOST_PARTS} parts of {LARGEST_PART} bytes, the most that S3 takes"
        )
    return each


class S3Multipart:
    """A Multipart on S3. The collaborators are S3Store's own: `patient` waits for answers that take long, `ask` runs
    a call in a thread under a deadline, `full` confines a key and puts the prefix before it, `sign` makes a URL,
    `translated` words errors.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        patient: S3Client,
        ask: Ask,
        full: Callable[[str], str],
        sign: Callable[..., str],
        translated: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._client = client
        self._patient = patient
        self._bucket = bucket
        self._ask = ask
        self._full = full
        self._sign = sign
        self._translated = translated

    async def begin(self, key: str, size: int) -> Upload:
        return await self._ask(partial(self._begin, self._full(key), size))

    def sign_part(self, key: str, upload_id: str, number: int, *, expires_in: int, md5: str | None) -> SignedUpload:
        headers = {} if md5 is None else {"Content-MD5": md5}
        query = {"partNumber": str(number), "uploadId": upload_id}
        url = self._sign("PUT", self._full(key), expires_in=expires_in, headers=headers, query=query)
        return SignedUpload(url, headers)

    async def complete(
        self, key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, write_once: bool = False
    ) -> bool:
        work = partial(self._complete, self._full(key), upload_id, parts, write_once)
        return await self._ask(work, long=True)

    async def abort(self, key: str, upload_id: str) -> None:
        await self._ask(partial(self._abort, self._full(key), upload_id))

    async def heeds_condition(self, key: str) -> bool:
        """Whether a completion with `If-None-Match` writes nothing over the object `key`, a mark; or there are no
        parts to be had. A store may heed the condition on a PUT and not here. Raises ObjectStoreError.
        """
        return await self._ask(partial(self._heeds_condition, self._full(key)))

    # What follows blocks, and runs in threads.

    def _heeds_condition(self, full: str) -> bool:
        with self._translated("try a multipart upload"):
            try:
                upload_id = self._client.create_multipart_upload(Bucket=self._bucket, Key=full)["UploadId"]
            except ClientError as error:
                if status_of(error) in _NO_PARTS:
                    return True
                raise
            try:
                # Not empty: stores may refuse that for reasons of their own. What a mark holds is never read.
                sent = self._client.upload_part(
                    Bucket=self._bucket, Key=full, UploadId=upload_id, PartNumber=1, Body=b"-"
                )
                parts: list[CompletedPartTypeDef] = [{"PartNumber": 1, "ETag": sent["ETag"]}]
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=full,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": parts},
                    IfNoneMatch="*",
                )
            except ClientError as error:
                self._abort(full, upload_id)
                if status_of(error) >= _FAILED and status_of(error) != NOT_OFFERED:
                    raise
                return status_of(error) == _THERE_ALREADY
            return False

    def _begin(self, full: str, size: int) -> Upload:
        each = part_size(size)
        with self._translated("start a multipart upload"):
            try:
                found = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=full).get("Uploads", [])
                same = [upload for upload in found if upload["Key"] == full]
                if same:
                    newest = max(same, key=lambda upload: upload["Initiated"])["UploadId"]
                    return Upload(newest, each, self._parts(full, newest))
                created = self._client.create_multipart_upload(
                    Bucket=self._bucket, Key=full, ContentType="application/octet-stream"
                )
            except ClientError as error:
                if status_of(error) == NOT_OFFERED:
                    raise NotOfferedError("the store takes no object in parts") from error
                raise
            return Upload(created["UploadId"], each, [])

    def _parts(self, full: str, upload_id: str) -> list[UploadedPart]:
        pages = self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=full, UploadId=upload_id)
        return [
            UploadedPart(part["PartNumber"], part["Size"], part["ETag"].strip('"'))
            for page in pages
            for part in page.get("Parts", [])
        ]

    def _complete(self, full: str, upload_id: str, parts: Sequence[tuple[int, str]], write_once: bool) -> bool:
        wanted: list[CompletedPartTypeDef] = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in parts]
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if write_once else {}
        with self._translated("complete a multipart upload"):
            try:
                self._patient.complete_multipart_upload(
                    Bucket=self._bucket, Key=full, UploadId=upload_id, MultipartUpload={"Parts": wanted}, **condition
                )
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if write_once and status_of(error) == NOT_OFFERED:
                    # It has this condition for a PUT only: only the attempt itself writes to its key.
                    return not self._is_there(full) and self._complete(full, upload_id, parts, write_once=False)
                if code == _TOO_LARGE:
                    raise ObjectTooLargeError("the store takes no object as large as these parts together") from error
                if _gone(error) or code in _UNLIKE or status_of(error) == _THERE_ALREADY:
                    return False
                raise
            return True

    def _is_there(self, full: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=full)
        except ClientError as error:
            if status_of(error) != _ABSENT:
                raise
            return False
        return True

    def _abort(self, full: str, upload_id: str) -> None:
        with self._translated("abort a multipart upload"):
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=full, UploadId=upload_id)
            except ClientError as error:
                if not _gone(error):
                    raise


class Ask(Protocol):
    """`long`: what may take the store minutes is under another deadline, and says nothing about its health."""

    async def __call__(self, work: Callable[[], T], /, *, long: bool = False) -> T:
        """Run `work` in a thread. Raises ObjectStoreError."""
        ...


def _gone(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code", "") in _GONE
