"""Where the bytes are kept: an ObjectStore, and two real ones (`s3.py`, `local.py`).

Nothing here is on the path of a write: callers ask with a deadline and go on without an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from blobforge.machinery.tally import Calls

if TYPE_CHECKING:
    from blobforge.objects.multipart import Multipart


class ObjectInfo(msgspec.Struct, frozen=True):
    """One object as the store describes it.

    `size` is in bytes. `sha256` is 64 hex digits where the store itself vouches for the checksum (it checked
    the bytes when they came in), else None. `content_type` is what the uploader said. `etag` changes with the bytes;
    `version` is there where the store keeps every version of an object.
    """

    key: str
    size: int
    sha256: str | None = None
    content_type: str | None = None
    etag: str | None = None
    version: str | None = None

    def same_as(self, other: ObjectInfo) -> bool:
        """Whether both describe the same bytes, by the best that is known of both."""
        if self.sha256 is not None and other.sha256 is not None:
            return self.sha256 == other.sha256
        if self.etag is not None and other.etag is not None:
            return (self.etag, self.size) == (other.etag, other.size)
        return self.size == other.size


# Why an object was not copied: there is none, or it is not the one that was seen before.
Missed = Literal["absent", "changed"]


class Listed(msgspec.Struct, frozen=True):
    """An object in a list. `size` is in bytes, `modified` in Unix seconds by the store's own clock.

    `key` is below the prefix that was asked for, and perhaps none of ours: other programs may write there, too.
    """

    key: str
    size: int
    modified: float


class ListedPage(msgspec.Struct, frozen=True):
    """A page of a list, and the cursor of the next one; None: there is none."""

    objects: list[Listed]
    cursor: str | None = None


class SignedUpload(msgspec.Struct, frozen=True):
    """A URL to PUT to, and the headers that the PUT must carry (none: any header will do)."""

    url: str
    headers: dict[str, str]


class ObjectStoreError(Exception):
    """The store could not be asked: unreachable, too slow, or it refused us. Not "there is no such object"."""


class ObjectTooLargeError(ObjectStoreError):
    """No object of the store can be as large as that: the same request will never succeed."""


class NotOfferedError(ObjectStoreError):
    """The store has no such operation, and says so."""


class ObjectStore(Protocol):
    """What BlobForge needs of an object store. Keys are those of `keys.py`; a prefix is the store's own affair.

    The `sign_*` methods do no I/O and are fast (tens of microseconds): they run on the claim path.
    The async methods raise ObjectStoreError when the store does not answer in time.
    A URL may be relative (`/objects/...`): then this server serves it, and the web layer puts its base before it.
    """

    name: str
    calls: Calls  # what was asked of it so far

    @property
    def answering(self) -> bool:
        """Whether it answered when it was asked last."""
        ...

    @property
    def multipart(self) -> Multipart | None:
        """How to upload large objects in parts, where the store has that."""
        ...

    @property
    def write_once(self) -> bool:
        """Whether a URL can be signed that writes over nothing."""
        ...

    @property
    def learned(self) -> bool:
        """Whether it was found out (`learn`); until then, as after a start, `write_once` says nothing."""
        ...

    def plain_source_key(self, source_hash: str) -> str:
        """The key for an upload of a source that is not bound to its checksum."""
        ...

    def sign_download(
        self, key: str, *, expires_in: int, filename: str | None = None, version: str | None = None
    ) -> str:
        """Return a URL to GET `key` for `expires_in` seconds; `filename` is what a browser saves it as."""
        ...

    def sign_upload(
        self,
        key: str,
        *,
        expires_in: int,
        content_type: str | None = None,
        sha256: str | None = None,
        write_once: bool = False,
    ) -> SignedUpload:
        """Return a URL to PUT `key` for `expires_in` seconds. With `sha256` the store refuses other bytes, with
        `write_once` (where the store has it) it refuses to replace an object."""
        ...

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        """Describe `key`, or None when there is no such object."""
        ...

    async def copy(self, key: str, to: str, *, like: ObjectInfo | None) -> ObjectInfo | Missed:
        """Copy `key` to `to`, a key that no URL to upload names, if its bytes are still those of `like`.

        What is there already from an earlier call for the same object stays, and is returned.
        """
        ...

    async def put_own(self, key: str, data: bytes) -> None:
        """Store a small object of our own: the mark of an installation, or a manifest."""
        ...

    async def learn(self, key: str) -> None:
        """Find out what the store can do (`write_once`), by the object `key`, which is there."""
        ...

    async def digest(self, key: str, *, version: str | None = None) -> str | None:
        """Read the whole object, or that version of it, and return the SHA-256 of its bytes (64 hex digits), or None
        if absent."""
        ...

    async def beginning(self, key: str, most: int, *, version: str | None = None) -> bytes | None:
        """The first `most` bytes of an object, or all of a smaller one; None when there is no such object."""
        ...

    async def delete(self, key: str) -> None:
        """Remove `key`; removing what is not there is no error."""
        ...

    async def list_page(self, prefix: str, *, cursor: str = "", limit: int = 1000) -> ListedPage:
        """Objects below `prefix` (one of `keys.PREFIXES`, or of an attempt): at most `limit`, from where the page
        before said. The order is the store's own, as some have names in that of their folders."""
        ...

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        """Remove what is left of uploads that began before that time (Unix seconds) and never ended, up to a
        thousand at once; returns how many there were."""
        ...

    async def check(self) -> None:
        """Ask the store for a sign of life. Raises ObjectStoreError."""
        ...
