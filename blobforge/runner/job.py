"""What a handler gets and what it may say: a job, its files, progress, a signal to stop, and ways to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blobforge.client import Job as JobRecord

_MOST_WORDS = 4096  # characters of a stage or a message that go on; the worker sends fewer, without secrets


class JobFailed(Exception):
    """The document could not be converted. Ends the attempt and costs one of the job's tries.

    `kind` is a short stable name (an exception's type, `ExitStatus`); `log_tail` the last output of what ran;
    `retryable=False` when another try cannot help.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "JobFailed",
        log_tail: str | None = None,
        traceback: str | None = None,
        retryable: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.log_tail = log_tail
        self.traceback = traceback
        self.retryable = retryable


class WorkerTrouble(Exception):
    """This machine cannot do the work now (disk full, command gone): the job goes back, at no cost to it."""


class NoRoom(WorkerTrouble):
    """This disk has no room for this job. It may have for others."""


class WorkerReplaced(Exception):
    """Another process has taken over as this worker: what this one held went back, and it must not register again."""


class JobCancelled(Exception):
    """The job was taken away while its handler ran. Let it pass: what the handler has made is thrown away."""


class Job:
    """One attempt at a job, as its handler sees it.

    `source` is there and verified. The handler writes one file to `output`, or any number below the folder `outputs`,
    or returns the paths of what it has written elsewhere in `workdir`, a private folder that is removed when the
    attempt ends. Of a job that joins others, what they brought is below the folder `inputs`, as `source`, the
    manifest, names it. `source_path` is the name under which the document was submitted: a stranger's text, no path
    here.
    """

    def __init__(self, record: JobRecord, workdir: Path, source: Path, report: Callable[[Mapping[str, Any]], None]):
        self.record = record
        self.workdir = workdir
        self.source = source
        self.output = workdir / "output"
        self.outputs = workdir / "outputs"
        self.inputs = workdir / "inputs"
        self.returned: list[Path] | None = None
        """The outputs that the handler has returned, where it has returned paths."""
        self.cancel_signal = threading.Event()
        """Set when the job was cancelled, has lost its lease, ran out of time, or the worker stops."""
        self.hear: Callable[[str, bytes | bytearray], None] | None = None
        """Told what the handler's process writes (`stdout` or `stderr`, and the bytes)."""
        self.output_tail: Callable[[], str | None] = lambda: None
        """The last output of the handler's process; the converter that starts it sets this."""
        self.life = 0
        """Goes up with each sign of progress; a limit on silence watches it."""
        self.leftover: Callable[[], Any] | None = None
        """Waits for what goes on after the attempt has ended: a thread that nothing can stop."""
        self._report = report

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def type(self) -> str:
        return self.record.type

    @property
    def source_hash(self) -> str:
        return self.record.source_hash

    @property
    def source_path(self) -> str:
        return self.record.source_path or ""

    @property
    def tags(self) -> list[str]:
        return list(self.record.tags or [])

    @property
    def options(self) -> Mapping[str, Any]:
        """What is to be done with the source, as its submitter said; empty where nothing was."""
        return self.record.options or {}

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.record.metadata if isinstance(self.record.metadata, dict) else {}

    def progress(
        self,
        done: float | None = None,
        total: float | None = None,
        *,
        stage: str | None = None,
        percent: float | None = None,
        message: str | None = None,
    ) -> None:
        """Say how far the work is; the next heartbeat carries it. May be called often, and from any thread.

        It counts as a sign of life (`stall_timeout`). Raises JobCancelled when the job was taken away, so that a
        handler that reports its progress ends by itself.
        """
        self.life += 1
        self.raise_if_cancelled()
        news = {"stage": _cut(stage), "done": done, "total": total, "percent": percent, "message": _cut(message)}
        self._report({name: value for name, value in news.items() if value is not None})

    @property
    def cancelled(self) -> bool:
        return self.cancel_signal.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises JobCancelled when the job was taken away."""
        if self.cancel_signal.is_set():
            raise JobCancelled(f"job {self.id} was taken away")


def _cut(words: str | None) -> str | None:
    return None if words is None else words[:_MOST_WORDS]
