"""Jobs that move from one database to another, with their past; and how all of a database is read for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from blobforge.access import Token
from blobforge.job import Attempt, Job
from blobforge.people import User
from blobforge.store.files import FileRecord
from blobforge.worker import Worker


class Kept(msgspec.Struct, frozen=True):
    """What is known of an object. `attempt` is None where the jobs of a source share it."""

    key: str
    attempt: int | None
    record: FileRecord


class Whole(msgspec.Struct, frozen=True):
    """A job with the records of its attempts, and of the objects that it needs. `results` are those that are kept
    aside: the number of the attempt, and the JSON. `paths` are the further paths of its source."""

    job: Job
    attempts: tuple[Attempt, ...] = ()
    files: tuple[Kept, ...] = ()
    results: tuple[tuple[int, str], ...] = ()
    paths: tuple[str, ...] = ()


# Which objects a job needs, by their keys: the attempt that made each, None where the jobs of a source share it.
ObjectsOf = Callable[[Job, Sequence[Attempt]], Mapping[str, int | None]]


class DatabaseExport(Protocol):
    """Reads all of a database, some rows at a time: each call is one short read transaction."""

    @property
    def schema(self) -> int:
        """The version of its schema: how many migrations it has."""

    @property
    def installation(self) -> str:
        """The id of the database, which is in the keys of its objects."""

    @property
    def highest_job(self) -> int:
        """The highest number that a job was ever given."""

    @property
    def attempt_floor(self) -> int:
        """New attempts have numbers above this one."""

    @property
    def had_jobs(self) -> bool:
        """Whether it ever had a job."""

    def has_job(self, source_hash: str, type_: str, options: str | None) -> bool:
        """Whether there is a job of this source and type, with these options."""

    def next_job(self, after: int, objects_of: ObjectsOf) -> Whole | None:
        """The job with the next number. One by one: a result may have 16 MiB."""

    def tokens(self) -> list[Token]: ...
    def users(self) -> list[User]: ...
    def workers(self) -> list[Worker]: ...


OriginalRow = dict[str, Any]


class Original(Protocol):
    """The original BlobForge's database: rows by their columns' names, whatever schema it has."""

    @property
    def version(self) -> int:
        """Its schema's."""

    def count(self, table: str) -> int:
        """How many rows the table has; 0 where there is none of that name."""

    def rows(self, table: str, *, at_once: int) -> Iterator[list[OriginalRow]]:
        """All rows of a table in the order in which they were made, so many at once; none where there is no table."""
