"""The hot routes: the same answers as through Quart, whatever comes, and bodies and clients that do not end well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.mailbox import ask
from actors.messages import Ping
from blobforge.config import Settings
from blobforge.server import running
from tests.fixtures.house import House, virtual_now
from tests.web.test_metrics import Gate
from web.answer import WHEN_GONE
from web.app import routes
from web.front import Incoming

JSON = {"content-type": "application/json"}
HOT = [route for route in routes() if route.hot]


class Client:
    """One request over bare ASGI: what it sends is given in pieces, what it hears is kept."""

    def __init__(
        self, app: Any, path: str, headers: dict[str, str], pieces: list[bytes], *, leaves: bool = False
    ) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 9),
            "server": ("blobforge.test", 80),
            "extensions": {},
        }
        self._pieces = pieces
        self._leaves = leaves
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False

    async def ask(self) -> Client:
        to_app, app_hears = trio.open_memory_channel[Any](100)
        for number, piece in enumerate(self._pieces, start=1):
            more = self._leaves or number < len(self._pieces)
            to_app.send_nowait({"type": "http.request", "body": piece, "more_body": more})
        if self._leaves:
            to_app.send_nowait({"type": "http.disconnect"})
        await self._app(self._scope, app_hears.receive, self._hear)
        return self

    async def _hear(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            assert len(self.headers) == len(message["headers"]), "a header was sent twice"
        else:
            self.body += message.get("body", b"")
            self.ended = not message.get("more_body", False)

    @property
    def heard(self) -> tuple[int, dict[str, str], bytes]:
        """All of it, but for what is new each time."""
        number = re.search(r'"request_id":"([0-9a-f]{16})"', self.body.decode())
        headers = {name: value for name, value in self.headers.items() if name != "x-request-id"}
        return self.status, headers, self.body.replace(number[1].encode(), b"-") if number else self.body


def both(house: House) -> tuple[Any, Any]:
    """The application with its hot routes, and Quart alone behind it."""
    return house.app.asgi_app, house.app.asgi_app._app  # type: ignore[attr-defined]


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
async def own(house: House, autojump_clock: Any) -> dict[str, str]:
    await house.register()
    return JSON | {"authorization": f"Bearer {house.parts.admin_token}"}


def test_which_routes_are_hot() -> None:
    assert {route.name for route in HOT} == {
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
    }


@pytest.mark.parametrize("path", sorted(route.path for route in HOT))
async def test_quart_would_have_said_the_same(
    house: House, own: dict[str, str], autojump_clock: Any, path: str
) -> None:
    address = path.replace("<id:job_id>", "77").replace("<worker:worker_id>", "wö")
    good = msgspec.json.encode(body_for(path))
    variants: list[tuple[dict[str, str], list[bytes]]] = [
        (own, [good]),
        (own, [good[:7], good[7:], b""]),
        (own, [b"{"]),
        (own, [b'{"worker_id": 7}']),
        (own, [b"\xff"]),
        (own, [b""]),
        (own, [b"[" * 100 + b"]" * 100]),
        (own | {"content-type": "text/plain"}, [good]),
        (own | {"idempotency-key": ""}, [good]),
        (own | {"idempotency-key": "x" * 300}, [good]),
        (own | {"content-length": str(1 << 40)}, [good]),
        (own | {"host": "example.org", "x-forwarded-proto": "https"}, [good]),
        (own | {"x-worker-secret": "both"}, [good]),
        (JSON, [good]),
        (JSON | {"authorization": "Bearer wrong"}, [good]),
        (JSON | {"x-worker-id": "w1", "x-worker-secret": "wrong"}, [good]),
        (JSON | {"authorization": "Basic YTpi", "content-length": "0"}, [b""]),
        (own, [b" " * (house.parts.services.settings.max_body + 1)]),
    ]
    hot, quart = both(house)
    for headers, pieces in variants:
        ours = await Client(hot, address, headers, pieces).ask()
        theirs = await Client(quart, address, headers, pieces).ask()
        assert ours.heard == theirs.heard, (headers, pieces[0][:80])
        assert ours.ended
        assert theirs.ended


@pytest.mark.parametrize(
    "path",
    ["/api/jobs/0/complete", "/api/jobs/007/fail", "/api/jobs/1234567890123456789/fail", "/api/jobs/claim/",
     "/api//jobs/claim", "/api/jobs/1/completed", "/api/workers/a/b/heartbeat", "/api/workers/a b/heartbeat"],
)  # fmt: skip
async def test_what_is_nearly_a_hot_route_is_none(
    house: House, own: dict[str, str], autojump_clock: Any, path: str
) -> None:
    hot, quart = both(house)
    ours = await Client(hot, path, own, [b"{}"]).ask()
    theirs = await Client(quart, path, own, [b"{}"]).ask()
    assert ours.status == 404
    assert ours.heard == theirs.heard


async def test_a_job_goes_through(house: House, own: dict[str, str], autojump_clock: Any) -> None:
    job_id = await house.submit()
    hot, _ = both(house)
    claimed = await Client(hot, "/api/jobs/claim", own, [b'{"worker_id": "w1", "job_type": "pdf"}']).ask()
    given = msgspec.json.decode(claimed.body)
    assert given["job"]["id"] == job_id
    beat = msgspec.json.encode({"jobs": [{"job_id": job_id, "lease": given["lease"]}]})
    answer = await Client(hot, "/api/workers/w1/heartbeat", own, [beat]).ask()
    assert msgspec.json.decode(answer.body)["abandon"] == []
    done = msgspec.json.encode({"worker_id": "w1", "lease": given["lease"]})
    answer = await Client(hot, f"/api/jobs/{job_id}/complete", own, [done]).ask()
    assert (answer.status, msgspec.json.decode(answer.body)) == (200, {"status": "completed"})


async def test_a_body_that_does_not_end_is_given_up(house: House, own: dict[str, str], autojump_clock: Any) -> None:
    hot, quart = both(house)
    for app in (hot, quart):
        client = Client(app, "/api/jobs/claim", own, [b"{"])
        client._leaves, send = True, client._hear  # nothing more comes, and the client stays
        to_app, app_hears = trio.open_memory_channel[Any](100)
        to_app.send_nowait({"type": "http.request", "body": b"{", "more_body": True})
        began = trio.current_time()
        await app(client._scope, app_hears.receive, send)
        assert client.status == 408
        assert trio.current_time() - began >= house.parts.services.settings.request_timeout


async def test_nobody_is_answered_who_has_gone(house: House, own: dict[str, str], autojump_clock: Any) -> None:
    hot, _ = both(house)
    client = await Client(hot, "/api/jobs/claim", own, [b'{"worker_id": '], leaves=True).ask()
    assert (client.status, client.ended) == (0, False)


@pytest.mark.parametrize("told", ["by a message", "by our server"])
async def test_a_claim_of_a_client_that_has_gone_gets_no_job(
    house: House, own: dict[str, str], autojump_clock: Any, told: str
) -> None:
    hot, _ = both(house)
    asked = msgspec.json.encode({"worker_id": "w1", "job_type": "pdf", "wait": 30})
    incoming = Incoming(100)
    client = Client(hot, "/api/jobs/claim", own, [])
    if told == "by our server":
        client._scope["extensions"] = {WHEN_GONE: incoming.when_gone}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hot, client._scope, incoming.receive, client._hear)
        await incoming.put({"type": "http.request", "body": asked, "more_body": False})
        await trio.sleep(5)
        assert house.parts.scheduler.waiting == 1
        await incoming.put({"type": "http.disconnect"})
        await trio.sleep(1)
        assert house.parts.scheduler.waiting == 0
    assert client.status == 0
    job_id = await house.submit()
    assert (await house.job(job_id))["status"] == "pending"
    assert (await house.claim())["job"]["id"] == job_id


async def test_so_does_one_that_does_not_wait_when_the_writer_is_slow(tmp_path: Path, autojump_clock: Any) -> None:
    gate, folder = Gate(), tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=gate, now=virtual_now) as parts:
        parts.url = "http://blobforge.test"
        house = House(parts, folder)
        await house.register()
        job_id = await house.submit()
        incoming = Incoming(100)
        own = JSON | {"authorization": f"Bearer {parts.admin_token}"}
        client = Client(house.app.asgi_app, "/api/jobs/claim", own, [])
        client._scope["extensions"] = {WHEN_GONE: incoming.when_gone}
        asked = msgspec.json.encode({"worker_id": "w1", "job_type": "pdf"})
        gate.open = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, parts.writer.mailbox, Ping())  # what keeps the writer busy
            await trio.sleep(1)
            nursery.start_soon(house.app.asgi_app, client._scope, incoming.receive, client._hear)
            await incoming.put({"type": "http.request", "body": asked, "more_body": False})
            await trio.sleep(1)
            await incoming.put({"type": "http.disconnect"})
            await trio.sleep(1)
            gate.open.set()
        assert client.status == 0
        assert (await house.job(job_id))["status"] == "pending"
