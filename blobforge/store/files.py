"""What is known of an object, and of one that is to be deleted."""

from __future__ import annotations

import msgspec

# The states of a doomed object. What is LATER, or is GONE and is to go once more, waits when it is due.
LATER, WAITING, DELETING, GONE = "later", "waiting", "deleting", "gone"


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
        """Whether a job that announced so many bytes may be given this source: it was looked for, and its bytes were
        read, or, where they were too many for that, are as many."""
        return self.checked_at is not None and (self.sha256 is not None or announced in (None, self.size))


class Doom(msgspec.Struct, frozen=True):
    """An entry of the list of objects to delete. `epoch` counts deletions of the run; it says something only of an
    object that is gone.

    `again`: this is its last deletion. Without it, it is deleted once more when the URLs to upload it have expired.
    """

    state: str
    tries: int
    epoch: int
    again: bool


class SupersededResult(msgspec.Struct, frozen=True):
    """A result that another one of the same job has replaced: the key of its (main) output, its bytes if known."""

    job_id: int
    attempt: int
    key: str
    size: int | None


class SupersededTotals(msgspec.Struct, frozen=True):
    """How many, and how many bytes they have together."""

    results: int
    bytes: int
