"""Answers have a budget: one claim's has, and those that nobody reads, of a caller, of an address and in all."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.effects.claims import ANSWER_BYTES
from tests.fixtures.local import LocalServer, open_local
from tests.web import wire
from tests.web.calls import token
from web.limits import PIECES, SMALL, Unread

LARGE = SMALL + 1
JOBS = 12  # of 60 KB each


# ------------------------------------------------------------------ the budget by itself


def test_an_owner_has_its_share_and_no_more() -> None:
    unread = Unread(total=100 * LARGE, each=2 * LARGE)
    with unread.held(LARGE, "a", "token:1") as first:
        assert first
        assert unread.full("a"), "half of it is left unread"
        assert unread.full("b", "token:1"), "by the caller, whatever its address"
        assert not unread.full("b", "token:2"), "others are not concerned"
        with unread.held(LARGE, "a") as second, unread.held(LARGE, "a") as third, unread.held(LARGE, "b") as other:
            assert (second, third, other) == (True, False, True)
        assert unread.used == LARGE
    assert (unread.used, unread.refused) == (0, 3)
    assert not unread.full("a", "b", "token:1")
    assert unread._owed == {}, "no trace of owners that are gone"


def test_the_first_answer_of_an_owner_has_room_whatever_its_size() -> None:
    unread = Unread(total=100 * LARGE, each=LARGE)
    with unread.held(10 * LARGE, "a") as first, unread.held(LARGE, "a") as second:
        assert (first, second) == (True, False)


def test_all_have_a_total() -> None:
    unread = Unread(total=2 * LARGE, each=100 * LARGE)
    with unread.held(LARGE, "a"), unread.held(LARGE, "b"), unread.held(1, "c") as third, unread.held(1) as nobodys:
        assert (third, nobodys) == (False, False)
    assert unread.refused == 2


def test_pieces_of_one_owner_leave_room_for_others() -> None:
    """Many slow downloads are no crime, but one address never uses up the total."""
    unread = Unread(total=100 * SMALL, each=2 * SMALL)
    with ExitStack() as stack:
        took = [stack.enter_context(unread.held(SMALL, "downloads of a")) for _ in range(50)]
        assert took.count(True) == 2 * PIECES
        assert not unread.full("a"), "what a downloads slowly costs it no heartbeat"
        assert stack.enter_context(unread.held(LARGE, "b"))


def test_room_is_given_back_whatever_happens() -> None:
    unread = Unread()
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), unread.held(LARGE, "a"):
            raise error
    assert (unread.used, unread._owed) == (0, {})


# ------------------------------------------------------------------ the budget of one claim


async def test_a_claim_gives_as_many_jobs_as_one_answer_holds(tmp_path: Path, autojump_clock: Any) -> None:
    """And the others stay where they are, for the next one; by their key and one after another as well."""
    async with open_local(tmp_path / "data") as local:
        for number in range(50):
            await local.submit(b"%d" % number, metadata={"text": "x" * 60_000})
        await local.register()
        body = {"worker_id": "w1", "job_type": "pdf", "limit": 500, "claim_key": "k"}
        sizes, given = [], []
        for key in ("k", "k", "l"):
            _, answer = await local.call("POST", "/api/jobs/claim", body | {"claim_key": key})
            given.append([each["job"]["id"] for each in answer["jobs"]])
            sizes.append(len(msgspec.json.encode(answer)))
        assert max(sizes) < ANSWER_BYTES
        assert given[0] == given[1]
        assert [*given[0], *given[2]] == list(range(1, 51))
        assert 25 < len(given[0]) < 50


# ------------------------------------------------------------------ on real connections


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalServer]:
    async with open_local(tmp_path / "data") as opened:
        for number in range(JOBS):
            await opened.submit(b"%d" % number, metadata={"text": "x" * 60_000})
        yield opened


@asynccontextmanager
async def silent(server: wire.Served, sent: bytes) -> AsyncIterator[trio.SocketStream]:
    """A client that has asked and reads nothing."""
    client = trio.socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await client.bind(("127.0.0.2", 0))
    await client.connect(("127.0.0.1", server.port))
    async with trio.SocketStream(client) as stream:
        await stream.send_all(sent)
        yield stream


def get(local: LocalServer, path: str, secret: str | None = None) -> bytes:
    secret = secret or local.parts.admin_token
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()


async def test_a_caller_over_its_limit_is_refused_then_closed_and_told_of(local: LocalServer) -> None:
    unread = local.parts.services.unread
    unread.each = 1_000_000
    other = await token(local, "admin")
    async with wire.lean(local, unread=unread, send_buffer=8192) as server:
        async with silent(server, get(local, "/api/jobs?limit=6")):  # 360 KB
            await wire.eventually(lambda: unread.used > 0)
            assert not unread.full("127.0.0.2")
            async with silent(server, get(local, f"/api/jobs?limit={JOBS}")) as second:  # 720 KB more are too many
                await wire.eventually(lambda: unread.refused > 0)
                assert len(await wire._rest(second)) < 720_000, "closed, and not sent in full"
            async with silent(server, get(local, "/api/jobs?limit=4")):
                await wire.eventually(lambda: unread.used > unread.each // 2)
                for path in ("/api/jobs?limit=1", "/api/health", "/static/site.css"):
                    (answer,) = await wire.asked(server, get(local, path), address="127.0.0.2")
                    # By its token or its address; what is asked without either is answered.
                    assert answer.status == (200 if path == "/api/health" else 429), path
                local.parts.limits.look()
                (seen,) = await wire.asked(server, get(local, "/api/stats/attention", other))
                assert b'"name":"unread_bytes"' in seen.body
                (metrics,) = await wire.asked(server, get(local, "/metrics", other))
                assert b'blobforge_limit_refusing{limit="unread_bytes"} 1.0' in metrics.body
                assert f'blobforge_limit_used{{limit="unread_bytes"}} {float(unread.used)}'.encode() in metrics.body
        await wire.eventually(lambda: unread.used == 0)
        (answer,) = await wire.asked(server, get(local, "/api/jobs?limit=1"), address="127.0.0.2")
        assert answer.status == 200, "what was read, or closed, counts no longer"


async def test_downloads_of_an_address_are_counted_apart_from_its_other_answers(local: LocalServer) -> None:
    unread = local.parts.services.unread
    unread.each = 10_000  # a piece is more; the first of an owner has room
    big = await local.submit(b"x" * (4 << 20))
    _, answer = await local.call("GET", f"/api/files/{big}/source/url")
    path = "/" + answer["url"].split("/", 3)[3]
    async with wire.lean(local, unread=unread, send_buffer=8192) as server:
        async with silent(server, get(local, path)):
            await wire.eventually(lambda: unread.used > 0)
            assert set(unread._owed) == {"downloads of 127.0.0.2"}
            async with silent(server, get(local, path)) as second:
                assert len(await wire._rest(second)) < 4 << 20, "closed"
            (answered,) = await wire.asked(server, get(local, "/api/jobs?limit=1"), address="127.0.0.2")
            assert answered.status == 200
        await wire.eventually(lambda: unread.used == 0)
