"""How busy the machine is, as the worker reads it: within what its container may use, and with its GPUs."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import trio

from blobforge.client import AsyncClient
from blobforge.runner import Command, Worker
from blobforge.runner import load as load_module
from blobforge.runner.load import LoadMeter
from tests.runner.coordinator import Coordinator
from tests.runner.scripted import Scripted, eventually
from tests.runner.test_machine import fake_nvidia_smi

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "_SHORTEST", 0.0)


def cgroup(folder: Path, *, cpu: str | None = None, memory: str | None = None, used: int = 0) -> None:
    """A cgroup as the kernel shows it; `used` is its CPU time in microseconds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.stat").write_text(f"usage_usec {used}\nuser_usec 1\n")
    if cpu is not None:
        (folder / "cpu.max").write_text(f"{cpu}\n")
    if memory is not None:
        (folder / "memory.max").write_text(f"{memory}\n")
        (folder / "memory.current").write_text(f"{300 * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {100 * MIB}\n")


def meter(tmp_path: Path, own: str) -> LoadMeter:
    (tmp_path / "own").write_text(f"1:name=systemd:/x\n0::{own}\n")
    return LoadMeter(cgroups=tmp_path / "fs", own=tmp_path / "own")


@pytest.mark.parametrize("own", ["/pods/a/worker", "/somewhere/else/that/is/not/mounted", "/../../x"])
def test_in_a_container_it_is_of_what_that_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    top = tmp_path / "fs"
    limits = top / "pods" / "a" if own.startswith("/pods") else top
    cgroup(top / "pods" / "a" / "worker", cpu="max 100000", memory="max")
    cgroup(limits, cpu="150000 100000", memory=str(1000 * MIB), used=4_000_000)
    read = meter(tmp_path, own)
    now += 10
    cgroup(limits, used=4_000_000 + 6_000_000)
    assert read.read() == {"cpu": 0.4, "cpus": 1.5, "memory": 200 * MIB, "memory_total": 1000 * MIB}
    now += 1
    cgroup(limits, used=20_000_000)
    assert read.read()["cpu"] == 1.0, "no more than all of it"


@pytest.mark.parametrize("there", [True, False], ids=["without limits", "no cgroups"])
def test_without_limits_it_is_the_machine(tmp_path: Path, there: bool) -> None:
    if there:
        cgroup(tmp_path / "fs", cpu="max 100000", memory="max")
    load = meter(tmp_path, "/").read()
    assert 0 <= load["cpu"] <= 1
    assert load["cpus"] >= 1
    assert 0 < load["memory"] < load["memory_total"] == psutil.virtual_memory().total


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    cgroup(tmp_path / "fs", cpu="none of this", memory=str(1000 * MIB))
    assert set(meter(tmp_path, "/").read()) == {"memory", "memory_total"}
    assert LoadMeter(own=tmp_path / "not there").read() == {}


def test_read_again_at_once_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "_SHORTEST", 60.0)
    assert LoadMeter().read() == {}, "a share of no time"


async def test_gpus_are_read_apart_from_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "printf '97, 31744, 40960\\n[N/A], [N/A], 8192\\nbroken\\n'")
    read = LoadMeter()
    assert "gpus" not in read.read()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read.watch_gpus)
        await eventually(lambda: "gpus" in read.read())
        nursery.cancel_scope.cancel()
    assert read.read()["gpus"] == [
        {"utilization": 0.97, "memory": 31744 * MIB, "memory_total": 40960 * MIB},
        {"memory_total": 8192 * MIB},
    ]


async def test_a_driver_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(load_module, "GPU_DEADLINE", -0.9)
    asked = []

    def hangs(*question: object) -> None:
        asked.append(question)
        time.sleep(1)

    monkeypatch.setattr(load_module, "ask_nvidia", hangs)
    await LoadMeter().watch_gpus()
    assert len(asked) == 1


@pytest.mark.parametrize("load", [True, False])
async def test_heartbeats_tell_it_unless_they_are_not_to(scripted: Scripted, load: bool) -> None:
    coordinator = Coordinator(scripted)
    async with AsyncClient(coordinator.url, token="bf_x") as client, trio.open_nursery() as nursery:
        worker = Worker(client=client, worker_id="w", load=load)
        worker.add(["pdf"], Command("true"))
        nursery.start_soon(worker.run_async)
        await eventually(lambda: len(coordinator.posted("/api/workers/w/heartbeat")) > 2)
        worker.stop()
    told = coordinator.posted("/api/workers/w/heartbeat")
    assert [("cpus" in each.get("load", {})) for each in told] == [load] * len(told)
