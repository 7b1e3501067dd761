"""What a machine tells about itself when its worker registers: cores, memory, disk, system, Python, GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import trio

GPU_DEADLINE = 5.0  # seconds for nvidia-smi, which hangs with a broken driver
_GPU_FIELDS = ("name", "memory.total", "driver_version")
MOST_GPUS = 64


async def host_facts(scratch: Path) -> dict[str, Any]:
    """Facts for the registration's `metadata`. Sizes are in bytes. Never raises, waits GPU_DEADLINE at most."""
    facts = await trio.to_thread.run_sync(_host, scratch)
    gpus = await _gpus()
    return {**facts, "gpus": gpus} if gpus else facts


def _host(scratch: Path) -> dict[str, Any]:
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    facts: dict[str, Any] = {
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "os": system.get("PRETTY_NAME") or platform.platform(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cores": psutil.cpu_count(logical=False),
        "memory": psutil.virtual_memory().total,
    }
    try:
        disk = shutil.disk_usage(scratch)
    except OSError:
        return facts
    return {**facts, "scratch": {"path": str(scratch), "total": disk.total, "free": disk.free}}


async def _gpus() -> list[dict[str, Any]]:
    """NVIDIA's GPUs, as nvidia-smi lists them; none where it is missing, fails or hangs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    lines: list[str] = []
    with trio.move_on_after(GPU_DEADLINE + 1):
        # In a thread that can be left behind: a process stuck in the driver does not die of a kill, either.
        lines = await trio.to_thread.run_sync(ask_nvidia, program, _GPU_FIELDS, abandon_on_cancel=True)
    return [gpu for line in lines if (gpu := _gpu(line))][:MOST_GPUS]


def ask_nvidia(program: str, fields: Sequence[str]) -> list[str]:
    """A line for each GPU, with these fields between commas. None where nvidia-smi fails or hangs."""
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603 - found on the PATH, arguments of ours
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=GPU_DEADLINE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.decode("utf-8", "replace").splitlines()


def _gpu(line: str) -> dict[str, Any] | None:
    """`NVIDIA A100-SXM4-40GB, 40960, 535.104.05`: memory in MiB."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != len(_GPU_FIELDS) or not parts[0]:
        return None
    name, memory, driver = parts
    gpu: dict[str, Any] = {"name": name[:200], "driver": driver[:100]}
    return {**gpu, "memory": int(memory) << 20} if memory.isdigit() else gpu
