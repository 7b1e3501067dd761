"""`--exec`: a command line as a handler.

Placeholders stand for paths; there is no shell, so that no file name is ever read as code. The command also finds
them in its environment, as BLOBFORGE_SOURCE and so on. It gets none of the worker's own BLOBFORGE_* variables: they
hold credentials.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal

import trio

from blobforge.runner.guard import Guard
from blobforge.runner.job import Job, JobFailed, WorkerTrouble
from blobforge.runner.process import GRACE, Finished, OnOutput, Tails, run_in_group
from blobforge.runner.progress import Lines, Pattern, follow

PLACEHOLDERS = (
    *("source", "output", "outputs", "workdir", "progress_file"),
    *("job_id", "job_type", "source_path", "source_hash"),
)
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_DISK_FULL = (
    "No space left on device",
    "Disk quota exceeded",
)  # strerror's words, which most programs pass on


class Command:
    """A handler that runs one command for each job.

    Without a `pattern` whatever the command says is a sign of life to a limit on silence; with one only what the
    pattern finds. Raises ValueError for a template that is empty, unbalanced, or whose program is not to be found.
    """

    def __init__(self, template: str, *, grace: float = GRACE, pattern: Pattern | None = None) -> None:
        self._argv = shlex.split(template)
        self._grace = grace
        self._pattern = pattern
        self._guard: Guard | None = None
        if not self._argv:
            raise ValueError("the command is empty")
        program = self._argv[0]
        if not _PLACEHOLDER.search(program) and shutil.which(program) is None:
            raise ValueError(f"{program!r} is not found: install it, or give its full path")

    async def prepare(self, nursery: trio.Nursery, guard: Guard) -> None:
        del nursery
        self._guard = guard

    async def __call__(self, job: Job) -> None:
        """Run the command. Raises JobFailed for any exit but 0, WorkerTrouble when it cannot be started."""
        tails = Tails()
        job.output_tail = tails.log
        values = _values(job)
        argv = [_PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in self._argv]
        failure: OSError | None = None
        finished: Finished | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, job.workdir / "progress", job)
            try:
                finished = await run_in_group(
                    argv,
                    cwd=job.workdir,
                    env=_environment(values),
                    grace=self._grace,
                    guard=self._guard,
                    tails=tails,
                    told=self._listener(job),
                )
            except OSError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None or finished is None:
            why = failure.strerror if failure is not None else None
            raise WorkerTrouble(f"cannot start {argv[0]}: {why or failure}") from failure
        if finished.returncode != 0:
            raise _failure(finished)

    def _listener(self, job: Job) -> OnOutput:
        if self._pattern is None:

            def alive(_stream: str, _data: bytes | bytearray) -> None:
                job.life += 1

            return alive
        streams = {"stdout": Lines(self._pattern, job), "stderr": Lines(self._pattern, job)}

        def read(stream: str, data: bytes | bytearray) -> None:
            streams[stream].add(data)

        return read


def _values(job: Job) -> dict[str, str]:
    return {
        "source": str(job.source),
        "output": str(job.output),
        "outputs": str(job.outputs),
        "workdir": str(job.workdir),
        "progress_file": str(job.workdir / "progress"),
        "job_id": str(job.id),
        "job_type": job.type,
        "source_path": job.source_path,
        "source_hash": job.source_hash,
    }


def clean_environment() -> dict[str, str]:
    """The worker's environment without what is BlobForge's: that holds credentials."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}


def _environment(values: dict[str, str]) -> dict[str, str]:
    return {**clean_environment(), **{f"BLOBFORGE_{name.upper()}": value for name, value in values.items()}}


def _failure(finished: Finished) -> JobFailed | WorkerTrouble:
    tails = finished.tails
    for line in tails.stderr.text().splitlines():
        if any(words in line for words in _DISK_FULL):
            return WorkerTrouble(f"the disk is full: {line.strip()[:500]}")
    return died(finished.returncode, tails)


def died(code: int, tails: Tails) -> JobFailed:
    """What a process that ended with `code` is told as, with its last words."""
    words = tails.last_line()
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        text, kind = f"killed by {name}{hint}", "Signal"
    else:
        text, kind = f"exit status {code}", "ExitStatus"
    return JobFailed(f"{text}: {words}" if words else text, kind=kind, log_tail=tails.log())
