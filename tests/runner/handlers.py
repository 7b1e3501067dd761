"""Handlers that a process of their own can import, each with one vice or virtue."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import trio
import trio.lowlevel

from blobforge.runner import Job, JobFailed, WorkerTrouble

if "UNLOADABLE" in os.environ:
    raise ImportError("no such model")


def upper(job: Job) -> None:
    print("working in", os.getpid())
    job.progress(1, 2, stage="pages", message="half")
    (job.outputs / "upper.txt").write_bytes(job.source.read_bytes().upper())


async def upper_async(job: Job) -> None:
    await trio.lowlevel.checkpoint()
    job.output.write_bytes(job.source.read_bytes().upper())


def says_what_it_is(job: Job) -> None:
    job.output.write_bytes(b"x")


says_what_it_is.converter = "Marker  1.3.2RC1"  # type: ignore[attr-defined]


def says_nonsense(job: Job) -> None:
    job.output.write_bytes(b"x")


says_nonsense.converter = "marker"  # type: ignore[attr-defined]


def pid(job: Job) -> None:
    job.output.write_text(str(os.getpid()))


_kept: list[bytes] = []


def grows(job: Job) -> None:
    _kept.append(b"x" * 320_000_000)
    job.output.write_text(str(os.getpid()))


def leaves_a_daemon(job: Job) -> None:
    script = f"(env -i setsid sh -c 'echo $$ > {job.output}; exec sleep 1000' &)"
    subprocess.run(["sh", "-c", script], check=True)
    while not job.output.exists() or not job.output.read_text():
        time.sleep(0.01)


def broken(_job: Job) -> None:
    print("about to divide")
    print("a warning", file=sys.stderr)
    raise ZeroDivisionError("no pages")


def encrypted(_job: Job) -> None:
    raise JobFailed("encrypted", kind="Encrypted", log_tail="the log", retryable=False)


def segfault(_job: Job) -> None:
    print("last words", file=sys.stderr)
    os.kill(os.getpid(), 11)


def exits(_job: Job) -> None:
    sys.exit("enough")


def disk_full(_job: Job) -> None:
    Path("/dev/full").write_bytes(b"x" * 100_000)


def gpu_lost(_job: Job) -> None:
    raise WorkerTrouble("the GPU is gone")


def tells_a_secret(job: Job) -> None:
    job.progress(1, 2, stage="pages", message="GET https://user:hunter2000@nas/x")
    time.sleep(0.5)
    raise WorkerTrouble("PUT https://user:hunter2000@nas/x failed")


def holds_the_gil(job: Job) -> None:
    """As a C extension does that never lets go: PyDLL calls with the GIL held."""
    (job.workdir / "started").touch()
    ctypes.PyDLL(None).usleep(1_500_000)
    job.output.write_text("done")


def hangs(job: Job) -> None:
    _say_pids(job, subprocess.Popen(["sleep", "1000"]).pid)
    time.sleep(1000)


def leaks(job: Job) -> None:
    """The second job tells how the first one's child is."""
    before = job.workdir.parent.parent / "pids"
    stat = Path(f"/proc/{before.read_text().split()[1]}/stat") if before.exists() else None
    state = stat.read_text().rpartition(")")[2].split()[0] if stat is not None else "none"
    _say_pids(job, subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
    job.output.write_text(state)


def stops_when_told(job: Job) -> None:
    _say_pids(job, 0)
    job.cancel_signal.wait(1000)
    job.raise_if_cancelled()


def _say_pids(job: Job, child: int) -> None:
    """Where the test, which knows the run's base folder, finds them."""
    file = job.workdir.parent.parent / "pids"
    file.with_suffix(".new").write_text(f"{os.getpid()} {child}")
    file.with_suffix(".new").rename(file)


def returns_paths(job: Job) -> list[Path]:
    made = [job.workdir / "elsewhere" / name for name in ("second.txt", "first.txt")]
    made[0].parent.mkdir()
    made[0].write_text("2")
    made[1].write_text("1")
    return made


async def returns_paths_async(job: Job) -> list[Path]:
    await trio.lowlevel.checkpoint()
    return returns_paths(job)
