"""Signed URLs: no credential signs a key outside its own job or source. And an object store that says nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.fixtures.server import ServerProcess
from tests.web.calls import HEX, assert_problem, finish, put_output, raw, token, worker

UPLOAD = "/api/files/upload-url"
SOURCE = "/api/files/source-url"
MANY = "/api/files/urls"


def path_of(url: str) -> str:
    """What stands behind the host: to be called in this process."""
    return "/" + url.split("/", 3)[3]


async def put(local: LocalServer, url: str, content: bytes, content_type: str = "application/octet-stream") -> int:
    answer = await raw(local, "PUT", path_of(url), content, Content_Type=content_type, Authorization="")
    return int(answer.status_code)


# ------------------------------------------------------------------ downloads


async def test_downloads_name_the_file(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"the source", source_path="C:\\scans\\Jahresbericht ü.pdf")
    await local.register()
    await finish(local, result={"filename": "../x/Jahresbericht.md"})
    for kind, content, name in (
        ("source", b"the source", "Jahresbericht"),
        ("output", b"converted", "Jahresbericht.md"),
    ):
        status, answer = await local.call("GET", f"/api/files/1/{kind}/url")
        assert (status, answer.keys()) == (200, {"url"})
        download = await raw(local, "GET", path_of(answer["url"]), Authorization="")
        assert await download.get_data(as_text=False) == content
        assert name in download.headers["Content-Disposition"]
        assert "/" not in download.headers["Content-Disposition"]
        assert download.headers["Content-Disposition"].startswith("attachment")


async def test_there_is_no_url_of_what_is_not_there(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    assert_problem(await local.call("GET", "/api/files/1/output/url"), 404, "no-such-object")
    assert_problem(await local.call("GET", "/api/files/2/source/url"), 404, "no-such-object")
    assert_problem(await local.call("GET", "/api/files/3/source/url"), 404, "no-such-job")
    assert_problem(await local.call("GET", "/api/files/1/database/url"), 404, "no-such-route")


# ------------------------------------------------------------------ uploads of submitters


@pytest.mark.parametrize("body", [{"source_hash": HEX}, {"key": f"sources/{HEX}"}])
async def test_a_submitter_gets_the_url_of_a_source(local: LocalServer, autojump_clock: Any, body: Any) -> None:
    submitter = await token(local, "submit")
    status, answer = await local.call("POST", UPLOAD, body, token=submitter)
    assert status == 200
    assert answer["key"] == f"sources/{HEX}"
    assert await put(local, answer["url"], b"other bytes") == 422, "its name is its content"
    content = b"the right bytes"
    _, answer = await local.call("POST", UPLOAD, {"source_hash": sha256(content).hexdigest()}, token=submitter)
    assert await put(local, answer["url"], content) == 200


FOREIGN = [
    "sources/../litestream/x", "litestream/generations/0", f"sources/{HEX.upper()}", f"sources/{HEX}/../../x",
    f"/sources/{HEX}", f"sources%2F{HEX}", f"sources/{HEX}%00", f"sources/{HEX}\x00", f"sources/{HEX}\n",
    f"sources/{HEX[:-1]}", f"sources/{HEX}0", f"sources//{HEX}", f"sources\\{HEX}", f" sources/{HEX}", "",
    "outputs/1/1/output", "outputs/2/1/output", "outputs/1/../../litestream/x", "blobforge.db", "sources/", "..",
    f"s3://bucket/sources/{HEX}", "x" * 5000, f"sources/{'а' * 64}",
]  # fmt: skip


@pytest.mark.parametrize("key", FOREIGN)
async def test_no_other_key_is_signed_for_anybody(local: LocalServer, autojump_clock: Any, key: str) -> None:
    await local.submit(b"1")
    await local.register()
    await local.claim()
    mine = await worker(local, "mine")
    callers: list[dict[str, Any]] = [{"token": await token(local, "submit")}, {"token": None}, {"headers": mine}]
    for options in callers:  # a submitter, an administrator, a worker
        status, answer = await local.call("POST", UPLOAD, {"key": key}, **options)
        assert status in (403, 422), answer
        assert "url" not in answer


@pytest.mark.parametrize("body", [{}, {"source_hash": HEX.upper()}, {"source_hash": "../x"}, {"content_type": "a\nb"},
                                  {"source_hash": HEX, "key": f"sources/{'cd' * 32}"}])  # fmt: skip
async def test_uploads_that_name_nothing(local: LocalServer, autojump_clock: Any, body: Any) -> None:
    assert_problem(await local.call("POST", UPLOAD, body), 422, "invalid")


async def test_a_content_type_is_kept_to(local: LocalServer, autojump_clock: Any) -> None:
    content = b"pdf"
    body = {"source_hash": sha256(content).hexdigest(), "content_type": "application/pdf"}
    _, answer = await local.call("POST", UPLOAD, body)
    assert await put(local, answer["url"], content, "text/html") == 403
    assert await put(local, answer["url"], content, "application/pdf") == 200


# ------------------------------------------------------------------ uploads of workers


async def test_a_worker_gets_a_fresh_url_for_its_own_attempt(local: LocalServer, autojump_clock: Any) -> None:
    mine, other = await worker(local, "mine"), await worker(local, "other")
    await local.submit()
    grant = await local.claim("mine")
    ask = {"job_id": 1, "lease": grant["lease"]}
    status, answer = await local.call("POST", UPLOAD, ask, headers=mine)
    assert (status, answer["key"]) == (200, grant["output_key"])
    assert await put(local, answer["url"], b"result") == 200
    for body, refused in (
        (ask | {"key": "outputs/1/2/output"}, 403),
        (ask | {"key": f"sources/{HEX}"}, 403),
        (ask | {"worker_id": "other"}, 403),
        (ask | {"lease": "made up"}, 409),
        (ask | {"job_id": 9}, 404),
    ):
        assert (await local.call("POST", UPLOAD, body, headers=mine))[0] == refused, body
    assert_problem(await local.call("POST", UPLOAD, ask, headers=other), 409, "lease-lost")
    assert_problem(await local.call("POST", UPLOAD, {"job_id": 1}, headers=other), 409, "lease-lost")
    work = await token(local, "work")
    assert_problem(await local.call("POST", UPLOAD, ask, token=await token(local, "submit")), 403, "key-not-allowed")
    assert_problem(await local.call("POST", UPLOAD, ask, token=work), 403, "not-yours")
    assert_problem(await local.call("POST", UPLOAD, {"source_hash": HEX}, headers=mine), 403, "key-not-allowed")
    await local.call("POST", "/api/jobs/1/release", {"worker_id": "mine"})
    for options in ({"headers": mine}, {"token": work}, {"token": None}):
        assert_problem(await local.call("POST", UPLOAD, ask, **options), 409, "lease-lost")


async def test_no_fresh_url_once_the_job_was_started_anew(local: LocalServer, autojump_clock: Any) -> None:
    """An attempt that has lost its lease may come late until then, and its output with it."""
    mine = await worker(local, "mine")
    await local.submit()
    grant = await local.claim("mine")
    await trio.sleep(local.parts.services.settings.worker_timeout + 1)
    ask = {"job_id": 1, "lease": grant["lease"]}
    _, late = await local.call("POST", UPLOAD, ask, headers=mine)
    assert late["key"] == grant["output_key"]
    assert_problem(await local.call("POST", UPLOAD, ask | {"lease": "x"}, headers=mine), 409, "lease-lost")
    again = await local.claim("mine")
    assert_problem(await local.call("POST", UPLOAD, ask, headers=mine), 409, "lease-lost")
    _, fresh = await local.call("POST", UPLOAD, {"job_id": 1, "lease": again["lease"]}, headers=mine)
    assert fresh["key"] == again["output_key"] != grant["output_key"]


async def test_a_worker_gets_a_fresh_url_of_its_own_source(local: LocalServer, autojump_clock: Any) -> None:
    mine, other = await worker(local, "mine"), await worker(local, "other")
    await local.submit(b"the source")
    grant = await local.claim("mine")
    await trio.sleep(local.parts.services.settings.worker_timeout + 1)  # late, and not started anew
    ask = {"job_id": 1, "lease": grant["lease"]}
    status, answer = await local.call("POST", SOURCE, ask, headers=mine)
    assert (status, answer.keys()) == (200, {"url"})
    download = await raw(local, "GET", path_of(answer["url"]), Authorization="")
    assert await download.get_data(as_text=False) == b"the source"
    for body, refused in (
        (ask | {"worker_id": "other"}, 403),
        (ask | {"lease": "x"}, 409),
        (ask | {"job_id": 9}, 404),
    ):
        assert (await local.call("POST", SOURCE, body, headers=mine))[0] == refused, body
    assert_problem(await local.call("POST", SOURCE, ask, headers=other), 409, "lease-lost")
    assert_problem(await local.call("POST", SOURCE, ask, token=await token(local, "work")), 403, "not-yours")
    assert (await local.call("POST", SOURCE, ask, token=await token(local, "submit")))[0] == 403
    assert (await local.call("POST", SOURCE, ask, token=await token(local, "read")))[0] == 403
    again = await local.claim("mine")
    assert_problem(await local.call("POST", SOURCE, ask, headers=mine), 409, "lease-lost")
    assert (await local.call("POST", SOURCE, {"job_id": 1, "lease": again["lease"]}, headers=mine))[0] == 200


async def test_a_checksum_binds_the_upload(local: LocalServer, autojump_clock: Any) -> None:
    mine = await worker(local, "mine")
    await local.submit()
    grant = await local.claim("mine")
    ask = {"job_id": 1, "lease": grant["lease"], "checksum": sha256(b"right").hexdigest()}
    _, answer = await local.call("POST", UPLOAD, ask, headers=mine)
    assert await put(local, answer["url"], b"wrong") == 422
    assert await put(local, answer["url"], b"right") == 200


async def test_refusals_of_the_object_routes_have_the_form_of_all(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await put_output(local, local.key(1))
    assert_problem(await local.call("GET", f"/objects/{local.key(1)}"), 403, "object-url-refused")
    assert_problem(
        await local.call("PUT", f"/objects/sources/{HEX}?op=put&expires=1&sig=00", b"x"), 403, "object-url-refused"
    )


# ------------------------------------------------------------------ with an object store that says nothing


class SilentStore:
    """A listener that takes every connection and never says a word: an S3 that hangs."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for each in self._taken:
            each.close()


