"""What the tests of the HTTP contract share: callers of every kind, problems, state, event streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from tests.fixtures.engines import TEXTS, contents, looked_into
from tests.fixtures.local import LocalServer

JSON = "application/json"
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "error", "request_id"}
HEX = "ab" * 32  # a well-formed source_hash of nothing that exists


def assert_problem(answer: tuple[int, Any], status: int, kind: str, *, field: str | None = None) -> dict[str, Any]:
    """The answer is a refusal in the one form that all refusals have; returns it."""
    got, problem = answer
    assert got == status, answer
    assert isinstance(problem, dict), f"not JSON: {problem!r}"
    assert set(problem) - {"field"} == PROBLEM_MEMBERS
    assert problem["type"] == f"urn:blobforge:problem:{kind}"
    assert problem["status"] == status
    assert problem["detail"] == problem["error"] != ""
    assert problem["title"]
    assert problem["instance"].startswith("/")
    assert problem["request_id"]
    if field is not None:
        assert problem["field"] == field
    return problem


async def token(local: LocalServer, *scopes: str, **fields: Any) -> str:
    """A new API token with these scopes; none: as the server chooses."""
    body = {"name": "test"} | ({"scopes": list(scopes)} if scopes else {}) | fields
    status, made = await local.call("POST", "/api/admin/tokens", body)
    assert status == 201, made
    return str(made["token"])


async def worker(local: LocalServer, worker_id: str, type_: str = "pdf", *, register: bool = True) -> dict[str, str]:
    """A worker with a credential of its own; returns its headers."""
    status, made = await local.call("POST", "/api/admin/workers", {"id": worker_id, "type": type_})
    assert status == 201, made
    headers = worker_headers(worker_id, made["secret"])
    if register:
        await local.register(worker_id, type_, headers=headers)
    return headers


def worker_headers(worker_id: str, secret: str) -> dict[str, str]:
    return {"X-Worker-ID": worker_id, "X-Worker-Secret": secret}


async def put_output(local: LocalServer, key: str, content: bytes = b"converted") -> None:
    """Put an output into the store, as the PUT to an upload URL would."""

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    store: Any = local.parts.services.objects
    await store.receive(key, chunks(), max_size=1 << 20, expected_sha256=None)


async def finish(local: LocalServer, worker_id: str = "w1", **fields: Any) -> Any:
    """Claim one job as `worker_id` and complete it; returns the grant."""
    grant = await local.claim(worker_id)
    await put_output(local, grant["output_key"])
    body = {"worker_id": worker_id, "output_key": grant["output_key"], "lease": grant["lease"]} | fields
    status, answer = await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)
    assert status == 200, answer
    return grant


async def raw(local: LocalServer, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    """One request with exactly these headers (`_` stands for `-`), as the administrator; the whole response."""
    sent = {"Authorization": f"Bearer {local.parts.admin_token}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await local.http.open(path, method=method, headers=sent, data=body)


def state(local: LocalServer) -> str:
    """Everything that is in the database but for the index of texts, which is made behind the commits, as text: two
    equal ones mean that nothing has changed."""
    with looked_into(local.parts.services.settings.database) as database:
        return "\n".join(f"{table} {row}" for table, rows in contents(database, but=TEXTS).items() for row in rows)


def without_signatures(answer: Any) -> Any:
    """An answer whose URLs are cut before their query: signatures change with the second of the wall clock."""
    match answer:
        case dict():
            return {name: without_signatures(value) for name, value in answer.items()}
        case list() | tuple():
            return [without_signatures(value) for value in answer]
        case str() if answer.startswith("http"):
            return answer.partition("?")[0]
        case _:
            return answer


# ------------------------------------------------------------------ event streams


class Frame(msgspec.Struct, frozen=True):
    """One event as it came over the wire."""

    event: str
    data: Any
    id: str | None = None


def parse(block: str) -> Frame | str:
    """One block of an event stream: an event, or a comment as text."""
    if block.startswith(":"):
        return block
    fields = dict(line.split(": ", 1) for line in block.splitlines())
    name, text = fields["event"], fields["data"]
    if name == "ping":
        return Frame(name, text)
    whole = msgspec.json.decode(text)
    data = whole.pop("data")
    # As released clients read it: beside the envelope, until the next release.
    assert whole == {member: value for member, value in data.items() if member != "type"} | {"type": name}
    return Frame(name, data, fields["id"])


class Stream:
    """An open event stream in this process."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._text = ""

    async def block(self) -> Frame | str:
        """The next event or comment."""
        while "\n\n" not in self._text:
            self._text += (await self.connection.receive()).decode()
        block, _, self._text = self._text.partition("\n\n")
        return parse(block)

    async def next(self) -> Frame:
        """The next event that tells something: no comment, no ping, and no statistics, which come by the clock."""
        while True:
            block = await self.block()
            if isinstance(block, Frame) and block.event not in ("stats_updated", "ping", "connected"):
                return block

    async def rest(self) -> list[Frame]:
        """What comes within a second."""
        frames: list[Frame] = []
        with trio.move_on_after(1):
            while True:
                frames.append(await self.next())
        return frames


@asynccontextmanager
async def stream(
    local: LocalServer, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    """Open `/events`; the ping has been read."""
    sent = dict(headers or {})
    sent.setdefault("Authorization", f"Bearer {local.parts.admin_token}")
    async with local.http.request(f"/events{query}", headers=sent) as connection:
        await connection.send_complete()
        opened = Stream(connection)
        try:
            first = await opened.block()
            assert connection.status_code == 200
            assert isinstance(first, Frame)
            assert (first.event, first.data) == ("ping", "connected")
            yield opened
        finally:
            with trio.CancelScope(shield=True):
                await _hang_up(connection)


async def _hang_up(connection: Any) -> None:
    """Go away as a client does. Its server is cancelled by that and closes nothing, so the channel is closed here."""
    await connection.disconnect()
    await trio.sleep(1)
    connection._client_send.close()
