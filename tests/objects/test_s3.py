"""What is S3's own: prefixes, checksums, and all the ways in which a remote store fails."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from blobforge.objects import ObjectInfo, ObjectStoreError
from blobforge.objects.breaker import NotAnsweringError
from blobforge.objects.bucket import _hex_digest
from blobforge.objects.keys import output_key, source_key
from blobforge.objects.s3 import S3Store
from tests.fixtures.seaweed import Seaweed
from tests.objects.places import s3_store

KEY = output_key("binstallation", 1, 1)
SHORT = 0.2  # seconds: a deadline that is meant to be missed


class Proxy:
    """A TCP proxy before the store. `hung`: it accepts, and neither forwards nor says anything.
    `cut_after`: it forwards so many bytes of each answer and then stops.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.hung = False
        self.cut_after: int | None = None
        self.connections = 0
        self.port = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        if self.hung:
            await trio.sleep_forever()
        async with await trio.open_tcp_stream("127.0.0.1", self.target) as onward, trio.open_nursery() as nursery:
            nursery.start_soon(self.pump, stream, onward, None)
            await self.pump(onward, stream, self.cut_after)
            nursery.cancel_scope.cancel()

    async def pump(self, source: trio.SocketStream, sink: trio.SocketStream, limit: int | None) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                passed = data if limit is None else data[:limit]
                if limit is not None:
                    limit -= len(passed)
                await sink.send_all(passed)
                if self.hung or limit == 0:
                    await trio.sleep_forever()


