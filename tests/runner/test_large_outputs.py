"""Large outputs go up in parts: what fails is one part, sent again by itself; what cannot succeed ends at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import AsyncClient, multipart
from blobforge.runner import Job, RunEnd, Worker, upload
from blobforge.runner.handlers import InWorker
from tests.runner.coordinator import LEASE_LOST, Coordinator
from tests.runner.scripted import LOSE, Answer, Request, Scripted, eventually

BYTES = b"0123456789"
BEGIN, PART, COMPLETE, ABORT = (f"/api/files/multipart{verb}" for verb in ("", "/part", "/complete", "/abort"))


def problem(status: int, kind: str) -> Answer:
    return Answer({"type": f"https://blobforge.example/problems/{kind}", "detail": kind}, status)


class InParts:
    """A healthy server and store with parts of four bytes, for tests to break."""

    def __init__(self, scripted: Scripted) -> None:
        self.coordinator = Coordinator(scripted)
        self.coordinator.waiting = 1
        self.scripted = scripted
        self.stored: dict[str, bytes] = {}
        self.made: bytes | None = None
        self.output = Path()
        on = scripted.scripts
        on["POST", BEGIN] = lambda _: self.begun()
        on["POST", PART] = lambda request: Answer({"url": f"{scripted.url}/part/{request.json['number']}?sig=1"})
        on["POST", COMPLETE] = self.complete
        on["POST", ABORT] = lambda _: Answer({"status": "aborted"})
        for number in (1, 2, 3):
            on["PUT", f"/part/{number}"] = self.put

    def begun(self, *there: int) -> Answer:
        known = [
            {"number": number, "size": len(data), "etag": hashlib.md5(data).hexdigest()}
            for number in there
            for data in [BYTES[4 * number - 4 : 4 * number]]
        ]
        return Answer({"stored": False, "upload_id": "u", "part_size": 4, "parts": known})

    def put(self, request: Request) -> Answer:
        self.stored[request.path.partition("?")[0]] = request.body
        return Answer(b"", headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def complete(self, request: Request) -> Answer:
        self.made = b"".join(self.stored[f"/part/{part['number']}"] for part in request.json["parts"])
        return Answer({"status": "stored"})

    def posted(self, path: str) -> list[Any]:
        return self.coordinator.posted(path)

    def sent(self) -> Counter[str]:
        """How often each part was sent, and the whole."""
        return Counter(
            request.path.partition("?")[0] for request in self.scripted.requests if request.method == "PUT"
        )

    async def run(self) -> Counter[RunEnd]:
        def handler(job: Job) -> None:
            self.output = job.output
            job.output.write_bytes(BYTES)

        async with AsyncClient(self.scripted.url, token="bf_x") as client:
            worker = Worker(client=client, worker_id="w", once=True, min_free=0)
            worker.add(["pdf"], InWorker(handler))
            return await worker.run_async()


@pytest.fixture
def there(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> InParts:
    monkeypatch.setattr(upload, "MULTIPART_ABOVE", 9)
    monkeypatch.setattr(multipart, "PART_PAUSE", 0.001)
    return InParts(scripted)


async def test_a_part_that_is_refused_or_cut_is_sent_again_alone(there: InParts) -> None:
    there.scripted.on("PUT", "/part/2", Answer(b"expired", 403), LOSE, Answer(b"<Error/>", 503), Answer(b"", 200))
    healthy, asked = there.scripted.scripts["PUT", "/part/2"], there.put

    def second(request: Request) -> Any:
        answer = healthy(request)
        return asked(request) if isinstance(answer, Answer) and answer.status == 200 else answer

    there.scripted.scripts["PUT", "/part/2"] = second
    assert await there.run() == {RunEnd.COMPLETED: 1}
    assert there.made == BYTES
    assert there.sent() == {"/part/1": 1, "/part/2": 4, "/part/3": 1}
    assert there.posted(BEGIN) == [{"job_id": 1, "lease": "lease-1", "size": 10}]
    assert Counter(body["number"] for body in there.posted(PART)) == {1: 1, 2: 4, 3: 1}, "a URL for each try"
    assert {(body["job_id"], body["lease"]) for body in there.posted(PART)} == {(1, "lease-1")}
    (done,) = there.posted("/api/jobs/1/complete")
    assert done["checksum"] == hashlib.sha256(BYTES).hexdigest()
    assert there.posted(ABORT) == []


async def test_a_small_output_is_one_put(there: InParts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MULTIPART_ABOVE", 10)
    assert await there.run() == {RunEnd.COMPLETED: 1}
    assert there.sent() == {"/output/1": 1}
    assert there.posted(BEGIN) == []


TOO_LARGE = problem(413, "object-too-large")


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", BEGIN, TOO_LARGE),
        ("POST", COMPLETE, TOO_LARGE),
        ("PUT", "/part/2", Answer(b"<Error><Code>EntityTooLarge</Code></Error>", 400)),
        ("PUT", "/part/2", Answer(b"", 413)),
    ],
)
async def test_what_is_too_large_for_the_store_fails_at_once(
    there: InParts, method: str, path: str, answer: Answer
) -> None:
    there.scripted.on(method, path, answer)
    assert await there.run() == {RunEnd.FAILED: 1}
    (fail,) = there.posted("/api/jobs/1/fail")
    assert (fail["kind"], fail["retryable"]) == ("OutputTooLarge", False)
    assert max(there.sent().values(), default=0) <= 1, "and is not sent again"
    assert len(there.posted(ABORT)) == (path != BEGIN), "nothing is left of it"
    assert there.posted("/api/jobs/1/release") == []


@pytest.mark.parametrize(
    "answer",
    [
        problem(409, "wrong-store"),
        problem(404, "no-such-route"),
        # Servers of older releases take a worker for a submitter.
        problem(403, "scope-missing"),
        problem(422, "invalid"),
    ],
)
async def test_where_there_are_no_parts_one_put_takes_it_all(there: InParts, answer: Answer) -> None:
    there.scripted.on("POST", BEGIN, answer)
    assert await there.run() == {RunEnd.COMPLETED: 1}
    assert there.coordinator.outputs == {"/output/1": BYTES}


@pytest.mark.parametrize(
    ("method", "path", "gone", "again"),
    [
        ("PUT", "/part/2", Answer(b"<Error><Code>NoSuchUpload</Code></Error>", 404), 2),
        ("POST", COMPLETE, problem(409, "upload-gone"), 1),
    ],
)
async def test_an_upload_that_vanishes_is_begun_again(
    there: InParts, method: str, path: str, gone: Answer, again: int
) -> None:
    healthy = there.scripted.scripts[method, path]
    answers = [gone]
    there.scripted.scripts[method, path] = lambda request: answers.pop() if answers else healthy(request)
    begun = [there.begun(), there.begun(1, 3)]
    there.scripted.on("POST", BEGIN, *begun)
    there.stored = {"/part/1": BYTES[:4], "/part/3": BYTES[8:]}
    assert await there.run() == {RunEnd.COMPLETED: 1}
    assert there.made == BYTES
    assert len(there.posted(BEGIN)) == 2
    assert there.sent()["/part/2"] == 2
    assert there.sent()["/part/1"] <= 1, "what the store has is not sent again"


async def test_what_is_refused_again_and_again_goes_back_and_leaves_nothing(there: InParts) -> None:
    there.scripted.on("PUT", "/part/2", Answer(b"no", 403))
    there.scripted.on("PUT", "/part/3", Answer(b"no", 403))
    assert await there.run() == {RunEnd.RELEASED: 1}
    (release,) = there.posted("/api/jobs/1/release")
    assert "answered 403" in release["reason"], "and not an unexpected error, though two parts had it"
    assert there.sent()["/part/2"] <= 1 + multipart.PART_REFUSALS
    assert there.posted(ABORT) == [{"job_id": 1, "lease": "lease-1", "upload_id": "u"}]


async def test_a_job_that_is_lost_meanwhile_is_dropped(there: InParts) -> None:
    there.scripted.on("POST", PART, LEASE_LOST)
    there.scripted.on("POST", ABORT, LEASE_LOST)
    assert await there.run() == {RunEnd.DROPPED: 1}
    assert there.posted("/api/jobs/1/fail") == there.posted("/api/jobs/1/release") == []


async def test_an_output_that_is_written_to_meanwhile_is_no_result(there: InParts) -> None:
    def meddle(request: Request) -> Answer:
        there.output.write_bytes(b"x" * 10)
        return there.put(request)

    there.scripted.scripts["PUT", "/part/1"] = meddle
    assert await there.run() == {RunEnd.FAILED: 1}
    (fail,) = there.posted("/api/jobs/1/fail")
    assert fail["kind"] == "OutputChanged"
    assert there.posted("/api/jobs/1/complete") == []
    assert len(there.posted(ABORT)) == 1


async def test_an_output_that_becomes_shorter_while_it_is_sent_is_no_result(there: InParts) -> None:
    """Between the look at the last part and its PUT, which has said how long it is."""

    def signed(request: Request) -> Answer:
        there.output.write_bytes(BYTES[:9])
        return Answer({"url": f"{there.scripted.url}/part/{request.json['number']}?sig=1"})

    there.scripted.scripts["POST", BEGIN] = lambda _: there.begun(1, 2)
    there.scripted.scripts["POST", PART] = signed
    assert await there.run() == {RunEnd.FAILED: 1}
    (fail,) = there.posted("/api/jobs/1/fail")
    assert fail["kind"] == "OutputChanged"
    assert there.posted("/api/jobs/1/release") == []


async def test_a_worker_that_stops_throws_away_what_nobody_will_take_up(there: InParts) -> None:
    async def never(_: Request) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    there.scripted.scripts["PUT", "/part/2"] = never
    async with AsyncClient(there.scripted.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id="w", once=True, min_free=0, grace=0)
        worker.add(["pdf"], InWorker(lambda job: job.output.write_bytes(BYTES)))
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await eventually(lambda: there.sent()["/part/2"])
                worker.stop()

            nursery.start_soon(stop)
            assert await worker.run_async() == {RunEnd.RELEASED: 1}
    assert len(there.posted(ABORT)) == 1
    (release,) = there.posted("/api/jobs/1/release")
    assert release["cause"] == "shutdown"
