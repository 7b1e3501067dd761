"""The two ways of a request, by the lean reader and by Hypercorn with Quart: the same answers, whatever comes."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.mailbox import Reply, ask
from actors.messages import BatchDone, Completed, Granted, Ping
from blobforge.config import Settings
from blobforge.serve.server import running
from tests.fixtures.local import LocalServer, virtual_now
from tests.web.test_files import put
from tests.web.test_metrics import Gate
from tests.web.wire import Served, answers, as_bytes_take, asked, by_hypercorn, connect, eventually, lean, post
from web.app import routes

JSON = {"content-type": "application/json"}
NEW_EACH_TIME = re.compile(rb"(?i)(?<=\nx-request-id: )[0-9a-f]+|(?<=\ndate: )[^\r]+|(?<=request_id\":\")[0-9a-f]+")
HOT = [route for route in routes() if route.hot]


def body_for(path: str) -> dict[str, Any]:
    if path == "/api/jobs/claim":
        return {"worker_id": "nobody", "job_type": "pdf"}
    if path in ("/api/jobs/complete", "/api/jobs/fail"):
        return {"jobs": [{"job_id": 99, "worker_id": "w1", "error": "x"}]}
    if path == "/api/jobs/batch":
        return {"jobs": []}
    if path == "/api/jobs":
        return {"type": "pdf", "source_hash": "short"}
    return {"worker_id": "w1", "error": "x"}


@pytest.fixture
async def own(local: LocalServer, autojump_clock: Any) -> dict[str, str]:
    await local.register()
    return JSON | {"authorization": f"Bearer {local.parts.admin_token}"}


def test_which_routes_are_hot() -> None:
    """All that a worker asks for each job, and while it waits for one."""
    assert {route.name for route in HOT} >= {
        "POST /api/jobs",
        "POST /api/jobs/batch",
        "POST /api/jobs/claim",
        "POST /api/jobs/complete",
        "POST /api/jobs/fail",
        "POST /api/jobs/<id:job_id>/complete",
        "POST /api/jobs/<id:job_id>/fail",
        "POST /api/jobs/<id:job_id>/release",
        "POST /api/workers/<worker:worker_id>/heartbeat",
        "POST /api/workers/register",
        "POST /api/workers/<worker:worker_id>/unregister",
        "POST /api/files/upload-url",
    }


async def raw(server: Served, sent: bytes, address: str) -> tuple[bytes, list[bytes], bytes]:
    """The one answer to a request that closes, as it came: its first line, its header lines, its body."""
    async with await connect(server, address) as stream:
        await stream.send_all(sent)
        said = b"".join([part async for part in stream])
    head, _, body = NEW_EACH_TIME.sub(b"", said).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, sorted(line.lower() for line in lines), body


async def both(local: LocalServer, sent: bytes) -> tuple[Any, Any]:
    async with lean(local) as first, by_hypercorn(local) as second:
        (ours,), (theirs,) = await asked(first, sent), await asked(second, sent, address="127.0.0.2")
    return ours, theirs


@pytest.mark.parametrize("route", [route for route in HOT if route.method == "POST"], ids=lambda route: route.name)
async def test_the_same_answers(local: LocalServer, own: dict[str, str], autojump_clock: Any, route: Any) -> None:
    address = route.path.replace("<id:job_id>", "77").replace("<worker:worker_id>", "w%C3%B6")
    good = msgspec.json.encode(body_for(route.path))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (good[:7], good[7:])) + b"0\r\n\r\n"
    chunked = post(address, b"", own | {"transfer-encoding": "chunked"}).replace(b"content-length: 0\r\n", b"")
    variants = [
        post(address, good, own),
        chunked + chunks,
        post(address, b"{", own),
        post(address, b'{"worker_id": 7}', own),
        post(address, b"\xff", own),
        post(address, b"", own),
        post(address, b"[" * 100 + b"]" * 100, own),
        post(address, good, own | {"content-type": "text/plain"}),
        post(address, good, own | {"idempotency-key": ""}),
        post(address, good, own | {"idempotency-key": "x" * 300}),
        post(address, good, own | {"host": "example.org", "x-forwarded-proto": "https"}),
        post(address, good, own | {"x-worker-secret": "both"}),
        post(address + "?x=%ff&x=1", good, own),
        post(address.replace("api", "%61p%69"), good, own),
        post(address, good, JSON),
        post(address, good, JSON | {"authorization": "Bearer wrong"}),
        post(address, good, JSON | {"x-worker-id": "w1", "x-worker-secret": "wrong"}),
        post(address, b"", JSON | {"authorization": "Basic YTpi"}),
        post(address, b" " * (local.parts.services.settings.max_body + 1), own),
    ]
    if route.large:
        variants.append(post(address, b" " * (local.parts.services.settings.max_result + 1), own))
    async with lean(local) as first, by_hypercorn(local) as second:
        for number, sent in enumerate(variants):
            with as_bytes_take(autojump_clock):
                (ours,) = await asked(first, sent, address=f"127.0.1.{number + 1}")
                (theirs,) = await asked(second, sent, address=f"127.0.2.{number + 1}")
            ours.headers.pop("connection", None)  # only the lean reader knows that so much is left to be sent
            assert ours.comparable == theirs.comparable, sent[:200]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", [*(route.path for route in HOT if route.method == "GET"), "/api/jobs/claim"])
async def test_the_same_answers_without_a_body(
    local: LocalServer, own: dict[str, str], autojump_clock: Any, path: str, method: str
) -> None:
    """Hot routes that are read, and what is nearly a hot route but for its method."""
    job_id = await local.submit()
    address = path.replace("<worker:worker_id>", "w1")
    credentials = [own, JSON, JSON | {"authorization": "Bearer x"}, JSON | {"x-worker-id": "w1"}]
    async with lean(local) as first, by_hypercorn(local) as second:
        for number, (job, query, headers) in enumerate(
            itertools.product((job_id, 77), ("", "?", "?odd=1&%ff", "?limit=x"), credentials)
        ):
            sent = f"{method} {address.replace('<id:job_id>', str(job))}{query} HTTP/1.1\r\nhost: x\r\n"
            sent += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "connection: close\r\n\r\n"
            said = [
                await raw(server, sent.encode(), f"127.0.{at}.{number + 1}")
                for at, server in ((1, first), (2, second))
            ]
            assert said[0] == said[1], sent


@pytest.mark.parametrize(
    "path",
    ["/api/jobs/0/complete", "/api/jobs/007/fail", "/api/jobs/1234567890123456789/fail", "/api/jobs/claim/",
     "/api//jobs/claim", "//api/jobs/claim", "/api/jobs/1/completed", "/api/workers/a/b/heartbeat",
     "/api/workers/a%20b/heartbeat", "/api/workers/a%2Fb/heartbeat", "/%2fapi/jobs/claim", "/API/jobs/claim"],
)  # fmt: skip
async def test_what_is_nearly_a_hot_route_is_none(
    local: LocalServer, own: dict[str, str], autojump_clock: Any, path: str
) -> None:
    ours, theirs = await both(local, post(path, b"{}", own))
    assert ours.status == 404
    assert ours.comparable == theirs.comparable


async def test_a_job_goes_through(local: LocalServer, own: dict[str, str], autojump_clock: Any) -> None:
    job_id = await local.submit()
    async with lean(local) as server, await connect(server) as stream:

        async def say(path: str, body: Any) -> Any:
            await stream.send_all(post(path, msgspec.json.encode(body), own))
            (answer,) = await answers(stream, 1)
            assert answer.status == 200
            return msgspec.json.decode(answer.body)

        given = await say("/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf"})
        assert given["job"]["id"] == job_id
        beat = await say("/api/workers/w1/heartbeat", {"jobs": [{"job_id": job_id, "lease": given["lease"]}]})
        assert beat["abandon"] == []
        done = await say(f"/api/jobs/{job_id}/complete", {"worker_id": "w1", "lease": given["lease"]})
        assert done == {"status": "completed"}


async def test_a_body_that_does_not_end_is_given_up(
    local: LocalServer, own: dict[str, str], autojump_clock: Any
) -> None:
    async with lean(local) as first, by_hypercorn(local) as second:
        for server in (first, second):
            began = trio.current_time()
            (answer,) = await asked(server, post("/api/jobs/claim", b"{", own, length=2))
            assert answer.status == 408
            assert trio.current_time() - began >= local.parts.services.settings.request_timeout


@pytest.mark.parametrize("way", [lean, by_hypercorn])
@pytest.mark.parametrize(("path", "credential", "status"), [
    ("/api/jobs", "own", 413), ("/api/jobs", "wrong", 401), ("/api/jobs/1/retry", "own", 413),
    ("/api/jobs/1/retry", "wrong", 401), ("/objects/sources/x?sig=y", "none", 403),
])  # fmt: skip
async def test_an_early_refusal_reaches_a_client_that_still_sends(
    local: LocalServer, own: dict[str, str], autojump_clock: Any, path: str, credential: str, status: int, way: Any
) -> None:
    """5 MB against a limit of 1 MiB, by a client that looks for the answer when it has sent everything."""
    headers = {"own": own, "wrong": JSON | {"authorization": "Bearer x"}, "none": {}}[credential]
    async with way(local) as server:
        sent = post(path, bytes(5_000_000), headers, method="PUT" if credential == "none" else "POST")
        with as_bytes_take(autojump_clock):
            (answer,) = await asked(server, sent)
            assert answer.status == status
            statuses = {(await asked(server, sent))[0].status for _ in range(25)} if credential == "wrong" else {429}
        assert statuses <= {401, 429}
        assert 429 in statuses


async def test_who_was_valid_is_known(local: LocalServer, own: dict[str, str], autojump_clock: Any) -> None:
    known = local.parts.services.known
    async with lean(local) as server:
        await asked(server, post("/api/workers/w1/heartbeat", b"", JSON), address="127.0.0.6")
        await asked(server, post("/api/workers/w1/heartbeat", b"", own), address="127.0.0.7")
    assert not known.knows("127.0.0.6", trio.current_time())
    assert known.knows("127.0.0.7", trio.current_time())


# ------------------------------------------------------------------ clients that go

WAIT = {"worker_id": "w1", "job_type": "pdf", "wait": 30}
BEHIND = {
    "nothing": b"",
    "one byte": b"X",
    "a line": b"\r\n",
    "a request": post("/api/jobs/claim", b"{}", JSON),
    "many bytes": b"x" * 10_000,
    "more than may be": b"x" * 1_000_000,
}


@pytest.mark.parametrize("way", [lean, by_hypercorn])
@pytest.mark.parametrize("ending", ["close", "half-close", "reset"])
@pytest.mark.parametrize("behind", BEHIND)
async def test_a_claim_of_a_client_that_has_gone_gets_no_job(
    local: LocalServer, own: dict[str, str], autojump_clock: Any, behind: str, ending: str, way: Any
) -> None:
    async with way(local) as server:
        stream = await connect(server)
        await stream.send_all(post("/api/jobs/claim", msgspec.json.encode(WAIT), own))
        await eventually(lambda: local.parts.scheduler.waiting == 1)
        with trio.move_on_after(1), suppress(trio.BrokenResourceError):
            await stream.send_all(BEHIND[behind])
        if ending == "reset":
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if ending == "half-close" and behind != "more than may be":
            await stream.send_eof()
        else:
            await stream.aclose()
        await eventually(lambda: local.parts.scheduler.waiting == 0)
        job_id = await local.submit()
        assert (await local.job(job_id))["status"] == "pending"
        assert (await local.claim())["job"]["id"] == job_id
        await stream.aclose()


async def test_so_does_one_that_does_not_wait_when_the_writer_is_slow(tmp_path: Path, autojump_clock: Any) -> None:
    gate, folder = Gate(), tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=gate, now=virtual_now) as parts:
        parts.url = "http://blobforge.test"
        local = LocalServer(parts, folder)
        await local.register()
        job_id = await local.submit()
        own = JSON | {"authorization": f"Bearer {parts.admin_token}"}
        gate.open = trio.Event()
        async with lean(local) as server, trio.open_nursery() as nursery:
            nursery.start_soon(ask, parts.writer.mailbox, Ping())  # what keeps the writer busy
            await trio.sleep(1)
            stream = await connect(server)
            await stream.send_all(post("/api/jobs/claim", b'{"worker_id": "w1", "job_type": "pdf"}', own))
            await trio.sleep(1)
            await stream.aclose()
            await trio.sleep(1)
            gate.open.set()
        assert (await local.job(job_id))["status"] == "pending"


@pytest.mark.parametrize("many", [False, True])
async def test_a_completion_that_is_sent_again_while_the_first_looks_for_its_output_keeps_its_next_job(
    local: LocalServer, own: dict[str, str], autojump_clock: Any, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both come to the writer at once. What the first is given is the same job, by the same lease."""
    await local.submit(b"before")
    grant = await local.claim()
    job_id = await local.submit()
    done = {
        "worker_id": "w1", "claim_next": True, "lease": grant["lease"], "output_key": grant["output_key"],
    }  # fmt: skip
    path, body = "/api/jobs/1/complete", done
    if many:
        path, body = "/api/jobs/complete", {"jobs": [done | {"job_id": 1}]}
    found, head = trio.Event(), local.parts.services.objects.head

    async def slowly(key: str, **version: Any) -> Any:
        await found.wait()
        return await head(key, **version)

    assert await put(local, grant["upload_url"], b"text") == 200
    async with lean(local) as server:
        monkeypatch.setattr(local.parts.services.objects, "head", slowly)
        stream = await connect(server)
        await stream.send_all(post(path, msgspec.json.encode(body), own))
        await trio.sleep(1)
        await stream.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asked, server, post(path, msgspec.json.encode(body), own))
            await trio.sleep(1)
            found.set()
        await trio.sleep(1)
    assert (await local.job(1))["status"] == "completed"
    assert (await local.job(job_id))["status"] == "running"