@pytest.fixture
def hung(tmp_path: Path, seaweed: Any) -> Iterator[ServerProcess]:
    """A server whose job is running when its object store falls silent."""
    store = {
        "s3_bucket": seaweed.bucket,
        "s3_access_key": seaweed.access_key,
        "s3_secret_key": seaweed.secret_key,
        "s3_prefix": f"hung-{tmp_path.name}",
        "s3_timeout": 0.5,
        "litestream_disabled": "true",
    }
    process = ServerProcess(tmp_path / "data", s3_endpoint=seaweed.endpoint, **store)
    process.folder.mkdir()
    silent = SilentStore()
    try:
        process.start()
        with process.client() as http:
            for content in (b"one", b"two"):
                made = http.post("/api/jobs", json={"type": "pdf", "source_hash": sha256(content).hexdigest()}).json()
                http.put(made["upload_url"], content=content, headers={"Authorization": ""})
                assert http.post(f"/api/jobs/{made['job_id']}/uploaded").json() == {"status": "pending"}
        assert process.stop() == 0
        process.variables["BLOBFORGE_S3_ENDPOINT"] = silent.url
        process.start()
        yield process
    finally:
        process.close()
        silent.close()


def test_workers_go_on_while_the_object_store_is_silent(hung: ServerProcess) -> None:
    with hung.client() as http:
        assert http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).status_code == 200
        grant = http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json()
        job_id = grant["job"]["id"]
        assert http.post("/api/workers/w/heartbeat", json={"job_id": job_id}).json()["abandon"] == []
        body = {"worker_id": "w", "lease": grant["lease"], "output_key": grant["output_key"]}
        # Nobody can say whether the output is there. The worker is believed for now, and it is looked at later.
        assert http.post(f"/api/jobs/{job_id}/complete", json=body).json() == {"status": "completed"}
        assert http.get(f"/api/jobs/{job_id}").json()["status"] == "completed"
        assert http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json()["job"]["id"] != job_id
        made = http.post("/api/jobs", json={"type": "pdf", "source_hash": HEX})
        assert (made.status_code, made.json()["status"]) == (201, "uploading")
        assert "upload_url" in made.json()
        uploaded = http.post(f"/api/jobs/{made.json()['job_id']}/uploaded")
        assert uploaded.status_code == 503
        assert int(uploaded.headers["Retry-After"]) > 0
        health = http.get("/api/health")
        assert (health.status_code, health.json()["status"], health.json()["object_store"]["status"]) == (
            200,
            "degraded",
            "unhealthy",
        )
    assert hung.stop() == 0


