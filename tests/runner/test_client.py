"""The client against a real socket: what it repeats, what it does not, what its errors say."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import (
    ApiError,
    AsyncClient,
    ChecksumMismatch,
    ClientError,
    ServerUnreachable,
    TransferRefused,
    UnexpectedAnswer,
)
from blobforge.client.submission import upload_source
from blobforge.client.transfer import FileFacts
from tests.runner.scripted import LOSE, Answer, Scripted

BUSY = Answer({"detail": "busy"}, 503, {"Retry-After": "0"})


async def test_a_problem_becomes_an_api_error(scripted: Scripted) -> None:
    problem = {
        "type": "https://blobforge.example/problems/lease-lost",
        "title": "Conflict",
        "status": 409,
        "detail": "The lease is another attempt's.",
        "request_id": "r-1",
    }
    scripted.on("POST", "/api/jobs/7/complete", Answer(problem, 409, {"Content-Type": "application/problem+json"}))
    async with AsyncClient(scripted.url) as client:
        with pytest.raises(ApiError) as caught:
            await client.complete(7, "w", "lease")
    error = caught.value
    assert (error.status, error.type, error.request_id) == (409, "lease-lost", "r-1")
    assert str(error) == "The lease is another attempt's."


@pytest.mark.parametrize("body", [b"<html>oh no</html>", b"", b'{"error": 7}'])
async def test_an_error_that_is_no_problem_is_still_told(scripted: Scripted, body: bytes) -> None:
    scripted.on("GET", "/api/stats", Answer(body, 418))
    async with AsyncClient(scripted.url) as client:
        with pytest.raises(ApiError, match="the server answered 418"):
            await client.stats()


async def test_an_answer_of_another_kind_of_server(scripted: Scripted) -> None:
    scripted.on("GET", "/api/stats", Answer(b"<html>", 200))
    scripted.on("GET", "/api/workers", Answer(b"", 302, {"Location": "https://elsewhere.example/"}))
    async with AsyncClient(scripted.url) as client:
        with pytest.raises(UnexpectedAnswer, match="did not answer as a BlobForge server"):
            await client.stats()
        with pytest.raises(UnexpectedAnswer, match=r"redirects to https://elsewhere\.example/"):
            await client.list_workers()


async def test_every_page_of_a_list_is_asked_for(scripted: Scripted) -> None:
    def page(path: str, rows: list[dict[str, Any]], link: str) -> Answer:
        return Answer(rows, 200, {"Link": f'<{path}?{link}>; rel="next"'} if link else {})

    worker = {"type": "pdf", "status": "online"}
    first, second = [worker | {"id": "a"}], [worker | {"id": "b &"}]
    scripted.on(
        "GET", "/api/workers", page("/api/workers", first, "type=pdf&cursor=a"),
        page("/api/workers", second, "type=pdf&cursor=b+%26"), Answer([], 200),
    )  # fmt: skip
    # A page of none leads nowhere, whatever it says; nor is another server asked.
    scripted.on("GET", "/api/admin/tokens", page("https://elsewhere.example/x", [], "cursor=1"))
    async with AsyncClient(scripted.url) as client:
        assert [each.id for each in await client.list_workers(type="pdf")] == ["a", "b &"]
        assert await client.list_tokens() == []
    asked = [request.path for request in scripted.requests]
    assert asked == [
        "/api/workers?type=pdf", "/api/workers?type=pdf&cursor=a", "/api/workers?type=pdf&cursor=b+%26",
        "/api/admin/tokens",
    ]  # fmt: skip


async def test_unknown_fields_are_ignored(scripted: Scripted) -> None:
    scripted.on("GET", "/api/stats", Answer({"total_jobs": 3, "from_the_future": {"x": 1}}))
    async with AsyncClient(scripted.url) as client:
        assert (await client.stats()).total_jobs == 3


async def test_nobody_there() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with AsyncClient(f"http://127.0.0.1:{port}", patience=0) as client:
        with pytest.raises(
            ServerUnreachable, match=f"cannot reach http://127.0.0.1:{port}/api/stats: connection refused"
        ):
            await client.stats()


@pytest.mark.parametrize("url", ["localhost:8080", "", "ftp://x", "http://", "http://[::1", "http://x\r"])
def test_a_base_url_must_be_one(url: str) -> None:
    with pytest.raises(ValueError, match=r"not an http|not a URL"):
        AsyncClient(url)


@pytest.mark.parametrize(
    "credential", [{"token": "bf_\r"}, {"token": "bf é"}, {"worker": ("w", "bfw_\n")}], ids=["cr", "accent", "nl"]
)
def test_a_credential_must_be_one(credential: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a credential is"):
        AsyncClient("http://127.0.0.1:1", **credential)


async def test_a_busy_server_is_asked_again_with_the_same_idempotency_key(scripted: Scripted) -> None:
    scripted.on("POST", "/api/jobs", BUSY, LOSE, Answer({"job_id": 5, "existing": False}, 201))
    told: list[ClientError] = []
    async with AsyncClient(scripted.url, patience=60, on_retry=lambda error, _pause: told.append(error)) as client:
        assert (await client.submit_job("pdf", "0" * 64)).job_id == 5
        await client.submit_job("pdf", "0" * 64)
    first, second, third, other = (request.headers["idempotency-key"] for request in scripted.requests)
    assert first == second == third != other
    assert len({request.body for request in scripted.requests}) == 1
    assert [type(error) for error in told] == [ApiError, ServerUnreachable]


async def test_a_lost_claim_is_repeated_with_its_own_key(scripted: Scripted) -> None:
    scripted.on("POST", "/api/jobs/claim", LOSE, Answer({"jobs": []}))
    async with AsyncClient(scripted.url, patience=60) as client:
        assert await client.claim("w", ["pdf"], claim_key="k-1", wait=0.5, limit=3) == []
    assert len(scripted.requests) == 2
    for request in scripted.requests:
        assert request.json == {
            "worker_id": "w",
            "job_types": ["pdf"],
            "wait": 1,
            "limit": 3,
            "claim_key": "k-1",
            "write_once": True,
        }


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
async def test_a_refusal_is_not_asked_for_twice(scripted: Scripted, status: int) -> None:
    scripted.on("GET", "/api/stats", Answer({"detail": "no"}, status))
    async with AsyncClient(scripted.url, patience=60) as client:
        with pytest.raises(ApiError):
            await client.stats()
    assert len(scripted.requests) == 1


async def test_patience_ends_before_a_wait_that_is_too_long(scripted: Scripted) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    scripted.on("GET", "/api/stats", Answer({"detail": "slow down"}, 429, {"Retry-After": at}))
    async with AsyncClient(scripted.url, patience=5) as client:
        with pytest.raises(ApiError) as caught:
            await client.stats()
    assert caught.value.retry_after == pytest.approx(3600, abs=60)
    assert len(scripted.requests) == 1


async def test_credentials_go_to_the_api_and_never_to_a_signed_url(scripted: Scripted, tmp_path: Path) -> None:
    scripted.on("POST", "/api/workers/w%2F1/heartbeat", Answer({"status": "ok"}))
    scripted.on("GET", "/store/object", Answer(b"bytes"))
    scripted.on("PUT", "/store/object", Answer(b""))
    target = tmp_path / "file"
    async with AsyncClient(scripted.url, worker=("w/1", "bfw_secret")) as client:
        await client.heartbeat("w/1")
        await client.download(f"{scripted.url}/store/object?signature=x", target)
        await client.upload(f"{scripted.url}/store/object?signature=x", target, headers={"x-amz-meta": "1"})
    beat, get, put = scripted.requests
    assert (beat.headers["x-worker-id"], beat.headers["x-worker-secret"]) == ("w/1", "bfw_secret")
    for request in (get, put):
        assert "secret" not in str(request.headers)
        assert "x-worker-id" not in request.headers
    assert put.body == b"bytes"
    assert put.headers["content-length"] == "5"
    assert put.headers["content-type"] == "application/octet-stream"
    assert put.headers["x-amz-meta"] == "1"


async def test_a_download_is_verified_and_appears_whole_or_not_at_all(scripted: Scripted, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    scripted.on("GET", "/object", LOSE, BUSY, Answer(content))
    target = tmp_path / "file"
    sha256 = hashlib.sha256(content).hexdigest()
    counted: list[int] = []
    async with AsyncClient(scripted.url, patience=60) as client:
        with pytest.raises(ChecksumMismatch):
            await client.download(f"{scripted.url}/object", target, sha256="0" * 64)
        assert list(tmp_path.iterdir()) == []
        facts = await client.download(f"{scripted.url}/object", target, sha256=sha256, on_bytes=counted.append)
    assert target.read_bytes() == content
    assert list(tmp_path.iterdir()) == [target]
    assert (facts.size, facts.sha256) == (len(content), sha256)
    assert sum(counted) == len(content)


async def test_an_expired_url_is_refused_once_and_shown_without_its_signature(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted.on("PUT", "/object", Answer(b"<Error>Request has\n expired</Error>", 403))
    source = tmp_path / "file"
    source.write_bytes(b"")
    async with AsyncClient(scripted.url, patience=60) as client:
        with pytest.raises(TransferRefused) as caught:
            await client.upload(f"{scripted.url}/object?signature=secret", source)
    assert caught.value.status == 403
    assert "secret" not in str(caught.value)
    assert "Request has expired" in str(caught.value)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        Answer({"type": "urn:blobforge:problem:invalid", "detail": "the bytes do not match"}, 422),
        Answer(b"<Error><Code>BadDigest</Code></Error>", 400, {"Content-Type": "application/xml"}, foreign=True),
    ],
    ids=["embedded", "S3"],
)
async def test_a_source_that_changed_is_told_as_that(scripted: Scripted, tmp_path: Path, refusal: Answer) -> None:
    """And not as what the store said of its bytes, with a signed URL in it; a store that is wrong is quoted."""
    scripted.on("PUT", "/store", refusal)
    source, url = tmp_path / "a.pdf", f"{scripted.url}/store"
    source.write_bytes(b"as it is now")
    now = FileFacts(12, hashlib.sha256(b"as it is now").hexdigest())
    async with AsyncClient(scripted.url, patience=0) as client:
        with pytest.raises(ChecksumMismatch, match=r"a\.pdf changed before it was uploaded"):
            await upload_source(client, source, FileFacts(9, "0" * 64), url, headers={})
        with pytest.raises(TransferRefused):
            await upload_source(client, source, now, url, headers={})
