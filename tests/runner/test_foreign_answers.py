"""What stands between a client and its server answers in its place: that is no answer, on every call.

Each status from 300 to 599, and each odd body, for each call that a worker makes; first call by call, then through
whole attempts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from blobforge.client import ApiError, AsyncClient, ServerUnreachable, TransferRefused, UnexpectedAnswer
from blobforge.runner import JobFailed, RunEnd, Worker
from tests.runner.coordinator import HASH, OK, SOURCE, Coordinator
from tests.runner.scripted import LOSE, Answer, Scripted

HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><title>Sign in to the network</title>"
XML = {"Content-Type": "application/xml"}

ROUTES = {
    "register": ("POST", "/api/workers/register"),
    "claim": ("POST", "/api/jobs/claim"),
    "heartbeat": ("POST", "/api/workers/w/heartbeat"),
    "complete": ("POST", "/api/jobs/1/complete"),
    "fail": ("POST", "/api/jobs/1/fail"),
    "release": ("POST", "/api/jobs/1/release"),
    "fresh url": ("POST", "/api/files/upload-url"),
    "fresh source": ("POST", "/api/files/source-url"),
    "list": ("GET", "/api/workers"),
    "upload": ("PUT", "/store"),
    "download": ("GET", "/store"),
}

ODD: dict[str, Answer] = {
    "a page": Answer(PAGE, 200, HTML, foreign=True),
    "a page with an ETag": Answer(PAGE, 200, {**HTML, "ETag": '"page"'}, foreign=True),
    "nothing": Answer(b"", 200, foreign=True),
    "no content": Answer(b"", 202, {"Content-Type": "text/plain"}, foreign=True),
    "another program's JSON": Answer({"message": "welcome"}, 200, foreign=True),
    "an empty object": Answer({}, 200, foreign=True),
    "a list of something else": Answer(["welcome"], 200, foreign=True),
    "a truncated answer": Answer(b'{"jobs": [', 200, foreign=True),
    "a truncated answer with our mark": Answer(b'{"jobs": [', 200),
    "a body that is no UTF-8": Answer(b"\xff\xfe\x00", 200, foreign=True),
    "a hang-up": LOSE,
    "another program's problem": Answer({"title": "nope", "status": 409}, 409, foreign=True),
    "a permanent redirect": Answer(b"", 301, {"Location": "https://portal.example/"}, foreign=True),
    "a redirect to itself": Answer(b"", 302, {"Location": "/api/jobs/claim"}, foreign=True),
    "a redirect to nowhere": Answer(b"", 302, {"Location": "http://[", **HTML}, foreign=True),
    "a redirect without a place": Answer(b"", 307, foreign=True),
}
# A hang-up in the middle of a body, an answer whose length is wrong: `test_client.py` and `test_download.py`.
NOT_OF_STORES = {"a truncated answer with our mark"}  # with an ETag: an object


async def made(client: AsyncClient, call: str, folder: Path) -> None:
    url = f"{client.base_url}/store"
    file = folder / "output"
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "register": lambda: client.register("w", "pdf"),
        "claim": lambda: client.claim("w", ["pdf"], claim_key="k"),
        "heartbeat": lambda: client.heartbeat("w"),
        "complete": lambda: client.complete(1, "w", "lease"),
        "fail": lambda: client.fail(1, "w", "lease", "no"),
        "release": lambda: client.release(1, "w", "lease", "no"),
        "fresh url": lambda: client.fresh_upload_url(1, "lease"),
        "fresh source": lambda: client.fresh_source_url(1, "lease"),
        "list": client.list_workers,
        "upload": lambda: client.upload(url, file),
        "download": lambda: client.download(url, folder / "source"),
    }
    await calls[call]()


@pytest.mark.parametrize("call", ["claim", "heartbeat", "complete", "fail", "upload", "download"])
async def test_no_status_of_something_else_is_an_answer(scripted: Scripted, tmp_path: Path, call: str) -> None:
    (tmp_path / "output").write_bytes(b"converted")
    told: dict[int, str] = {}
    async with AsyncClient(scripted.url, patience=0) as client:
        for status in range(300, 600):
            body, headers = (PAGE, HTML) if status % 2 else (b'{"error": "gateway"}', {})
            scripted.on(*ROUTES[call], Answer(b"" if status == 304 else body, status, headers, foreign=True))
            try:
                await made(client, call, tmp_path)
                told[status] = "taken"
            except UnexpectedAnswer:
                pass
            except Exception as error:
                told[status] = repr(error)
    assert told == {}
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize("call", ROUTES)
async def test_no_odd_body_is_an_answer(scripted: Scripted, tmp_path: Path, call: str) -> None:
    (tmp_path / "output").write_bytes(b"converted")
    store = call in ("upload", "download")
    told: dict[str, str] = {}
    async with AsyncClient(scripted.url, patience=0) as client:
        for name, answer in ODD.items():
            if store and name in NOT_OF_STORES:
                continue
            scripted.on(*ROUTES[call], answer)
            try:
                await made(client, call, tmp_path)
                told[name] = "taken"
            except ServerUnreachable:
                pass
            except Exception as error:
                told[name] = repr(error)
    assert told == {}


async def test_an_older_server_of_ours_is_known_by_what_it_says(scripted: Scripted) -> None:
    """Releases before the mark: a success has members that we know, a refusal the problem's type."""
    problem = {"type": "urn:blobforge:problem:lease-lost", "detail": "Lost.", "status": 409}
    scripted.on("POST", "/api/jobs/1/complete", Answer(problem, 409, foreign=True))
    scripted.on("POST", "/api/jobs/claim", Answer({"jobs": []}, foreign=True))
    scripted.on("POST", "/api/workers/w/heartbeat", Answer({"status": "ok"}, foreign=True))
    async with AsyncClient(scripted.url, patience=0) as client:
        with pytest.raises(ApiError) as caught:
            await client.complete(1, "w", "lease")
        assert await client.claim("w", ["pdf"], claim_key="k") == []
        await client.heartbeat("w")
    assert (caught.value.status, caught.value.type) == (409, "lease-lost")


