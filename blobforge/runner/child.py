"""The program in which a handler runs: loads it once, runs it for one job after the other, in its main thread.

Orders come from stdin, replies go to the descriptor named by the first argument. What the handler prints is the log
of its attempt. When stdin ends the worker has gone, and so does this process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import trio

from blobforge.runner import wire
from blobforge.runner.address import find
from blobforge.runner.handlers import MOST_TRACEBACK, Handler, as_outcome, declared, is_async, returned_paths
from blobforge.runner.job import Job, JobFailed
from blobforge.runner.redacting import beginning, ending
from blobforge.runner.strays import COOKIE


class HandlerProgram:
    """Owns both pipes and the job under way."""

    def __init__(self, orders: BinaryIO, replies: BinaryIO) -> None:
        self._orders = orders
        self._replies = replies
        self._replying = threading.Lock()  # progress comes from any thread
        self._todo: queue.SimpleQueue[wire.Convert] = queue.SimpleQueue()
        self._cancel: Callable[[], None] = lambda: None

    def run(self) -> None:
        first = wire.order(self._orders.readline())
        assert isinstance(first, wire.LoadFunction)
        try:
            handler = find(first.address)
            made_with = declared(handler)
        except Exception as error:
            traceback.print_exc()  # where the worker's own trouble belongs: the record has one line for it
            self._say(wire.NotReady(f"{type(error).__name__}: {error}"))
            return
        self._say(wire.Ready(made_with))
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            reply = self._convert(handler, self._todo.get())
            self._say(msgspec.structs.replace(reply, memory=_memory()))

    def _listen(self) -> None:
        for line in self._orders:
            order = wire.order(line)
            if isinstance(order, wire.Convert):
                self._todo.put(order)
            else:
                self._cancel()
        os._exit(0)  # the worker is gone: there is no reader of the handler's results

    def _convert(self, handler: Handler, order: wire.Convert) -> wire.Returned | wire.Failed | wire.Trouble:
        os.environ[COOKIE] = order.cookie
        job = Job(order.record, Path(order.workdir), Path(order.source), self._progress)
        self._cancel = job.cancel_signal.set
        try:
            returned = trio.run(self._run_async, handler, job) if is_async(handler) else handler(job)
            paths = wire.paths_said(returned_paths(returned))
        except Exception as error:
            return _failure_reply(error)
        except BaseException as error:  # sys.exit, and what libraries raise instead of an error
            text = str(error) or type(error).__name__
            return wire.Failed(text, type(error).__name__, traceback=ending(traceback.format_exc(), MOST_TRACEBACK))
        finally:
            self._cancel = lambda: None
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        return wire.Returned(paths=paths)

    async def _run_async(self, handler: Handler, job: Job) -> object:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def cancel() -> None:
                job.cancel_signal.set()
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(scope.cancel)

            self._cancel = cancel
            if job.cancelled:
                scope.cancel()
            return await handler(job)  # type: ignore[misc]  # is_async has said that it gives an awaitable
        return None

    def _progress(self, news: object) -> None:
        assert isinstance(news, dict)
        self._say(wire.News(wire.numbers_only(news)))

    def _say(self, reply: wire.ChildReply) -> None:
        with self._replying:
            self._replies.write(wire.encode(reply))
            self._replies.flush()


def _memory() -> int:
    """Bytes of this process that are in memory; 0 where there is no /proc."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _failure_reply(error: Exception) -> wire.Failed | wire.Trouble:
    outcome = as_outcome(error)
    if not isinstance(outcome, JobFailed):
        return wire.Trouble(beginning(str(outcome), 4096))
    log_tail = ending(outcome.log_tail, 65_536) if outcome.log_tail else None
    return wire.Failed(beginning(str(outcome), 8192), outcome.kind, log_tail, outcome.traceback, outcome.retryable)


def main() -> None:
    orders = os.fdopen(os.dup(0), "rb", buffering=0)
    # What the handler starts must not read our orders.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    replies = int(sys.argv[1])
    os.set_inheritable(replies, False)
    HandlerProgram(orders, os.fdopen(replies, "wb")).run()


if __name__ == "__main__":
    main()
