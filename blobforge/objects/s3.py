"""Objects in S3 or what speaks its protocol (R2, MinIO, SeaweedFS): boto3 in threads, URLs by our own signer.

State owned here: one boto3 client and its threads. Every call has a deadline here; boto3's own timeouts only make
sure that a thread left behind comes to its end. Nothing is read from ~/.aws or a profile: what is not in the
constructor does not count.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from blobforge.machinery.hop import Hop
from blobforge.machinery.tracing import Tracer
from blobforge.objects import Listed, Missed, ObjectInfo, SignedUpload, answers
from blobforge.objects.answers import status_of
from blobforge.objects.breaker import Breaker, threads
from blobforge.objects.disposition import attachment, attachment_in_query
from blobforge.objects.keys import ACCEPTED, OUTPUTS, SOURCES, check_prefix, check_upload, incoming_key, is_key
from blobforge.objects.multipart import LARGEST_PART, NOT_OFFERED, S3Multipart
from blobforge.objects.sigv4 import Presigner

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

T = TypeVar("T")

UPLOADS_PAGE = 1000  # unfinished uploads in one answer: the most that S3 gives
COPIED_A_SECOND = 20 << 20  # bytes, by a slow store; a copy that is given up is begun anew, and would never end
COPIED_WHOLE = LARGEST_PART  # bytes; what is larger is copied in parts
COPIED_PART = 512 << 20  # bytes; more where there would be too many
_CHUNK = 1 << 20  # bytes of an object in memory while it is hashed


class S3Store:
    """An ObjectStore in `bucket` below `prefix`, at `endpoint` (`scheme://host[:port]`), path style, SigV4.

    `timeout` bounds each question, `digest_timeout` the reading of a whole object, `pause` is how long a store
    that missed a deadline is left alone (all seconds). `questions` and `digests` are how many threads each may
    take. `clock` gives Unix seconds for signing.
    """

    name = "s3"

    def __init__(
        self,
        *,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        region: str = "auto",
        prefix: str = "",
        timeout: float = 5.0,
        digest_timeout: float = 900.0,
        pause: float = 5.0,
        questions: int = 16,
        digests: int = 4,
        clock: Callable[[], float] = time.time,
        tracer: Tracer | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = normalised(prefix)
        self._timeout = timeout
        self._digest_timeout = digest_timeout
        self._clock = clock
        self._presigner = Presigner(endpoint, bucket, region, access_key, secret_key)
        self._where = f"S3 at {endpoint}, bucket {bucket!r}"
        self._breaker = Breaker(self._where, pause=pause, tracer=tracer)
        self.calls = self._breaker.calls
        self._asking: Hop = threads(questions)
        # Apart, so that long reads never keep a short question waiting.
        self._digesting: Hop = threads(digests)
        self._handwriting = answers.Handwriting()
        self._second = (0, datetime.fromtimestamp(0, UTC))
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"total_max_attempts": 2, "mode": "standard"},  # for a connection that the server had closed
            max_pool_connections=questions + digests,
            # Else boto3 announces a CRC32 for every part of a multipart upload, and the parts are not sent by it.
            request_checksum_calculation="when_required",
        )
        make = partial(
            session().client,
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )
        self._client: S3Client = make(config=config)
        # A copy, or an object of parts, is answered when it is made: that takes as long as there are bytes.
        patient = Config(read_timeout=digest_timeout, retries={"total_max_attempts": 1, "mode": "standard"})
        self._patient: S3Client = make(config=config.merge(patient))
        self.write_once = False  # until it has shown that it can
        self.multipart = S3Multipart(
            self._client,
            bucket,
            patient=self._patient,
            ask=self._ask,
            full=self._full,
            sign=self._sign,
            translated=self._translated,
        )

    @property
    def answering(self) -> bool:
        return self._breaker.answering

    # URLs

    def plain_source_key(self, source_hash: str) -> str:
        """An incoming key: the bytes are read before they become the source."""
        return incoming_key(source_hash)

    def sign_download(
        self, key: str, *, expires_in: int, filename: str | None = None, version: str | None = None
    ) -> str:
        if version is None:
            last = f"response-content-disposition={attachment_in_query(filename)}" if filename else ""
            return self._presigner.url("GET", self._full(key), expires_in=expires_in, now=self._now(), last=last)
        query = {"response-content-disposition": attachment(filename)} if filename else {}
        query["versionId"] = version
        return self._presigner.url("GET", self._full(key), expires_in=expires_in, now=self._now(), query=query)

    def sign_upload(
        self,
        key: str,
        *,
        expires_in: int,
        content_type: str | None = None,
        sha256: str | None = None,
        write_once: bool = False,
    ) -> SignedUpload:
        check_upload(key, sha256)
        headers = {"If-None-Match": "*"} if write_once else {}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if sha256 is not None:
            headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        full = self._full(key)
        url = self._presigner.url("PUT", full, expires_in=expires_in, now=self._now(), headers=headers)
        return SignedUpload(url, headers)

    # Questions

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        work = partial(self._head, key, self._full(key), version)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="head")

    async def copy(self, key: str, to: str, *, like: ObjectInfo | None) -> ObjectInfo | Missed:
        """The bytes stay in the store; how long that takes depends on their number."""
        work = partial(self._copy, key, to, like)
        timeout = max(self._digest_timeout, like.size / COPIED_A_SECOND if like is not None else 0.0)
        return await self._breaker.transfer(self._digesting, work, timeout=timeout, op="copy")

    async def put_mark(self, key: str, data: bytes) -> None:
        work = partial(self._put, self._full(key), data)
        await self._breaker.call(self._asking, work, timeout=self._timeout, op="put")

    async def learn(self, key: str) -> None:
        """Ask whether the store heeds `If-None-Match`, on a PUT and where parts are made an object. Stores that
        do not would write over it."""
        work = partial(self._heeds_condition, self._full(key))
        heeds = await self._breaker.call(self._asking, work, timeout=self._timeout, op="put")
        self.write_once = heeds and await self.multipart.heeds_condition(key)

    async def digest(self, key: str) -> str | None:
        abandoned = threading.Event()
        work = partial(self._digest, self._full(key), abandoned)
        try:
            return await self._breaker.transfer(self._digesting, work, timeout=self._digest_timeout, op="digest")
        finally:
            abandoned.set()  # the thread of a cancelled caller stops at its next chunk

    async def beginning(self, key: str, most: int, *, version: str | None = None) -> bytes | None:
        work = partial(self._beginning, self._full(key), most, version)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="read")

    async def delete(self, key: str) -> None:
        work = partial(self._delete, self._full(key))
        await self._breaker.call(self._asking, work, timeout=self._timeout, op="delete")

    async def list_page(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Listed]:
        check_prefix(prefix)
        work = partial(self._list, prefix, after, limit)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="list")

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        """Multipart uploads: their parts are paid for until they are aborted."""
        count = 0
        for prefix in (ACCEPTED, SOURCES, OUTPUTS):
            after: tuple[str, str] | None = ("", "")
            while after is not None:
                find = partial(self._unfinished, prefix, before, after)
                found, after = await self._breaker.call(self._asking, find, timeout=self._timeout, op="list")
                count += len(found)
                for full, upload_id in () if dry_run else found:
                    work = partial(self._abort, full, upload_id)
                    await self._breaker.call(self._asking, work, timeout=self._timeout, op="delete")
        return count

    async def check(self) -> None:
        """Check that the bucket is there and the key pair may use it."""
        await self._breaker.call(self._asking, self._check, timeout=self._timeout, op="check")

    async def _ask(self, work: Callable[[], T], /, *, long: bool = False) -> T:
        if long:
            return await self._breaker.transfer(self._digesting, work, timeout=self._digest_timeout, op="multipart")
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="multipart")

    def _sign(
        self, method: str, full: str, *, expires_in: int, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> str:
        now = self._now()
        return self._presigner.url(method, full, expires_in=expires_in, now=now, headers=headers, query=query)

    def _now(self) -> datetime:
        """The second that it is, the same object as long as it lasts: what is signed in it has much in common."""
        second = int(self._clock())
        if second != self._second[0]:
            self._second = (second, datetime.fromtimestamp(second, UTC))
        return self._second[1]

    def _full(self, key: str) -> str:
        """The key inside the bucket. Raises ValueError for what is no key: this is the confinement."""
        if not is_key(key):
            raise ValueError(f"not a key of this store: {key!r}")
        return self._prefix + key

    # What follows blocks, and runs in threads.

    def _head(self, key: str, full: str, version: str | None = None) -> ObjectInfo | None:
        which: dict[str, Any] = {"VersionId": version} if version is not None else {}
        with self._translated("look up an object"):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=full, ChecksumMode="ENABLED", **which)
            except ClientError as error:
                self._prove_bucket(error)
                if not answers.is_absent(error, self._handwriting):
                    raise
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

    def _copy(self, key: str, to: str, like: ObjectInfo | None) -> ObjectInfo | Missed:
        """A copy that is there can only have come from an earlier call, which has seen what was wanted."""
        full, target = self._full(key), self._full(to)
        condition: dict[str, Any] = {"CopySourceIfMatch": like.etag} if like is not None and like.etag else {}
        with self._translated("copy an object"):
            if (copied := self._head(to, target)) is not None:
                return copied
            found = like or self._head(key, full)
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
            now = self._head(key, full)  # for stores that copy whatever is there
            if like is not None and now is not None and not now.same_as(like):
                self._client.delete_object(Bucket=self._bucket, Key=target)
                return "changed"
            return self._head(to, target) or "absent"

    def _copy_bytes(self, full: str, target: str, size: int, condition: dict[str, Any]) -> None:
        """One after the other where they are parts: a copy has one thread, as any other call."""
        source: CopySourceTypeDef = {"Bucket": self._bucket, "Key": full}
        if size > COPIED_WHOLE:
            parts = TransferConfig(
                multipart_threshold=COPIED_WHOLE, multipart_chunksize=COPIED_PART, use_threads=False
            )
            self._patient.copy(source, self._bucket, target, ExtraArgs=condition, Config=parts)
            return
        answer = self._patient.copy_object(Bucket=self._bucket, Key=target, CopySource=source, **condition)
        answers.check_stored(answer)

    def _put(self, full: str, data: bytes) -> None:
        with self._translated("store an object"):
            answers.check_stored(self._client.put_object(Bucket=self._bucket, Key=full, Body=data))

    def _heeds_condition(self, full: str) -> bool:
        with self._translated("store an object"):
            try:
                answers.check_stored(
                    self._client.put_object(Bucket=self._bucket, Key=full, Body=b"", IfNoneMatch="*")
                )
            except ClientError as error:
                if status_of(error) in (400, 412, 501):
                    return status_of(error) == 412
                raise
            return False

    def _digest(self, full: str, abandoned: threading.Event) -> str | None:
        digest = hashlib.sha256()
        with self._translated("read an object"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=full)
            except ClientError as error:
                self._prove_bucket(error)
                if not answers.is_absent(error, self._handwriting):
                    raise
                return None
            with contextlib.closing(answer["Body"]) as body:
                answers.check_object(answer, self._handwriting)
                for chunk in body.iter_chunks(_CHUNK):
                    if abandoned.is_set():
                        break
                    digest.update(chunk)
        return digest.hexdigest()

    def _beginning(self, full: str, most: int, version: str | None) -> bytes | None:
        which: dict[str, Any] = {"VersionId": version} if version is not None else {}
        span = f"bytes=0-{most - 1}"
        with self._translated("read an object"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=full, Range=span, **which)
            except ClientError as error:
                if status_of(error) == 416:
                    return b""  # an empty object has no first byte
                self._prove_bucket(error)
                if not answers.is_absent(error, self._handwriting):
                    raise
                return None
            with contextlib.closing(answer["Body"]) as body:
                answers.check_object(answer, self._handwriting)
                found = body.read(most)  # a store that knows no ranges sends all of it
                if len(found) < min(most, answer["ContentLength"]):
                    raise answers.StrangeAnswerError("fewer bytes than were announced")
                return found

    def _delete(self, full: str) -> None:
        with self._translated("delete an object"):
            try:
                answers.check_deleted(self._client.delete_object(Bucket=self._bucket, Key=full), self._handwriting)
            except ClientError as error:
                self._prove_bucket(error)
                if not answers.is_absent(error, self._handwriting):
                    raise

    def _list(self, prefix: str, after: str, limit: int) -> list[Listed]:
        start = self._prefix + after if after else ""
        with self._translated("list the objects"):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + prefix, StartAfter=start, MaxKeys=min(limit, 1000)
            )
            answers.check_list(answer, after=start, prefix=self._prefix + prefix)
            self._handwriting.learn(answer)
            return [
                Listed(each["Key"].removeprefix(self._prefix), each["Size"], each["LastModified"].timestamp())
                for each in answer.get("Contents", [])
            ]

    def _unfinished(
        self, prefix: str, before: float, after: tuple[str, str]
    ) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
        """One page of (key, id of the upload), and the last that was looked at: None at the end of the list."""
        key, upload_id = after
        with self._translated("list unfinished uploads"):
            try:
                answer = self._client.list_multipart_uploads(
                    Bucket=self._bucket,
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

    def _abort(self, full: str, upload_id: str) -> None:
        with self._translated("abort an upload"):
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=full, UploadId=upload_id)
            except ClientError as error:
                if status_of(error) != 404:  # it has ended meanwhile
                    raise

    def _check(self) -> None:
        with self._translated("reach the bucket"):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if status_of(error) != 403:
                    raise
                # Some key pairs may list but not describe the bucket.
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def _prove_bucket(self, error: ClientError) -> None:
        """After the first 404: HEAD has no body to say whether the object or the whole bucket is missing, and
        "no such object" would be said of every job for ever. A list is hard to mistake for anything else.
        """
        if status_of(error) == 404 and not self._handwriting.known:
            try:
                answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            except ClientError as refused:
                if status_of(refused) != 403:  # may not ask: then take the store at its word
                    raise
                self._handwriting.learn(refused.response)
                return
            answers.check_list(answer, after="", prefix=self._prefix)
            self._handwriting.learn(answer)

    def _translated(self, what: str) -> AbstractContextManager[None]:
        return answers.translated(self._where, what, self._timeout)


def session() -> boto3.Session:
    """A boto3 session that reads no file of the user's and knows no profile (an unknown AWS_PROFILE would raise)."""
    core = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    core.set_config_variable("config_file", os.devnull)
    core.set_config_variable("credentials_file", os.devnull)
    return boto3.Session(botocore_session=core)


def normalised(prefix: str) -> str:
    """`/a//b/` as `a/b/`, and nothing as nothing. Raises ValueError for what could leave the prefix."""
    parts = [part for part in prefix.split("/") if part]
    if any(part in (".", "..") or not part.isprintable() for part in parts):
        raise ValueError(f"not a usable prefix: {prefix!r}")
    return "".join(f"{part}/" for part in parts)


def _hex_digest(checksum: str | None) -> str | None:
    """S3's base64 SHA-256 as hex. None for a composite one: `...-N` is a checksum of N parts' checksums."""
    if checksum is None or "-" in checksum:
        return None
    with contextlib.suppress(binascii.Error):
        digest = base64.b64decode(checksum, validate=True)
        return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
    return None
