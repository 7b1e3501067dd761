"""An attempt's output in parts on a real store: whose it is, what is repeated, and that accepted is final."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from blobforge.objects.keys import source_key
from tests.fixtures.seaweed import Seaweed
from tests.web.calls import assert_problem
from tests.web.test_accepted import OCTETS, Both, beside_s3

BEGIN = "/api/files/multipart"


class Output:
    """One attempt's output on its way, as a worker sends it."""

    def __init__(self, both: Both, grant: Any, worker_id: str = "w1") -> None:
        self._both = both
        self.key = grant["output_key"]
        self._job_id = grant["job"]["id"]
        self._whose = {"job_id": self._job_id, "lease": grant["lease"], "worker_id": worker_id}
        self.upload_id = ""

    async def post(self, verb: str = "", **more: Any) -> Any:
        upload = {"upload_id": self.upload_id} if verb else {}
        return await self._both.local.call("POST", f"{BEGIN}{verb}", self._whose | upload | more)

    async def begin(self, size: int) -> Any:
        status, begun = await self.post(size=size)
        assert status == 200, begun
        self.upload_id = begun["upload_id"]
        return begun

    async def part(self, content: bytes, bound: bytes | None = None) -> httpx.Response:
        """PUT the only part, by a URL that is bound to its own bytes, or to other ones."""
        md5 = base64.b64encode(hashlib.md5(content if bound is None else bound).digest()).decode()
        status, signed = await self.post("/part", number=1, md5=md5)
        assert status == 200, signed
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            return await http.put(signed["url"], content=content, headers=OCTETS | signed["headers"])

    async def make(self, content: bytes) -> Any:
        etag = hashlib.md5(content).hexdigest()
        return await self.post("/complete", parts=[{"number": 1, "etag": etag}])


@pytest.fixture
async def both(seaweed: Seaweed, tmp_path: Path) -> AsyncIterator[Both]:
    async with (
        beside_s3(tmp_path / "data", seaweed, f"parts/{tmp_path.name}") as local,
        httpx.AsyncClient(timeout=30, trust_env=False) as http,
    ):
        both = Both(local, http)

        async def learned() -> bool:
            return bool(local.parts.services.objects.write_once)

        await both.until(learned)
        await local.register()
        yield both


async def test_a_part_that_is_refused_is_sent_again_and_a_completion_repeated(both: Both) -> None:
    job_id = await both.pending()
    grant = await both.local.claim()
    output = Output(both, grant)
    assert (await output.begin(4))["parts"] == []
    assert (await output.part(b"evil", bound=b"good")).status_code == 400, "the store refuses other bytes"
    assert (await output.part(b"good")).status_code == 200
    # Who comes again, its connection lost, goes on with what is there.
    (part,) = (await output.begin(4))["parts"]
    assert part == {"number": 1, "size": 4, "etag": hashlib.md5(b"good").hexdigest()}
    for _ in range(2):
        assert await output.make(b"good") == (200, {"status": "stored"}), "the answer to the first may be lost"
    assert (await both.complete(grant))[0] == 200
    assert_problem(await output.make(b"good"), 409, "lease-lost")
    assert_problem(await output.post(size=4), 409, "lease-lost")
    assert await both.output(job_id) == b"good"


async def test_a_source_that_came_meanwhile_is_not_replaced_by_parts(both: Both) -> None:
    """It may have been checked already: when the parts began to be made into one, it was not there."""
    good, evil = b"a document", b"another one"
    digest = hashlib.sha256(good).hexdigest()

    async def parts(verb: str = "", **more: Any) -> Any:
        return await both.local.call("POST", f"{BEGIN}{verb}", {"source_hash": digest} | more)

    upload = {"upload_id": (await parts(size=len(evil)))[1]["upload_id"]}
    _, signed = await parts("/part", number=1, md5=base64.b64encode(hashlib.md5(evil).digest()).decode(), **upload)
    assert await both.put(signed["url"], evil, OCTETS | signed["headers"]) == 200
    _, plain = await both.local.call("POST", "/api/files/upload-url", {"source_hash": digest, "checksum": digest})
    assert await both.put(plain["url"], good, plain["headers"]) == 200
    etag = hashlib.md5(evil).hexdigest()
    answer = await parts("/complete", parts=[{"number": 1, "etag": etag}], **upload)
    assert answer == (200, {"status": "stored"})
    assert await both.local.parts.services.objects.digest(source_key(digest)) == digest


