"""What is known of an object: a row of `files`."""

from __future__ import annotations

import msgspec


class FileRecord(msgspec.Struct, frozen=True):
    """What is known of an object. `checked_at` is None until we have looked ourselves.

    `etag` and `version` are what the store said when it was accepted. `kept` is the key of the copy that is served in
    its place; while `keeping`, that copy is still to be made.
    """

    size: int | None
    sha256: str | None
    checked_at: int | None
    etag: str | None = None
    version: str | None = None
    kept: str | None = None
    keeping: bool = False

    def serves(self, announced: int | None) -> bool:
        """Whether a job that announced so many bytes may be given this source: somebody looked, and its bytes were
        read, or, where they were too many for that, are as many."""
        return self.checked_at is not None and (self.sha256 is not None or announced in (None, self.size))
