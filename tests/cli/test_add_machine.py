"""`blobforge workers add`: what it prints makes a machine a worker that claims a job, and is listed with its load."""

from __future__ import annotations

import os
import re
import subprocess

import httpx

from tests.cli.conftest import COMMAND, Running, clean_environment


def test_a_machine_is_added_claims_a_job_and_is_listed(running: Running) -> None:
    document = running.folder / "letter.pdf"
    document.write_text("dear reader")
    job_id = running.ok("submit", document, "--quiet").strip()
    upper = "sh -c 'tr a-z A-Z < {source} > {output}'"
    printed = running.ok("workers", "add", "--type", "pdf", "--exec", upper, "--label", "zone=a b")
    # In the place of uvx, which would fetch the package: what it starts, for one job.
    uvx = running.folder / "uvx"
    uvx.write_text(f'#!/bin/sh\nshift 3\nexec {COMMAND[0]} "$@" --once\n')
    uvx.chmod(0o755)
    environment = clean_environment(PATH=f"{running.folder}:{os.environ['PATH']}", HOME=str(running.folder))
    done = subprocess.run(
        ["/bin/sh", "-eu"], input=printed, text=True, capture_output=True, env=environment, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    job = running.json("jobs", "show", job_id)
    assert job["status"] == "completed"
    worker_id = job["worker_id"]
    assert running.json("workers", "show", worker_id)["labels"] == ["zone=a b"]
    told = {"cpu": 0.42, "cpus": 8, "memory": 3 << 30, "memory_total": 8 << 30, "gpus": [{"utilization": 0.97}]}
    found = re.search(r"BLOBFORGE_API_TOKEN=(\S+)", printed)
    assert found
    with httpx.Client(headers={"Authorization": f"Bearer {found[1]}"}, trust_env=False) as client:
        client.post(f"{running.url}/api/workers/register", json={"id": worker_id, "type": "pdf"}).raise_for_status()
        client.post(f"{running.url}/api/workers/{worker_id}/heartbeat", json={"load": told}).raise_for_status()
    words = "cpu 42 %, memory 3.0 of 8.0 GiB, gpu 97 %"
    assert words in running.ok("workers", "list")
    assert words in running.ok("workers", "show", worker_id)

    # Each place has its commands, and there is no token where none is wanted.
    before = running.json("tokens", "list")
    begins = {"shell": "export", "systemd": "python3 -m venv", "docker": "export", "kubernetes": "kubectl apply"}
    for place, begin in begins.items():
        arguments = ("--type", "pdf", "--exec", "true", "--on", place, "--address", "https://q.example", "--no-token")
        text = running.ok("workers", "add", *arguments)
        assert text.startswith(begin)
        assert "PASTE_A_TOKEN_HERE" in text
        assert "https://q.example" in text
    assert running.json("tokens", "list") == before
    refused = running.blobforge("workers", "add", "--type", "pdf", "--exec", "true", "--address", "q.example")
    assert refused.returncode == 2
    assert "is no address" in refused.stderr
    here = running.blobforge("workers", "add", "--type", "pdf", "--exec", "true", "--on", "docker")
    assert "No container reaches" in here.stderr
    assert "not shown again" in here.stderr
