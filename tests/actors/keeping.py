"""The janitor, the writer and an object store that can be made to fail, without the rest of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from actors.janitor import (
    Janitor,
    Retention,
)
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    ObjectSeen,
    Register,
    Seen,
)
from blobforge.objects import Listed, ListedPage, ObjectInfo, ObjectStoreError
from blobforge.objects.keys import MARKS, source_key
from blobforge.search import Search, SearchName
from tests.actors.alone import Alone, writer_alone
from tests.fixtures.local import virtual_now
from tests.store.making import ADMIN, hash_of, submission

DAY = 86_400.0


class Shelf:
    """What the janitor asks of an object store, as a test would have it answer. A deletion takes `slow` seconds, the
    second half of them after it has happened."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, float]] = {}  # key -> (size, modified)
        self.error: ObjectStoreError | None = None
        self.slow = 0.0
        self.deleted: list[str] = []
        self.broken_off: list[float] = []  # when uploads in parts began that did not end
        self.marks: set[str] = set()
        self.unlisted: ObjectStoreError | None = None  # what a look at the marks ends with
        self.listing = 0.0  # seconds that a page takes
        self.pages = 0  # that were listed

    def put(self, key: str, *, size: int = 1, age: float = 2 * DAY) -> str:
        self.objects[key] = (size, virtual_now() / 1000 - age)
        return key

    async def delete(self, key: str) -> None:
        await trio.sleep(self.slow / 2)
        if self.error is not None:
            raise self.error
        self.deleted.append(key)
        self.objects.pop(key, None)
        await trio.sleep(self.slow / 2)

    async def list_page(self, prefix: str, *, cursor: str = "", limit: int = 1000) -> ListedPage:
        if self.error is not None:
            raise self.error
        if prefix == MARKS:
            if self.unlisted is not None:
                raise self.unlisted
            return ListedPage([Listed(key, 0, 0.0) for key in sorted(self.marks)])
        self.pages += 1
        await trio.sleep(self.listing)
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > cursor)
        page = keys[: min(limit, 3)]
        found = [Listed(key, *self.objects[key]) for key in page]
        return ListedPage(found, page[-1] if page != keys else None)

    async def head(self, key: str) -> ObjectInfo | None:
        return ObjectInfo(key, self.objects[key][0]) if key in self.objects else None

    async def put_own(self, key: str, data: bytes) -> None:
        self.marks.add(key)

    async def learn(self, key: str) -> None:
        pass

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        count = sum(began < before for began in self.broken_off)
        if not dry_run:
            self.broken_off = [began for began in self.broken_off if began >= before]
        return count


class Keeping:
    """A writer and a janitor by themselves."""

    def __init__(self, alone: Alone, shelf: Shelf, retention: Retention, now: Callable[[], int]) -> None:
        self.alone, self.shelf = alone, shelf
        store: Any = shelf
        self.janitor = Janitor(
            alone.writer.mailbox,
            store,
            installation="binstallation",
            fresh=False,
            retention=retention,
            now=now,
        )
        alone.writer.sequencer.listeners.append(self.janitor)
        self._reader = alone.book.database.engine.open_reader()

    async def done(self, name: str, *, end: str = "complete") -> int:
        """A job that has ended, its source and its output in the store."""
        submitted = await self.alone.ask(submission(name))
        job_id = submitted.job_id
        self.shelf.put(source_key(hash_of(name)))
        if end == "cancel":
            await self.alone.ask(Cancel(job_id))
            return int(job_id)
        (job,) = (await self.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
        key = self.shelf.put(self.alone.book.key(job.id, job.attempt))
        seen = ObjectSeen(Seen.PRESENT, 1)
        await self.alone.ask(Complete(ADMIN, "w1", job.id, output_key=key, output=seen))
        return int(job.id)

    def search(self) -> Search:
        """The latest search for orphans."""
        search = self._reader.searches.get(SearchName.ORPHANS)
        assert search is not None
        return search

    def named(self) -> list[str]:
        """The objects that it has found."""
        return self._reader.searches.names(SearchName.ORPHANS)

    def close(self) -> None:
        self._reader.close()

    def jobs(self) -> list[int]:
        return self.alone.book.probe.column("jobs", "id")

    def listed(self) -> dict[str, str]:
        return dict(self.alone.book.probe.rows("doomed_objects", "key", "state"))  # type: ignore[arg-type]


@asynccontextmanager
async def keeping(
    folder: Path, *, now: Callable[[], int] = virtual_now, run: bool = True, **retention: Any
) -> AsyncIterator[Keeping]:
    async with writer_alone(folder, now=now) as alone:
        await alone.ask(Register(ADMIN, "w1", "pdf"))
        kept = Keeping(alone, Shelf(), Retention(**retention), now)
        async with trio.open_nursery() as nursery:
            if run:
                nursery.start_soon(kept.janitor.run)
            yield kept
            nursery.cancel_scope.cancel()
        kept.close()
        assert alone.book.database.broken() == []
