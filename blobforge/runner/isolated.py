"""A handler in processes of its own: one a job at a time, kept warm for the next job.

State owned here: these processes. One that has to be killed, or that dies, is replaced when the next job comes.
"""

from __future__ import annotations

import array
import fcntl
import os
import subprocess
import sys
import termios
import uuid
from typing import assert_never

import msgspec
import trio

from blobforge.runner import wire
from blobforge.runner.address import Address, address_of
from blobforge.runner.command import clean_environment, died
from blobforge.runner.guard import Guard
from blobforge.runner.handlers import Handler
from blobforge.runner.job import Job, JobFailed, WorkerTrouble
from blobforge.runner.process import ENDED_WITHIN, GRACE, ProcessGroup, Tails
from blobforge.runner.progress import tell

INSIDE = "BLOBFORGE_HANDLER"
"""Set in the environment of these processes, so that a script that starts a worker when imported is told."""

_MUCH = 0.75  # of its limit: what a process still holds after a job, it will hold in the next
_LAST_WORDS = 1.0  # seconds to read what is left in the pipes


class InProcess:
    """A converter that runs `handler` elsewhere. Raises ValueError for a handler that cannot be found from there.

    A process is replaced after `recycle_after` jobs. `max_memory` (bytes, Linux) is the limit of what it may have of
    its own: what goes beyond fails as out of memory. One that holds three quarters of it after a job is replaced.
    """

    def __init__(
        self,
        handler: Handler | Address,
        *,
        grace: float = GRACE,
        recycle_after: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self._address = handler if isinstance(handler, Address) else address_of(handler)
        self._grace = grace
        self._recycle_after = recycle_after
        self._max_memory = max_memory
        self._idle: list[_Child] = []
        self._nursery: trio.Nursery | None = None
        self._guard: Guard | None = None
        self.made_with: str | None = None

    async def prepare(self, nursery: trio.Nursery, guard: Guard) -> None:
        """Start the first process. Raises WorkerTrouble when the handler cannot be loaded there."""
        self._nursery, self._guard = nursery, guard
        first = await self._start()
        self._idle, self.made_with = [first], first.made_with

    async def __call__(self, job: Job) -> None:
        while self._idle and not self._idle[-1].fit:
            self._idle.pop()
        child = self._idle.pop() if self._idle else await self._start()
        try:
            await child.convert(job)
        finally:
            if child.fit and not self._worn(child):
                self._idle.append(child)
            else:
                await child.end()

    def _worn(self, child: _Child) -> bool:
        if self._recycle_after is not None and child.jobs >= self._recycle_after:
            return True
        return self._max_memory is not None and child.memory > _MUCH * self._max_memory

    async def _start(self) -> _Child:
        assert self._nursery is not None
        new = _Child(self._grace, self._guard, self._max_memory)
        child: _Child = await self._nursery.start(new.run, self._address)
        return child


class _Child:
    """One process. `fit` while it can take a job; `jobs` that it has done, and `memory` (bytes) that it then held."""

    def __init__(self, grace: float, guard: Guard | None, max_memory: int | None) -> None:
        self._max_memory = max_memory
        self.made_with: str | None = None
        self.jobs = 0
        self.memory = 0
        self._grace = grace
        self._guard = guard
        self._tails = Tails()
        self._job: Job | None = None
        self._group: ProcessGroup
        self._replies: trio.lowlevel.FdStream
        self._heard = bytearray()
        self._returncode = 0
        self._over = trio.Event()
        self._ended = trio.Event()
        self.fit = False

    async def run(self, address: Address, *, task_status: trio.TaskStatus[_Child]) -> None:
        """Start it, load the handler, hand it out; end it when it is over, when it dies, or when cancelled."""
        ours, theirs = os.pipe()
        try:
            self._group = await ProcessGroup.start(
                [sys.executable, "-m", "blobforge.runner.child", str(theirs)],
                env={**clean_environment(), "PYTHONUNBUFFERED": "1", INSIDE: "1"},
                guard=self._guard,
                max_memory=self._max_memory,
                stdin=subprocess.PIPE,
                pass_fds=(theirs,),
            )
        except BaseException as error:
            os.close(ours)
            if isinstance(error, OSError):
                raise WorkerTrouble(f"cannot start {sys.executable}: {error.strerror or error}") from error
            raise
        finally:
            os.close(theirs)
        self._replies = trio.lowlevel.FdStream(ours)
        trouble: WorkerTrouble | None = None
        async with trio.open_nursery() as nursery:
            drained = trio.CancelScope(shield=True)
            nursery.start_soon(self._drain, drained)
            try:
                trouble = await self._load(address)
                if trouble is None:
                    await self._group.remember()
                    self.fit = True
                    task_status.started(self)
                    nursery.start_soon(self._watch)
                    await self._over.wait()
            finally:
                self.fit = False
                drained.deadline = trio.current_time() + ENDED_WITHIN
                with trio.move_on_after(ENDED_WITHIN, shield=True):
                    # The caller has given the handler its time already.
                    self._returncode = await self._group.end(0)
                    drained.deadline = trio.current_time() + _LAST_WORDS
                    await self._replies.aclose()
                self._ended.set()
            nursery.cancel_scope.cancel()
        if trouble is not None:
            raise trouble

    async def end(self) -> None:
        """Kill it, and return when nothing of it is left."""
        self._over.set()
        with trio.move_on_after(ENDED_WITHIN, shield=True):
            await self._ended.wait()

    async def convert(self, job: Job) -> None:
        """Run the handler for one job. Raises JobFailed and WorkerTrouble."""
        cookie = uuid.uuid4().hex
        self._tails = Tails(hear=job.hear)
        self._job, job.output_tail = job, self._tails.log
        self.fit = False  # until it has answered
        if self._guard is not None:
            self._guard.add(cookie)
        try:
            try:
                await self._send(wire.Convert(job.record, str(job.workdir), str(job.source), cookie))
                reply = await self._end_of(job)
            except trio.Cancelled:
                with trio.move_on_after(self._grace, shield=True):
                    await self._send(wire.CancelConvert())
                    self.fit = await self._end_of(job) is not None
                raise
            await self._all_said()
            if reply is None:
                await self.end()
                raise died(self._returncode, self._tails)
            self.fit = True
            self.jobs += 1
            self.memory = reply.memory
            _raise_if_failed(reply, self._tails)
            job.returned = wire.paths_heard(reply.paths) if isinstance(reply, wire.Returned) else None
        finally:
            self._job = None
            with trio.move_on_after(ENDED_WITHIN, shield=True):
                await self._group.sweep(cookie)
            if self._guard is not None:
                self._guard.remove(cookie)

    async def _load(self, address: Address) -> WorkerTrouble | None:
        await self._send(wire.LoadFunction(address))
        match await self._next():
            case wire.Ready(made_with):
                self.made_with = made_with
                return None
            case wire.NotReady(error):
                return WorkerTrouble(f"the handler cannot be loaded: {error}")
            case _:
                await self._all_said()
                words = self._tails.last_line() or "it said nothing"
                return WorkerTrouble(f"the handler's process ended while loading it: {words}")

    async def _end_of(self, job: Job) -> wire.Returned | wire.Failed | wire.Trouble | None:
        """Take in progress until the end; None when the process is no more."""
        while True:
            reply = await self._next()
            match reply:
                case wire.News(progress):
                    tell(job, progress)
                case wire.Returned() | wire.Failed() | wire.Trouble() | None:
                    return reply
                case wire.Ready() | wire.NotReady():
                    return None  # it does not speak as it should: not to be used any more
                case _:
                    assert_never(reply)

    async def _next(self) -> wire.ChildReply | None:
        while True:
            line, found, rest = self._heard.partition(b"\n")
            if found:
                self._heard = rest
                try:
                    return wire.reply(bytes(line))
                except msgspec.DecodeError:
                    return None
            try:
                data = await self._replies.receive_some(1 << 16)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data or len(self._heard) > wire.LONGEST:
                return None
            self._heard += data

    async def _send(self, order: wire.Order) -> None:
        stdin = self._group.process.stdin
        assert stdin is not None
        try:
            await stdin.send_all(wire.encode(order))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the end of the replies tells

    async def _watch(self) -> None:
        """Wait for the process's end. A fork of it may hold the pipe open, so that the pipe's end alone would not
        tell."""
        await self._group.exited()
        self.fit = False
        if self._job is None:
            self._over.set()
        else:
            await trio.sleep(_LAST_WORDS / 4)  # a reply that it made is on its way
            await self._replies.aclose()

    async def _drain(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._group.drain(self._hear)

    def _hear(self, stream: str, data: bytes | bytearray) -> None:
        self._tails.add(stream, data)
        if self._job is not None:
            self._job.life += 1

    async def _all_said(self) -> None:
        """Wait until what the process has written is read: replies come by another pipe than output."""
        with trio.move_on_after(_LAST_WORDS):
            while self._unread():  # noqa: ASYNC110 - the kernel has no event for it
                await trio.sleep(0.01)
            await trio.lowlevel.checkpoint()

    def _unread(self) -> bool:
        count = array.array("i", [0])
        for stream in (self._group.process.stdout, self._group.process.stderr):
            if isinstance(stream, trio.lowlevel.FdStream):
                try:
                    fcntl.ioctl(stream.fileno(), termios.FIONREAD, count)
                except (OSError, ValueError):
                    continue
                if count[0]:
                    return True
        return False


def _raise_if_failed(reply: wire.Returned | wire.Failed | wire.Trouble, tails: Tails) -> None:
    match reply:
        case wire.Returned():
            return
        case wire.Failed(error, kind, log_tail, trace, retryable):
            log = log_tail or tails.log()
            raise JobFailed(error, kind=kind, log_tail=log, traceback=trace, retryable=retryable)
        case wire.Trouble(error):
            raise WorkerTrouble(error)
        case _:
            assert_never(reply)
