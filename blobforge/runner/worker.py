"""The worker as its users see it: its handlers, its identity, its credential, and when it ends."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import trio

from blobforge import converters
from blobforge.client import AsyncClient
from blobforge.login import credentials, login_file
from blobforge.machinery.groups import unwrapped
from blobforge.runner.attempt import RunEnd
from blobforge.runner.console import show_events
from blobforge.runner.events import ServerAwayNotice, log
from blobforge.runner.handlers import Converter, Handler, InWorker, Isolation
from blobforge.runner.isolated import INSIDE, InProcess
from blobforge.runner.job import WorkerReplaced, WorkerTrouble
from blobforge.runner.limits import Limits
from blobforge.runner.process import GRACE
from blobforge.runner.recipe import Recipe
from blobforge.runner.redacting import Redactor
from blobforge.runner.scratch import MIN_FREE
from blobforge.runner.shift import MAX_FAILURES, Duty, Shift, ShiftOptions
from blobforge.runner.validation import ANYTHING, Validation
from blobforge.runner.window import RunWindow

H = TypeVar("H", bound=Handler)

_CLOSE_SECONDS = 5.0  # for the client to close its connections
EXIT_FAILING = 7  # it took no jobs at its end: too many in a row had failed
EXIT_REPLACED = 6  # another process is this worker now: to be started again would be in its way
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # a closed terminal must not leave commands behind, either


def _known(converter: str | None) -> str | None:
    """A converter's name and version by its one spelling. Raises ValueError for what is none."""
    return str(converters.converter(converter)) if converter is not None else None


def default_worker_id() -> str:
    """`<hostname>-<6 hex digits>`: readable in a list, and no two processes are the same."""
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


