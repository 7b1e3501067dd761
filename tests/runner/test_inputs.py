"""What a job joins is fetched below a folder, by names that lead nowhere else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blobforge.client import ChecksumMismatch, ServerUnreachable
from blobforge.client.types import JoinedOutput
from blobforge.outputs import wrong_name
from blobforge.runner.fetch import fetch_inputs
from blobforge.runner.job import JobFailed, WorkerTrouble


class Store:
    """In the place of the client: what it fetches has its URL for bytes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def with_patience(self, seconds: float) -> Store:
        return self

    async def download(self, url: str, target: Path, *, sha256: str | None) -> None:
        if self.error is not None:
            raise self.error
        target.write_text(url)


def holding(*names: str) -> Any:
    inputs = [JoinedOutput(name=name, url=f"of {name}") for name in names]
    return SimpleNamespace(claim=SimpleNamespace(inputs=inputs), report=lambda said: None)


async def test_each_is_below_the_folder_by_its_name(tmp_path: Path) -> None:
    await fetch_inputs(Store(), holding("1.png/a.md", "1.png/b.md", "2"), tmp_path / "inputs")  # type: ignore[arg-type]
    assert (tmp_path / "inputs/1.png/b.md").read_text() == "of 1.png/b.md"
    assert (tmp_path / "inputs/2").read_text() == "of 2"


async def test_a_name_is_as_long_as_that_of_two_outputs(tmp_path: Path) -> None:
    of_output = "/".join(["x" * 127] * 4)
    assert wrong_name(of_output) is None
    await fetch_inputs(Store(), holding(f"{of_output}/{of_output}"), tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / of_output / of_output).exists()


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", ""])
async def test_a_name_that_leads_elsewhere_fails_the_job(tmp_path: Path, name: str) -> None:
    with pytest.raises(JobFailed, match="cannot be called"):
        await fetch_inputs(Store(), holding(name), tmp_path / "inputs")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


async def test_what_is_damaged_fails_the_job_and_a_store_that_is_away_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="damaged"):
        await fetch_inputs(Store(ChecksumMismatch("x", "a", "b")), holding("a"), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(WorkerTrouble):
        await fetch_inputs(Store(ServerUnreachable("http://x", "away")), holding("a"), tmp_path)  # type: ignore[arg-type]
