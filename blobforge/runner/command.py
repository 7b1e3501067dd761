"""`--exec`: a command line as a handler.

Placeholders stand for paths; there is no shell, so that no file name is ever read as code. The command runs in the
folder of its job. So its program is looked up when the worker starts, and `{cwd}` names the folder of the start. The
command also finds them in its environment, as BLOBFORGE_SOURCE and so on. It gets none of the worker's own
BLOBFORGE_* variables: they hold credentials.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import msgspec
import trio

from blobforge.runner.events import warn
from blobforge.runner.guard import Guard
from blobforge.runner.job import Job, JobFailed, WorkerTrouble
from blobforge.runner.process import GRACE, Finished, OnOutput, Tails, run_in_group
from blobforge.runner.progress import Lines, Pattern, follow
from blobforge.runner.redacting import beginning

PLACEHOLDERS = (
    *("cwd", "source", "output", "outputs", "inputs", "workdir", "progress_file"),
    *("job_id", "job_type", "source_path", "source_hash", "options"),
)
_BRACES = re.compile(r"\{\{(\w+)\}\}|(?<!\$)\{(\w+)\}")  # `{{name}}` is the text {name}; ${name} is a shell's own
_SHELL = re.compile(r"\|\|?|&&?|;|\d*>>?.*|<.*")
_DISK_FULL = (
    "No space left on device",
    "Disk quota exceeded",
)  # strerror's words, which most programs pass on


class Command:
    """A handler that runs one command for each job.

    Without a `pattern` whatever the command says is a sign of life to a limit on silence; with one only what the
    pattern finds. With `stdout` what the command writes there is the output. `max_memory` (bytes) is the limit of
    each of its processes. Raises ValueError for a template that cannot work: empty, unbalanced, with an unknown
    placeholder or a shell's operator, or whose program is not to be found.
    """

    made_with: str | None = None  # it cannot say what it is; `--converter` does

    def __init__(
        self,
        template: str,
        *,
        grace: float = GRACE,
        pattern: Pattern | None = None,
        stdout: bool = False,
        max_memory: int | None = None,
    ) -> None:
        self._argv = shlex.split(template)
        self._grace = grace
        self._pattern = pattern
        self._stdout = stdout
        self._max_memory = max_memory
        self._cwd = os.getcwd()
        self._guard: Guard | None = None
        if not self._argv:
            raise ValueError("the command is empty")
        _refuse_shell(template)
        names = {found[2] for part in self._argv for found in _BRACES.finditer(part) if found[2]}
        for name in sorted(names - set(PLACEHOLDERS)):
            near = difflib.get_close_matches(name, PLACEHOLDERS, 1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(PLACEHOLDERS)}"
            raise ValueError(f"{{{name}}} is no placeholder: {hint} (write {{{{{name}}}}} for the text itself)")
        if stdout and names & {"output", "outputs"}:
            raise ValueError("with --stdout the output is what the command writes to stdout: leave {output} out")
        if not _BRACES.search(self._argv[0]):
            self._argv[0] = _program(self._argv[0])

        # No reason to refuse: one may be the name of what the command writes, in the folder of its job.
        self._left_here = [name for name in self._argv[1:] if _is_path(name) and os.path.isfile(name)]

    async def prepare(self, nursery: trio.Nursery, guard: Guard) -> None:
        del nursery
        self._guard = guard
        for name in self._left_here:
            text = f"--exec: {name!r} is a file here, but the command runs in the folder of its job"
            warn("relative-path", f"{text}: {{cwd}}/{name.removeprefix('./')} is this one")

    async def __call__(self, job: Job, *, output: Path | None = None) -> None:
        """Run the command. Raises JobFailed for any exit but 0, WorkerTrouble when it cannot be started.

        `output` is a file that is there already, for a command that is to look at it.
        """
        tails = Tails(stdout=not self._stdout, hear=job.hear)
        job.output_tail = tails.log
        values = _values(job) | {"cwd": self._cwd} | ({"output": str(output)} if output is not None else {})
        await trio.Path(values["options"]).write_bytes(msgspec.json.encode(job.options))
        argv = [_BRACES.sub(lambda found: values[found[2]] if found[2] else f"{{{found[1]}}}", part)
                for part in self._argv]  # fmt: skip
        failure: OSError | None = None
        finished: Finished | None = None
        written = _Written(job.output) if self._stdout else None
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
                    on_output=self._listener(job, written),
                    max_memory=self._max_memory,
                )
            except OSError as error:
                failure = error
            finally:
                if written is not None:
                    written.close()
            nursery.cancel_scope.cancel()
        if failure is not None or finished is None:
            why = failure.strerror if failure is not None else None
            raise WorkerTrouble(f"cannot start {argv[0]}: {why or failure}") from failure
        if finished.returncode != 0:
            raise _failure(finished)
        if written is not None:
            written.check()

    def _listener(self, job: Job, written: _Written | None) -> OnOutput:
        if self._pattern is None or written is not None:
            lines = Lines(self._pattern, job) if self._pattern is not None else None

            def alive(stream: str, data: bytes | bytearray) -> None:
                if written is not None and stream == "stdout":
                    written.add(data)
                if lines is None:
                    job.life += 1
                elif stream == "stderr":
                    lines.add(data)

            return alive
        streams = {"stdout": Lines(self._pattern, job), "stderr": Lines(self._pattern, job)}

        def read(stream: str, data: bytes | bytearray) -> None:
            streams[stream].add(data)

        return read


class _Written:
    """A command's stdout, written to the job's output. The first error of the disk is kept until the end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._error: OSError | None = None
        self._size = 0

    def add(self, data: bytes | bytearray) -> None:
        if self._error is None:
            try:
                self._size += self._file.write(data)
            except OSError as error:
                self._error = error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error

    def check(self) -> None:
        """Raises WorkerTrouble when it could not be written, and JobFailed when there was nothing to write."""
        if self._error is not None:
            raise WorkerTrouble(f"the output cannot be written: {self._error}") from self._error
        if not self._size:
            raise JobFailed("the converter ended well but wrote nothing to stdout", kind="OutputMissing")


