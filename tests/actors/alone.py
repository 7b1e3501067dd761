"""The writer by itself on a real database: tests fill its mailbox, watch its hops, and fill up its disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from actors.mailbox import ask
from actors.messages import Repeatable
from actors.writer import Writer
from blobforge.events import Event, Fact
from blobforge.machinery.hop import Hop, in_place
from tests.fixtures.engines import ENGINES
from tests.fixtures.local import virtual_now
from tests.store.making import Book


class Alone:
    """`events` and `facts` are what the writer has told; `book` is the same connection, for a look inside."""

    heeds = None

    def __init__(self, book: Book, hop: Hop, now: Callable[[], int]) -> None:
        self.book = book
        self.events: list[Event] = []
        self.facts: list[Fact] = []
        self.writer = Writer(book.store, book.rules, now=now, sink=self, hop=hop, dice=book.dice)
        self.writer.sequencer.listeners.append(self)

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None:
        self.events += events

    def post(self, facts: Iterable[Fact]) -> None:
        self.facts += facts

    async def ask(self, message: Any, repeat: Repeatable | None = None) -> Any:
        return await ask(self.writer.mailbox, message, repeat)

    async def ask_all(self, messages: Sequence[Any]) -> list[Any]:
        """Ask all at once; answers in order, an exception in the place of an answer that was one."""
        answers: list[Any] = [None] * len(messages)

        async def one(index: int, message: Any) -> None:
            try:
                answers[index] = await self.ask(message)
            except Exception as error:
                answers[index] = error

        async with trio.open_nursery() as nursery:
            for index, message in enumerate(messages):
                nursery.start_soon(one, index, message)
        return answers


@asynccontextmanager
async def writer_alone(
    folder: Path, *, hop: Hop = in_place, now: Callable[[], int] = virtual_now, engine: str = "disk"
) -> AsyncIterator[Alone]:
    book = Book(ENGINES[engine](folder / "alone.db"))
    alone = Alone(book, hop, now)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alone.writer.run)
        await trio.testing.wait_all_tasks_blocked()  # so that what is asked together shares a commit
        yield alone
        await alone.writer.stop()
    book.close()
