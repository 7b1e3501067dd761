"""A house with fronts, all in this process and in virtual time: the real hub, the real fronts, streams in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import Any

import trio
from quart.typing import TestClientProtocol
from trio.testing import memory_stream_pair

from actors.mailbox import ask
from blobforge.front import Front
from blobforge.hop import in_place
from tests.fixtures.house import House, virtual_now
from web.app import make_app
from web.fronts.frames import Hello, Opened, To, ToFront
from web.fronts.link import Link
from web.fronts.remote import RemoteMailbox
from web.reads import ReadPool

LARGEST = 1 << 26


class FrontHouse(House):
    """One front, with the same HTTP client as the house. `trouble` is what the hub said of it at its end."""

    def __init__(self, house: House, front: Front, link: Link[Any], stream: trio.abc.Stream) -> None:
        self.parts = _Seen(house, front)  # type: ignore[assignment]
        self.folder = house.folder
        self.front = front
        self.link = link
        self.stream = stream
        self.trouble: str | None = None
        self.ended = trio.Event()
        self.listens = trio.Event()
        self.listens.set()

    @cached_property
    def http(self) -> TestClientProtocol:  # type: ignore[override]
        """Made when it is needed: building the application costs more than most of these tests."""
        return make_app(self.front.services).test_client()

    def stop_listening(self) -> None:
        """As a process that is stopped: nothing that it is sent is heeded, until `listens` is set."""
        self.listens = trio.Event()

    async def die(self) -> None:
        """As after kill -9."""
        await self.stream.aclose()
        await self.ended.wait()

    async def claim_by_message(self, message: Any) -> Any:
        return await ask(self.front.services.scheduler, message)

    def mailbox(self, to: To) -> RemoteMailbox:
        return RemoteMailbox(self.front.questions, to)


class _Seen:
    """What House looks at in `Parts`, from the front's side."""

    def __init__(self, house: House, front: Front) -> None:
        self.services = front.services
        self.admin_token = house.parts.admin_token
        self.writer = house.parts.writer


@asynccontextmanager
async def open_front(house: House, number: int = 1) -> AsyncIterator[FrontHouse]:
    """A front of the house, until the block ends or it does."""
    near, far = memory_stream_pair()
    opened = trio.Event()
    hub = house.parts.hub
    assert hub is not None, "open the house with fronts=2"
    async with trio.open_nursery() as nursery:

        async def served() -> None:
            trouble = await hub.serve(number, near, opened=opened.set)
            await near.aclose()
            made.trouble = trouble
            made.ended.set()

        nursery.start_soon(served)
        link: Link[ToFront] = Link(far, ToFront, largest=LARGEST)
        came = await link.receive()
        assert isinstance(came[0], Hello)
        reads = ReadPool(house.parts.services.settings.database, hop=in_place)
        objects = house.parts.services.objects
        front = Front(came[0], link, reads, objects, hop=in_place, now=virtual_now, tracer=None)
        made = FrontHouse(house, front, link, far)
        for frame in came[1:]:
            front.ear.take(frame)

        async def listen() -> None:
            with suppress(trio.ClosedResourceError):
                while frames := await link.receive():
                    await made.listens.wait()
                    for frame in frames:
                        front.ear.take(frame)

        async def send() -> None:
            try:
                await link.run()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                return

        for task in (listen, send, front.broadcaster.run, front.neighbours.run):
            nursery.start_soon(task)
        link.send(Opened())
        await opened.wait()
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()
            reads.close()
