"""Where the bytes are kept: an ObjectStore, and two real ones (`s3.py`, `local.py`).

Nothing here is on the path of a write: callers ask with a deadline and go on without an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from blobforge.tally import Calls

if TYPE_CHECKING:
    from blobforge.objects.multipart import Multipart


class ObjectInfo(msgspec.Struct, frozen=True):
    """One object as the store describes it.

    `size` is in bytes. `sha256` is 64 hex digits where the store itself vouches for the checksum (it checked
    the bytes when they came in), else None. `content_type` is what the uploader said.
    """

    key: str
    size: int
    sha256: str | None = None
    content_type: str | None = None


class Listed(msgspec.Struct, frozen=True):
    """An object in a list. `size` is in bytes, `modified` in Unix seconds by the store's own clock.

    `key` is below the prefix that was asked for, and perhaps none of ours: somebody else may write there, too.
    """

    key: str
    size: int
    modified: float


class SignedUpload(msgspec.Struct, frozen=True):
    """A URL to PUT to, and the headers that the PUT must carry (none: any header will do)."""

    url: str
    headers: dict[str, str]


class ObjectStoreError(Exception):
    """The store could not be asked: unreachable, too slow, or it refused us. Not "there is no such object"."""


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

    def sign_download(self, key: str, *, expires_in: int, filename: str | None = None) -> str:
        """Return a URL to GET `key` for `expires_in` seconds; `filename` is what a browser saves it as."""
        ...

    def sign_upload(
        self, key: str, *, expires_in: int, content_type: str | None = None, sha256: str | None = None
    ) -> SignedUpload:
        """Return a URL to PUT `key` for `expires_in` seconds. With `sha256` the store refuses other bytes."""
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe `key`, or None when there is no such object."""
        ...

    async def digest(self, key: str) -> str | None:
        """Read the whole object and return the SHA-256 of its bytes (64 hex digits), or None if absent."""
        ...

    async def beginning(self, key: str, most: int) -> bytes | None:
        """The first `most` bytes of an object, or all of a smaller one; None when there is no such object."""
        ...

    async def delete(self, key: str) -> None:
        """Remove `key`; removing what is not there is no error."""
        ...

    async def list_page(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Listed]:
        """Objects below `prefix` (`sources/` or `outputs/`) in the order of their keys, from the first one behind
        `after` on: at most `limit`, and none only when there are no more."""
        ...

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        """Remove what is left of uploads that began before that time (Unix seconds) and never ended, up to a
        thousand at once; returns how many there were."""
        ...

    async def check(self) -> None:
        """Ask the store for a sign of life. Raises ObjectStoreError."""
        ...
