"""Accepted is final: no URL that was ever given writes what is served, on the embedded store and on S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from blobforge.config import Settings
from blobforge.objects.keys import accepted_key
from blobforge.serve.server import running
from tests.fixtures.local import LocalServer, open_local
from tests.fixtures.seaweed import Seaweed
from tests.web.calls import assert_problem

OCTETS = {"Content-Type": "application/octet-stream"}


class Both:
    """A server beside either store; `put` and `get` go by signed URLs as any client's do."""

    def __init__(self, local: LocalServer, http: httpx.AsyncClient) -> None:
        self.local = local
        self._http = http

    async def put(self, url: str, content: bytes, headers: dict[str, str] | None = None) -> int:
        sent = headers if headers is not None else OCTETS
        split = urlsplit(url)
        if split.path.startswith("/objects/"):
            return (await self.local.call("PUT", f"{split.path}?{split.query}", content, headers=sent))[0]
        return (await self._http.put(url, content=content, headers=sent)).status_code

    async def get(self, url: str) -> bytes:
        split = urlsplit(url)
        if split.path.startswith("/objects/"):
            status, content = await self.local.call("GET", f"{split.path}?{split.query}", headers={})
            assert status == 200, content
            return bytes(content)
        answer = await self._http.get(url)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def pending(self, content: bytes = b"document") -> int:
        """A job whose source has been uploaded as existing command lines do it."""
        digest = sha256(content).hexdigest()
        made = (await self.local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest}))[1]
        assert await self.put(made["upload_url"], content) == 200
        await self.local.call("POST", f"/api/jobs/{made['job_id']}/uploaded")
        assert (await self.local.job(made["job_id"]))["status"] == "pending"
        return int(made["job_id"])

    async def complete(self, grant: Any) -> Any:
        body = {"worker_id": "w1", "lease": grant["lease"], "output_key": grant["output_key"]}
        return await self.local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)

    async def output(self, job_id: int) -> Any:
        status, answer = await self.local.call("GET", f"/api/files/{job_id}/output/url")
        return await self.get(answer["url"]) if status == 200 else (status, answer)

    async def until(self, true: Any) -> None:
        with trio.fail_after(30):
            while not await true():
                await trio.sleep(0.02)

    async def kept(self, key: str) -> bool:
        record = await self.local.parts.reads.run(lambda reader: reader.file(key))
        return record is not None and record.kept is not None


@asynccontextmanager
async def beside_s3(folder: Path, seaweed: Seaweed, prefix: str, **settings: Any) -> AsyncIterator[LocalServer]:
    """Without a backup: a second database beside the same prefix would be restored from that of the first."""
    given = Settings(
        data_dir=str(folder),
        litestream_disabled=True,
        s3_endpoint=seaweed.endpoint,
        s3_bucket=seaweed.bucket,
        s3_access_key=seaweed.access_key,
        s3_secret_key=seaweed.secret_key,
        s3_region="us-east-1",
        s3_prefix=prefix,
        **settings,
    )
    folder.mkdir(parents=True, exist_ok=True)
    async with running(given) as parts:
        parts.url = "http://blobforge.test"
        yield LocalServer(parts, folder)


@pytest.fixture(params=["local", "s3"])
def seaweed_or_none(request: pytest.FixtureRequest) -> Seaweed | None:
    return request.getfixturevalue("seaweed") if request.param == "s3" else None


@pytest.fixture
async def both(seaweed_or_none: Seaweed | None, tmp_path: Path) -> AsyncIterator[Both]:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        if seaweed_or_none is not None:
            async with beside_s3(tmp_path / "data", seaweed_or_none, f"accepted/{tmp_path.name}") as local:
                yield Both(local, http)
        else:
            (tmp_path / "data").mkdir()
            async with running(Settings(data_dir=str(tmp_path / "data"))) as parts:
                parts.url = "http://blobforge.test"
                yield Both(LocalServer(parts, tmp_path / "data"), http)