class Worker:
    """Takes jobs of some types and runs a handler for each.

        worker = Worker()

        @worker.handler("pdf", timeout=600)
        def convert(job: Job) -> None:
            (job.outputs / "text.txt").write_text(extract(job.source))

        if __name__ == "__main__":
            worker.run()

    The server is `server`, or BLOBFORGE_SERVER_URL. The credential is an API token with the scope `work` (`token`, or
    BLOBFORGE_API_TOKEN), or the worker's own: `worker_id` with `worker_secret` (BLOBFORGE_WORKER_ID with
    BLOBFORGE_WORKER_SECRET). Where neither is given, both are what `blobforge work` finds: the login, or this
    machine's server and its admin token. A `client` replaces all of these. Times are in seconds, sizes in bytes; the
    options are those of `ShiftOptions`; `redact` are regular expressions of secrets that handlers print. Raises
    ValueError for what cannot be.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        token: str | None = None,
        worker_id: str | None = None,
        worker_secret: str | None = None,
        client: AsyncClient | None = None,
        concurrency: int = 1,
        once: bool = False,
        max_jobs: int | None = None,
        idle_exit: float | None = None,
        grace: float = 0.0,
        preemption_notice: Path | str | None = None,
        poll_wait: float = 30.0,
        labels: Iterable[str] = (),
        run_windows: Iterable[str | RunWindow] = (),
        workdir: Path | str | None = None,
        min_free: int = MIN_FREE,
        output_suffix: str = "",
        zip_outputs: bool = False,
        max_failures: int | None = MAX_FAILURES,
        converter: str | None = None,
        comparisons_only: bool = False,
        live_log: bool = True,
        load: bool = True,
        redact: Iterable[str] = (),
    ) -> None:
        if concurrency < 1:
            raise ValueError("a worker runs at least one job at a time")
        if max_jobs is not None and max_jobs < 1:
            raise ValueError("max_jobs is at least 1; leave it out for no limit")
        if isinstance(run_windows, str | RunWindow):
            run_windows = [run_windows]
        self._server = server
        self._token = token
        self._secret = worker_secret
        self._client = client
        self._named = worker_id or os.environ.get("BLOBFORGE_WORKER_ID")
        self._options = ShiftOptions(
            concurrency=concurrency,
            once=once,
            max_jobs=max_jobs,
            idle_exit=idle_exit,
            grace=grace,
            preemption_notice=Path(preemption_notice) if preemption_notice is not None else None,
            poll_wait=poll_wait,
            labels=tuple(labels),
            run_windows=tuple(RunWindow.parse(one) if isinstance(one, str) else one for one in run_windows),
            workdir=Path(workdir) if workdir is not None else None,
            min_free=min_free,
            output_suffix=output_suffix,
            zip_outputs=zip_outputs,
            max_failures=max_failures or None,
            named=self._named is not None,
            made_with=_known(converter),
            comparisons_only=comparisons_only,
            live_log=live_log,
            load=load,
            redactor=Redactor.of(os.environ, [redact] if isinstance(redact, str) else redact),
        )
        self.worker_id = self._named or default_worker_id()
        self.tally: Counter[RunEnd] = Counter()
        self.failing = False
        """Whether it ended while it took no jobs, because `max_failures` in a row had failed."""
        self._duties: dict[str, Duty] = {}
        self._shift: Shift | None = None
        self._trio: trio.lowlevel.TrioToken | None = None

    def handler(
        self,
        *types: str,
        timeout: float | None = None,
        stall_timeout: float | None = None,
        kill_after: float = GRACE,
        isolation: Isolation = "process",
        recycle_after: int | None = None,
        max_memory: int | None = None,
        validate: Validation = ANYTHING,
        converter: str | None = None,
    ) -> Callable[[H], H]:
        """Decorates the function for jobs of `types`; a plain one or an async one (trio).

        `timeout` is for the whole conversion, `stall_timeout` for a time without progress or output. A handler whose
        job is taken away has `kill_after` seconds from `job.cancel_signal` until its process is killed. With
        `isolation="process"` the function runs in a process of its own, which a limit can kill and which cannot hold
        up heartbeats. With `"thread"` it runs in this one; see `handlers.py`. Such a process is replaced after
        `recycle_after` jobs; `max_memory` (bytes) is its limit, and near that it is replaced, too. `validate` says
        what the outputs must be (`Validation.of`). `converter` is what makes the results, as "marker 1.3.2"; so is an
        attribute of that name of the function, where neither this nor the worker says it.
        """
        if isolation not in ("process", "thread"):
            raise ValueError(f"isolation is 'process' or 'thread', not {isolation!r}")
        if isolation == "thread" and (recycle_after is not None or max_memory is not None):
            raise ValueError("recycle_after and max_memory are for a process of its own, not for a thread")
        limits, made_with = Limits(timeout, stall_timeout), _known(converter)

        def decorate(function: H) -> H:
            runs: Converter
            if isolation == "thread":
                runs = InWorker(function, grace=kill_after)
            else:
                runs = InProcess(function, grace=kill_after, recycle_after=recycle_after, max_memory=max_memory)
            self.add(types, runs, limits, validation=validate, made_with=made_with)
            return function

        return decorate

    def add(
        self,
        types: Iterable[str],
        converter: Converter,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        recipe: Recipe | None = None,
        validation: Validation = ANYTHING,
        made_with: str | None = None,
    ) -> None:
        """Give jobs of `types` to a converter, such as a Command. Raises ValueError for a type that has one.

        `recipe` is told to the server, so that `blobforge replay` can do the same. What the outputs must be says
        `validation`; `made_with`: the converter's name and version.
        """
        names = list(types)
        if not names:
            raise ValueError("a handler needs at least one job type")
        for name in names:
            if name in self._duties:
                raise ValueError(f"there are two handlers for the type {name!r}")
            self._duties[name] = Duty(converter, limits, recipe, validation, made_with)

    def run(self) -> Counter[RunEnd]:
        """Work until SIGTERM, SIGINT or SIGHUP, or until done; return how the attempts ended.

        The first signal takes no more jobs and gives running ones `grace` seconds; the second gives them back at
        once; the third ends without waiting for anything. When another process has taken over as this worker, the
        program ends with EXIT_REPLACED; where it cannot start, with one line that says why. What happens is logged to
        `blobforge.runner`, and shown on stderr if logging is not set up.
        """
        if not log.hasHandlers():
            show_events()
        try:
            trio.run(self.run_until_signalled)
        except WorkerTrouble as error:  # the program cannot start, and where the handler fails it has said
            raise SystemExit(f"cannot start: {error}") from None
        except WorkerReplaced:  # it was told, and a service manager is not to start it again
            raise SystemExit(EXIT_REPLACED) from None
        return self.tally

    async def run_until_signalled(self) -> None:
        """`run_async`, stopped by signals where they can be had: in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            await self.run_async()
            return
        failure: Exception | None = None

        async def work() -> None:
            nonlocal failure
            try:
                await self.run_async()
            except Exception as error:  # carried past the nursery, which would wrap it in a group
                failure = error
            nursery.cancel_scope.cancel()

        # A signal that our parent has had ignored stays so: SIGHUP under nohup, SIGINT in a script's background.
        heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        with trio.open_signal_receiver(*heeded) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                seen = 0
                async for _ in signals:
                    seen += 1
                    if seen > 2:
                        nursery.cancel_scope.cancel()
                    else:
                        self.stop(None if seen == 1 else 0)
        if failure is not None:
            raise failure

    async def run_async(self) -> Counter[RunEnd]:
        """Work until `stop`, or until done. See `Shift.run` for what it raises."""
        if INSIDE in os.environ:  # else each process would start another one
            raise RuntimeError(
                "a worker was started while its module was being imported to run a handler: "
                "put it under `if __name__ == '__main__':`"
            )
        if not self._duties:
            raise ValueError("a worker needs at least one handler")
        if self._shift is not None:
            raise RuntimeError("this worker runs already")
        client = self._client or self._own_client()
        self._trio = trio.lowlevel.current_trio_token()
        self._shift = shift = Shift(client, self.worker_id, self._duties, self._options)
        shift.tally = self.tally
        try:
            with unwrapped():
                await shift.run()
        finally:
            self.failing = shift.failing
            self._shift = None
            if self._client is None:
                with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                    await client.__aexit__(None, None, None)
        return self.tally

    def stop(self, grace: float | None = None) -> None:
        """Take no more jobs; give running ones `grace` seconds (its own by default), then give them back.

        May be called again, to make it shorter, and from any thread.
        """
        seconds = self._options.grace if grace is None else grace
        shift, token = self._shift, self._trio
        if shift is None or token is None:
            return
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is token:
            shift.stop(seconds)
        else:
            token.run_sync_soon(shift.stop, seconds)

    def _own_client(self) -> AsyncClient:
        login = self._login()
        server = credentials.server(self._server or os.environ.get("BLOBFORGE_SERVER_URL"), login)
        secret = self._secret or os.environ.get("BLOBFORGE_WORKER_SECRET")
        if secret:
            if self._named is None:
                raise ValueError("a worker's secret was given, but not whose it is: give worker_id, too")
            return AsyncClient(server, worker=(self.worker_id, secret), on_retry=ServerAwayNotice())
        token = self._token or os.environ.get("BLOBFORGE_API_TOKEN")
        if not token:
            try:
                found = credentials.token(server, login)
            except login_file.LoginError as error:
                raise ValueError(str(error)) from error
            if found is None:
                raise ValueError(
                    "no credential: `blobforge login` keeps one; or set BLOBFORGE_API_TOKEN to a token with the "
                    "scope `work`, or BLOBFORGE_WORKER_ID and BLOBFORGE_WORKER_SECRET"
                )
            token = found.token
        return AsyncClient(server, token=token, on_retry=ServerAwayNotice())

    def _login(self) -> login_file.Login | None:
        try:
            return login_file.load()
        except login_file.LoginError as error:
            if self._server or os.environ.get("BLOBFORGE_SERVER_URL"):  # it is not needed, then
                return None
            raise ValueError(str(error)) from error
