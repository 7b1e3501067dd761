"""Our own look at the backups, beside Litestream: which epochs there are, and what an object begins with.

State owned here: one boto3 client. Every call blocks, for TIMEOUT seconds or so at most.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from botocore.config import Config

from blobforge.backup import BackupError, Epoch, Place, is_epoch
from blobforge.objects.answers import reason
from blobforge.objects.s3 import session

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

TIMEOUT = 5.0  # seconds for connecting, and for each silence; at a start all of it must fit into 30
MOST_OTHERS = 10  # names that are looked at: one is enough
ENCRYPTED = b"age-encryption.org/v1"  # how every age file begins


class BackupsFound(msgspec.Struct, frozen=True):
    """The names below the backups' prefix: epochs, newest first, and names that no server of ours has made.

    Some stores go on to list folders that are empty by now: an epoch may hold nothing.
    """

    epochs: list[Epoch]
    strangers: list[str]


class Replica:
    """Reads the backups' place with its own key pair. All methods raise BackupError."""

    def __init__(self, place: Place) -> None:
        self._place = place
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
            retries={"total_max_attempts": 2, "mode": "standard"},
        )
        self._client: S3Client = session().client(
            "s3",
            endpoint_url=place.endpoint,
            region_name=place.region,
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            config=config,
        )

    def look(self) -> BackupsFound:
        """The backups that there are. An answer proves that the bucket is there and may be read."""
        names: list[str] = []
        with self._translated("list the backups"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._place.bucket, Prefix=self._place.prefix, Delimiter="/"
            )
            for page in pages:
                names += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
                names += [each["Key"] for each in page.get("Contents", [])]
        inner = [name.removeprefix(self._place.prefix).rstrip("/") for name in names]
        epochs = sorted((Epoch(name) for name in inner if is_epoch(name)), reverse=True)
        # An empty name is the folder itself, which some tools make visible as an object.
        others = [name for name in inner if name and not is_epoch(name)]
        with self._translated("list the backups"):
            return BackupsFound(epochs, [name for name in others[:MOST_OTHERS] if self._holds(name)])

    def plain_object(self, epoch: Epoch) -> str | None:
        """The key of an object in the epoch that is not encrypted; None when there is none among the first 1,000
        that this look finds. Reads the beginning of two of them, the first and the last.
        """
        with self._translated("look at the backups"):
            answer = self._client.list_objects_v2(
                Bucket=self._place.bucket, Prefix=f"{self._place.prefix}{epoch.name}/", MaxKeys=1000
            )
            keys = [each["Key"] for each in answer.get("Contents", []) if each["Size"] > 0]
            for key in dict.fromkeys([*keys[:1], *keys[-1:]]):
                last = len(ENCRYPTED) - 1
                body = self._client.get_object(Bucket=self._place.bucket, Key=key, Range=f"bytes=0-{last}")["Body"]
                with contextlib.closing(body):
                    if body.read(len(ENCRYPTED)) != ENCRYPTED:
                        return key
        return None

    def first_with_objects(self, epochs: list[Epoch]) -> Epoch | None:
        """The first of these that anything has been copied into."""
        with self._translated("look at the backups"):
            return next((epoch for epoch in epochs if self._holds(f"{epoch.name}/")), None)

    def _holds(self, name: str) -> bool:
        """Whether there is an object whose name begins so."""
        prefix = f"{self._place.prefix}{name}"
        return bool(self._client.list_objects_v2(Bucket=self._place.bucket, Prefix=prefix, MaxKeys=1).get("Contents"))

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        where = f"the place of the backups ({self._place})"
        try:
            yield
        except Exception as error:  # whatever answers, in whatever form
            settings = "BLOBFORGE_S3_*, BLOBFORGE_BACKUP_S3_*"
            raise BackupError(f"{where}: cannot {what}: {reason(error)} ({settings})") from error