async def test_a_put_after_the_completion_changes_nothing(both: Both) -> None:
    """Seen before: PUT good, complete, PUT evil, download: evil."""
    job_id = await both.pending()
    await both.local.register()
    grant = await both.local.claim()
    assert set(grant) & {"upload_headers"} == set(), "existing clients send no header"
    assert await both.put(grant["upload_url"], b"good") == 200
    assert (await both.complete(grant))[0] == 200
    await both.until(lambda: both.kept(grant["output_key"]))
    status = await both.put(grant["upload_url"], b"evil")
    assert status == (409 if both.local.parts.services.objects.name == "local" else 200)
    assert await both.output(job_id) == b"good"
    # Nor does an upload to where it is served from, by any means that there is.
    served = accepted_key(both.local.parts.installation, grant["output_key"])
    answer = await both.local.call("POST", "/api/files/upload-url", {"key": served})
    assert_problem(answer, 403, "key-not-allowed")


async def test_what_is_written_over_before_the_copy_is_not_handed_out(both: Both) -> None:
    """And the job is redone: the accepted bytes are no more."""
    job_id = await both.pending()
    await both.local.register()
    grant = await both.local.claim()
    await both.put(grant["upload_url"], b"good")
    objects: Any = both.local.parts.services.objects
    copy, asked = objects.copy, trio.Event()

    async def later(*args: Any, **options: Any) -> Any:
        await asked.wait()
        return await copy(*args, **options)

    objects.copy = later
    assert (await both.complete(grant))[0] == 200
    assert await both.output(job_id) == b"good"
    if objects.name == "s3":
        assert await both.put(grant["upload_url"], b"evil") == 200
    else:
        path = objects.root / grant["output_key"]
        path.unlink()
        path.write_bytes(b"evil")  # a PUT that was permitted in the moment before the completion
    assert_problem(await both.output(job_id), 404, "no-such-object")
    asked.set()

    async def redone() -> bool:
        return bool((await both.local.job(job_id))["status"] == "pending")

    await both.until(redone)
    assert (await both.local.job(job_id))["losses"] == 1


async def test_the_same_bytes_once_more_are_no_other(both: Both) -> None:
    """A PUT whose answer was lost is repeated, and the repetition may come after the completion."""
    job_id = await both.pending()
    await both.local.register()
    grant = await both.local.claim()
    await both.put(grant["upload_url"], b"good")
    objects: Any = both.local.parts.services.objects
    copy, asked = objects.copy, trio.Event()

    async def later(*args: Any, **options: Any) -> Any:
        await asked.wait()
        return await copy(*args, **options)

    objects.copy = later
    await both.complete(grant)
    await both.put(grant["upload_url"], b"good")
    assert await both.output(job_id) == b"good"
    asked.set()
    await both.until(lambda: both.kept(grant["output_key"]))
    assert await both.output(job_id) == b"good"


async def test_a_source_is_final_once_it_is_verified(both: Both) -> None:
    content = b"a document"
    digest = sha256(content).hexdigest()
    made = (await both.local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest}))[1]
    await both.put(made["upload_url"], content)
    await both.local.call("POST", f"/api/jobs/{made['job_id']}/uploaded")
    # The URL of a verified source works for clients that send no checksum (it was a 403 on S3), and does no harm.
    again = (await both.local.call("POST", "/api/files/upload-url", {"key": f"sources/{digest}"}))[1]
    assert (again["key"], again["headers"]) == (f"sources/{digest}", {})
    assert await both.put(again["url"], content) == 200
    for url in (made["upload_url"], again["url"]):
        assert await both.put(url, b"evil") in (200, 422)
    await trio.sleep(0.1)
    _, answer = await both.local.call("GET", f"/api/files/{made['job_id']}/source/url")
    assert await both.get(answer["url"]) == content


