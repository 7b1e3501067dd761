"""How busy this machine is, for its heartbeats: CPU, memory, GPUs. State owned here: what was last read.

What counts is what the worker may use. Where a cgroup (v2) that it is in has a limit, as that of a container or of a
systemd service has, CPU and memory are that cgroup's, of its limit; else they are the machine's.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import trio

from blobforge.runner.events import warn
from blobforge.runner.facts import GPU_DEADLINE, MOST_GPUS, ask_nvidia

_SHORTEST = 1.0  # seconds over which the share of the CPU is taken; sooner, the reading before is repeated
_GPUS_EACH = 10.0  # seconds
_GPU_FIELDS = ("utilization.gpu", "memory.used", "memory.total")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class LoadMeter:
    def __init__(self, *, cgroups: Path = _CGROUPS, own: Path = _OWN) -> None:
        self._cgroups, self._own = cgroups, own
        self._gpus: list[dict[str, Any]] = []
        self._load: dict[str, Any] = {}
        self._used: _Used | None = None
        self._read_at = time.monotonic()
        psutil.cpu_percent(percpu=True)  # it tells what was between two calls of one thread
        with suppress(OSError, ValueError):
            self._used = self._cpu_used()

    async def watch_gpus(self) -> None:
        """Ask for the load of NVIDIA's GPUs now and then, apart from the heartbeats: a driver may hang."""
        program = shutil.which("nvidia-smi")
        while program is not None:
            with trio.move_on_after(GPU_DEADLINE + 1) as waiting:
                # In a thread that can be left behind: a process stuck in the driver does not die of a kill, either.
                lines = await trio.to_thread.run_sync(ask_nvidia, program, _GPU_FIELDS, abandon_on_cancel=True)
                self._gpus = [gpu for line in lines if (gpu := _gpu(line))][:MOST_GPUS]
            if waiting.cancelled_caught:
                self._gpus = []
                warn("gpu-load-unknown", "nvidia-smi hangs: the load of the GPUs is not told any more")
                return  # each further question would leave a thread behind
            await trio.sleep(_GPUS_EACH)

    def read(self) -> dict[str, Any]:
        """The load, as a heartbeat has it; the CPU's since the reading before. Never raises, and takes no time."""
        elapsed = time.monotonic() - self._read_at
        if elapsed >= _SHORTEST:
            self._read_at += elapsed
            self._load = {}
            with suppress(OSError, ValueError, psutil.Error):
                self._load |= self._cpu(elapsed)
            with suppress(OSError, ValueError, psutil.Error):
                self._load |= self._memory()
        return {**self._load, "gpus": self._gpus} if self._gpus else self._load

    def _cpu(self, elapsed: float) -> dict[str, Any]:
        each = psutil.cpu_percent(percpu=True)
        before, self._used = self._used, self._cpu_used()
        if self._used is None:
            mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(each))
            each = [share for number, share in enumerate(each) if number in mine] or each
            return {"cpu": _share(sum(each), 100 * len(each)), "cpus": len(each)}
        if before is None or before.folder != self._used.folder:
            return {"cpus": self._used.limit}  # of which the share is not known yet
        share = _share(self._used.seconds - before.seconds, elapsed * self._used.limit)
        return {"cpu": share, "cpus": self._used.limit}

    def _cpu_used(self) -> _Used | None:
        """What the cgroup with the smallest limit has used of the CPU. None: none has one."""
        limits = [(_cpus(_words(folder / "cpu.max")), folder) for folder in self._folders("cpu.max")]
        limit, folder = min((each for each in limits if each[0] is not None), default=(None, None))
        if limit is None or folder is None or limit >= (os.cpu_count() or 1):
            return None
        return _Used(folder, round(limit, 2), _stat(folder / "cpu.stat", "usage_usec") / 1e6)

    def _memory(self) -> dict[str, Any]:
        machine = psutil.virtual_memory()
        limits = [(_words(folder / "memory.max")[0], folder) for folder in self._folders("memory.max")]
        limit, folder = min(((int(most), each) for most, each in limits if most != "max"), default=(None, None))
        if limit is None or folder is None or limit >= machine.total:
            return {"memory": machine.total - machine.available, "memory_total": machine.total}
        # What of it are files that were read, and can go at any time, is not counted.
        used = int(_words(folder / "memory.current")[0]) - _stat(folder / "memory.stat", "inactive_file")
        return {"memory": max(0, used), "memory_total": limit}

    def _folders(self, name: str) -> Iterator[Path]:
        """The worker's cgroup and those around it, where there is the file `name`. Where only a part of the hierarchy
        is mounted, as in some containers, its top is that part."""
        lines = self._own.read_text().splitlines()
        path = next((line[3:] for line in lines if line.startswith("0::/")), "/")
        folder = self._cgroups.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
        for each in (folder, *folder.parents):
            if (each / name).exists():
                yield each
            if each == self._cgroups:
                return


class _Used(NamedTuple):
    """What a cgroup has used of the CPU so far; `limit` is a number of CPUs."""

    folder: Path
    limit: float
    seconds: float


def _words(file: Path) -> list[str]:
    return file.read_text().split()


def _cpus(words: list[str]) -> float | None:
    """`150000 100000`: one and a half CPUs. `max 100000`: no limit."""
    return int(words[0]) / int(words[1]) if words[0] != "max" else None


def _stat(file: Path, name: str) -> int:
    found = dict(line.split() for line in file.read_text().splitlines())
    return int(found[name])


def _share(part: float, whole: float) -> float:
    return round(min(1.0, max(0.0, part / whole)), 3)


def _gpu(line: str) -> dict[str, Any] | None:
    """`97, 31744, 40960`: percent, and memory in MiB. What a GPU does not tell is a word instead of a number."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != len(_GPU_FIELDS):
        return None
    busy, used, total = (int(part) if part.isdigit() else None for part in parts)
    told = {
        "utilization": _share(busy, 100) if busy is not None else None,
        "memory": used << 20 if used is not None else None,
        "memory_total": total << 20 if total is not None else None,
    }
    return {name: value for name, value in told.items() if value is not None}
