"""What all tests share."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import structlog
from hypothesis import HealthCheck, settings

from blobforge.machinery import garbage

ROOM = 6 << 30  # bytes; the folders of tests that have passed are gone, so that a few hundred megabytes are in use


def has_room(folder: Path) -> bool:
    """Whether so much may lie there, and be run there, and the machine has as much memory to spare."""
    if not folder.is_dir() or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return min(shutil.disk_usage(folder).free, psutil.virtual_memory().available) > ROOM


pytest_plugins = [  # each before another imports it: only then are its asserts told in full
    "tests.fixtures.once",
    "tests.fixtures.litestream",
    "tests.fixtures.seaweed",
    "tests.fixtures.postgres",
    "tests.fixtures.server",
    "tests.fixtures.local",
]

# The folders of tests are in memory where there is plenty: most of what a test waited for was its disk. What a disk
# that fails does to the server is tried on disks of their own, and a loss of power by what was synced.
MEMORY = Path("/dev/shm")
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and has_room(MEMORY):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)

# Which process a worker was is kept in the user's state folder: not in that of the user who runs the tests.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="blobforge-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# What tests send to the processes that they start must reach them, also where the suite itself was started with these
# ignored (in the background, by nohup): ignoring is inherited, a handler is not. This one goes on ignoring them here.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Files that take long, the longest first. Under xdist a file is one piece of work, and pieces are given out in this
# order: had one of these its turn last, all other processes would wait for the one that got it.
LONG = (
    "image/test_image.py",
    "system/test_histories.py",
    "several/test_storm.py",
    "several/test_processes.py",
    "system/test_exhausted.py",
    "system/test_floods.py",
    "deploy/test_compose.py",
    "test_bench.py",
    "backup/test_restore.py",
    "backup/test_away.py",
    "fuzz/test_description.py",
    "model/test_model.py",
    "simulation/test_seeds_1.py",
    "simulation/test_seeds_2.py",
    "simulation/test_seeds_3.py",
    "simulation/test_seeds_4.py",
    "dashboard/test_live.py",
    "dashboard/test_actions.py",
    "dashboard/test_pages.py",
    "dashboard/test_axe.py",
    "auth/test_login_browser.py",
    "demo/test_demo.py",
    "actors/test_claims.py",
    "actors/test_retention.py",
)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """What a test sets up of the log, as by a server that it runs in this process, is not left to the next one."""
    root = logging.getLogger()
    level = root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.setLevel(level)
        ours = structlog.stdlib.ProcessorFormatter
        root.handlers[:] = [each for each in root.handlers if not isinstance(each.formatter, ours)]


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules are there, and stay: a quarter of the time of tests in this process went
    into looking through them for garbage. It is looked for as in a server."""
    garbage.settle()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    turns = {Path(__file__).parent / name: turn for turn, name in enumerate(LONG)}
    items.sort(key=lambda item: turns.get(item.path, len(LONG)))
