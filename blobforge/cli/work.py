"""`blobforge work`: this machine as a worker, with any command as the converter."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, suggest
from blobforge.cli.common import CliError, CliSession, pass_session, session_options

if TYPE_CHECKING:
    from blobforge.runner import Command, InProcess, RunEnd, Validation, Worker

LEAST_MEMORY = 16 << 20  # bytes


def size(value: str) -> int:
    """`500M`, `2GiB`: bytes, in powers of 1024."""
    from blobforge.runner.validation import size_of

    try:
        return size_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _memory(value: str) -> int:
    """A limit below which nothing would start is a unit that was forgotten, or a mistake."""
    if (limit := size(value)) < LEAST_MEMORY:
        raise click.BadParameter(f"{value!r} is {limit:,} bytes, and no program starts in that; one is 500M or 2GiB")
    return limit


@click.command()
@click.option(
    "--type",
    "types",
    multiple=True,
    required=True,
    metavar="TYPE",
    shell_complete=suggest.types,
    help="Job type; may be repeated.",
)
@click.option("--exec", "template", metavar="COMMAND", help="The command to run for each job.")
@click.option("--handler", metavar="MODULE:FUNCTION", help="Or a Python function to call for each job.")
@click.option("--stdout", is_flag=True, help="What the command writes to stdout is the output.")
@click.option(
    "--timeout", type=common.duration, metavar="TIME", help="Longest run of the command (90s, 10m, 2h) [none]."
)
@click.option(
    "--stall-timeout",
    type=common.duration,
    metavar="TIME",
    help="Longest time without progress: without output, or, with --progress-regex, without a match [none].",
)
@click.option(
    "--progress-regex",
    metavar="REGEX",
    help=r"Finds progress in lines of output: (?P<done>\d+)/(?P<total>\d+); also percent, stage, message.",
)
@click.option(
    "--max-failures",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="After N failures in a row take no jobs but one now and then, as a trial; 0: never.",
)
@click.option(
    "--max-memory", type=_memory, metavar="SIZE", help="Most that each process of a job may have for itself [none]."
)
@click.option(
    "--recycle-after",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --handler: a new process after N jobs [never; near --max-memory, too].",
)
@click.option("--concurrency", type=click.IntRange(min=1), default=1, show_default=True, help="Jobs at a time.")
@click.option("--once", is_flag=True, help="Take one job at most, then end.")
@click.option("--max-jobs", type=click.IntRange(min=1), metavar="N", help="End after N jobs.")
@click.option(
    "--idle-exit",
    "--exit-when-idle",
    "idle_exit",
    type=common.duration,
    metavar="TIME",
    help="End after so long without a job.",
)
@click.option(
    "--grace",
    type=common.duration,
    default="0",
    metavar="TIME",
    help="What running jobs get on SIGTERM before they are given back [0].",
)
@click.option(
    "--preemption-notice",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BLOBFORGE_PREEMPTION_NOTICE",
    metavar="FILE",
    help="Once FILE is there, this machine is about to be taken away: all is given back at once, without --grace.",
)
@click.option(
    "--run-window",
    "run_windows",
    multiple=True,
    metavar="FROM-TO",
    help="Take jobs only then, local time: 22:00-06:00; may be repeated. Running jobs go on.",
)
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
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    callback=common.labelled,
    help="A label to have, as gpu or memory_gib=64: jobs may require some (submit --requires).",
)
@click.option(
    "--comparisons-only",
    is_flag=True,
    help="With --converter: take the jobs of canaries (`blobforge canary`), and no others.",
)
@click.option(
    "--output-suffix", default="", metavar=".SUFFIX", help="Names the outputs: report.pdf, .txt: report.txt."
)
@click.option("--zip", "zip_outputs", is_flag=True, help="Pack several outputs of a job as one ZIP file.")
@click.option(
    "--min-size", multiple=True, metavar="[PATTERN=]SIZE", help="Outputs must have so many bytes: 1, *.md=2K."
)
@click.option(
    "--media-type",
    multiple=True,
    metavar="[PATTERN=]TYPE",
    help="Outputs must be of it: text/*, *.png=image/png.",
)
@click.option(
    "--schema", multiple=True, metavar="[PATTERN=]FILE", help="JSON outputs must be as the JSON schema in FILE says."
)
@click.option("--check", metavar="COMMAND", help="A command that must exit with 0 for the outputs; as --exec.")
@click.option(
    "--workdir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where the jobs' private folders are made [the system's temporary folder].",
)
@click.option("--converter", "made_with", metavar="'NAME VERSION'", help="What makes the results, as 'marker 1.3.2'.")
@click.option("--hide-command", is_flag=True, help="Do not tell the server the command; `replay` cannot run it then.")
@click.option(
    "--redact",
    multiple=True,
    metavar="REGEX",
    help="Takes secrets out of what is sent of its output, besides those known by their form; may be repeated.",
)
@click.option("--no-live-log", is_flag=True, help="Do not send what the command prints while it runs.")
@click.option("--no-load", is_flag=True, help="Do not send how busy this machine is: CPU, memory, GPUs.")
@click.option("--min-free", type=size, default="256M", metavar="SIZE", help="Leave so much of that disk free [256M].")
@session_options
@pass_session
def work(
    session: CliSession,
    /,
    *,
    types: tuple[str, ...],
    template: str | None,
    handler: str | None,
    stdout: bool,
    max_failures: int,
    max_memory: int | None,
    recycle_after: int | None,
    timeout: float | None,
    stall_timeout: float | None,
    progress_regex: str | None,
    concurrency: int,
    once: bool,
    max_jobs: int | None,
    idle_exit: float | None,
    comparisons_only: bool,
    grace: float,
    preemption_notice: Path | None,
    run_windows: tuple[str, ...],
    poll_wait: int | None,
    worker_id: str | None,
    labels: tuple[str, ...],
    output_suffix: str,
    zip_outputs: bool,
    min_size: tuple[str, ...],
    media_type: tuple[str, ...],
    schema: tuple[str, ...],
    check: str | None,
    workdir: Path | None,
    min_free: int,
    hide_command: bool,
    redact: tuple[str, ...],
    no_live_log: bool,
    no_load: bool,
    made_with: str | None,
) -> None:
    """Run a command for each job, until SIGTERM or Ctrl-C.

    \b
      blobforge work --type pdf --exec 'pdftotext -layout {source} {output}'
      blobforge work --type video --timeout 6h --stall-timeout 10m \\
          --progress-regex 'frame (?P<done>\\d+) of (?P<total>\\d+)' --exec './encode {source} {output}'
      blobforge work --type scan --concurrency 4 --run-window 22:00-06:00 --label ocr \\
          --exec './ocr.sh {source} {output}'
      blobforge work --type page --stdout --exec 'tesseract {source} -'
      blobforge work --type pdf --handler mypackage.convert:pdf --recycle-after 100 --max-memory 2G

    The command runs in a private folder of the job. There is no shell: for pipes and redirections write
    --exec "bash -c '...'". These are replaced: {source} and {output} (the files to read and to write), {outputs} (a
    folder for several files, each an output under its own name), {options} (a file with the job's options, as JSON),
    {workdir} (that private folder, removed afterwards), {cwd} (the folder that the worker was started in),
    {progress_file}, {job_id}, {job_type}, {source_hash}, {source_path} (the name it was submitted by; a stranger's
    text). {{word}} stands for {word} itself. The command finds these in its environment, too: BLOBFORGE_SOURCE,
    BLOBFORGE_OUTPUT and so on.

    Progress is found in its output by --progress-regex, or read from {progress_file}: the last line there, such as
    12/90, 45% or {"done": 12, "total": 90, "stage": "ocr"}.

    Exit status 0 with an output completes the job. Anything else fails it, with the last output of the command in its
    record. So does a limit: --timeout and --stall-timeout end the command and all that it has started. A full disk
    gives the job back, at no cost to it.

    On SIGTERM, Ctrl-C or SIGHUP no more jobs are taken. Running ones get --grace to finish and are then stopped and
    given back; a second signal does so at once, a third ends without waiting. Exit code 0. What watches for the end
    of a machine that may be taken away (a spot instance) writes the file --preemption-notice: jobs go back at once,
    free of charge.

    The server keeps the command and its limits as this worker's record, for those that may read it: `blobforge
    replay` runs an attempt again by them. So no secret belongs into the command; --hide-command keeps it here.

    What the command prints is sent while it runs, for whoever looks at the job (`blobforge jobs logs --follow`, the
    job's page), without secrets: values of this worker's own environment whose names say so, tokens, keys and
    passwords by their forms, and what --redact matches in a line.

    With each heartbeat goes how busy the machine is, for the pages of the workers: CPU and memory, of what a
    container or a service may use where that has limits, and NVIDIA's GPUs. --no-load sends none of it.

    The credential is an API token with the scope `work`, or a worker's own: --worker-id with its secret in
    BLOBFORGE_WORKER_SECRET.

    Events go to stderr, one line each, or with --json to stdout. With --once, --max-jobs or --idle-exit the exit code
    is 1 when a job did not complete. 2: wrong usage; 3: no server (--once); 4: not allowed; 6: another process has
    taken over as this worker (tell your service manager not to start it again); 7: it ended while it took no jobs,
    because --max-failures in a row had failed.
    """
    from blobforge.runner import (
        EXIT_FAILING,
        EXIT_REPLACED,
        Limits,
        Recipe,
        RunEnd,
        ServerAwayNotice,
        Worker,
        WorkerReplaced,
        WorkerTrouble,
        show_events,
    )

    converter = _converter(
        template, handler, stdout=stdout, progress_regex=progress_regex, recycle_after=recycle_after,
        max_memory=max_memory,
    )  # fmt: skip
    with _usage("--timeout, --stall-timeout"):
        limits = Limits(timeout, stall_timeout)
    if output_suffix and (not output_suffix.startswith(".") or "/" in output_suffix):
        raise CliError(f"--output-suffix: {output_suffix!r} is no suffix; one is .txt", common.USAGE)
    validation = _validation(
        timeout, min_size=min_size, media_type=media_type, schema=schema, check=check,
    )  # fmt: skip
    recipe = None if hide_command else Recipe(
        exec=template, handler=handler, stdout=stdout, timeout=timeout, stall_timeout=stall_timeout,
        progress_regex=progress_regex, max_memory=max_memory, min_size=min_size, media_type=media_type, check=check,
        output_suffix=output_suffix,
    )  # fmt: skip
    if comparisons_only and made_with is None and template is not None:
        raise CliError("--comparisons-only: say with --converter what is on trial, as 'marker 1.4'.", common.USAGE)
    credential = _worker_credential(worker_id)
    if session.json:
        show_events(sys.stdout, style="json", quiet=session.quiet)
    else:
        show_events(quiet=session.quiet)

    async def main() -> Worker:
        async with session.client(worker=credential, on_retry=ServerAwayNotice()) as client:
            with _usage("--run-window, --converter, --redact"):
                worker = Worker(
                    client=client,
                    worker_id=worker_id,
                    concurrency=concurrency,
                    once=once,
                    max_jobs=max_jobs,
                    idle_exit=idle_exit,
                    grace=grace,
                    preemption_notice=preemption_notice,
                    run_windows=run_windows,
                    poll_wait=poll_wait if poll_wait is not None else (0 if once else 30),
                    labels=labels,
                    workdir=workdir,
                    min_free=min_free,
                    output_suffix=output_suffix,
                    zip_outputs=zip_outputs,
                    max_failures=max_failures,
                    converter=made_with,
                    comparisons_only=comparisons_only,
                    live_log=not no_live_log,
                    load=not no_load,
                    redact=redact,
                )
            worker.add(dict.fromkeys(types), converter, limits, recipe, validation)
            await worker.run_until_signalled()
            return worker

    try:
        worker = common.run(main)
    except (WorkerTrouble, OSError) as error:  # no scratch folder, no guard process: nothing was started
        raise CliError(f"cannot start: {error}") from error
    except WorkerReplaced as error:
        raise CliError(f"{error}.", EXIT_REPLACED, "Give one of the two another id.") from error
    bounded = once or max_jobs is not None or idle_exit is not None
    tally = worker.tally
    session.note(_summary(tally, once))
    if worker.failing:
        session.note("It took no more jobs: too many in a row had failed here.")
        common.fail(EXIT_FAILING)
    if bounded and any(count for outcome, count in tally.items() if outcome is not RunEnd.COMPLETED):
        common.fail()


def _converter(
    template: str | None,
    handler: str | None,
    *,
    stdout: bool,
    progress_regex: str | None,
    recycle_after: int | None,
    max_memory: int | None,
) -> Command | InProcess:
    """What is run for each job. Wrong usage is told by the option that it is of."""
    from blobforge.runner import Command, InProcess, Pattern, address_named

    if (template is None) == (handler is None):
        raise CliError("Give one of --exec and --handler.", common.USAGE)
    if handler is not None and (stdout or progress_regex is not None):
        raise CliError("--stdout and --progress-regex are for --exec: a function has job.output and job.progress().",
                       common.USAGE)  # fmt: skip
    if handler is None and recycle_after is not None:
        raise CliError("--recycle-after is for --handler: a command has a new process for each job.", common.USAGE)

    with _usage("--progress-regex"):
        pattern = Pattern(progress_regex) if progress_regex is not None else None
    if template is not None:
        with _usage("--exec"):
            return Command(template, pattern=pattern, stdout=stdout, max_memory=max_memory)
    with _usage("--handler"):
        address = address_named(handler or "")
    return InProcess(address, recycle_after=recycle_after, max_memory=max_memory)


class _usage:  # noqa: N801 - used as a statement, `with _usage("--exec"):`
    """Tell a ValueError as wrong usage of one option."""

    def __init__(self, option: str) -> None:
        self._option = option

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ValueError):
            raise CliError(f"{self._option}: {error}", common.USAGE) from error


def _validation(timeout: float | None, **rules: Any) -> Validation:
    """Wrong usage is told by the option that it is of."""
    from blobforge.runner import Validation

    for name, value in rules.items():
        with _usage(f"--{name.replace('_', '-')}"):
            Validation.of(**{name: value})
    return Validation.of(timeout=timeout, **rules)


def _worker_credential(worker_id: str | None) -> tuple[str, str] | None:
    secret = os.environ.get("BLOBFORGE_WORKER_SECRET")
    if not secret:
        return None
    if worker_id is None:
        raise CliError("BLOBFORGE_WORKER_SECRET is set, but not whose it is.", common.USAGE, "Give --worker-id, too.")
    return worker_id, secret


def _summary(tally: dict[RunEnd, int], once: bool) -> str:
    if not tally:
        return "There was no job." if once else "No job was run."
    return ", ".join(f"{count} {outcome}" for outcome, count in tally.items())
