"""The cluster that tests run on (`tests/fixtures/postgres.py`): what it promises to them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.fixtures.postgres import Cluster, running_postgres

ROOT = Path(__file__).parents[1]


def test_databases_of_a_template_are_apart(postgres: Cluster) -> None:
    def make(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE things (id int)")

    one, other = (postgres.database(postgres.template("things", make)) for _ in range(2))
    postgres.execute("INSERT INTO things VALUES (1)", database=one)
    assert postgres.execute("SELECT * FROM things", database=other) == []
    with psycopg.connect(postgres.url(one, port=postgres.port)) as connection:
        assert connection.info.get_parameters()["host"] == "127.0.0.1"
        assert connection.execute("SELECT * FROM things").fetchall() == [(1,)]
    postgres.drop(one)
    postgres.drop(other)


def test_what_was_committed_outlives_a_kill() -> None:
    with running_postgres(durable=True) as cluster:
        cluster.execute("CREATE TABLE things (id int)")
        with psycopg.connect(cluster.url()) as connection:
            connection.execute("INSERT INTO things VALUES (1)")
            connection.commit()
            connection.execute("INSERT INTO things VALUES (2)")
            cluster.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        cluster.start()
        assert cluster.execute("SELECT * FROM things") == [(1,)]
        folder = cluster.folder
    assert not folder.exists()


def test_a_killed_run_leaves_none_running() -> None:
    program = """
import os
from tests.fixtures.postgres import shared_cluster
cluster = shared_cluster()
print(cluster._process.pid, cluster.folder, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    pid, folder = done.stdout.split()
    try:
        process = psutil.Process(int(pid))
        with suppress(psutil.TimeoutExpired):
            process.wait(timeout=20)
        assert process.status() == psutil.STATUS_ZOMBIE  # where nobody waits for orphans
    except psutil.NoSuchProcess:
        pass
    finally:
        shutil.rmtree(folder)
