"""A database that is lost while its objects stay: its next life meets nothing of the one before, on both stores."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess

SOAK = "SOAK" in os.environ
LIVES, JOBS = (8, 20) if SOAK else (3, 4)
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.mark.timeout(3600 if SOAK else 120)
def test_each_life_begins_with_nothing(unstarted: ServerProcess) -> None:
    """Each is killed with its jobs done, and its database removed. Job 1 attempt 1 exists in every life anew."""
    server = unstarted
    old: list[str] = []  # output keys of all lives before
    for life in range(LIVES):
        server.log.unlink(missing_ok=True)
        server.start()
        with server.client() as http, httpx.Client(trust_env=False, timeout=60) as outside:
            old += _life(http, outside, life, old)
        # The mark of the life before stands in the store, and objects do: that is said loudly.
        assert ("THIS DATABASE IS NEW" in server.logged()) is (life > 0)
        server.kill()
        for file in server.folder.glob("blobforge.db*"):
            file.unlink()
        (server.folder / "admin-token").unlink()


def _life(http: httpx.Client, outside: httpx.Client, life: int, old: list[str]) -> list[str]:
    """Jobs are done; none without an upload, and none by an object of another life."""
    http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).raise_for_status()
    keys = []
    for number in range(1, JOBS + 1):
        source = b"a document %d" % number  # the same ones in each life: sources are shared
        made = http.post("/api/jobs", json={"type": "pdf", "source_hash": sha256(source).hexdigest()}).json()
        assert made["job_id"] == number
        if "upload_url" in made:
            outside.put(made["upload_url"], content=source, headers=OCTETS).raise_for_status()
            http.post(f"/api/jobs/{number}/uploaded").raise_for_status()
        grant = http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf", "wait": 20}).json()
        assert grant["job"]["id"] == number
        assert grant["output_key"] not in old
        for key in (grant["output_key"], *old[number - 1 :: JOBS]):
            _refused(_complete(http, grant, key), "output-missing")
        said = b"output %d of life %d" % (number, life)
        outside.put(grant["upload_url"], content=said, headers=OCTETS).raise_for_status()
        assert _complete(http, grant, grant["output_key"]).status_code == 200
        url = http.get(f"/api/files/{number}/output/url").json()["url"]
        assert outside.get(url).content == said
        keys.append(grant["output_key"])
    return keys


def _complete(http: httpx.Client, grant: Any, key: str) -> httpx.Response:
    body = {"worker_id": "w", "lease": grant["lease"], "output_key": key}
    return http.post(f"/api/jobs/{grant['job']['id']}/complete", json=body)


def _refused(answer: httpx.Response, kind: str) -> None:
    assert answer.status_code == 409, answer.text
    assert answer.json()["type"].endswith(kind), answer.text


@pytest.mark.timeout(3600 if SOAK else 120)
def test_two_databases_beside_one_bucket(tmp_path: Path, seaweed: Seaweed) -> None:
    """Each deletes its jobs with their objects, and looks for orphans: the other one's sources stay."""
    settings = seaweed.settings(f"beside/{tmp_path.name}")
    servers = [ServerProcess(tmp_path / name, litestream_disabled=True, **settings) for name in ("a", "b")]
    try:
        for server in servers:
            server.folder.mkdir()
            server.start()
        documents = [b"shared %d" % number for number in range(JOBS)]
        for server in servers:
            with server.client() as http, httpx.Client(trust_env=False, timeout=60) as outside:
                for source in documents:
                    made = http.post(
                        "/api/jobs", json={"type": "pdf", "source_hash": sha256(source).hexdigest()}
                    ).json()
                    if "upload_url" in made:
                        outside.put(made["upload_url"], content=source, headers=OCTETS).raise_for_status()
                        http.post(f"/api/jobs/{made['job_id']}/uploaded").raise_for_status()
        with servers[0].client() as http:
            ids = list(range(1, JOBS + 1))
            gone = http.post("/api/jobs/delete", json={"ids": ids}).raise_for_status().json()
            assert gone["changed"] == JOBS
            # Refused at once where the other one is known already; else as soon as the search has looked.
            begun = http.post("/api/admin/orphans", json={"dry_run": False})
            if begun.status_code == 200:
                while (search := http.get("/api/admin/orphans").json())["state"] == "running":
                    time.sleep(0.05)
                assert (search["state"], search["orphans"]) == ("failed", 0)
            _refused(http.post("/api/admin/orphans", json={"dry_run": False}), "store-shared")
        servers[0].stop()
        servers[0].start()  # what was to be deleted is tried anew
        with servers[0].client() as http:
            marks = http.get("/api/stats/marks").raise_for_status().json()["marks"]
            assert [mark["kind"] for mark in marks][-2:] == ["stopped", "started"], "charts are marked by it"
        with servers[1].client() as http, httpx.Client(trust_env=False, timeout=60) as outside:
            for number, source in enumerate(documents, 1):
                url = http.get(f"/api/files/{number}/source/url").raise_for_status().json()["url"]
                assert outside.get(url).content == source
    finally:
        for server in servers:
            server.close()
