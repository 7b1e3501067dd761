"""Several outputs go up file by file: what was cut is sent again alone, and what is there is not."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import trio

from blobforge.client import AsyncClient, multipart
from blobforge.runner import Job, RunEnd, Worker, several, upload
from blobforge.runner.handlers import InWorker
from tests.runner import handlers
from tests.runner.coordinator import LEASE_LOST, Coordinator
from tests.runner.scripted import LOSE, Answer, Request, Scripted
from tests.runner.test_large_outputs import ABORT, BEGIN, COMPLETE, PART, problem

NAMES = ["a.md", *(f"img/{n}.png" for n in range(49))]
PREFIX = "outputs/here0000/1/1/"
UPLOAD = "/api/files/upload-url"
THERE = Answer(b"<Error><Code>PreconditionFailed</Code></Error>", 412)


class Store:
    """A healthy server and store that write each output once, for tests to break."""

    def __init__(self, scripted: Scripted) -> None:
        self.coordinator = Coordinator(scripted)
        self.coordinator.waiting = 1
        self.scripted = scripted
        self.stored: dict[str, bytes] = {}
        self.told: dict[str, dict[str, Any]] = {}
        self.fault: Callable[[str, Request], Answer | None] = lambda name, request: None
        self.here: Path
        self.delay = 0.0
        scripted.scripts["POST", UPLOAD] = self.granted
        scripted.script = self.script  # type: ignore[method-assign]

    def script(self, request: Request) -> Any:
        if request.method == "PUT" and request.path.startswith("/several/"):
            return self.put
        return self.scripted.scripts.get((request.method, request.path.partition("?")[0]))

    def granted(self, request: Request) -> Answer:
        urls = []
        for each in request.json["names"]:
            self.told[each["name"]] = each
            url = f"{self.scripted.url}/several/{quote(each['name'])}?sig=1"
            urls.append({"name": each["name"], "key": PREFIX + each["name"], "url": url, "headers": {}})
        return Answer({"urls": urls})

    async def put(self, request: Request) -> Answer:
        await trio.sleep(self.delay)
        name = unquote(request.path.partition("?")[0].removeprefix("/several/"))
        fault = self.fault(name, request)
        if fault is not None:
            return fault
        if name in self.stored:
            return THERE
        if hashlib.sha256(request.body).hexdigest() != self.told[name]["checksum"]:
            return Answer(b"<Error><Code>XAmzContentChecksumMismatch</Code></Error>", 400)
        self.stored[name] = request.body
        return Answer(b"")

    def sent(self) -> Counter[str]:
        puts = [each.path.partition("?")[0] for each in self.scripted.requests if each.method == "PUT"]
        return Counter(unquote(each.removeprefix("/several/")) for each in puts)

    def posted(self, path: str) -> list[Any]:
        return self.coordinator.posted(path)

    async def run(self, names: list[str] = NAMES, **options: Any) -> Counter[RunEnd]:
        def handler(job: Job) -> None:
            self.here = job.outputs
            for name in names:
                (job.outputs / name).parent.mkdir(exist_ok=True)
                (job.outputs / name).write_text(name)

        async with AsyncClient(self.scripted.url, token="bf_x") as client:
            worker = Worker(client=client, worker_id="w", once=True, min_free=0, **options)
            worker.add(["pdf"], InWorker(handler))
            return await worker.run_async()


@pytest.fixture
def store(scripted: Scripted) -> Store:
    return Store(scripted)


async def test_each_file_is_told_of_uploaded_once_and_handed_in_with_the_others(store: Store) -> None:
    assert await store.run() == {RunEnd.COMPLETED: 1}
    assert store.stored == {name: name.encode() for name in NAMES}
    assert set(store.sent().values()) == {1}
    digest = hashlib.sha256(b"img/7.png").hexdigest()
    assert store.told["img/7.png"] == {"name": "img/7.png", "checksum": digest, "size": 9, "media_type": "image/png"}
    (complete,) = store.posted("/api/jobs/1/complete")
    assert complete["result"].pop("seconds") >= 0
    assert complete == {
        "worker_id": "w",
        "lease": "lease-1",
        "output_key": f"{PREFIX}a.md",
        "outputs": "all",
        "result": {
            "size": sum(len(name) for name in NAMES),
            "outputs": 50,
            "filename": "a.md",
            "content_type": "text/markdown",
        },
    }


async def test_its_progress_goes_along_with_the_heartbeats(store: Store) -> None:
    store.delay = 0.02
    assert await store.run() == {RunEnd.COMPLETED: 1}
    beats = [each for body in store.posted("/api/workers/w/heartbeat") for each in body.get("jobs", [])]
    seen = [each["progress"] for each in beats if each["progress"].get("stage") == "uploading"]
    assert any(0 < each.get("done", 0) < 50 == each["total"] for each in seen), seen
    assert all(each["bytes"] <= each["bytes_total"] for each in seen if "bytes" in each)


async def test_what_was_cut_is_sent_again_alone(store: Store) -> None:
    cuts = [LOSE, Answer(b"<Error/>", 503), Answer(b"<Error><Code>AccessDenied</Code></Error>", 403)]

    def cut(name: str, request: Request) -> Answer | None:
        return cuts.pop() if name == "img/30.png" and cuts else None

    store.fault = cut
    assert await store.run() == {RunEnd.COMPLETED: 1}
    assert store.stored == {name: name.encode() for name in NAMES}
    assert {name: many for name, many in store.sent().items() if many != 1} == {"img/30.png": 4}
    again = [each["name"] for body in store.posted(UPLOAD)[1:] for each in body["names"]]
    assert again == ["img/30.png"], "a fresh URL for the refused one only"


async def test_what_is_there_already_is_not_sent_again(store: Store) -> None:
    lost = ["img/3.png"]

    def answer_lost(name: str, request: Request) -> Answer | None:
        if name not in lost:
            return None
        lost.remove(name)
        store.stored[name] = request.body
        return LOSE

    store.fault = answer_lost
    assert await store.run() == {RunEnd.COMPLETED: 1}
    assert store.sent()["img/3.png"] == 2
    assert store.posted("/api/jobs/1/complete")


async def test_more_than_one_request_tells_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "AT_ONCE", 20)
    assert await store.run() == {RunEnd.COMPLETED: 1}
    assert [len(body["names"]) for body in store.posted(UPLOAD)] == [20, 20, 10]
    assert store.posted("/api/jobs/1/complete")[0]["output_key"] == f"{PREFIX}a.md"


OLDER = Answer({"url": "http://127.0.0.1/u", "key": "outputs/1/1/output", "headers": {}})


@pytest.mark.parametrize("answer", [problem(409, "wrong-store"), OLDER], ids=["store", "older server"])
async def test_where_an_attempt_has_one_output_they_go_up_as_one(store: Store, answer: Answer) -> None:
    store.scripted.on("POST", UPLOAD, answer)
    assert await store.run() == {RunEnd.COMPLETED: 1}
    with zipfile.ZipFile(BytesIO(store.coordinator.outputs["/output/1"])) as archive:
        assert sorted(archive.namelist()) == sorted(NAMES)
    (complete,) = store.posted("/api/jobs/1/complete")
    assert (complete["output_key"], complete["result"]["filename"]) == ("outputs/1/1/output", "a.zip")
    assert "outputs" not in complete


async def test_packed_where_that_is_asked_for(store: Store) -> None:
    assert await store.run(zip_outputs=True) == {RunEnd.COMPLETED: 1}
    assert store.posted(UPLOAD) == []
    assert store.posted("/api/jobs/1/complete")[0]["result"]["filename"] == "a.zip"


async def test_a_file_that_changes_meanwhile_is_no_result(store: Store) -> None:
    def meddle(name: str, request: Request) -> Answer | None:
        if name == "a.md":
            (store.here / "img/48.png").write_text("otherwise")
        return None

    store.fault = meddle
    assert await store.run() == {RunEnd.FAILED: 1}
    (fail,) = store.posted("/api/jobs/1/fail")
    assert fail["kind"] == "OutputChanged"
    assert store.posted("/api/jobs/1/complete") == []


async def test_a_job_that_is_lost_meanwhile_is_dropped(store: Store) -> None:
    store.scripted.on("POST", UPLOAD, LEASE_LOST)
    assert await store.run() == {RunEnd.DROPPED: 1}
    assert store.posted("/api/jobs/1/fail") == store.posted("/api/jobs/1/release") == []


async def test_what_is_refused_again_and_again_goes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_UPLOAD_REFUSALS", 2)
    refuse = Answer(b"<Error><Code>AccessDenied</Code></Error>", 403)
    store.fault = lambda name, request: refuse if name in ("img/1.png", "img/2.png") else None
    assert await store.run() == {RunEnd.RELEASED: 1}
    (release,) = store.posted("/api/jobs/1/release")
    assert "answered 403" in release["reason"]


async def test_a_large_one_among_them_goes_up_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "MULTIPART_ABOVE", 9)
    monkeypatch.setattr(multipart, "PART_PAUSE", 0.001)
    parts: dict[int, bytes] = {}
    on = store.scripted.scripts
    on["POST", BEGIN] = lambda _: Answer({"stored": False, "upload_id": "u", "part_size": 8, "parts": []})
    on["POST", PART] = lambda request: Answer({"url": f"{store.scripted.url}/part/{request.json['number']}"})
    on["POST", COMPLETE] = lambda _: Answer({"status": "stored"})
    on["POST", ABORT] = lambda _: Answer({"status": "aborted"})

    def part(request: Request) -> Answer:
        parts[int(request.path.rpartition("/")[2])] = request.body
        return Answer(b"", headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    on["PUT", "/part/1"] = on["PUT", "/part/2"] = part
    assert await store.run(["a.md", "img/30.png"]) == {RunEnd.COMPLETED: 1}
    assert store.stored == {"a.md": b"a.md"}
    assert parts == {1: b"img/30.p", 2: b"ng"}
    assert [body["name"] for body in store.posted(BEGIN) + store.posted(COMPLETE)] == ["img/30.png"] * 2


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize("handler", [handlers.returns_paths, handlers.returns_paths_async])
async def test_handlers_return_paths(store: Store, handler: Any, isolation: Any) -> None:
    async with AsyncClient(store.scripted.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id="w", once=True, min_free=0)
        worker.handler("pdf", isolation=isolation)(handler)
        assert await worker.run_async() == {RunEnd.COMPLETED: 1}
    assert store.stored == {"second.txt": b"2", "first.txt": b"1"}
    (complete,) = store.posted("/api/jobs/1/complete")
    assert complete["output_key"] == f"{PREFIX}second.txt", "in the order in which they were returned"
