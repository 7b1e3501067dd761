"""A command's own cgroup, where the worker may make one: nothing outruns its end, and its memory is one sum."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from blobforge.runner import Command, supervise
from blobforge.runner.supervise import Box, box_for
from tests.runner.test_command import given

HYDRA = """
import mmap, os, pathlib, sys, time
folder, until = pathlib.Path(sys.argv[1]), time.monotonic() + 10
beats = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")
steps = os.open(folder / "steps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def live(head):
    os.setsid()
    while time.monotonic() < until:
        beats[head] = now = time.monotonic()
        for other in range(6):
            if now - beats[other] > 0.02:
                beats[other] = now
                if not os.fork():
                    head = other
        if os.fork():
            os._exit(0)
        os.write(steps, b".")
        try:
            os.setsid()
        except OSError:
            pass

if not os.fork():
    live(0)
while os.fstat(steps).st_size < 500:
    time.sleep(0.01)
(folder / "output").write_text("done")
"""


@pytest.fixture
def may_make_boxes() -> None:
    box = box_for(0)
    if box is None:
        pytest.skip("no cgroups of its own here")
    box.remove()


@pytest.mark.usefixtures("may_make_boxes")
async def test_what_is_another_process_at_each_look_ends_with_its_job(tmp_path: Path) -> None:
    """Six heads, each for a moment, and its child after it; where one was killed, another grows it again."""
    script = tmp_path / "hydra.py"
    script.write_text(HYDRA)
    await Command(f"{sys.executable} -S {script} {tmp_path}")(given(tmp_path))
    steps = (tmp_path / "steps").stat().st_size
    await trio.sleep(0.2)
    assert (tmp_path / "steps").stat().st_size == steps


@pytest.mark.usefixtures("may_make_boxes")
async def test_a_command_runs_in_its_box_and_leaves_none(tmp_path: Path) -> None:
    script = tmp_path / "where.sh"
    script.write_text(f"cat /proc/self/cgroup > {tmp_path}/output; cat /proc/$PPID/cgroup > {tmp_path}/above\n")
    await Command(f"sh {script}")(given(tmp_path))
    (box,) = [line for line in (tmp_path / "output").read_text().splitlines() if line.startswith("0::")]
    above = (tmp_path / "above").read_text()
    assert supervise._BOX in box
    assert supervise._BOX not in above, "the supervisor itself is outside"
    mounts = [
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if "- cgroup2 " in line
    ]
    assert not Path(mounts[0] + box.removeprefix("0::")).exists()


def hierarchy(tmp_path: Path) -> tuple[str, str]:
    """A folder that looks as a delegated cgroup does, the worker in one below; what the kernel makes of it is not
    tried here."""
    place, own = tmp_path / "service", tmp_path / "service" / "worker"
    own.mkdir(parents=True)
    (place / "cgroup.subtree_control").write_text("")
    return str(place), str(own)


def test_the_limit_is_that_of_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, own = hierarchy(tmp_path)
    folder = Path(place) / f"{supervise._BOX}{os.getpid()}"
    make = os.mkdir

    def mkdir(path: str) -> None:
        """As the kernel does: a new cgroup has the files of the controllers that are on."""
        make(path)
        if (Path(place) / "cgroup.subtree_control").read_text() == "+memory":
            for name in ("max", "swap.max"):  # and no oom.group: an old kernel
                (folder / f"memory.{name}").write_text("max")

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert Box.make(4096, own=own, place=place) is not None
    assert (folder / "memory.max").read_text()[:4] == "4096"
    assert (folder / "memory.swap.max").read_text()[:1] == "0"
    assert not (folder / "memory.oom.group").exists()


def test_without_a_limit_or_in_the_workers_own_cgroup_no_controller_is_turned_on(tmp_path: Path) -> None:
    place, own = hierarchy(tmp_path)
    box = Box.make(0, own=own, place=place)
    assert box is not None
    box.remove()
    assert Box.make(4096, own=place, place=place) is not None, "a kill that nothing outruns is worth it by itself"
    assert (Path(place) / "cgroup.subtree_control").read_text() == ""


def test_where_it_may_not_there_is_none(tmp_path: Path) -> None:
    assert Box.make(4096, own=f"{tmp_path}/gone/own", place=f"{tmp_path}/gone") is None
    place, own = hierarchy(tmp_path)
    box = Box.make(0, own=own, place=place)
    assert box is not None
    assert not box.enter(), "it may make one, and not go there"
    assert sorted(os.listdir(place)) == ["cgroup.subtree_control", "worker"]


def test_what_a_killed_supervisor_left_is_removed_by_the_next(tmp_path: Path) -> None:
    place, own = hierarchy(tmp_path)
    left, kept = Path(place, f"{supervise._BOX}999999999"), Path(place, f"{supervise._BOX}{os.getppid()}")
    left.mkdir()
    kept.mkdir()
    assert Box.make(0, own=own, place=place) is not None
    assert (left.exists(), kept.exists()) == (False, True)
