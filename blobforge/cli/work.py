"""`blobforge work`: this machine as a worker, with any command as the converter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, Session, pass_session, session_options

if TYPE_CHECKING:
    from blobforge.client import ClientError
    from blobforge.runner import Outcome, Worker


@click.command()
@click.option("--type", "types", multiple=True, required=True, metavar="TYPE", help="Job type; may be repeated.")
@click.option("--exec", "template", required=True, metavar="COMMAND", help="The command to run for each job.")
@click.option("--concurrency", type=click.IntRange(min=1), default=1, show_default=True, help="Jobs at a time.")
@click.option("--once", is_flag=True, help="Take one job at most, then end.")
@click.option(
    "--poll-wait",
    type=click.IntRange(0, 60),
    help="Seconds that a claim waits for a job [30; with --once 0].",
)
@click.option(
    "--worker-id",
    envvar="BLOBFORGE_WORKER_ID",
    metavar="ID",
    help="This worker's id [BLOBFORGE_WORKER_ID, <hostname>-<random>].",
)
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="A capability to show; may be repeated.")
@click.option(
    "--output-suffix", default="", metavar=".SUFFIX", help="Names the outputs: report.pdf, .txt: report.txt."
)
@click.option(
    "--workdir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where the jobs' private folders are made [the system's temporary folder].",
)
@session_options
@pass_session
def work(
    session: Session,
    /,
    *,
    types: tuple[str, ...],
    template: str,
    concurrency: int,
    once: bool,
    poll_wait: int | None,
    worker_id: str | None,
    labels: tuple[str, ...],
    output_suffix: str,
    workdir: Path | None,
) -> None:
    """Run a command for each job, until SIGTERM or Ctrl-C.

    \b
      blobforge work --type pdf --exec 'pdftotext -layout {source} {output}'

    There is no shell. These are replaced: {source} and {output} (the files to read and to write), {workdir} (a
    private folder, removed afterwards), {job_id}, {source_path} (the name it was submitted by; a stranger's text).
    The command finds the same in BLOBFORGE_SOURCE, BLOBFORGE_OUTPUT, BLOBFORGE_WORKDIR, BLOBFORGE_JOB_ID,
    BLOBFORGE_SOURCE_PATH, and BLOBFORGE_JOB_TYPE.

    Exit status 0 with a file at {output} completes the job. Anything else fails it, with the last output of the
    command in its record. On SIGTERM, Ctrl-C or SIGHUP the command is stopped and its job given back, at no cost
    to it; the worker then ends with exit code 0. A second signal ends it sooner.

    The credential is an API token with the scope `work`, or a worker's own: --worker-id with its secret in
    BLOBFORGE_WORKER_SECRET.

    With --once the exit code is 0 when the job completed or there was none, 1 when it did not complete.
    """
    from blobforge.runner import Command, Worker

    try:
        command = Command(template)
    except ValueError as error:
        raise CliError(f"--exec: {error}", common.USAGE) from error
    if output_suffix and (not output_suffix.startswith(".") or "/" in output_suffix):
        raise CliError(f"--output-suffix: {output_suffix!r} is no suffix; one is .txt", common.USAGE)
    credential = _worker_credential(worker_id)
    _log_to_stderr(quiet=session.quiet)

    async def main() -> dict[Outcome, int]:
        async with session.client(worker=credential, on_retry=_Waiting()) as client:
            worker = Worker(
                client,
                command,
                types,
                worker_id=worker_id,
                concurrency=concurrency,
                once=once,
                poll_wait=poll_wait if poll_wait is not None else (0 if once else 30),
                labels=labels,
                workdir=workdir,
                output_suffix=output_suffix,
            )
            return await _run_until_signalled(worker)

    tally = common.run(main)
    session.note(_summary(tally, once))
    if once and any(count for outcome, count in tally.items() if outcome != "completed"):
        common.fail()


def _worker_credential(worker_id: str | None) -> tuple[str, str] | None:
    secret = os.environ.get("BLOBFORGE_WORKER_SECRET")
    if not secret:
        return None
    if worker_id is None:
        raise CliError("BLOBFORGE_WORKER_SECRET is set, but not whose it is.", common.USAGE, "Give --worker-id, too.")
    return worker_id, secret


async def _run_until_signalled(worker: Worker) -> dict[Outcome, int]:
    import signal

    import trio

    async def watch(nursery: trio.Nursery) -> None:
        # A closed terminal (SIGHUP) must not leave commands behind, either.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            nursery.start_soon(run)
            async for _ in signals:
                if stopped.is_set():
                    nursery.cancel_scope.cancel()
                    return
                stopped.set()
                worker.stop()

    async def run() -> None:
        await worker.run()
        nursery.cancel_scope.cancel()

    stopped = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery)
    return dict(worker.tally)


def _summary(tally: dict[Outcome, int], once: bool) -> str:
    if not tally:
        return "There was no job." if once else "No job was run."
    return ", ".join(f"{count} {outcome}" for outcome, count in tally.items())


class _Waiting:
    """Says now and then that the server is waited for, not at each try."""

    EVERY = 30.0

    def __init__(self) -> None:
        self._said: float | None = None

    def __call__(self, error: ClientError, pause: float) -> None:
        import logging
        import time

        now = time.monotonic()
        if self._said is None or now - self._said >= self.EVERY:
            self._said = now
            logging.getLogger("blobforge.runner").warning("%s; trying again until it answers", error)


def _log_to_stderr(*, quiet: bool) -> None:
    import logging
    import sys

    class OneLine(logging.Formatter):
        """A message stays in its line: paths and the last words of commands are strangers' text."""

        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
            return output.one_line(super().formatMessage(record))

    clock = "%H:%M:%S" if sys.stderr.isatty() else "%Y-%m-%dT%H:%M:%S%z"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(message)s", clock))
    logger = logging.getLogger("blobforge.runner")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
