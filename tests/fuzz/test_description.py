"""The API does what its own description says, whatever is sent: schemathesis, with all its checks.

It reads `/api/openapi.json` of a real server, makes requests that fit the description and requests that do not, and
holds each answer to it: no 5xx, documented statuses, types and shapes; what fits is taken, what does not is refused,
nobody gets in without a credential. It follows the description's links, too: from a worker that registers to a job
that it completes. `schemathesis.toml` lists what the description has no words for.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.server import ServerProcess
from tests.fuzz.aftermath import no_fault_in
from tests.store.making import hash_of

SOAK = "SOAK" in os.environ
HERE = Path(__file__).parent
JOBS = 300  # that are ready when it begins
BY_CHANCE = [] if SOAK else ["--generation-deterministic"]  # the same requests each time
_DONE = re.compile(r'"path":"/api/jobs/(?:\d+/)?(claim|complete|fail|release)","status":200')
WORK = (
    "get_api_jobs_job_id", "post_api_workers_register", "post_api_workers_worker_id_heartbeat", "post_api_jobs_claim",
    "post_api_jobs_job_id_complete", "post_api_jobs_job_id_fail", "post_api_jobs_job_id_release",
    "post_api_jobs_job_id_retry",
)  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """It believes the addresses of clients, so that failed authentications are not slowed down (hooks.py)."""
    process = ServerProcess(tmp_path / "data", trusted_proxies="127.0.0.1")
    process.folder.mkdir()
    try:
        process.start()
        yield process
    finally:
        process.close()


def schemathesis(server: ServerProcess, folder: Path, *how: str) -> str:
    """What a run says of itself; it has found nothing."""
    run = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            f"--config-file={HERE / 'schemathesis.toml'}",
            "run",
            f"{server.url}/api/openapi.json",
            *how,
            *BY_CHANCE,
            "--exclude-path=/events",  # never ends
            "--exclude-operation-id=delete_api_admin_tokens_token_id",  # the one that it works with
            "--request-timeout=70",  # a claim may wait for a minute
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(HERE.parents[1]),
            "BLOBFORGE_API_TOKEN": server.token,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    no_fault_in(server)
    return run.stdout


def submit_jobs(server: ServerProcess) -> None:
    """Jobs of the type "pdf" whose sources are there."""
    names = [f"document {number} of {secrets.token_hex(4)}" for number in range(JOBS)]
    sources = [{"source_hash": hash_of(name), "data": b64encode(name.encode()).decode()} for name in names]
    with server.client() as http:
        http.post("/api/files/sources", json={"sources": sources}).raise_for_status()
        jobs = [{"type": "pdf", "source_hash": hash_of(name)} for name in names]
        http.post("/api/jobs/batch", json={"jobs": jobs}).raise_for_status()


@pytest.mark.timeout(1800 if SOAK else 120)
def test_the_api_is_what_it_says(server: ServerProcess, tmp_path: Path) -> None:
    how = (
        ["examples,coverage,fuzzing", "--max-examples=200", "--max-time=1200"]
        if SOAK
        else ["examples,fuzzing", "--max-examples=2"]
    )
    schemathesis(server, tmp_path, "--phases", *how)


@pytest.mark.timeout(1800 if SOAK else 120)
def test_one_thing_leads_to_another(server: ServerProcess, tmp_path: Path) -> None:
    """From registration to claim to completion, failure or release, and on: by the links of the description."""
    submit_jobs(server)
    if SOAK:
        schemathesis(server, tmp_path, "--phases=stateful", "--max-examples=200", "--max-time=600")
        submit_jobs(server)
    work = [f"--include-operation-id={name}" for name in WORK]
    # Everything fits, and nobody makes up credentials: most of it is to get far.
    work += ["--mode=positive", "--generation-with-security-parameters=false"]
    said = schemathesis(server, tmp_path, "--phases=stateful", f"--max-examples={1000 if SOAK else 40}", *work)
    followed = re.search(r"API Links: +(\d+) covered", said)
    assert followed is not None
    assert int(followed[1]) >= 7, followed[0]
    done = Counter(_DONE.findall(server.logged()))
    assert min(done[verb] for verb in ("claim", "complete", "fail", "release")) >= 1, done