def test_a_completion_taken_on_trust_is_revoked_when_the_output_is_not_there(
    hung: ServerProcess, seaweed: Any
) -> None:
    with hung.client() as http:
        http.post("/api/workers/register", json={"id": "w", "type": "pdf"})
        first, second = (
            http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json() for _ in range(2)
        )
        for grant in (first, second):
            body = {"worker_id": "w", "lease": grant["lease"], "output_key": grant["output_key"]}
            assert http.post(f"/api/jobs/{grant['job']['id']}/complete", json=body).status_code == 200
    prefix = hung.variables["BLOBFORGE_S3_PREFIX"]
    seaweed.client().put_object(Bucket=seaweed.bucket, Key=f"{prefix}/{second['output_key']}", Body=b"it is there")
    assert hung.stop() == 0
    hung.variables["BLOBFORGE_S3_ENDPOINT"] = seaweed.endpoint
    hung.start()
    with hung.client() as http:
        while (job := http.get(f"/api/jobs/{first['job']['id']}").json())["status"] == "completed":
            time.sleep(0.05)  # the server looks within seconds; pytest-timeout is the deadline
        assert job["status"] == "pending"
        assert (job["attempts"], "not in the object store" in job["last_error"]) == (0, True)
        assert http.get(f"/api/jobs/{second['job']['id']}").json()["status"] == "completed"


