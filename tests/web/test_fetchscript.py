"""The shell script of a batch's results, run by `sh`: where it puts them, what it counts, how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest

from web.api import fetchscript
from web.api.wire_batches import BatchResult


def result(number: int, file: Path, name: str) -> BatchResult:
    size, hash_ = (None, None) if file.is_fifo() else (file.stat().st_size, sha256(file.read_bytes()).hexdigest())
    return BatchResult(number, name=name, apart=f"{name}~{number}", url=file.as_uri(), size=size, sha256=hash_)


def begun(folder: Path, to: str, *results: BatchResult, **variables: str) -> subprocess.Popen[str]:
    head = fetchscript.head("http://here", 7, ends=round(time.time()) + 3600, whole=True)
    script = folder / "fetch.sh"
    script.write_text(
        f"{head}{''.join(map(fetchscript.line, results))}{fetchscript.following(None)}{fetchscript.foot()}"
    )
    (folder / "in").mkdir()
    return subprocess.Popen(
        ["sh", script, *([to] if to else [])], cwd=folder / "in", text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"], **variables}, start_new_session=True,
    )  # fmt: skip


def write_on(pipe: int) -> None:
    for _ in range(1000):
        os.write(pipe, b"more")
        time.sleep(0.02)


@pytest.mark.parametrize("to", ["", "-", "--", "out"])
def test_it_fetches_into_the_folder_that_was_named(tmp_path: Path, to: str) -> None:
    """To `cd`, `-` is where one came from, and a name may be one in another folder (CDPATH)."""
    for name in ("elsewhere/out", "before"):
        (tmp_path / name).mkdir(parents=True)
    one = tmp_path / "one"
    one.write_bytes(b"1")
    ran = begun(
        tmp_path, to, result(1, one, "a.md"), CDPATH=str(tmp_path / "elsewhere"), OLDPWD=str(tmp_path / "before")
    )
    assert ran.communicate(timeout=60) == ("./a.md\n", "1 fetched, 0 were there, 0 failed\n")
    assert list(tmp_path.rglob("a.md")) == [tmp_path / "in" / (to or "results-of-batch-7") / "a.md"]


def test_what_the_server_has_not_is_not_taken_off_what_was_fetched(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_bytes(b"1")
    ran = begun(tmp_path, "", result(1, one, "a.md"), BatchResult(2, error="gone"), result(3, one, "b.md"))
    said = ran.communicate(timeout=60)[1]
    assert said == "job 2: the server has no result to fetch now\n2 fetched, 0 were there, 1 failed\n"
    assert ran.returncode == 1


def test_who_stops_it_stops_what_is_on_its_way(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ran = begun(tmp_path, "", result(1, pipe, "a.md"))
    while True:
        try:
            writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:  # it is not read yet
            assert ran.poll() is None
            time.sleep(0.02)
    os.killpg(ran.pid, signal.SIGINT)
    assert ran.communicate(timeout=60) == ("", "")
    assert ran.returncode == 130
    with pytest.raises(BrokenPipeError):
        write_on(writing)
    os.close(writing)
    assert list((tmp_path / "in/results-of-batch-7").iterdir()) == []
