"""20,000 small files, twice: what the requests of each run are, counted by the server's own log."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Running
from tests.cli.test_ingest import requests

FILES = 20_000
BATCHES = range(20, 26)  # twenty full ones; on a machine that stalls for a second, some go before they are full


@pytest.mark.timeout(240)  # 20 s on two free cores; all of it is fsync of 20,000 files
def test_twenty_thousand_small_files_twice(running: Running) -> None:
    folder = running.folder / "documents"
    for number in range(FILES):
        if number % 1000 == 0:
            (folder / f"{number}").mkdir(parents=True)
        (folder / f"{number - number % 1000}" / f"{number}.pdf").write_bytes(b"document %d" % number)

    first = running.blobforge("ingest", folder, "--json")
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(r"20000 files: 20000 new; 20000 uploaded \(.*\)\n", first.stderr)
    assert len(first.stdout.splitlines()) == FILES
    stats = running.json("stats")
    assert (stats["total_jobs"], stats["pending_jobs"]) == (FILES, FILES)
    asked = requests(running)
    assert asked["POST /api/jobs/batch"] in BATCHES
    assert asked["POST /api/files/sources"] <= 2 * len(BATCHES) + 40
    stored = objects(running)
    assert len(stored) == FILES

    second = running.blobforge("ingest", folder)
    assert second.returncode == 0, second.stderr
    assert second.stderr == "20000 files: 0 new, 20000 known already\n"
    again = requests(running) - asked
    assert set(again) == {"POST /api/jobs/batch"}, "no upload, nothing but the batches"
    assert again["POST /api/jobs/batch"] in BATCHES
    assert objects(running) == stored, "not one object was written anew"
    assert running.json("stats")["total_jobs"] == FILES


def objects(running: Running) -> set[tuple[int, int]]:
    """(inode, mtime) of every source that the server keeps."""
    statuses = [path.stat() for path in (running.folder / "data" / "objects" / "sources").glob("*/*")]
    return {(status.st_ino, status.st_mtime_ns) for status in statuses}
