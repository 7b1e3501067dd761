"""Other ways in for sources: many small ones at once; large ones in parts, which this store has not."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem, token, worker

PARTS: list[tuple[str, dict[str, Any]]] = [
    ("", {"size": 1}),
    ("/part", {"upload_id": "x", "number": 1}),
    ("/complete", {"upload_id": "x", "parts": [{"number": 1, "etag": "x"}]}),
    ("/abort", {"upload_id": "x"}),
]


def source(content: bytes, sha256: str | None = None) -> dict[str, str]:
    return {
        "source_hash": sha256 or hashlib.sha256(content).hexdigest(),
        "data": base64.b64encode(content).decode(),
    }


async def announced(local: LocalServer, content: bytes, type_: str = "pdf") -> int:
    """A job whose source is not there."""
    body = {"type": type_, "source_hash": hashlib.sha256(content).hexdigest()}
    _, answer = await local.call("POST", "/api/jobs", body)
    assert answer["status"] == "uploading"
    return int(answer["job_id"])


async def test_many_small_sources_in_one_request(local: LocalServer, autojump_clock: Any) -> None:
    jobs = [await announced(local, content) for content in (b"one", b"", b"two")]
    jobs.append(await announced(local, b"one", "png"))
    sent = [source(b"one"), source(b""), source(b"two"), source(b"nobody's")]
    status, answer = await local.call("POST", "/api/files/sources", {"sources": sent})
    assert status == 200
    assert answer["items"] == [{"source_hash": each["source_hash"], "status": "stored"} for each in sent]
    assert [(await local.job(job_id))["status"] for job_id in jobs] == ["pending"] * 4
    stored: Any = local.parts.services.objects
    for each in sent:
        digest = await stored.digest(f"sources/{each['source_hash']}")
        assert digest == each["source_hash"], "what is there is what its name says"
    assert list((stored.root / "incoming").iterdir()) == []


async def test_wrong_bytes_are_refused_and_spoil_no_other(local: LocalServer, autojump_clock: Any) -> None:
    good, bad = await announced(local, b"good"), await announced(local, b"bad")
    wrong = source(b"evil", hashlib.sha256(b"bad").hexdigest())
    status, answer = await local.call("POST", "/api/files/sources", {"sources": [wrong, source(b"good")]})
    assert status == 200
    refused, stored = answer["items"]
    assert refused["status_code"] == 422
    assert "do not match" in refused["error"]
    assert stored["status"] == "stored"
    assert (await local.job(good))["status"] == "pending"
    assert (await local.job(bad))["status"] == "uploading"
    store: Any = local.parts.services.objects
    assert await store.head(f"sources/{wrong['source_hash']}") is None
    assert list((store.root / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"sources": []}, 422, "invalid"),
        ({"sources": [{"source_hash": "../x", "data": ""}]}, 422, "invalid"),
        ({"sources": [{"source_hash": HEX, "data": "no base64!"}]}, 422, "invalid"),
        ({"sources": [source(b"x" * 2_000_000)]}, 413, "too-large"),
    ],
)
async def test_bodies_that_are_none(
    local: LocalServer, autojump_clock: Any, body: dict[str, Any], status: int, kind: str
) -> None:
    assert_problem(await local.call("POST", "/api/files/sources", body), status, kind)


async def test_a_batch_says_that_small_sources_are_taken(local: LocalServer, autojump_clock: Any) -> None:
    jobs = [{"type": "pdf", "source_hash": HEX}]
    _, answer = await local.call("POST", "/api/jobs/batch", {"jobs": jobs})
    assert answer["small_sources"] is True


@pytest.mark.parametrize(("path", "more"), PARTS)
async def test_this_store_takes_no_parts(
    local: LocalServer, autojump_clock: Any, path: str, more: dict[str, Any]
) -> None:
    body = {"source_hash": HEX} | more
    assert_problem(await local.call("POST", f"/api/files/multipart{path}", body), 409, "wrong-store")


async def test_only_submitters(local: LocalServer, autojump_clock: Any) -> None:
    for scope in ("read", "work"):
        given = await token(local, scope)
        assert_problem(await local.call("POST", "/api/files/sources", {}, token=given), 403, "scope-missing")


@pytest.mark.parametrize(("path", "more"), PARTS)
async def test_parts_of_sources_are_submitters(
    local: LocalServer, autojump_clock: Any, path: str, more: dict[str, Any]
) -> None:
    route, body = f"/api/files/multipart{path}", {"source_hash": HEX} | more
    assert_problem(await local.call("POST", route, body, token=await token(local, "read")), 403, "scope-missing")
    assert_problem(await local.call("POST", route, body, token=await token(local, "work")), 403, "key-not-allowed")
    assert_problem(await local.call("POST", route, body, headers=await worker(local, "w1")), 403, "key-not-allowed")


@pytest.mark.parametrize(("path", "more"), PARTS)
async def test_parts_of_an_output_are_of_the_attempt_that_is_held(
    local: LocalServer, autojump_clock: Any, path: str, more: dict[str, Any]
) -> None:
    route = f"/api/files/multipart{path}"
    mine, other = await worker(local, "mine"), await worker(local, "other")
    await local.submit()
    grant = await local.claim("mine")
    body = {"job_id": 1, "lease": grant["lease"]} | more

    async def answer(body: dict[str, Any], **who: Any) -> Any:
        return await local.call("POST", route, body, **who)

    assert_problem(await answer(body, headers=mine), 409, "wrong-store")  # it may, if the store had parts
    assert_problem(await answer(body, headers=other), 409, "lease-lost")
    assert_problem(await answer(body | {"lease": "made up"}, headers=mine), 409, "lease-lost")
    assert_problem(await answer(body | {"job_id": 9}, headers=mine), 404, "no-such-job")
    assert_problem(await answer(body | {"worker_id": "other"}, headers=mine), 403, "not-yours")
    assert_problem(await answer(body, token=await token(local, "submit")), 403, "key-not-allowed")
    assert_problem(await answer(body, token=await token(local, "work")), 403, "not-yours")
    assert_problem(await answer(body | {"source_hash": HEX}, headers=mine), 422, "invalid", field="source_hash")
    assert_problem(await answer(more), 422, "invalid", field="source_hash")
    await local.call("POST", "/api/jobs/1/release", {"worker_id": "mine"})
    assert_problem(await answer(body, headers=mine), 409, "lease-lost")


async def _deleted_and_submitted_again(local: LocalServer, content: bytes) -> Any:
    """The answer to a submission after the source was deleted: it is to be uploaded."""
    job_id = await local.submit(content)
    assert (await local.call("DELETE", f"/api/jobs/{job_id}"))[0] == 204
    await trio.sleep(5)
    body = {"type": "pdf", "source_hash": hashlib.sha256(content).hexdigest()}
    _, answer = await local.call("POST", "/api/jobs", body)
    assert answer["status"] == "uploading"
    return answer


async def test_what_is_uploaded_again_after_its_deletion_is_believed(local: LocalServer, autojump_clock: Any) -> None:
    """For ten minutes an upload was not believed, and the job waited for the intake to look by itself."""
    content = b"a document"
    answer = await _deleted_and_submitted_again(local, content)
    url = urlsplit(answer["upload_url"])
    sent = await local.http.put(f"{url.path}?{url.query}", data=content, headers=answer["upload_headers"])
    assert sent.status_code == 200
    assert (await local.job(answer["job_id"]))["status"] == "pending"


async def test_a_bundle_after_a_deletion_says_what_is_true(local: LocalServer, autojump_clock: Any) -> None:
    """It said "stored", and the job still waited for its source."""
    content = b"a document"
    answer = await _deleted_and_submitted_again(local, content)
    digest = hashlib.sha256(content).hexdigest()
    bundle = {"sources": [{"source_hash": digest, "data": base64.b64encode(content).decode()}]}
    _, stored = await local.call("POST", "/api/files/sources", bundle)
    assert stored["items"] == [{"source_hash": digest, "status": "stored"}]
    assert (await local.job(answer["job_id"]))["status"] == "pending"
