"""How busy a worker's machine is, as its heartbeats say: the form of it, and what of it makes a line."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

NEAR: Final = 0.9  # of the memory: what takes a little more is killed, or makes the machine swap

Share = Annotated[float, Meta(ge=0, le=1)]
Octets = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class MachineGpu(msgspec.Struct, frozen=True, omit_defaults=True):
    """Memory is in bytes."""

    utilization: Share | None = None
    memory: Octets | None = None
    memory_total: Octets | None = None


class MachineLoad(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How busy a machine is: `cpu` is the share of the `cpus` that its worker may use, since the heartbeat before;
    `memory` is used, of `memory_total`, in bytes."""

    cpu: Share | None = None
    cpus: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    memory: Octets | None = None
    memory_total: Octets | None = None
    gpus: Annotated[tuple[MachineGpu, ...], Meta(max_length=64)] | None = None


class Point(msgspec.Struct, frozen=True, gc=False):
    """Shares, 0 to 1: of the CPUs, of the memory, of the busiest GPU, and of the memory of the fullest one."""

    at: int  # ms since the epoch
    cpu: float | None = None
    memory: float | None = None
    gpu: float | None = None
    gpu_memory: float | None = None


def point_of(load: MachineLoad, *, at: int) -> Point:
    gpus = load.gpus or ()
    busy = [gpu.utilization for gpu in gpus if gpu.utilization is not None]
    full = [share for gpu in gpus if (share := _part(gpu.memory, gpu.memory_total)) is not None]
    return Point(
        at, load.cpu, _part(load.memory, load.memory_total), max(busy, default=None), max(full, default=None)
    )


def _part(used: int | None, total: int | None) -> float | None:
    return round(min(1.0, used / total), 3) if used is not None and total else None
