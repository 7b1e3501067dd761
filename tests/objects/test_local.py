"""The embedded store's files: all or nothing, whatever interrupts; and nothing outside its folder."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from blobforge.machinery.hop import in_place
from blobforge.objects import ObjectStoreError
from blobforge.objects.files import BATCH
from blobforge.objects.incoming import DigestMismatchError, StoreFullError, TooLargeError, UploadRefusedError
from blobforge.objects.keys import output_key, source_key
from blobforge.objects.local import LocalStore
from tests.objects.places import local_store

BIG = random.Random(1).randbytes(2 * BATCH + 12345)  # the same in each process: it names test cases
SOURCE = source_key(hashlib.sha256(BIG).hexdigest())
OUTPUT = output_key("binstallation", 3, 1)
ANY_SIZE = 1 << 40


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return local_store(tmp_path / "objects")


async def pieces(data: bytes, size: int = 40_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        await trio.lowlevel.checkpoint()
        yield data[start : start + size]


def files(store: LocalStore) -> set[str]:
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}


async def content(store: LocalStore, key: str) -> bytes:
    found = await store.find(key)
    assert found is not None
    async with aclosing(store.read(found)) as chunks:
        return b"".join([chunk async for chunk in chunks])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("key", [SOURCE, OUTPUT])
async def test_received_described_and_read_back(store: LocalStore, key: str) -> None:
    info = await store.receive(key, pieces(BIG), max_size=ANY_SIZE, content_type="a/b")
    assert (info.size, info.sha256) == (len(BIG), hashlib.sha256(BIG).hexdigest())
    head = await store.head(key)
    assert head is not None
    assert (head.size, head.sha256) == (info.size, info.sha256)
    assert await content(store, key) == BIG


async def test_an_object_is_not_there_before_it_is_whole(store: LocalStore) -> None:
    async def watched() -> AsyncIterator[bytes]:
        async for piece in pieces(BIG):
            assert await store.head(SOURCE) is None
            yield piece

    await store.receive(SOURCE, watched(), max_size=ANY_SIZE)
    assert await store.head(SOURCE) is not None


class Broken(Exception):
    pass


async def broken() -> AsyncIterator[bytes]:
    async for piece in pieces(BIG[: 2 * BATCH]):
        yield piece
    raise Broken


@pytest.mark.parametrize("key", [SOURCE, OUTPUT])
@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("failure", ["mismatch", "too large", "broken", "cancelled", "full"])
async def test_an_upload_that_fails_leaves_nothing_and_takes_nothing(
    store: LocalStore, key: str, there_before: bool, failure: str
) -> None:
    if there_before:
        await store.receive(key, pieces(BIG), max_size=ANY_SIZE)
    before = files(store)
    match failure:
        case "mismatch":
            other = BIG[:-1] + bytes([BIG[-1] ^ 1])
            expected = hashlib.sha256(BIG).hexdigest()
            with pytest.raises(DigestMismatchError) as caught:
                await store.receive(key, pieces(other), max_size=ANY_SIZE, expected_sha256=expected)
            assert caught.value.expected == expected
            assert caught.value.got == hashlib.sha256(other).hexdigest()
            assert caught.value.got in str(caught.value)
        case "too large":
            with pytest.raises(TooLargeError):
                await store.receive(key, pieces(BIG), max_size=len(BIG) - 1)
        case "broken":
            with pytest.raises(Broken):
                await store.receive(key, broken(), max_size=ANY_SIZE)
        case "cancelled":
            with trio.CancelScope() as scope:

                async def cancelling() -> AsyncIterator[bytes]:
                    async for piece in pieces(BIG[: 2 * BATCH]):
                        yield piece
                    scope.cancel()
                    await trio.sleep_forever()

                await store.receive(key, cancelling(), max_size=ANY_SIZE)
            assert scope.cancelled_caught
        case "full":
            store._reserve = 1 << 62
            with pytest.raises(StoreFullError, match="no room"):
                await store.receive(key, pieces(BIG), max_size=ANY_SIZE)
    assert files(store) == before
    assert (await store.head(key) is not None) == there_before
    if there_before:
        assert await content(store, key) == BIG


async def test_exactly_the_allowed_size_is_allowed(store: LocalStore) -> None:
    await store.receive(OUTPUT, pieces(BIG), max_size=len(BIG))
    assert await content(store, OUTPUT) == BIG


async def test_a_source_has_to_hash_to_its_name_unasked(store: LocalStore) -> None:
    with pytest.raises(DigestMismatchError):
        await store.receive(SOURCE, pieces(b"other bytes"), max_size=ANY_SIZE)
    with pytest.raises(ValueError, match="SHA-256"):
        await store.receive(SOURCE, pieces(b"x"), max_size=ANY_SIZE, expected_sha256=hashlib.sha256(b"x").hexdigest())
    assert files(store) == set()


async def test_what_the_kernel_refuses_is_said_in_words(store: LocalStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BATCH, hard))  # write(2) fails beyond: EFBIG, a sibling of ENOSPC
    try:
        with pytest.raises(StoreFullError, match="full"):
            await store.receive(OUTPUT, pieces(BIG), max_size=ANY_SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(store) == set()


async def test_an_unusable_folder_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ObjectStoreError, match="log has the folder"):
        local_store(tmp_path / "file" / "objects")
    store = local_store(tmp_path / "objects")
    (store.root / "incoming").rmdir()
    with pytest.raises(ObjectStoreError, match="log has the folder"):
        await store.check()
    with pytest.raises(ObjectStoreError, match="log has the folder"):
        await store.receive(OUTPUT, pieces(b"x"), max_size=ANY_SIZE)


async def test_nobody_else_may_read_the_files(store: LocalStore) -> None:
    old = os.umask(0)  # even so
    try:
        await store.receive(SOURCE, pieces(BIG), max_size=ANY_SIZE)
        await store.receive(OUTPUT, pieces(BIG), max_size=ANY_SIZE)
    finally:
        os.umask(old)
    for path in [store.root, *store.root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


async def test_what_a_crash_left_is_swept_and_what_is_under_way_is_not(store: LocalStore) -> None:
    (store.root / "incoming" / "left-behind").write_bytes(b"half of it")
    swept: list[int] = []

    async def sweeping() -> AsyncIterator[bytes]:
        async for piece in pieces(BIG):
            yield piece
        swept.append(store.sweep())

    await store.receive(SOURCE, sweeping(), max_size=ANY_SIZE)
    assert swept == [1]
    assert await content(store, SOURCE) == BIG
    assert store.sweep() == 0


async def test_uploads_of_one_key_at_once_end_in_one_of_them(store: LocalStore) -> None:
    bodies = [bytes([number]) * (BATCH + number) for number in range(8)]

    async def one(body: bytes) -> None:
        await store.receive(OUTPUT, pieces(body), max_size=ANY_SIZE)

    async with trio.open_nursery() as nursery:
        for body in bodies:
            nursery.start_soon(one, body)
    kept = await content(store, OUTPUT)
    assert kept in bodies
    head = await store.head(OUTPUT)
    assert head is not None
    assert head.sha256 in (None, hashlib.sha256(kept).hexdigest())


async def test_uploads_and_deletes_of_one_attempt_do_not_trip_each_other(store: LocalStore) -> None:
    async def deleting() -> None:
        for _ in range(200):
            await store.delete(OUTPUT)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deleting)
        for _ in range(100):
            await store.receive(OUTPUT, pieces(b"x"), max_size=ANY_SIZE)
    await store.receive(OUTPUT, pieces(b"last"), max_size=ANY_SIZE)
    assert await content(store, OUTPUT) == b"last"


async def test_delete_leaves_no_trace(store: LocalStore) -> None:
    await store.receive(OUTPUT, pieces(b"x"), max_size=ANY_SIZE)
    await store.receive(output_key("binstallation", 3, 2), pieces(b"y"), max_size=ANY_SIZE)
    await store.delete(OUTPUT)
    assert not (store.root / "outputs" / "3" / "1").exists()
    await store.delete(output_key("binstallation", 3, 2))
    assert not (store.root / "outputs" / "3").exists()
    assert files(store) == set()


@pytest.mark.parametrize("damage", ["changed", "garbage", "missing", "of another"])
async def test_a_checksum_that_may_be_anothers_is_not_told(store: LocalStore, damage: str) -> None:
    await store.receive(OUTPUT, pieces(b"first"), max_size=ANY_SIZE)
    path = store.root / OUTPUT
    sidecar = path.with_name(".output.json")
    match damage:
        case "changed":
            path.write_bytes(b"by hand")
        case "garbage":
            sidecar.write_bytes(b"\0" * 10)
        case "missing":
            sidecar.unlink()
        case "of another":
            old = sidecar.read_bytes()
            await store.receive(OUTPUT, pieces(b"other"), max_size=ANY_SIZE)
            sidecar.write_bytes(old)
    head = await store.head(OUTPUT)
    assert head is not None
    assert head.sha256 is None


async def test_ranges(store: LocalStore) -> None:
    await store.receive(SOURCE, pieces(BIG), max_size=ANY_SIZE)
    found = await store.find(SOURCE)
    assert found is not None
    for start, length in [(0, 1), (0, len(BIG)), (BATCH - 1, 2), (len(BIG) - 1, 1), (5, 2 * BATCH), (7, 0)]:
        async with aclosing(store.read(found, start, length)) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == BIG[start : start + length]


async def test_a_file_is_closed_however_the_reading_ends(store: LocalStore) -> None:
    await store.receive(SOURCE, pieces(BIG), max_size=ANY_SIZE)
    found = await store.find(SOURCE)
    assert found is not None
    await content(store, SOURCE)
    before = open_files()
    async with aclosing(store.read(found)) as chunks:
        await anext(chunks)
        assert open_files() == before + 1
    assert open_files() == before
    with trio.CancelScope() as scope:
        async with aclosing(store.read(found)) as chunks:
            async for _ in chunks:
                scope.cancel()
    assert scope.cancelled_caught
    assert open_files() == before


async def test_a_replaced_object_is_not_read_as_the_old_one(store: LocalStore) -> None:
    await store.receive(OUTPUT, pieces(b"old"), max_size=ANY_SIZE)
    found = await store.find(OUTPUT)
    assert found is not None
    await store.receive(OUTPUT, pieces(b"new"), max_size=ANY_SIZE)
    with pytest.raises(ObjectStoreError, match="replaced"):
        await anext(store.read(found))
    await store.delete(OUTPUT)
    with pytest.raises(ObjectStoreError):
        await anext(store.read(found))


async def test_a_truncated_file_breaks_the_transfer(store: LocalStore) -> None:
    await store.receive(SOURCE, pieces(BIG), max_size=ANY_SIZE)
    found = await store.find(SOURCE)
    assert found is not None
    with pytest.raises(ObjectStoreError, match="shorter"):  # noqa: PT012
        async with aclosing(store.read(found)) as chunks:
            async for _ in chunks:
                os.truncate(found.path, 10)


async def test_keys_lead_nowhere_else(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    for key in ("../secret", "sources/../../secret", "/etc/passwd", "incoming/x", "outputs/3/1/.output.json", ""):
        with pytest.raises(ValueError, match="key"):
            await store.find(key)
        with pytest.raises(ValueError, match="key"):
            await store.receive(key, pieces(b"x"), max_size=ANY_SIZE)
    assert files(store) == set()


async def test_a_link_or_a_folder_in_an_objects_place_is_no_object(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    path = store.root / OUTPUT
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "secret")
    assert await store.head(OUTPUT) is None
    path.unlink()
    path.mkdir()
    assert await store.head(OUTPUT) is None


async def test_runs_inline_on_virtual_time(tmp_path: Path, autojump_clock) -> None:
    store = local_store(tmp_path, hop=in_place)
    before = trio.current_time()
    await store.receive(SOURCE, pieces(BIG), max_size=ANY_SIZE)
    assert await store.digest(SOURCE) == hashlib.sha256(BIG).hexdigest()
    assert await content(store, SOURCE) == BIG
    assert trio.current_time() == before


def test_refusals_of_the_upload_are_no_outage() -> None:
    assert not issubclass(UploadRefusedError, ObjectStoreError)
