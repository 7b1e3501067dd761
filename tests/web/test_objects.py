"""The embedded store over HTTP: what is beyond the contract suite. Real sockets, since that is what fails."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from blobforge.objects import ObjectInfo
from blobforge.objects.keys import output_key, source_key
from blobforge.objects.local import LocalStore
from tests.objects.places import local_store, served

HOUR = 3600
DATA = bytes(range(256)) * 5000
SOURCE = source_key(hashlib.sha256(DATA).hexdigest())
OUTPUT = output_key("binstallation", 5, 1)
ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return local_store(tmp_path / "objects")


@pytest.fixture
async def http(store: LocalStore) -> AsyncIterator[httpx.AsyncClient]:
    async with served(store, max_size=8 << 20) as base, client(base) as http:
        yield http


@pytest.fixture
async def url(store: LocalStore, http: httpx.AsyncClient) -> str:
    """Where DATA can be downloaded."""
    assert (await http.put(upload_url(store, SOURCE), content=DATA)).status_code == 200
    return store.sign_download(SOURCE, expires_in=HOUR, filename="ö.pdf")


def client(base: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base, timeout=30, trust_env=False)


def upload_url(store: LocalStore, key: str = OUTPUT) -> str:
    return store.sign_upload(key, expires_in=HOUR).url


def files(store: LocalStore) -> set[str]:
    return {path.name for path in store.root.rglob("*") if path.is_file()}


def open_objects(store: LocalStore) -> int:
    """How many files of the store this process has open."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith(str(store.root))
        except FileNotFoundError:
            continue
    return count


async def until(condition) -> None:
    """Wait for what is bound to happen; pytest-timeout is the deadline."""
    while not condition():  # what is waited for is outside of trio: files, descriptors
        await trio.sleep(0.005)


def assert_problem(answer: httpx.Response, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"].endswith(kind)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"] == problem["error"]
    assert problem["instance"].startswith("/objects/")
    assert "sig" not in problem["instance"]
    return problem["detail"]


def assert_harmless(answer: httpx.Response) -> None:
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers.get_list("Content-Type") in (
        [],
        ["application/octet-stream"],
        ["application/problem+json"],
    )


# Downloads


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=10-19", 206, slice(10, 20)),
        ("bytes=1279990-", 206, slice(1279990, None)),
        ("bytes=1279990-9999999", 206, slice(1279990, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-1280001", 206, slice(None)),
        ("bytes=0-", 206, slice(None)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("lines=0-1", 200, slice(None)),
        ("bytes=x", 200, slice(None)),
        ("bytes=5-1", 200, slice(None)),
    ],
)
async def test_ranges(http: httpx.AsyncClient, url: str, asked: str | None, status: int, part: slice) -> None:
    headers = {"Range": asked} if asked else {}
    for verb in ("GET", "HEAD"):
        answer = await http.request(verb, url, headers=headers)
        assert answer.status_code == status
        assert answer.content == (DATA[part] if verb == "GET" else b"")
        assert int(answer.headers["Content-Length"]) == len(DATA[part])
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["ETag"] == ETAG
        if status == 206:
            first, last, _ = part.indices(len(DATA))
            assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(DATA)}"
        assert_harmless(answer)


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", f"bytes={len(DATA)}-{len(DATA) + 5}"])
async def test_a_range_outside_is_416_and_says_the_size(http: httpx.AsyncClient, url: str, asked: str) -> None:
    answer = await http.get(url, headers={"Range": asked})
    assert_problem(answer, 416, "range-outside")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": f'"x", W/{ETAG}'}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Range": ETAG, "Range": "bytes=1-2"}, 206),
        ({"If-Range": '"x"', "Range": "bytes=1-2"}, 200),
        ({"If-Range": "Wed, 21 Oct 2015 07:28:00 GMT", "Range": "bytes=1-2"}, 200),
    ],
)
async def test_conditions(http: httpx.AsyncClient, url: str, headers: dict[str, str], status: int) -> None:
    answer = await http.get(url, headers=headers)
    assert answer.status_code == status
    assert answer.headers["ETag"] == ETAG
    assert status != 304 or answer.content == b""