async def test_a_store_refuses_in_its_own_words(scripted: Scripted, tmp_path: Path) -> None:
    expired = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    scripted.on("GET", "/store", Answer(expired, 403, XML, foreign=True))
    async with AsyncClient(scripted.url, patience=60) as client:
        with pytest.raises(TransferRefused, match="Request has expired") as caught:
            await client.download(f"{scripted.url}/store", tmp_path / "x")
    assert (caught.value.status, caught.value.code) == (403, "AccessDenied")
    assert len(scripted.requests) == 1


@pytest.fixture
async def coordinator(scripted: Scripted) -> Coordinator:
    coordinator = Coordinator(scripted)
    coordinator.waiting = 1
    return coordinator


def in_turn(scripted: Scripted, method: str, path: str, *answers: Answer) -> None:
    """Give the answers first, and then what was scripted before."""
    left, healthy = list(answers), scripted.scripts[method, path]
    scripted.scripts[method, path] = lambda request: left.pop(0) if left else healthy(request)


def worker(coordinator: Coordinator) -> Worker:
    worker = Worker(coordinator.url, token="bf_t", worker_id="w", max_jobs=1, min_free=0, poll_wait=0)

    @worker.handler("pdf", isolation="thread")
    def convert(job: object) -> None:
        source = Path(job.source).read_bytes()  # type: ignore[attr-defined]
        job.output.write_bytes(source.upper())  # type: ignore[attr-defined]

    return worker


FOREIGN = (
    Answer(PAGE, 200, HTML, foreign=True),
    Answer(PAGE, 520, HTML, foreign=True),
    Answer(b"", 302, {"Location": "https://portal.example/"}, foreign=True),
    Answer(b"", 408, foreign=True),
    Answer(b"", 200, foreign=True),
)


