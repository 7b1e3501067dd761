"""`--exec`: a command line as a handler.

Placeholders stand for paths; there is no shell, so that no file name is ever read as code. The command also finds
them in its environment: BLOBFORGE_JOB_ID, BLOBFORGE_JOB_TYPE, BLOBFORGE_SOURCE, BLOBFORGE_OUTPUT, BLOBFORGE_WORKDIR,
BLOBFORGE_SOURCE_PATH. It gets none of the worker's own BLOBFORGE_* variables: they hold credentials.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal

from blobforge.runner.context import JobContext, JobFailed, WorkerTrouble
from blobforge.runner.process import GRACE, Finished, Tail, run_in_group

PLACEHOLDERS = ("source", "output", "workdir", "job_id", "source_path")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


class Command:
    """A handler that runs one command for each job.

    Raises ValueError for a template that is empty, unbalanced, or whose program is not to be found.
    """

    def __init__(self, template: str, *, grace: float = GRACE) -> None:
        self._argv = shlex.split(template)
        self._grace = grace
        if not self._argv:
            raise ValueError("the command is empty")
        program = self._argv[0]
        if not _PLACEHOLDER.search(program) and shutil.which(program) is None:
            raise ValueError(f"{program!r} is not found: install it, or give its full path")

    async def __call__(self, ctx: JobContext) -> None:
        """Run the command. Raises JobFailed for any exit but 0, WorkerTrouble when it cannot be started."""
        values = _values(ctx)
        argv = [_PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in self._argv]
        try:
            finished = await run_in_group(argv, cwd=ctx.workdir, env=_environment(ctx, values), grace=self._grace)
        except OSError as error:
            raise WorkerTrouble(f"cannot start {argv[0]}: {error.strerror or error}") from error
        if finished.returncode != 0:
            raise _failure(finished)
        if not ctx.output.exists():
            raise JobFailed(
                "the command ended well but wrote no output at {output}",
                kind="OutputMissing",
                log_tail=_log_tail(finished),
            )


def _values(ctx: JobContext) -> dict[str, str]:
    return {
        "source": str(ctx.source),
        "output": str(ctx.output),
        "workdir": str(ctx.workdir),
        "job_id": str(ctx.job.id),
        "source_path": ctx.job.source_path or "",
    }


def _environment(ctx: JobContext, values: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    ours = {f"BLOBFORGE_{name.upper()}": value for name, value in values.items()}
    return {**inherited, **ours, "BLOBFORGE_JOB_TYPE": ctx.job.type}


def _failure(finished: Finished) -> JobFailed:
    code = finished.returncode
    words = _last_line(finished.stderr) or _last_line(finished.stdout)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        kind, what = "Signal", f"killed by {name}{hint}"
    else:
        kind, what = "ExitStatus", f"exit status {code}"
    return JobFailed(f"{what}: {words}" if words else what, kind=kind, log_tail=_log_tail(finished))


def _last_line(tail: Tail) -> str:
    lines = [line.strip() for line in tail.text().splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def _log_tail(finished: Finished) -> str | None:
    parts = []
    for name, tail in (("stderr", finished.stderr), ("stdout", finished.stdout)):
        text = tail.text().rstrip()
        if text:
            cut = f", the end of {tail.total:,} bytes" if tail.cut else ""
            parts.append(f"--- {name}{cut} ---\n{text}\n")
    return "".join(parts) or None
