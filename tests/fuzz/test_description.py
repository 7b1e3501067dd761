"""The API does what its own description says, whatever is sent: schemathesis, with all its checks.

It reads `/api/openapi.json` of a real server, makes requests that fit the description and requests that do not, and
holds each answer to it: no 5xx, documented statuses, types and shapes; what fits is taken, what does not is refused.
`schemathesis.toml` lists what the description has no words for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.server import ServerProcess
from tests.fuzz.aftermath import no_fault_in

SOAK = "SOAK" in os.environ
# The deterministic mode makes the same requests each time.
HOW = ["--phases=examples,coverage,fuzzing,stateful", "--max-examples=200", "--max-time=1200"]
HOW = HOW if SOAK else ["--phases=fuzzing", "--max-examples=2", "--generation-deterministic"]
HERE = Path(__file__).parent


@pytest.mark.timeout(1500 if SOAK else 120)
def test_the_api_is_what_it_says(server: ServerProcess, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            f"--config-file={HERE / 'schemathesis.toml'}",
            "run",
            f"{server.url}/api/openapi.json",
            f"--header=Authorization: Bearer {server.token}",
            *HOW,
            "--exclude-path=/events",  # never ends
            "--exclude-operation-id=delete_api_admin_tokens_token_id",  # the one that it works with
            "--request-timeout=70",  # a claim may wait for a minute
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    no_fault_in(server)
