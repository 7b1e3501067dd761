"""Several outputs on every store and engine: a worker is killed (kill -9) at any of fifty files; they are fetched."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server, s3_settings
from tests.cli.test_results import Archive
from tests.cli.test_results_several import BOOK, several
from tests.fixtures.converted import Document
from tests.fixtures.postgres import Cluster
from tests.fixtures.seaweed import Seaweed

FILES = 50
SIZE = 100_000  # bytes of each: so that fifty take a while
# Each file says which run has made it: no two attempts have a byte in common.
CONVERTER = f"""sh -c 'cd {{outputs}}; mkdir img; id=$(date +%s%N)$$
for n in $(seq {FILES}); do (printf %s\\\\n $id; head -c {SIZE} /dev/zero) > img/$n; done; mv img/1 a.md'"""
NAMES = {"a.md", *(f"img/{n}" for n in range(2, FILES + 1))}
LIMITS = {"BLOBFORGE_WORKER_TIMEOUT": "3"}


@pytest.fixture(params=["embedded store, SQLite", "S3, PostgreSQL"], scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("several")
    if request.param.startswith("embedded"):
        with running_server(base / "here", LIMITS) as running:
            yield running
        return
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    postgres: Cluster = request.getfixturevalue("postgres")
    name = postgres.database()
    settings = s3_settings(seaweed, base.name) | {"BLOBFORGE_DATABASE_URL": postgres.url(name)}
    with running_server(base / "here", LIMITS | settings) as running:
        yield running
    postgres.drop(name)


@pytest.fixture
def archive(request: pytest.FixtureRequest, shared: Running, tmp_path: Path) -> Archive:
    return Archive(shared, request.node.name[:90], tmp_path / "to")


@pytest.fixture
def stored(request: pytest.FixtureRequest, shared: Running) -> Callable[[int], int]:
    """How many outputs of a job's attempts are in the store."""
    if "BLOBFORGE_S3_PREFIX" not in shared.settings:
        return lambda job_id: sum(
            path.is_file() for path in shared.folder.glob(f"data/objects/outputs/*/{job_id}/**/*")
        )
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    prefix = shared.settings["BLOBFORGE_S3_PREFIX"]

    client = seaweed.client()  # once: it takes longer than the look

    def count(job_id: int) -> int:
        found = client.list_objects_v2(Bucket=seaweed.bucket, Prefix=f"{prefix}/outputs/")
        return sum(f"/{job_id}/1/" in each["Key"] for each in found.get("Contents", []))

    return count


def outputs(archive: Archive, job_id: int) -> set[str]:
    with archive.running_client() as client:
        return {each["name"] for each in client.get(f"/api/jobs/{job_id}/outputs").json()["outputs"]}


def test_a_worker_that_is_killed_at_any_of_fifty_files(archive: Archive, stored: Callable[[int], int]) -> None:
    running, seen = archive.running, {}
    for at in (1, 9, 25, 42, FILES, *range(2, FILES, 3)):
        if len(seen) >= 5 and sum(there < FILES for there in seen.values()) >= 3:
            break  # of those that were looked at in time; a busy machine takes further ones
        source = running.folder / f"{at}.killed"
        source.write_text(f"{at}")
        job_id = json.loads(running.ok("submit", source, "--tag", archive.tag, "--json"))["job_id"]
        worker = running.start("work", "--type", "killed", "--exec", CONVERTER, "--once", "--worker-id", f"w{at}")
        while (there := stored(job_id)) < at and worker.poll() is None:
            time.sleep(0.001)
        worker.kill()
        worker.wait()
        seen[job_id] = there
        assert outputs(archive, job_id) in (set(), NAMES)
    assert sum(there < FILES for there in seen.values()) >= 3, f"killed too late: {seen}"
    while True:
        left = [
            each for each in running.json("jobs", "list", "--type", "killed")["jobs"] if each["status"] != "completed"
        ]
        if not left:
            break
        ran = running.blobforge(
            "work",
            "--type",
            "killed",
            "--exec",
            CONVERTER,
            "--idle-exit",
            "1s",
            "--poll-wait",
            "1",
            "--worker-id",
            "last",
        )
        assert ran.returncode == 0, ran.stderr
    assert len({each["path"] for each in archive.fetched("--layout", "id")}) == len(seen) * FILES
    for job_id in seen:
        assert outputs(archive, job_id) == NAMES
        folder = archive.root / str(job_id)
        assert len({path.read_bytes() for path in folder.rglob("*") if path.is_file()}) == 1, "of one attempt"
    assert archive.verified("--layout", "id").returncode == 0


def test_they_are_fetched_whole_once_and_made_again(archive: Archive) -> None:
    large = os.urandom(2_500_000)
    documents = [
        several("books/a.pdf"),
        several("books/b.pdf", ("b.bin", large), ("empty", b""), ("\u05d3\u05d5\u05d7/caf\u00e9 #1?.md", b"odd")),
        Document("books/c.pdf", b"single", "c.md"),
    ]
    archive.make(*documents)
    expected = {f"books/a/{name}": content for name, content in BOOK} | {
        "books/b/b.bin": large,
        "books/b/empty": b"",
        "books/b/\u05d3\u05d5\u05d7/caf\u00e9 #1%3F.md": b"odd",
        "books/c.md": b"single",
    }
    child = running_download(archive)
    child.kill()
    child.wait()
    archive.fetched()
    assert archive.tree() == expected
    assert archive.fetched() == []
    assert archive.verified().returncode == 0
    shutil.rmtree(archive.root)
    assert {each["path"] for each in archive.fetched() if each["fetched"]} == set(expected)


def running_download(archive: Archive):  # type: ignore[no-untyped-def]
    """A run that has told of its first file."""
    child = archive.running.start("results", "download", "--tag", archive.tag, "--to", archive.root, "--json")
    assert child.stdout is not None
    child.stdout.readline()
    return child
