"""The store goes away while the server runs: work goes on as fast as before, and the lag says the truth."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import apsw
import httpx
import pytest

from tests.backup.conftest import blobforge, caught_up, pending, report, submit, until
from tests.backup.tunnel import Tunnel
from tests.fixtures.server import ServerProcess

Serve = Callable[..., ServerProcess]
ROUNDS = 40


def work(http: httpx.Client, job_ids: list[int]) -> list[float]:
    """Claim, beat and complete each of the jobs; how long the answers to beats and completions took, in seconds.

    The completions name no output, and so ask the store nothing: that path has its own tests.
    """
    took = []
    for _ in job_ids:
        held = http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json()
        job_id = held["job"]["id"]
        beat = {"jobs": [{"job_id": job_id, "lease": held["lease"]}]}
        for path, body in (
            ("/api/workers/w/heartbeat", beat),
            (f"/api/jobs/{job_id}/complete", {"worker_id": "w", "lease": held["lease"]}),
        ):
            began = time.perf_counter()
            answer = http.post(path, json=body)
            took.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
    return took


# The older Litestream reads its lag in another way; that takes long, and is for `make soak`.
@pytest.mark.parametrize("old", [False, True] if "SOAK" in os.environ else [False])
def test_a_silent_store_slows_nothing_and_the_lag_grows(
    serve: Serve, way: Tunnel, old: bool, request: pytest.FixtureRequest
) -> None:
    settings = {"litestream_bin": request.getfixturevalue("litestream_03")} if old else {}
    server = serve(s3_timeout=1, s3_endpoint=way.url, **settings)
    server.start()
    ids = [pending(server, b"%d" % number) for number in range(4 if old else ROUNDS)]
    half = len(ids) // 2
    with server.client() as http:
        http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).raise_for_status()
        caught_up(server)
        before = work(http, ids[:half])
        caught_up(server)
        way.mode = "silent"
        during = work(http, ids[half:])
        if "TIMES" in os.environ:  # for whoever wants to see the figures
            print(f"median {statistics.median(before) * 1e3:.2f} ms, silent {statistics.median(during) * 1e3:.2f} ms")
        until(lambda: report(server)["lag_seconds"] > 2)
        later = report(server)["lag_seconds"]
        until(lambda: report(server)["lag_seconds"] > later + 1)
        health = http.get("/api/health").json()["backup"]
        assert health["lag_seconds"] > 2
        assert http.get("/readyz").status_code == 200
        way.mode = "closed"
        assert http.get("/api/jobs").status_code == 200
        grown = report(server)["lag_seconds"]
        until(lambda: report(server)["lag_seconds"] > grown + 1)
        way.mode = "open"
        caught_up(server)
    assert report(server)["restarts"] == 0
    assert server.stop() == 0


def test_a_stop_without_the_store_ends_in_time_and_says_so(serve: Serve, way: Tunnel) -> None:
    server = serve(s3_timeout=1, s3_endpoint=way.url)
    server.start()
    caught_up(server)
    way.mode = "silent"
    job_id = submit(server, b"kept on the disk")
    assert server.stop() == 0
    assert "has not taken the last changes" in server.logged()
    way.mode = "open"
    server.start()
    caught_up(server)
    copy = server.folder / "copy.db"
    assert blobforge(server, "backup", "restore", "--to", copy).returncode == 0
    database = apsw.Connection(str(copy))
    assert database.execute("SELECT count(*) FROM jobs WHERE id = ?", (job_id,)).get == 1
    database.close()


def test_keys_that_are_withdrawn_show_as_lag(serve: Serve) -> None:
    """Wrong keys, and a database on the disk: the server runs, and does not say that all is well."""
    server = serve(litestream_disabled="true")
    server.start()
    assert server.stop() == 0
    del server.variables["BLOBFORGE_LITESTREAM_DISABLED"]
    server.variables["BLOBFORGE_BACKUP_S3_SECRET_KEY"] = "withdrawn"
    server.start()
    submit(server, b"one")
    until(lambda: (report(server)["lag_seconds"] or 0) > 3)
    status = blobforge(server, "backup", "status")
    assert "behind" in status.stdout