@pytest.mark.parametrize("asks", ["claim", "long poll", "complete", "complete many"])
async def test_a_client_that_goes_when_its_grant_arrives_costs_the_job_nothing(
    local: LocalServer, own: dict[str, str], autojump_clock: Any, asks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same step: the claim is committed, the scheduler and the writer have seen the client there."""
    await local.submit(b"before")
    done = {"worker_id": "w1", "claim_next": True, "lease": (await local.claim())["lease"]}
    path, body = {
        "claim": ("/api/jobs/claim", WAIT | {"wait": 0}),
        "long poll": ("/api/jobs/claim", WAIT),
        "complete": ("/api/jobs/1/complete", done),
        "complete many": ("/api/jobs/complete", {"jobs": [done | {"job_id": 1}]}),
    }[asks]
    if asks != "long poll":
        await local.submit()
    async with lean(local) as server:
        stream = await connect(server)
        wait = Reply.wait

        async def leave_at_the_grant(reply: Reply[Any]) -> Any:
            outcome = await wait(reply)
            first = outcome.items[0] if isinstance(outcome, BatchDone) else outcome
            if isinstance(first, Granted | Completed):
                stream.socket.close()
            return outcome

        monkeypatch.setattr(Reply, "wait", leave_at_the_grant)
        await stream.send_all(post(path, msgspec.json.encode(body), own))
        if asks == "long poll":
            await eventually(lambda: local.parts.scheduler.waiting == 1)
            await local.submit()
        await eventually(lambda: stream.socket.fileno() < 0)
        monkeypatch.undo()
        await trio.sleep(1)
    job = await local.job(2)
    assert (job["status"], job["attempts"], job.get("not_before")) == ("pending", 0, None)
    assert (await local.job(1))["status"] == ("completed" if "complete" in asks else "running")
    assert (await local.claim())["job"]["id"] == 2


async def test_a_claim_behind_one_that_is_held_is_answered_behind_it(
    local: LocalServer, own: dict[str, str], autojump_clock: Any
) -> None:
    """Pipelining: in order, and the client that is still there is no client that has gone."""
    async with lean(local) as server, await connect(server) as stream:
        await stream.send_all(post("/api/jobs/claim", msgspec.json.encode(WAIT), own))
        await eventually(lambda: local.parts.scheduler.waiting == 1)
        await stream.send_all(post("/api/workers/w1/heartbeat", b"", own))
        await trio.sleep(1)
        job_id = await local.submit()
        first, second = await answers(stream, 2)
    assert msgspec.json.decode(first.body)["job"]["id"] == job_id
    assert "abandon" in msgspec.json.decode(second.body)
