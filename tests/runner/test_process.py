"""A command's process group: drained, killed, and nothing of it left. Real processes, no assertion on time."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from blobforge.runner import Finished, Tail, run_in_group
from tests.runner.scripted import eventually

ENV = {"PATH": os.environ["PATH"]}


async def run(script: str, cwd: Path, *args: str, grace: float = 5.0) -> Finished:
    return await run_in_group([sys.executable, "-c", script, *args], cwd=cwd, env=ENV, grace=grace)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie waiting for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    await eventually(lambda: not alive(pid))


async def appears(path: Path) -> str:
    """The content of a file that a child writes in one piece."""
    await eventually(path.exists)
    return path.read_text()


SAY = "import os, sys; p = sys.argv[1]; open(p + '.new', 'w').write({what}); os.rename(p + '.new', p)\n"


async def test_returns_the_exit_status_and_both_streams(tmp_path: Path) -> None:
    finished = await run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", tmp_path)
    assert finished.returncode == 3
    assert finished.tails.stdout.text() == "out\n"
    assert finished.tails.stderr.text() == "err\n"


async def test_a_signal_is_a_negative_return_code(tmp_path: Path) -> None:
    finished = await run("import os; os.kill(os.getpid(), 11)", tmp_path)
    assert finished.returncode == -signal.SIGSEGV


async def test_stdin_is_empty(tmp_path: Path) -> None:
    finished = await run("import sys; print(repr(sys.stdin.read()))", tmp_path)
    assert finished.tails.stdout.text() == "''\n"


async def test_200_megabytes_of_output_neither_block_nor_stay_in_memory(tmp_path: Path) -> None:
    script = """
import sys
chunk = b"x" * (1 << 20)
for _ in range(100):
    sys.stdout.buffer.write(chunk)
    sys.stderr.buffer.write(chunk)
sys.stdout.buffer.write(b"the end")
"""
    finished = await run(script, tmp_path)
    assert finished.returncode == 0
    assert finished.tails.stdout.total == (100 << 20) + len("the end")
    assert finished.tails.stderr.total == 100 << 20
    assert finished.tails.stdout.text().endswith("xthe end")
    assert len(finished.tails.stdout.text()) == 16 * 1024
    assert finished.tails.stdout.cut


async def test_a_command_that_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run_in_group([str(tmp_path / "nothing")], cwd=tmp_path, env=ENV)


async def test_a_grandchild_left_behind_is_killed_though_the_command_ended_well(tmp_path: Path) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"
    finished = await run(script, tmp_path)  # the sleeper holds the pipe open: an end without a hang is the point
    assert finished.returncode == 0
    await gone(int(finished.tails.stdout.text()))


async def test_a_daemon_that_left_the_group_is_killed_too(tmp_path: Path) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)"
    finished = await run(script, tmp_path)
    await gone(int(finished.tails.stdout.text()))


async def test_cancelling_ends_the_command_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '1000'])\n"
        + SAY.format(what="f'{os.getpid()} {child.pid}'")
        + "time.sleep(1000)"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, script, tmp_path, str(pids))
        leader, child = map(int, (await appears(pids)).split())
        nursery.cancel_scope.cancel()
    await gone(leader)
    await gone(child)


async def test_the_command_gets_its_grace_to_end_by_itself(tmp_path: Path) -> None:
    ready, farewell = tmp_path / "ready", tmp_path / "farewell"
    script = (
        "import signal, time\n"
        "def end(*_):\n"
        "    print('x' * 1_000_000)\n"  # more than a pipe holds: it can end only if somebody reads
        f"    open({str(farewell)!r}, 'w').write('bye')\n"
        "    raise SystemExit\n"
        "signal.signal(signal.SIGTERM, end)\n" + SAY.format(what="'ready'") + "time.sleep(1000)"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run(script, tmp_path, str(ready), grace=60))
        await appears(ready)
        nursery.cancel_scope.cancel()
    assert farewell.read_text() == "bye"


async def test_a_command_that_ignores_term_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + SAY.format(what="str(os.getpid())")
        + "time.sleep(1000)"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run(script, tmp_path, str(pids), grace=0.1))
        leader = int(await appears(pids))
        nursery.cancel_scope.cancel()
    await gone(leader)


def zombies() -> list[int]:
    """Our children that have ended and that nobody has waited for. Other fixtures' children may well be alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(entry.parent.name))
    return found


async def test_no_zombie_and_no_descriptor_stays(tmp_path: Path) -> None:
    await run("pass", tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await run("pass", tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert zombies() == []


def test_a_tail_keeps_the_end_of_any_mix_of_pieces() -> None:
    tail, whole = Tail(limit=10), b""
    for size in (1, 3, 25, 0, 7, 10, 2):
        piece = bytes(65 + (len(whole) + i) % 26 for i in range(size))
        tail.add(piece)
        whole += piece
        assert tail.text().encode() == whole[-10:]
        assert tail.total == len(whole)
        assert tail.cut == (len(whole) > 10)


def test_a_tail_is_text_fit_for_a_database() -> None:
    tail = Tail()
    tail.add(b"a\0b\xff\xe4c")
    assert "\0" not in tail.text()
    assert tail.text().startswith("a")
    assert tail.text().endswith("c")
