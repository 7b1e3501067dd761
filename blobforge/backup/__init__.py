"""Backups: where they are, what they are called, and what can go wrong.

Litestream copies the database's changes into one *epoch* after another, each a folder of its own below
`<prefix>litestream/`. A new epoch begins whenever the database is not simply the one that was copied before: made
new, restored, replaced, encrypted with another key. So nothing ever writes over an older backup.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from blobforge.config import Settings
from blobforge.objects.s3 import normalised

_EPOCH = re.compile(r"(?P<began>\d{8}T\d{9}Z)-(?P<kind>ltx|wal|age)-[0-9a-f]{6}")


class BackupError(Exception):
    """The backup cannot be used. The message is one line that says why and what to do."""


class Kind(StrEnum):
    """How an epoch is written; each needs a Litestream that can do it."""

    LTX = "ltx"  # Litestream 0.5
    WAL = "wal"  # Litestream 0.3
    AGE = "age"  # Litestream 0.3, encrypted with age


class Keys(msgspec.Struct, frozen=True):
    """An age key pair: the public one writes backups, the secret one reads them."""

    secret: str
    public: str


class Place(msgspec.Struct, frozen=True):
    """Where the epochs are: a bucket at an S3 endpoint, below `prefix` (which ends in `litestream/`)."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    region: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.endpoint}, bucket {self.bucket!r}, {self.prefix}"


class Epoch(msgspec.Struct, frozen=True, order=True):
    """`name` begins with the time at which it began, so that names sort by age."""

    name: str

    @property
    def kind(self) -> Kind:
        found = _EPOCH.fullmatch(self.name)
        assert found is not None
        return Kind(found["kind"])

    @property
    def began(self) -> datetime:
        found = _EPOCH.fullmatch(self.name)
        assert found is not None
        return datetime.strptime(found["began"], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)


def is_epoch(name: str) -> bool:
    """Whether a folder's name is one that `epoch_name` makes."""
    return _EPOCH.fullmatch(name) is not None


def epoch_name(kind: Kind, *, now_ms: int, tie: str) -> str:
    """The name of an epoch that begins now; `tie` is six hex digits that no other epoch has."""
    began = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{began:%Y%m%dT%H%M%S}{now_ms % 1000:03d}Z-{kind}-{tie}"


def place_of(settings: Settings) -> Place:
    """The place that the settings name. Raises BackupError."""
    try:
        prefix = normalised(settings.s3_prefix)
    except ValueError as error:
        raise BackupError(f"the place of the backups cannot be used (BLOBFORGE_S3_PREFIX): {error}") from error
    return Place(
        endpoint=settings.backup_s3("endpoint").rstrip("/"),
        bucket=settings.backup_s3("bucket"),
        access_key=settings.backup_s3("access_key"),
        secret_key=settings.backup_s3("secret_key"),
        region=settings.backup_s3("region"),
        prefix=f"{prefix}litestream/",
    )


def keys_of(settings: Settings) -> Keys | None:
    """The age keys that the settings name, if any; the settings hold both or none."""
    if not settings.litestream_age_public_key:
        return None
    return Keys(settings.litestream_age_secret_key, settings.litestream_age_public_key)
