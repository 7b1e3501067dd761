"""A large output on a real store, over a line that is cut: parts are sent again, and the result is whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from blobforge.client import AsyncClient, submit_file
from blobforge.runner import RunEnd, Worker, upload
from blobforge.runner.handlers import InWorker
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess, serving
from tests.runner.proxy import Proxy, proxy

MIB = 1 << 20
SIZE = 40 * MIB + 1  # three parts, as the server measures them
CUT_AFTER = 20 * MIB


@pytest.fixture
def line(seaweed: Seaweed) -> Iterator[Proxy]:
    with proxy(seaweed.endpoint) as between:
        yield between


@pytest.fixture
def server(line: Proxy, seaweed: Seaweed, tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(
        tmp_path / "data",
        s3_endpoint=line.url,
        s3_bucket=seaweed.bucket,
        s3_access_key=seaweed.access_key,
        s3_secret_key=seaweed.secret_key,
        s3_prefix=tmp_path.name,
    ) as process:
        yield process


def write(path: Path) -> None:
    """Every MiB of it is another."""
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            file.write(b"%07d\n" % number * (MIB // 8))
        file.write(b"!")


async def test_a_large_output_over_a_line_that_is_cut(
    server: ServerProcess, line: Proxy, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "MULTIPART_ABOVE", 16 * MIB)
    source = tmp_path / "a.pdf"
    source.write_bytes(b"a document")

    async def mend() -> None:
        while not line.is_cut:
            await trio.sleep(0.01)
        line.mend()

    async with AsyncClient(server.url, token=server.token, patience=30) as client:
        made = await submit_file(client, source, "pdf")
        line.cut_after = CUT_AFTER
        worker = Worker(client=client, worker_id="w", once=True, min_free=0, poll_wait=30)
        worker.add(["pdf"], InWorker(lambda job: write(job.output)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mend)
            assert await worker.run_async() == {RunEnd.COMPLETED: 1}
        job = await client.get_job(made.job_id)
        url = (await client.download_url(made.job_id, "output")).url
        fetched = await client.download(url, tmp_path / "back")
    asked = re.findall(r'"path": ?"/api/files/multipart/part"', server.logged())
    assert len(asked) > 3, "each try of a part has a URL of its own"
    assert job.attempts == 1
    assert fetched.size == SIZE
    write(tmp_path / "again")
    with (tmp_path / "again").open("rb") as file:
        assert fetched.sha256 == hashlib.file_digest(file, "sha256").hexdigest()
    s3 = seaweed.client()
    stored = s3.head_object(Bucket=seaweed.bucket, Key=f"{tmp_path.name}/{job.output_key}")
    assert stored["ETag"].endswith('-3"')
    left = s3.list_multipart_uploads(Bucket=seaweed.bucket).get("Uploads", [])
    assert [each for each in left if each["Key"].startswith(tmp_path.name)] == []