class Counting(S3Store):
    """Knows how many threads were looking up objects at the same time, at the most."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.most = self._inside = 0
        self._counting = threading.Lock()
        self._real = self._bucket.head
        self._bucket.head = self._head

    def _head(self, *asked: Any) -> ObjectInfo | None:
        with self._counting:
            self._inside += 1
            self.most = max(self.most, self._inside)
        try:
            return self._real(*asked)
        finally:
            with self._counting:
                self._inside -= 1


@asynccontextmanager
async def proxied(seaweed: Seaweed, **options) -> AsyncIterator[tuple[Proxy, Counting]]:
    proxy = Proxy(int(seaweed.endpoint.rsplit(":", 1)[1]))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        store = Counting(
            endpoint=f"http://127.0.0.1:{port}",
            bucket=seaweed.bucket,
            access_key=seaweed.access_key,
            secret_key=seaweed.secret_key,
            **options,
        )
        yield proxy, store
        nursery.cancel_scope.cancel()


async def answers_again(store: S3Store) -> None:
    while True:  # pytest-timeout is the deadline
        try:
            return await store.check()
        except NotAnsweringError:
            await trio.sleep(SHORT / 4)


def put(seaweed: Seaweed, key: str, data: bytes, **more) -> None:
    seaweed.client().put_object(Bucket=seaweed.bucket, Key=key, Body=data, **more)


@pytest.mark.parametrize(("prefix", "folder"), [("", ""), ("a", "a/"), ("/a//b/", "a/b/"), ("é x", "é x/")])
async def test_the_prefix_is_in_the_bucket_and_nowhere_else(seaweed: Seaweed, prefix: str, folder: str) -> None:
    store = s3_store(seaweed, prefix)
    put(seaweed, folder + KEY, b"there")
    info = await store.head(KEY)
    assert info is not None
    assert info.key == KEY
    assert await store.digest(KEY) == hashlib.sha256(b"there").hexdigest()
    await store.delete(KEY)
    assert await store.head(KEY) is None
    assert "Contents" not in seaweed.client().list_objects_v2(Bucket=seaweed.bucket, Prefix=folder + KEY)


@pytest.mark.parametrize("prefix", ["..", "a/../b", ".", "a/\n"])
def test_a_prefix_that_leads_elsewhere_is_refused(seaweed: Seaweed, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        s3_store(seaweed, prefix)


async def test_the_store_vouches_only_for_what_it_checked(seaweed: Seaweed) -> None:
    store = s3_store(seaweed, "checksums")
    data = b"checked"
    put(seaweed, f"checksums/{KEY}", data, ChecksumAlgorithm="SHA256")
    info = await store.head(KEY)
    assert info is not None
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    plain = source_key("0" * 64)  # nobody checked these bytes: the name proves nothing
    put(seaweed, f"checksums/{plain}", data)
    info = await store.head(plain)
    assert info is not None
    assert info.sha256 is None


def test_a_checksum_of_parts_is_no_sha256() -> None:
    one = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
    assert _hex_digest(one) == hashlib.sha256(b"test").hexdigest()
    for other in (None, "", f"{one}-2", "not base64!", "q8a="):
        assert _hex_digest(other) is None


async def test_a_missing_bucket_is_no_missing_object(seaweed: Seaweed) -> None:
    store = S3Store(
        endpoint=seaweed.endpoint,
        bucket="no-such-bucket",
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
    )
    for ask in (store.check, partial(store.head, KEY), partial(store.digest, KEY)):
        with pytest.raises(ObjectStoreError, match=r"no-such-bucket.*no such bucket"):
            await ask()


async def test_a_wrong_secret_is_said_plainly_and_not_repeated(seaweed: Seaweed) -> None:
    store = S3Store(
        endpoint=seaweed.endpoint,
        bucket=seaweed.bucket,
        access_key=seaweed.access_key,
        secret_key="a-wrong-secret",
    )
    asks = (store.check, partial(store.head, KEY), partial(store.digest, KEY), partial(store.delete, KEY))
    for ask in asks:
        with pytest.raises(ObjectStoreError, match=r"403.*check the access key") as caught:
            await ask()
        assert not isinstance(caught.value, NotAnsweringError)
        assert seaweed.endpoint in str(caught.value)
        assert seaweed.bucket in str(caught.value)
        assert "a-wrong-secret" not in str(caught.value)


async def test_nobody_listening_is_an_error_at_once(seaweed: Seaweed, unused_port: int) -> None:
    endpoint = f"http://127.0.0.1:{unused_port}"
    store = S3Store(endpoint=endpoint, bucket="b", access_key="AK", secret_key="SK", timeout=60)
    with pytest.raises(ObjectStoreError, match="check the endpoint"):
        await store.check()


@pytest.fixture
async def unused_port() -> int:
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_a_hung_store_costs_one_deadline(seaweed: Seaweed) -> None:
    async with proxied(seaweed, timeout=SHORT, pause=3600) as (proxy, store):
        proxy.hung = True
        with pytest.raises(NotAnsweringError, match="no answer within"):
            await store.head(KEY)
        asked = proxy.connections
        with pytest.raises(NotAnsweringError, match="not answering since"):
            await store.head(KEY)
        with pytest.raises(NotAnsweringError, match="not answering since"):
            await store.digest(KEY)
        assert proxy.connections == asked  # the breaker did not even try


async def test_a_hung_store_is_found_again(seaweed: Seaweed) -> None:
    async with proxied(seaweed, timeout=SHORT, pause=SHORT) as (proxy, store):
        proxy.hung = True
        with pytest.raises(NotAnsweringError):
            await store.head(KEY)
        proxy.hung = False
        await answers_again(store)
        assert await store.head(KEY) is None


async def test_more_callers_than_threads_all_get_their_deadline(seaweed: Seaweed) -> None:
    async with proxied(seaweed, timeout=SHORT, pause=0, questions=2) as (proxy, store):
        proxy.hung = True
        outcomes: list[str] = []

        async def one() -> None:
            with pytest.raises(NotAnsweringError) as caught:
                await store.head(KEY)
            outcomes.append(str(caught.value))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert len(outcomes) == 20
        # The others never got a thread, and did not wait for one. (Should one that was left behind end in time, its
        # place is taken: so it is not the connections that are counted.)
        assert 1 <= store.most <= 2


async def test_a_thread_left_behind_comes_to_its_end(seaweed: Seaweed) -> None:
    async with proxied(seaweed, timeout=SHORT, pause=0, questions=1) as (proxy, store):
        proxy.hung = True
        with trio.move_on_after(SHORT / 10) as scope:
            await store.check()
        assert scope.cancelled_caught  # a cancelled caller does not wait for it
        proxy.hung = False
        await answers_again(store)  # which takes the only thread there is


async def test_a_body_that_stops_midway_is_no_digest(seaweed: Seaweed) -> None:
    put(seaweed, KEY, os.urandom(4 << 20))
    async with proxied(seaweed, timeout=SHORT, digest_timeout=30) as (proxy, store):
        proxy.cut_after = 1 << 20
        with pytest.raises(ObjectStoreError, match="read an object"):
            await store.digest(KEY)


async def test_a_digest_has_a_deadline_of_its_own(seaweed: Seaweed) -> None:
    put(seaweed, KEY, os.urandom(4 << 20))
    async with proxied(seaweed, timeout=30, digest_timeout=SHORT) as (proxy, store):
        proxy.cut_after = 1 << 20
        with pytest.raises(NotAnsweringError):
            await store.digest(KEY)
        proxy.cut_after = None
        assert await store.head(KEY) is not None  # an object that takes long does not close the store


async def test_the_users_own_aws_settings_do_not_count(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = mars\nbroken")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "not-there")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    store = s3_store(seaweed, "")
    await store.check()
    assert await store.head(source_key("ab" * 32)) is None
