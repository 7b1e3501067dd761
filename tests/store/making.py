"""A real database of any engine, driven through the effects as the writer drives it, and without trio."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Rules, Transaction, transact
from actors.messages import Claim, Fail, NewJob, ObjectSeen, Register, Seen, Submit
from blobforge.access import Caller, Scope
from blobforge.job import RetryPolicy
from blobforge.objects.keys import output_key
from blobforge.store.reading import Reader
from tests.fixtures.engines import Database, on_disk

ADMIN = Caller(frozenset({Scope.ADMIN}), token_id=1)
T0 = 1_795_000_000_000


def hash_of(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def submission(name: object, *, type_: str = "pdf", ready: bool = True, **fields: Any) -> Submit:
    """A submission whose source is in the store and verified, or not there."""
    seen = ObjectSeen(Seen.VERIFIED, size=1) if ready else ObjectSeen(Seen.ABSENT)
    return Submit(NewJob(type_, hash_of(name), **fields), seen)


class Book:
    """A store, and the probe into its database: SQLite on a disk, where a path says no more. `do` is one transaction
    of the writer; the clock moves a second with each."""

    def __init__(self, place: Path | Database, *, rules: Rules | None = None, seed: int = 0) -> None:
        self.database = on_disk(place) if isinstance(place, Path) else place
        self.store = self.database.engine.open_store()
        self.probe = self.database.probe
        self.rules = rules or Rules(RetryPolicy(jitter=0))
        self.dice = random.Random(seed)
        self.now = T0

    def do(self, *messages: Any) -> Any:
        """Perform the messages in one transaction; the answer, or the list of answers."""
        self.now += 1000
        answers, _ = transact(
            lambda: Transaction(self.store, self.rules, self.now, self.dice), partial(self._do, messages)
        )
        return answers[0] if len(answers) == 1 else answers

    def _do(self, messages: Sequence[Any], tx: Transaction) -> list[Any]:
        needs = None if tx.careful else needs_of((message, None) for message in messages)
        with self.store.transaction(needs):
            return [perform(tx, message, place) for place, message in enumerate(messages)]

    def key(self, job_id: int, attempt: int = 1) -> str:
        """What this attempt writes its output to."""
        return output_key(self.store.installation, job_id, attempt)

    def register(self, *worker_ids: str) -> None:
        self.do(*(Register(ADMIN, worker_id, "pdf") for worker_id in worker_ids))

    def counts_are_right(self) -> None:
        self.probe.counts_are_right()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self.db.execute(statement, values))

    @property
    def db(self) -> Any:
        """The writer's connection, for tests of SQLite alone."""
        return self.database.engine.connection  # type: ignore[attr-defined]

    @property
    def path(self) -> Path:
        """The file, for tests of SQLite alone."""
        return self.database.engine.path  # type: ignore[attr-defined,no-any-return]

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        opened = self.database.engine.open_reader()
        yield opened
        opened.close()

    def close(self) -> None:
        self.store.close()
        self.database.close()


AnyBook = TypeVar("AnyBook", bound=Book)


@contextmanager
def at_work(book: AnyBook) -> Iterator[AnyBook]:
    """Worker `w` takes jobs of `pdf`; what is then in the database holds its invariants."""
    book.do(Register(ADMIN, "w", "pdf"))
    yield book
    assert book.database.broken() == []
    book.close()


def fail_one(book: Book, number: object, error: str, **more: Any) -> int:
    """A job that worker `w1` has failed; its id."""
    book.do(submission(number))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Fail(ADMIN, "w1", job.id, error, **more))
    return int(job.id)