@pytest.mark.parametrize("path", ["/api/workers/register", "/api/jobs/claim", "/api/jobs/1/complete"])
async def test_a_worker_outlives_what_answers_in_the_servers_place(
    scripted: Scripted, coordinator: Coordinator, path: str
) -> None:
    in_turn(scripted, "POST", path, *FOREIGN[:4], Answer({"type": "urn:x", "detail": "a bug"}, 500))
    tally = await worker(coordinator).run_async()
    assert tally == {RunEnd.COMPLETED: 1}
    assert coordinator.outputs == {"/output/1": SOURCE.upper()}
    assert coordinator.posted("/api/jobs/1/fail") == coordinator.posted("/api/jobs/1/release") == []


async def test_an_upload_that_a_page_took_is_sent_again(scripted: Scripted, coordinator: Coordinator) -> None:
    in_turn(scripted, "PUT", "/output/1", *FOREIGN)
    tally = await worker(coordinator).run_async()
    assert tally == {RunEnd.COMPLETED: 1}
    assert coordinator.outputs == {"/output/1": SOURCE.upper()}
    assert coordinator.posted("/api/jobs/1/complete")[0]["checksum"] == hashlib.sha256(SOURCE.upper()).hexdigest()


async def test_a_page_in_place_of_the_source_costs_the_document_nothing(
    scripted: Scripted, coordinator: Coordinator
) -> None:
    ranged = Answer(PAGE, 200, {**HTML, "ETag": '"x"', "Accept-Ranges": "bytes"}, foreign=True)
    in_turn(scripted, "GET", "/source", *FOREIGN, ranged)
    assert hashlib.sha256(PAGE).hexdigest() != HASH
    assert await worker(coordinator).run_async() == {RunEnd.COMPLETED: 1}
    assert coordinator.posted("/api/jobs/1/fail") == coordinator.posted("/api/jobs/1/release") == []


async def test_a_failure_is_told_until_the_server_hears_it(scripted: Scripted, coordinator: Coordinator) -> None:
    in_turn(scripted, "POST", "/api/jobs/1/fail", *FOREIGN[:3])
    failing = Worker(coordinator.url, token="bf_t", worker_id="w", max_jobs=1, min_free=0, poll_wait=0)

    @failing.handler("pdf", isolation="thread")
    def convert(_job: object) -> None:
        raise JobFailed("unreadable")

    assert await failing.run_async() == {RunEnd.FAILED: 1}
    assert [sent["error"] for sent in coordinator.posted("/api/jobs/1/fail")] == ["unreadable"] * 4


async def test_a_result_is_not_handed_in_past_its_lease(
    scripted: Scripted, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something takes the completions and lets heartbeats through, which say that the lease is gone."""
    monkeypatch.setattr("blobforge.runner.holdings.LOST_GRACE", 0.2)
    scripted.on("POST", "/api/jobs/1/complete", FOREIGN[0])
    scripted.scripts["POST", "/api/workers/w/heartbeat"] = lambda request: (
        Answer({"status": "ok", "abandon": [1]}) if scripted.to("POST", "/api/jobs/1/complete") else OK
    )
    assert await worker(coordinator).run_async() == {RunEnd.DROPPED: 1}
    assert coordinator.posted("/api/jobs/1/release") == []


async def test_what_can_never_be_stored_fails_at_once(scripted: Scripted, coordinator: Coordinator) -> None:
    too_large = b"<Error><Code>EntityTooLarge</Code><Message>too large</Message></Error>"
    scripted.on("PUT", "/output/1", Answer(too_large, 400, XML, foreign=True))
    assert await worker(coordinator).run_async() == {RunEnd.FAILED: 1}
    (sent,) = coordinator.posted("/api/jobs/1/fail")
    assert (sent["kind"], sent["retryable"]) == ("OutputTooLarge", False)
    assert len(scripted.to("PUT", "/output/1?signature=1")) == 1