# ------------------------------------------------------------------ many at once


async def test_many_urls_are_signed_in_one_request(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    ids = [await local.submit(f"source {n}".encode(), source_path=f"scans/{n}.pdf") for n in range(3)]
    for n in ids[:2]:
        await finish(local, result={"filename": f"../{n}.md"})
    asked = [{"job_id": n, "kind": kind} for n in ids for kind in ("source", "output")] + [
        {"job_id": 99, "kind": "output"},
        {"job_id": 1, "kind": "output", "name": "other.md"},
    ]
    status, answer = await local.call("POST", MANY, {"items": asked}, token=await token(local, "read"))
    assert status == 200
    items = answer["items"]
    assert [(each["job_id"], each["kind"]) for each in items] == [(each["job_id"], each["kind"]) for each in asked]
    for each in items[:4]:
        content = b"converted" if each["kind"] == "output" else f"source {each['job_id'] - 1}".encode()
        download = await raw(local, "GET", path_of(each["url"]), Authorization="")
        assert await download.get_data(as_text=False) == content
        assert (each["size"], each["sha256"]) == (len(content), sha256(content).hexdigest())
        assert each["filename"] == (
            f"{each['job_id']}.md" if each["kind"] == "output" else f"{each['job_id'] - 1}.pdf"
        )
        assert each["filename"] in download.headers["Content-Disposition"]
    assert items[1]["key"] == (await local.job(1))["output_key"]
    refused = [(each["status_code"], each["type"].rpartition(":")[2], "url" in each) for each in items[5:]]
    assert refused == [(404, "no-such-object", False), (404, "no-such-job", False), (404, "no-such-object", False)]


@pytest.mark.parametrize("items", [[], [{"job_id": 1, "kind": "database"}], [{"job_id": 1, "kind": "output"}] * 501])
async def test_no_more_than_500_urls_of_files_there_are(local: LocalServer, autojump_clock: Any, items: Any) -> None:
    assert_problem(await local.call("POST", MANY, {"items": items}), 422, "invalid")


async def test_the_name_of_a_result_that_is_kept_aside_is_known_to_many(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    results: list[Any] = [
        {"filename": "a.md", "pages": ["x" * 100] * 10_000}, {"filename": "b.md", "x": [1]},
        {"filename": 1}, [1], "x",
    ]  # fmt: skip
    for number, result in enumerate(results):
        await local.submit(f"{number}".encode(), source_path=f"{number}.pdf")
        await finish(local, result=result)
    asked = [{"job_id": number, "kind": "output"} for number in range(1, len(results) + 1)]
    _, answer = await local.call("POST", MANY, {"items": asked})
    names = [each["filename"] for each in answer["items"]]
    assert names == ["a.md", "b.md", "2-output", "3-output", "4-output"]


async def test_what_is_on_record_is_signed_without_a_question_to_the_store(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.submit()
    await local.register()
    await finish(local)
    store: Any = local.parts.services.objects
    asked: list[str] = []
    look = store.head

    async def head(key: str, **how: Any) -> Any:
        asked.append(key)
        return await look(key, **how)

    monkeypatch.setattr(store, "head", head)
    await local.call("POST", MANY, {"items": [{"job_id": 1, "kind": "output"}] * 500})
    assert asked == []
    await local.call("GET", "/api/files/1/output/url")
    assert len(asked) == 1, "one alone is looked for"