def _program(name: str) -> str:
    """The program's full path: the command runs in another folder than the one that the worker was started in."""
    found = shutil.which(name)
    if found is not None:
        return os.path.abspath(found)
    if os.sep in name and os.path.exists(name):
        raise ValueError(f"{name!r} cannot be executed: make it executable (chmod +x), or name its interpreter")
    raise ValueError(f"{name!r} is not found: install it, or give its full path")


def _is_path(word: str) -> bool:
    """Whether a word of the command looks like a path from the current folder."""
    return ("/" in word or "." in word) and not word.startswith(("-", "/"))


def _refuse_shell(template: str) -> None:
    """Raises ValueError for a shell's operator that stands by itself: it would be one more argument."""
    words = shlex.shlex(template, posix=False)  # quotes are kept, so that a quoted operator is no operator
    words.whitespace_split, words.commenters = True, ""
    for word in words:
        if _SHELL.fullmatch(word) or (word.endswith(";") and word[0] not in "'\""):
            raise ValueError(f"{word!r} is for a shell, and there is none: write bash -c '...' around the command")


def _values(job: Job) -> dict[str, str]:
    return {
        "source": str(job.source),
        "output": str(job.output),
        "outputs": str(job.outputs),
        "inputs": str(job.inputs),
        "workdir": str(job.workdir),
        "progress_file": str(job.workdir / "progress"),
        "job_id": str(job.id),
        "job_type": job.type,
        "source_path": job.source_path,
        "source_hash": job.source_hash,
        "options": str(job.workdir / "options.json"),
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
            return WorkerTrouble(f"the disk is full: {beginning(line.strip(), 500)}")
    return died(finished.returncode, tails)


def died(code: int, tails: Tails) -> JobFailed:
    """The failure of a process that ended with `code`, with its last words."""
    words = tails.last_line()
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        text, kind = f"killed by {name}{hint}", "Signal"
    else:
        text, kind = f"exit status {code}", "ExitStatus"
    return JobFailed(f"{text}: {words}" if words else text, kind=kind, log_tail=tails.log())
