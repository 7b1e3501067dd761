"""Objects in S3 or what speaks its protocol (R2, MinIO, SeaweedFS): boto3 in threads, URLs by our own signer.

State owned here: the threads that ask (what they ask: `bucket.py`). Every call has a deadline here; boto3's own
timeouts only make sure that a thread left behind comes to its end. Nothing is read from ~/.aws or a profile: what is
not in the constructor does not count.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import boto3
import botocore.session
from botocore.config import Config

from blobforge.machinery.hop import Hop
from blobforge.machinery.tracing import Tracer
from blobforge.objects import ListedPage, Missed, ObjectInfo, SignedUpload
from blobforge.objects.breaker import Breaker, threads
from blobforge.objects.bucket import Bucket
from blobforge.objects.disposition import attachment, attachment_in_query
from blobforge.objects.keys import ACCEPTED, OUTPUTS, SOURCES, check_prefix, check_upload, incoming_key
from blobforge.objects.multipart import S3Multipart
from blobforge.objects.reading import Moved, Reading, copy_timeout
from blobforge.objects.sigv4 import Presigner

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

T = TypeVar("T")


class S3Store:
    """An ObjectStore in `bucket` below `prefix`, at `endpoint` (`scheme://host[:port]`), path style, SigV4.

    `timeout` bounds each question, `digest_timeout` the time for which no byte comes of the objects that are read
    whole, `pause` is how long a store that missed a deadline is left alone (all seconds). `questions` and `digests`
    are how many threads each may take. `clock` gives Unix seconds for signing.
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
        self._timeout = timeout
        self._digest_timeout = digest_timeout
        self._clock = clock
        self._presigner = Presigner(endpoint, bucket, region, access_key, secret_key)
        where = f"S3 at {endpoint}, bucket {bucket!r}"
        self._breaker = Breaker(where, pause=pause, tracer=tracer)
        self.calls = self._breaker.calls
        self._asking: Hop = threads(questions)
        # Apart, so that long reads never keep a short question waiting.
        self._digesting: Hop = threads(digests)
        self._moved = Moved()
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
        client: S3Client = make(config=config)
        # A copy, or an object of parts, is answered when it is made: that takes as long as there are bytes.
        patient = Config(read_timeout=digest_timeout, retries={"total_max_attempts": 1, "mode": "standard"})
        slow: S3Client = make(config=config.merge(patient))
        self._bucket = Bucket(client, slow, bucket, normalised(prefix), where=where, timeout=timeout)
        self.write_once = False  # until it has shown that it can
        self.learned = False
        self.multipart = S3Multipart(
            client,
            bucket,
            patient=slow,
            ask=self._ask,
            full=self._bucket.full,
            sign=self._sign,
            translated=self._bucket.translated,
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
            return self._presigner.url(
                "GET", self._bucket.full(key), expires_in=expires_in, now=self._now(), last=last
            )
        query = {"response-content-disposition": attachment(filename)} if filename else {}
        query["versionId"] = version
        return self._presigner.url("GET", self._bucket.full(key), expires_in=expires_in, now=self._now(), query=query)

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
        full = self._bucket.full(key)
        url = self._presigner.url("PUT", full, expires_in=expires_in, now=self._now(), headers=headers)
        return SignedUpload(url, headers)

    # Questions: each confines its key before a thread has it.

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        work = partial(self._bucket.head, key, self._bucket.full(key), version)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="head")

    async def copy(self, key: str, to: str, *, like: ObjectInfo | None) -> ObjectInfo | Missed:
        """The bytes stay in the store; how long that takes depends on their number."""
        work = partial(self._bucket.copy, key, to, like)
        timeout = copy_timeout(self._digest_timeout, like.size if like is not None else None)
        return await self._breaker.transfer(self._digesting, work, timeout=timeout, op="copy")

    async def put_own(self, key: str, data: bytes) -> None:
        work = partial(self._bucket.put, self._bucket.full(key), data)
        await self._breaker.call(self._asking, work, timeout=self._timeout, op="put")

    async def learn(self, key: str) -> None:
        """Ask whether the store heeds `If-None-Match`, on a PUT and where parts are made an object. Stores that
        do not would write over it."""
        work = partial(self._bucket.heeds_condition, self._bucket.full(key))
        heeds = await self._breaker.call(self._asking, work, timeout=self._timeout, op="put")
        self.write_once = heeds and await self.multipart.heeds_condition(key)
        self.learned = True

    async def digest(self, key: str, *, version: str | None = None) -> str | None:
        with Reading(self._moved) as reading:
            work = partial(self._bucket.digest, self._bucket.full(key), reading, version)
            return await self._breaker.transfer(
                self._digesting, work, timeout=self._digest_timeout, op="digest", moved=self._moved
            )

    async def beginning(self, key: str, most: int, *, version: str | None = None) -> bytes | None:
        work = partial(self._bucket.beginning, self._bucket.full(key), most, version)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="read")

    async def delete(self, key: str) -> None:
        work = partial(self._bucket.delete, self._bucket.full(key))
        await self._breaker.call(self._asking, work, timeout=self._timeout, op="delete")

    async def list_page(self, prefix: str, *, cursor: str = "", limit: int = 1000) -> ListedPage:
        check_prefix(prefix)
        work = partial(self._bucket.list_page, prefix, cursor, limit)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="list")

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        """Multipart uploads: their parts are paid for until they are aborted."""
        count = 0
        for prefix in (ACCEPTED, SOURCES, OUTPUTS):
            after: tuple[str, str] | None = ("", "")
            while after is not None:
                find = partial(self._bucket.unfinished, prefix, before, after)
                found, after = await self._breaker.call(self._asking, find, timeout=self._timeout, op="list")
                count += len(found)
                for full, upload_id in () if dry_run else found:
                    work = partial(self._bucket.abort, full, upload_id)
                    await self._breaker.call(self._asking, work, timeout=self._timeout, op="delete")
        return count

    async def check(self) -> None:
        """Check that the bucket is there and the key pair may use it."""
        await self._breaker.call(self._asking, self._bucket.check, timeout=self._timeout, op="check")

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