async def test_a_put_after_the_deletion_brings_nothing_back_on_the_embedded_store(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with running(Settings(data_dir=str(tmp_path / "data"))) as parts, httpx.AsyncClient() as http:
        parts.url = "http://blobforge.test"
        both = Both(LocalServer(parts, tmp_path / "data"), http)
        content = b"a document"
        digest = sha256(content).hexdigest()
        made = (await both.local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest}))[1]
        await both.put(made["upload_url"], content)
        await both.local.register()
        grant = await both.local.claim()
        await both.put(grant["upload_url"], b"good")
        await both.complete(grant)
        await both.local.call("DELETE", f"/api/jobs/{made['job_id']}")
        for url in (grant["upload_url"], made["upload_url"]):
            assert await both.put(url, content) == 409

        # Submitted anew, the same URL is good again: a job needs it.
        async def submitted() -> bool:
            body = {"type": "pdf", "source_hash": digest}
            return bool((await both.local.call("POST", "/api/jobs", body))[0] == 201)

        await both.until(submitted)
        assert await both.put(made["upload_url"], content) == 200


async def test_write_once_is_for_those_who_ask(seaweed: Seaweed, tmp_path: Path) -> None:
    """On a store that heeds `If-None-Match` nothing is copied, for nothing can be written over."""
    async with beside_s3(tmp_path / "data", seaweed, f"once/{tmp_path.name}") as local, httpx.AsyncClient() as http:
        both = Both(local, http)
        objects: Any = local.parts.services.objects

        async def learned() -> bool:
            return bool(objects.write_once)

        await both.until(learned)
        job_id = await both.pending()
        await local.register()
        grant = await local.claim(write_once=True)
        assert grant["upload_headers"] == {"If-None-Match": "*"}
        headers = OCTETS | grant["upload_headers"]
        assert await both.put(grant["upload_url"], b"good", headers) == 200
        assert await both.put(grant["upload_url"], b"evil", headers) == 412
        assert await both.put(grant["upload_url"], b"evil") == 403, "the header is signed"
        ask = {"job_id": job_id, "lease": grant["lease"], "worker_id": "w1"}
        assert_problem(await local.call("POST", "/api/files/upload-url", ask), 422, "invalid", field="write_once")
        for known in (True, False):  # a server that has just started does not know yet what the store can do
            objects.write_once = known
            fresh = (await local.call("POST", "/api/files/upload-url", ask | {"write_once": True}))[1]
            assert await both.put(fresh["url"], b"evil", OCTETS | fresh["headers"]) == 412
        assert (await both.complete(grant))[0] == 200
        await trio.sleep(0.2)
        assert not await both.kept(grant["output_key"])
        assert await both.output(job_id) == b"good"


async def test_in_a_bucket_that_keeps_versions_the_accepted_one_is_opened(seaweed: Seaweed, tmp_path: Path) -> None:
    bucket = f"versions-{tmp_path.name}".lower().replace("_", "-")[:60].strip("-")
    seaweed.client().create_bucket(Bucket=bucket)
    seaweed.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versioned = Seaweed(seaweed.endpoint, bucket, seaweed.access_key, seaweed.secret_key, seaweed.log)
    async with beside_s3(tmp_path / "data", versioned, "") as local, httpx.AsyncClient() as http:
        both = Both(local, http)
        job_id = await both.pending()
        await local.register()
        grant = await local.claim()
        await both.put(grant["upload_url"], b"good")
        assert (await both.complete(grant))[0] == 200
        assert await both.put(grant["upload_url"], b"evil") == 200
        assert await both.output(job_id) == b"good"
        assert not await both.kept(grant["output_key"])


async def test_a_copy_that_was_under_way_at_a_kill_is_made_afterwards(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        both = Both(local, None)  # type: ignore[arg-type]
        await both.pending()
        await local.register()
        grant = await local.claim()
        await both.put(grant["upload_url"], b"good")
        objects: Any = local.parts.services.objects

        async def hangs(*_: Any, **__: Any) -> None:
            await trio.sleep_forever()

        objects.copy = hangs
        await both.complete(grant)
        token = local.parts.admin_token
    async with open_local(tmp_path / "data", admin_token=token) as local:
        both = Both(local, None)  # type: ignore[arg-type]
        await trio.sleep(1)
        assert await both.kept(grant["output_key"])
        await trio.sleep(7200)
        assert not (tmp_path / "data" / "objects" / grant["output_key"]).exists(), "its name is not needed any more"
        assert await both.output(1) == b"good"
