"""A bucket as boto3 reaches it: calls that block, for threads. State owned here: two boto3 clients, and the store's
handwriting.

Each call raises ObjectStoreError, and ValueError for what is no key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from blobforge.objects import Listed, ListedPage, Missed, ObjectInfo, answers
from blobforge.objects.answers import status_of
from blobforge.objects.keys import is_key
from blobforge.objects.multipart import LARGEST_PART, NOT_OFFERED
from blobforge.objects.reading import Reading

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

UPLOADS_PAGE = 1000  # unfinished uploads in one answer: the most that S3 gives
COPIED_WHOLE = LARGEST_PART  # bytes; what is larger is copied in parts
COPIED_PART = 512 << 20  # bytes; more where there would be too many
_CHUNK = 1 << 20  # bytes of an object in memory while it is hashed


class Bucket:
    """The objects below `prefix`. `patient` waits for what takes as long as there are bytes; `where` names the bucket
    in errors, of which one tells that `timeout` seconds were over."""

    def __init__(
        self, client: S3Client, patient: S3Client, name: str, prefix: str, *, where: str, timeout: float
    ) -> None:
        self._client = client
        self._patient = patient
        self._name = name
        self._prefix = prefix
        self._where = where
        self._timeout = timeout
        self._handwriting = answers.Handwriting()

    def full(self, key: str) -> str:
        """The key inside the bucket. Raises ValueError for what is no key: this is the confinement."""
        if not is_key(key):
            raise ValueError(f"not a key of this store: {key!r}")
        return self._prefix + key

    def translated(self, what: str) -> AbstractContextManager[None]:
        return answers.translated(self._where, what, self._timeout)

    def head(self, key: str, full: str, version: str | None = None) -> ObjectInfo | None:
        which: dict[str, Any] = {"VersionId": version} if version is not None else {}
        with self.translated("look up an object"):
            try:
                answer = self._client.head_object(Bucket=self._name, Key=full, ChecksumMode="ENABLED", **which)
            except ClientError as error:
                self._check_absent(error)
                return None
            answers.check_object(answer, self._handwriting)
            found = answer.get("VersionId")
            return ObjectInfo(
                key,
                answer["ContentLength"],
                _hex_digest(answer.get("ChecksumSHA256")),
                answer.get("ContentType"),
                answer["ETag"],
                found if found != "null" else None,  # of a bucket that keeps none any more
            )

    def copy(self, key: str, to: str, like: ObjectInfo | None) -> ObjectInfo | Missed:
        """A copy that is there can only have come from an earlier call, which has seen what was wanted."""
        full, target = self.full(key), self.full(to)
        condition: dict[str, Any] = {"CopySourceIfMatch": like.etag} if like is not None and like.etag else {}
        with self.translated("copy an object"):
            if (copied := self.head(to, target)) is not None:
                return copied
            found = like or self.head(key, full)
            if found is None:
                return "absent"
            try:
                self._copy_bytes(full, target, found.size, condition)
            except ClientError as error:
                if status_of(error) == 412:
                    return "changed"
                if status_of(error) == 404:
                    return "absent"
                raise
            now = self.head(key, full)  # for stores that copy whatever is there
            if like is not None and now is not None and not now.same_as(like):
                self._client.delete_object(Bucket=self._name, Key=target)
                return "changed"
            return self.head(to, target) or "absent"

    def _copy_bytes(self, full: str, target: str, size: int, condition: dict[str, Any]) -> None:
        """One after the other where they are parts: a copy has one thread, as any other call."""
        source: CopySourceTypeDef = {"Bucket": self._name, "Key": full}
        if size > COPIED_WHOLE:
            parts = TransferConfig(
                multipart_threshold=COPIED_WHOLE, multipart_chunksize=COPIED_PART, use_threads=False
            )
            self._patient.copy(source, self._name, target, ExtraArgs=condition, Config=parts)
            return
        answer = self._patient.copy_object(Bucket=self._name, Key=target, CopySource=source, **condition)
        answers.check_stored(answer)

    def put(self, full: str, data: bytes) -> None:
        with self.translated("store an object"):
            answers.check_stored(self._client.put_object(Bucket=self._name, Key=full, Body=data))

    def heeds_condition(self, full: str) -> bool:
        with self.translated("store an object"):
            try:
                answers.check_stored(self._client.put_object(Bucket=self._name, Key=full, Body=b"", IfNoneMatch="*"))
            except ClientError as error:
                if status_of(error) in (400, 412, 501):
                    return status_of(error) == 412
                raise
            return False

    def digest(self, full: str, reading: Reading, version: str | None = None) -> str | None:
        which: dict[str, Any] = {"VersionId": version} if version is not None else {}
        digest = hashlib.sha256()
        with self.translated("read an object"):
            try:
                answer = self._client.get_object(Bucket=self._name, Key=full, **which)
            except ClientError as error:
                self._check_absent(error)
                return None
            with contextlib.closing(answer["Body"]) as body:
                answers.check_object(answer, self._handwriting)
                for chunk in body.iter_chunks(_CHUNK):
                    if not reading.goes_on(len(chunk)):
                        break
                    digest.update(chunk)
        return digest.hexdigest()

    def beginning(self, full: str, most: int, version: str | None) -> bytes | None:
        which: dict[str, Any] = {"VersionId": version} if version is not None else {}
        span = f"bytes=0-{most - 1}"
        with self.translated("read an object"):
            try:
                answer = self._client.get_object(Bucket=self._name, Key=full, Range=span, **which)
            except ClientError as error:
                if status_of(error) == 416:
                    return b""  # an empty object has no first byte
                self._check_absent(error)
                return None
            with contextlib.closing(answer["Body"]) as body:
                answers.check_object(answer, self._handwriting)
                found = body.read(most)  # a store that knows no ranges sends all of it
                if len(found) < min(most, answer["ContentLength"]):
                    raise answers.StrangeAnswerError("fewer bytes than were announced")
                return found

    def delete(self, full: str) -> None:
        with self.translated("delete an object"):
            try:
                answers.check_deleted(self._client.delete_object(Bucket=self._name, Key=full), self._handwriting)
            except ClientError as error:
                self._check_absent(error)

    def list_page(self, prefix: str, cursor: str, limit: int) -> ListedPage:
        # By the store's own token: not all have their lists in the order of keys.
        token: dict[str, Any] = {"ContinuationToken": cursor} if cursor else {}
        with self.translated("list the objects"):
            answer = self._client.list_objects_v2(
                Bucket=self._name, Prefix=self._prefix + prefix, MaxKeys=min(limit, 1000), **token
            )
            answers.check_list(answer, cursor=cursor, prefix=self._prefix + prefix)
            self._handwriting.learn(answer)
            found = [
                Listed(each["Key"].removeprefix(self._prefix), each["Size"], each["LastModified"].timestamp())
                for each in answer.get("Contents", [])
            ]
            return ListedPage(found, answer.get("NextContinuationToken") if answer["IsTruncated"] else None)

    def unfinished(
        self, prefix: str, before: float, after: tuple[str, str]
    ) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
        """One page of (key, id of the upload), and the last that was looked at: None at the end of the list."""
        key, upload_id = after
        with self.translated("list unfinished uploads"):
            try:
                answer = self._client.list_multipart_uploads(
                    Bucket=self._name,
                    Prefix=self._prefix + prefix,
                    KeyMarker=key,
                    UploadIdMarker=upload_id,
                    MaxUploads=UPLOADS_PAGE,
                )
            except ClientError as error:
                if status_of(error) == NOT_OFFERED:  # it takes nothing in parts, and so has none that were left
                    return [], None
                raise
        uploads = answer.get("Uploads", [])
        found = [(each["Key"], each["UploadId"]) for each in uploads if each["Initiated"].timestamp() < before]
        last = (answer.get("NextKeyMarker", ""), answer.get("NextUploadIdMarker", ""))
        # A store that says "there is more" and not from where on would be asked for ever.
        return found, last if answer.get("IsTruncated") and last != after else None

    def abort(self, full: str, upload_id: str) -> None:
        with self.translated("abort an upload"):
            try:
                self._client.abort_multipart_upload(Bucket=self._name, Key=full, UploadId=upload_id)
            except ClientError as error:
                if status_of(error) != 404:  # it has ended meanwhile
                    raise

    def check(self) -> None:
        with self.translated("reach the bucket"):
            try:
                self._client.head_bucket(Bucket=self._name)
            except ClientError as error:
                if status_of(error) != 403:
                    raise
                # Some key pairs may list but not describe the bucket.
                self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix, MaxKeys=1)

    def _check_absent(self, error: ClientError) -> None:
        """Raises the error, unless it says that there is no such object."""
        self._prove_bucket(error)
        if not answers.is_absent(error, self._handwriting):
            raise error

    def _prove_bucket(self, error: ClientError) -> None:
        """After the first 404: HEAD has no body to say whether the object or the whole bucket is missing, and
        "no such object" would be said of every job for ever. A list is hard to mistake for anything else.
        """
        if status_of(error) == 404 and not self._handwriting.known:
            try:
                answer = self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix, MaxKeys=1)
            except ClientError as refused:
                if status_of(refused) != 403:  # may not ask: then take the store at its word
                    raise
                self._handwriting.learn(refused.response)
                return
            answers.check_list(answer, cursor=None, prefix=self._prefix)
            self._handwriting.learn(answer)


def _hex_digest(checksum: str | None) -> str | None:
    """S3's base64 SHA-256 as hex. None for a composite one: `...-N` is a checksum of N parts' checksums."""
    if checksum is None or "-" in checksum:
        return None
    with contextlib.suppress(binascii.Error):
        digest = base64.b64decode(checksum, validate=True)
        return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
    return None