async def test_an_uploaders_type_is_never_served(store: LocalStore, http: httpx.AsyncClient) -> None:
    page = b"<script>alert(1)</script>"
    await http.put(upload_url(store), content=page, headers={"Content-Type": "text/html"})
    answer = await http.get(store.sign_download(OUTPUT, expires_in=HOUR, filename="x.html"))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert_harmless(answer)


async def test_every_refusal_is_a_problem_and_harmless(store: LocalStore, http: httpx.AsyncClient, url: str) -> None:
    absent = await http.get(store.sign_download(OUTPUT, expires_in=HOUR))
    assert_problem(absent, 404, "object-missing")
    expired = local_store(store.root, lambda: 0.0).sign_download(SOURCE, expires_in=1)
    for bad in (f"/objects/{SOURCE}", url + "0", url + "&filename=x", url + "&expires=1", expired):
        answer = await http.get(bad)
        assert_problem(answer, 403, "object-url-refused")
        assert_harmless(answer)
    assert "expired" in (await http.get(expired)).json()["error"]
    assert_harmless(absent)


@pytest.mark.parametrize(
    "path", ["sources/../x", "sources/%2e%2e/x", "..%2f..%2fetc/passwd", "%00", "a%0d%0ab", "%ff"]
)
async def test_paths_that_lead_elsewhere_are_refused(store: LocalStore, http: httpx.AsyncClient, path: str) -> None:
    query = upload_url(store).partition("?")[2]
    address = http.base_url
    stream = await trio.open_tcp_stream(address.host, address.port)  # a client would tidy the path up
    async with stream:
        await stream.send_all(f"GET /objects/{path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await stream.receive_some(12))[9:] in (b"403", b"404", b"400")


async def test_a_vanished_downloader_leaves_no_open_file(store: LocalStore, http: httpx.AsyncClient) -> None:
    big = os.urandom(7 << 20)  # more than socket buffers hold
    await http.put(upload_url(store), content=big)
    async with http.stream("GET", store.sign_download(OUTPUT, expires_in=HOUR)) as answer:
        async for _ in answer.aiter_raw():
            break
        assert open_objects(store) == 1
    await until(lambda: open_objects(store) == 0)


# Uploads


async def test_other_bytes_than_promised_are_422_and_named(store: LocalStore, http: httpx.AsyncClient) -> None:
    answer = await http.put(upload_url(store, SOURCE), content=b"other")
    detail = assert_problem(answer, 422, "digest-mismatch")
    assert hashlib.sha256(b"other").hexdigest() in detail
    assert SOURCE.removeprefix("sources/") in detail
    assert files(store) == set()


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_is_413_with_or_without_a_length(
    store: LocalStore, http: httpx.AsyncClient, chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield bytes(1 << 20)

    answer = await http.put(upload_url(store), content=pieces() if chunked else bytes(9 << 20))
    assert_problem(answer, 413, "object-too-large")
    assert files(store) == set()


async def test_chunked_uploads_work(store: LocalStore, http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 10_000):
            yield DATA[start : start + 10_000]

    assert (await http.put(upload_url(store, SOURCE), content=pieces())).status_code == 200
    assert await store.digest(SOURCE) == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("ending", ["close", "half-close", "reset"])
async def test_an_upload_that_breaks_off_leaves_nothing(
    store: LocalStore, http: httpx.AsyncClient, ending: str
) -> None:
    stream = await trio.open_tcp_stream(http.base_url.host, http.base_url.port)
    async with stream:
        await stream.send_all(
            f"PUT {upload_url(store)} HTTP/1.1\r\nHost: x\r\nContent-Length: {4 << 20}\r\n\r\n".encode()
        )
        await stream.send_all(bytes(2 << 20))
        await until(lambda: files(store) != set())
        if ending == "half-close":
            await stream.send_eof()
        elif ending == "reset":
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            await stream.aclose()
        if ending == "half-close":
            await until(lambda: files(store) == set())
    await until(lambda: files(store) == set())
    assert await store.head(OUTPUT) is None


async def test_a_stalled_upload_is_ended(store: LocalStore) -> None:
    async with served(store, idle_timeout=0.2) as base, client(base) as http:
        resume = trio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield bytes(2 << 20)
            await until(lambda: files(store) != set())
            await until(lambda: files(store) == set())  # while the client is still there, saying nothing
            resume.set()

        answer = await http.put(upload_url(store), content=stalling())
        assert resume.is_set()
        assert_problem(answer, 408, "upload-stalled")


async def test_a_refusal_reaches_a_client_in_the_middle_of_its_upload(
    store: LocalStore, http: httpx.AsyncClient
) -> None:
    """It may go on sending (most clients look at the answer last): the connection is not reset under it."""
    size = 16 << 20  # more than socket buffers hold
    bad = upload_url(store)[:-1] + "x"
    for _ in range(10):  # without the waiting, the server closes in most rounds, but not in all
        stream = await trio.open_tcp_stream(http.base_url.host, http.base_url.port)
        async with stream:
            await stream.send_all(f"PUT {bad} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
            await stream.send_all(bytes(1 << 20))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 403")
            await stream.send_all(bytes(size - (1 << 20)))
    assert files(store) == set()


async def test_a_full_store_is_507_and_a_failing_one_503(tmp_path: Path) -> None:
    full = local_store(tmp_path / "full", reserve=1 << 62)
    async with served(full) as base, client(base) as http:
        assert_problem(await http.put(upload_url(full), content=b"x"), 507, "object-store-full")
    failing = local_store(tmp_path / "failing")
    async with served(failing) as base, client(base) as http:
        (failing.root / "incoming").rmdir()
        answer = await http.put(upload_url(failing), content=b"x")
        assert_problem(answer, 503, "object-store-failed")
        assert answer.headers["Retry-After"]


async def test_the_server_hears_of_what_was_stored_and_only_of_that(store: LocalStore) -> None:
    heard: list[tuple[str, ObjectInfo | None]] = []

    async def on_received(key: str, info: ObjectInfo) -> None:
        assert await store.head(key) is not None
        heard.append((key, info))

    async with served(store, on_received=on_received) as base, client(base) as http:
        await http.put(upload_url(store, SOURCE), content=b"not these")
        assert heard == []
        await http.put(upload_url(store, SOURCE), content=DATA)
    assert [(key, info.size) for key, info in heard] == [(SOURCE, len(DATA))]


# Bodies


async def test_the_server_makes_a_fast_uploader_wait_for_a_slow_disk(store: LocalStore) -> None:
    """End to end: with a store that takes nothing, the client cannot get rid of more than the buffers hold."""
    taking = trio.Event()

    class SlowStore(LocalStore):
        async def receive(self, key, chunks, **options):
            await taking.wait()
            return await super().receive(key, chunks, **options)

    slow = SlowStore(store.root, b"a secret of the tests' own")
    size = 128 << 20
    sent = 0
    async with served(slow) as base, client(base) as http:

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < size:
                yield bytes(256 << 10)
                sent += 256 << 10

        async def watch() -> None:
            await until(lambda: sent > 0)
            before = -1
            while sent != before:  # until nothing has moved for a while
                before = sent
                await trio.sleep(0.3)
            assert 0 < sent < size / 2
            taking.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            answer = await http.put(upload_url(slow), content=pieces())
        assert answer.status_code == 200
    info = await store.head(OUTPUT)
    assert info is not None
    assert info.size == size


async def test_a_handler_that_fails_midway_still_ends_its_request(store: LocalStore) -> None:
    class Buggy(LocalStore):
        async def receive(self, key, chunks, **options):
            await trio.testing.wait_all_tasks_blocked(0.05)  # until all that may wait of the body does
            raise ArithmeticError("a bug")

    buggy = Buggy(store.root, b"a secret of the tests' own")
    async with served(buggy) as base:
        address = httpx.URL(base)
        stream = await trio.open_tcp_stream(address.host, address.port)
        async with stream:
            head = f"PUT {upload_url(buggy)} HTTP/1.1\r\nHost: x\r\nContent-Length: {64 << 20}\r\n\r\n"
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(head.encode() + bytes(64 << 20))

                nursery.start_soon(send)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 500")


async def test_a_store_error_in_the_middle_of_a_download_breaks_it_off(
    store: LocalStore, http: httpx.AsyncClient
) -> None:
    await http.put(upload_url(store), content=os.urandom(7 << 20))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):  # noqa: PT012
        async with http.stream("GET", store.sign_download(OUTPUT, expires_in=HOUR)) as answer:
            async for _ in answer.aiter_raw(1000):
                os.truncate(store.root / OUTPUT, 10)
