"""The machine that the worker is on: its scratch disk, what it tells of itself, the lines that it writes."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest

from blobforge.client import Job as JobRecord
from blobforge.runner import WorkerTrouble, show_events
from blobforge.runner import facts as facts_module
from blobforge.runner.events import log, say
from blobforge.runner.facts import host_facts
from blobforge.runner.scratch import Scratch

ALWAYS = 1 << 60  # bytes that no disk has


def record(size: int | None = None) -> JobRecord:
    return JobRecord(id=7, type="pdf", status="running", source_hash="0" * 64, source_size=size)


def test_a_scratch_folder_lives_as_long_as_its_run(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    with scratch.open():
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        attempt = scratch.attempt(record())
        assert attempt.parent == folder
        assert (attempt / "outputs").is_dir()
        (attempt / "closed").mkdir(mode=0)
        (attempt / "outputs").chmod(0o500)
        with Scratch(tmp_path).open():
            assert folder.exists(), "another worker's sweep leaves a living one alone"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        context = Scratch(tmp_path).open()
        context.__enter__()
        os._exit(9)  # as kill -9 does: nothing is cleaned up
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    (tmp_path / "blobforge-work-not-ours").mkdir()
    with Scratch(tmp_path).open():
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["blobforge-work-not-ours"], "no lock: not made by us"


def test_a_scratch_folder_that_was_cleared_away_is_made_anew(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, min_free=0)
    with scratch.open():
        (folder,) = tmp_path.iterdir()
        shutil.rmtree(folder)
        assert scratch.attempt(record()).parent == folder
        with Scratch(tmp_path).open():
            assert folder.exists()
        shutil.rmtree(folder)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o755)
        folder.symlink_to(elsewhere)
        with pytest.raises(WorkerTrouble, match="not ours any more"):
            scratch.attempt(record())
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_relative_scratch_folder_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    scratch = Scratch(Path("here"), min_free=0)
    with scratch.open():
        assert scratch.attempt(record()).is_absolute()


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, min_free=0)
    with scratch.open(), pytest.raises(WorkerTrouble, match="this job takes"):
        scratch.attempt(record(ALWAYS))
    assert "are to stay free" in (Scratch(tmp_path, min_free=ALWAYS).trouble() or "")
    assert Scratch(tmp_path, min_free=0).trouble() is None
    assert "cannot be used" in (Scratch(tmp_path / "gone").trouble() or "")


async def test_the_machine_tells_what_it_is(tmp_path: Path) -> None:
    facts = await host_facts(tmp_path)
    assert facts["cpus"] >= 1
    assert facts["memory"] > 1 << 20
    assert facts["scratch"]["path"] == str(tmp_path)
    assert 0 < facts["scratch"]["free"] <= facts["scratch"]["total"]
    assert {"hostname", "os", "python", "machine", "kernel", "pid"} <= set(facts)
    json.dumps(facts)


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, first in the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_gpus_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "NVIDIA A100-SXM4-40GB, 40960, 535.104.05\\nTesla, with, commas, 1, 2\\nNVIDIA GB10, [N/A], 580.1\\n"
    fake_nvidia_smi(tmp_path, monkeypatch, f"printf '{lines}'")
    assert (await host_facts(tmp_path))["gpus"] == [
        {"name": "NVIDIA A100-SXM4-40GB", "driver": "535.104.05", "memory": 40960 << 20},
        {"name": "NVIDIA GB10", "driver": "580.1"},
    ]


@pytest.mark.parametrize("script", ["exec sleep 1000", "exit 9"], ids=["hangs", "fails"])
async def test_an_nvidia_smi_that_does_not_work_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(facts_module, "GPU_DEADLINE", 0.2)
    fake_nvidia_smi(tmp_path, monkeypatch, script)
    assert "gpus" not in await host_facts(tmp_path)


def test_one_line_an_event_in_each_style() -> None:
    shown = {}
    for style in ("terminal", "logfmt", "json"):
        stream = io.StringIO()
        before = list(log.handlers)
        try:
            show_events(stream, style=style)  # type: ignore[arg-type]
            say("job-released", "job 7: released: \x1b[31mno\nroom", job=7, reason="no\nroom", seconds=1.5, no=None)
        finally:
            for handler in set(log.handlers) - set(before):
                log.removeHandler(handler)
        (shown[style],) = stream.getvalue().splitlines()
    assert shown["terminal"].endswith(" job 7: released:  [31mno room")
    rest = shown["logfmt"].partition(" event=")[2]
    assert rest == 'job-released job=7 reason="no room" seconds=1.5 msg="job 7: released:  [31mno room"'
    decoded = json.loads(shown["json"])
    assert (decoded["event"], decoded["job"], decoded["reason"]) == ("job-released", 7, "no\nroom")
    assert "\x1b" not in shown["json"]