async def test_a_source_with_the_wrong_bytes_makes_room_for_parts_of_the_right_one(both: Both) -> None:
    """No job waits for it, so it had not been looked at."""
    good, evil = b"a document", b"another one"
    digest = hashlib.sha256(good).hexdigest()

    async def parts(verb: str = "", **more: Any) -> Any:
        return await both.local.call("POST", f"{BEGIN}{verb}", {"source_hash": digest} | more)

    for content in (evil, good):
        upload = {"upload_id": (await parts(size=len(content)))[1]["upload_id"]}
        md5 = hashlib.md5(content)
        _, signed = await parts("/part", number=1, md5=base64.b64encode(md5.digest()).decode(), **upload)
        assert await both.put(signed["url"], content, OCTETS | signed["headers"]) == 200
        made = await parts("/complete", parts=[{"number": 1, "etag": md5.hexdigest()}], **upload)
        assert made == (200, {"status": "stored"})
    assert await both.local.parts.services.objects.digest(source_key(digest)) == digest


async def test_a_lease_that_is_lost_in_the_middle(both: Both) -> None:
    job_id = await both.pending()
    lost = Output(both, await both.local.claim())
    await lost.begin(4)
    assert (await lost.part(b"evil")).status_code == 200
    await both.local.call("POST", f"/api/jobs/{job_id}/release", {"worker_id": "w1", "cause": "shutdown"})
    await both.local.register("w2")
    grant = await both.local.claim("w2")
    for answer in (
        await lost.make(b"evil"),
        await lost.post("/part", number=2),
        await lost.post("/abort"),
        await lost.post(size=4),
    ):
        assert_problem(answer, 409, "lease-lost")
    taken = Output(both, grant, "w2")
    assert taken.key != lost.key
    assert (await taken.begin(4))["parts"] == [], "nothing of the other attempt"
    assert (await taken.part(b"good")).status_code == 200
    assert (await taken.make(b"good"))[0] == 200
    body = {"worker_id": "w2", "lease": grant["lease"], "output_key": taken.key}
    assert (await both.local.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200
    assert await both.output(job_id) == b"good"
    # What the first has left in the store is seen by nobody, and found when such are looked for.
    objects = both.local.parts.services.objects
    assert await objects.head(lost.key) is None
    assert await objects.clear_unfinished(before=time.time() + 60, dry_run=False) == 1


@pytest.mark.parametrize("write_once", [False, True])
async def test_a_completion_that_the_store_carries_out_after_the_acceptance(both: Both, write_once: bool) -> None:
    """The server had asked the store while the attempt held the job. What is served stays what was accepted."""
    job_id = await both.pending()
    grant = await both.local.claim(write_once=write_once)
    output = Output(both, grant)
    for content in (b"good", b"evil"):
        await output.begin(4)
        assert (await output.part(content)).status_code == 200
        if content == b"good":
            assert (await output.make(content))[0] == 200
    assert (await both.complete(grant))[0] == 200
    if not write_once:
        await both.until(lambda: both.kept(output.key))
    objects: Any = both.local.parts.services.objects
    etag = hashlib.md5(b"evil").hexdigest()
    made = await objects.multipart.complete(output.key, output.upload_id, [(1, etag)], write_once=write_once)
    assert made is not write_once
    assert await both.kept(output.key) is not write_once, "where nothing can be written over, nothing is copied"
    assert await both.output(job_id) == b"good"
