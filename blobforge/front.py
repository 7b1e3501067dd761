"""A process that serves HTTP and nothing else, for the one that has the actors: `blobforge/fronts.py` starts it.

    python -m blobforge.front LINK LISTENER       (the numbers of two inherited sockets)

It reads the database and signs by itself; all that is to change, it asks for over the link. It ends when it is told
to, and at once when the other end of the link is gone. Signals that a terminal or a service manager sends to all
processes mean the other one, which then ends this.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import structlog
import trio

from actors.broadcaster import Broadcaster
from blobforge import garbage, logs
from blobforge.clock import wall_ms
from blobforge.config import secrets_of
from blobforge.datadir import StartError
from blobforge.desk import Desk
from blobforge.hop import Hop
from blobforge.listener import http_settings
from blobforge.objects import ObjectStore
from blobforge.parts import open_objects
from blobforge.tracing import Tracer, open_tracer
from web.app import make_app
from web.front import CappedListener
from web.front import serve as serve_http
from web.fronts.accepting import SharedListener
from web.fronts.frames import Hello, Here, Opened, To, ToFront
from web.fronts.link import BrokenFrameError, Link, largest_frame
from web.fronts.remote import (
    Ear,
    Questions,
    RemoteBackups,
    RemoteFirstLink,
    RemoteHousekeeping,
    RemoteMailbox,
    RemoteMetrics,
    RemoteTurns,
)
from web.fronts.sharing import Neighbours
from web.reads import ReadPool

log = structlog.get_logger("blobforge.front")

GONE = 1  # exit code when the other process is gone
LARGEST_BODY = 1 << 30  # of a request, by the settings; they come with the first frame


class Front:
    """What this process is made of, wired with what is at the other end of `link`."""

    def __init__(
        self,
        hello: Hello,
        link: Link[ToFront],
        reads: ReadPool,
        objects: ObjectStore,
        *,
        hop: Hop | None,
        now: Callable[[], int],
        tracer: Tracer | None,
    ) -> None:
        settings = hello.settings
        self._stop = trio.Event()
        self.questions = questions = Questions(link)
        writer, hub = RemoteMailbox(questions, To.WRITER), RemoteMailbox(questions, To.HUB)
        self.broadcaster = Broadcaster(replay=settings.event_replay, queue=settings.event_queue, stats=_nothing)
        self.broadcaster.continues(hello.run_id, hello.event)
        self.desk = Desk(
            settings,
            writer=writer,
            broadcaster=self.broadcaster,
            reads=reads,
            objects=objects,
            turns=RemoteTurns(questions),
            own_url=lambda: hello.url,
            now=now,
            hop=hop,
            tracer=tracer,
        )
        housekeeping = RemoteHousekeeping(RemoteMailbox(questions, To.JANITOR), hub, hello.deletions)
        self.services = self.desk.services(
            scheduler=RemoteMailbox(questions, To.SCHEDULER),
            intake=RemoteMailbox(questions, To.INTAKE),
            janitor=housekeeping,
            backups=RemoteBackups(RemoteMailbox(questions, To.REPLICATOR), hub),
            metrics=RemoteMetrics(hub, self.desk.counting.requests),
            first_link=RemoteFirstLink(hub),
        )
        self.neighbours = Neighbours(self.desk.limits, self.desk.throttle, link.send)
        self.ear = Ear(
            link,
            questions,
            broadcaster=self.broadcaster,
            housekeeping=housekeeping,
            counting=self.desk.counting,
            rights=(self.desk.keyring, self.desk.sessions),
            heed=self.neighbours.heed,
            stop=self._end,
        )

    async def stopped(self) -> None:
        """Wait until this front is to end."""
        await self._stop.wait()

    def _end(self) -> None:
        # Streams first: an open one would hold up everything behind it.
        self.broadcaster.close()
        self._stop.set()


async def serve(link_socket: socket.socket, listener: socket.socket) -> None:
    """Serve until told to stop."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(link_socket))
    link: Link[ToFront] = Link(stream, ToFront, largest=largest_frame(LARGEST_BODY))
    came = await link.receive()
    if not came or not isinstance(hello := came[0], Hello):
        _vanish("the server ended before this front was there")
    settings = hello.settings
    logs.configure(settings.log_level, settings.log_format)
    logs.hide(secrets_of(settings))
    structlog.contextvars.bind_contextvars(front=hello.front)  # in every line from here on
    tracer = open_tracer(settings.otel_endpoint)
    objects = open_objects(settings, None, tracer, sweep=False)
    reads = ReadPool(settings.database)
    front = Front(hello, link, reads, objects, hop=None, now=wall_ms, tracer=tracer)
    for frame in came[1:]:
        front.ear.take(frame)
    connections = front.desk.connections
    shared = CappedListener(SharedListener(listener, connections, others=settings.fronts - 1), connections)
    app = make_app(front.services).asgi_app
    try:
        async with trio.open_nursery() as nursery:
            for task in (front.broadcaster.run, front.desk.lag.run, front.neighbours.run):
                nursery.start_soon(task)
            nursery.start_soon(_listening, front.ear)
            nursery.start_soon(_sending, link)
            link.send(Here())
            await front.ear.begun.wait()
            async with trio.open_nursery() as serving:
                await serving.start(partial(serve_http, app, http_settings(settings), shared, shutdown=front.stopped))
                garbage.settle()
                link.send(Opened())
            nursery.cancel_scope.cancel()
    finally:
        reads.close()
        if tracer is not None:
            await tracer.close()


async def _listening(ear: Ear) -> None:
    try:
        await ear.run()
    except BrokenFrameError as error:
        _vanish(f"the server said what nobody understands: {error}")
    _vanish("the server is gone")


async def _sending(link: Link[ToFront]) -> None:
    try:
        await link.run()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.sleep_forever()  # who listens sees the end, too


async def _nothing() -> object:
    raise AssertionError("statistics come from where the actors are")


def _vanish(why: str) -> NoReturn:
    """End at once: there is nobody to do anything for, and the port must become free."""
    log.warning("this front ends", reason=why)
    os._exit(GONE)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logs.configure("info", "auto")  # until we know better
    link, listener = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for inherited in (link, listener):
        inherited.setblocking(False)
        inherited.set_inheritable(False)
    try:
        trio.run(serve, link, listener)
    except* StartError as errors:
        log.error("cannot start", reason=str(errors.exceptions[0]))
        sys.exit(1)


if __name__ == "__main__":
    main()
