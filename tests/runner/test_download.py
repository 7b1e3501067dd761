"""A download goes on where it was cut off, and what it brings is what it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from blobforge.client import AsyncClient, ChecksumMismatch, ServerUnreachable

CONTENT = bytes(range(256)) * 8000  # 2 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Store:
    """An object store that hangs up after so many bytes of each answer, and keeps what was asked of it."""

    def __init__(self, cuts: list[int | None], *, etags: list[str], ranges: bool = True) -> None:
        self.cuts = cuts
        self.etags = etags
        self.ranges = ranges
        self.asked: list[str | None] = []
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some()
            sent = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
            self.asked.append(sent.get("range"))
            etag = self.etags.pop(0) if len(self.etags) > 1 else self.etags[0]
            cut = self.cuts.pop(0) if self.cuts else None
            start = 0
            if self.ranges and "range" in sent and sent.get("if-range", etag) == etag:
                start = int(sent["range"].removeprefix("bytes=").rstrip("-"))
            status = f"206 Partial Content\r\nContent-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            if start >= len(CONTENT):
                await stream.send_all(b"HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            answer = f"HTTP/1.1 {status if start else '200 OK'}\r\nETag: {etag}\r\nConnection: close\r\n"
            answer += f"Content-Length: {len(CONTENT) - start}\r\n\r\n"
            await stream.send_all(answer.encode() + CONTENT[start : start + cut if cut is not None else None])


@pytest.fixture
async def opened(nursery: trio.Nursery) -> Callable[[Store], Store]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    def start(store: Store) -> Store:
        store.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/object?signature=x"
        nursery.start_soon(trio.serve_listeners, store.serve, listeners)
        return store

    return start


async def fetch(store: Store, target: Path, sha256: str = SHA256, patience: float = 60) -> int:
    counted: list[int] = []
    async with AsyncClient(store.url.partition("/object")[0]) as client:
        patient = client.with_patience(patience)
        try:
            await patient.download(store.url, target, sha256=sha256, on_bytes=counted.append)
        finally:
            assert list(target.parent.iterdir()) in ([], [target])
    return sum(counted)


async def test_a_beginning_that_another_had_in_its_hands_is_not_gone_on_with(
    opened: Callable[[Store], Store], tmp_path: Path
) -> None:
    target, part = tmp_path / "file", tmp_path / "beginning"

    class Thief(Store):
        async def serve(self, stream: trio.SocketStream) -> None:
            if self.asked:
                part.unlink(missing_ok=True)  # by another download, which took it for its own
            with suppress(trio.BrokenResourceError):  # the client hangs up
                await super().serve(stream)

    store = opened(Thief([500_000], etags=['"one"']))
    async with AsyncClient(store.url.partition("/object")[0]) as client:
        facts = await client.with_patience(60).download(store.url, target, beginning=part)
    assert (facts.size, facts.sha256) == (len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT


async def test_it_goes_on_from_where_it_was_cut_off(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([500_000, 300_000], etags=['"one"']))
    assert await fetch(store, tmp_path / "file") == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT
    first, *rest = store.asked
    assert first is None
    second, third = (int(each.removeprefix("bytes=").rstrip("-")) for each in rest if each is not None)
    assert 200_000 < second <= 500_000  # by whole chunks
    assert second + 200_000 < third <= second + 300_000


async def test_a_file_with_the_name_of_a_part_is_left_alone(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([500_000], etags=['"one"']))
    target = tmp_path / "folder" / "file"
    target.parent.mkdir()
    mine = target.with_name("file.part")
    mine.write_text("mine")
    async with AsyncClient(store.url.partition("/object")[0]) as client:
        await client.download(store.url, target, sha256=SHA256)
    assert mine.read_text() == "mine"
    assert sorted(target.parent.iterdir()) == [target, mine]


async def test_it_starts_over_where_the_object_has_changed(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([500_000], etags=['"one"', '"two"']))
    assert await fetch(store, tmp_path / "file") == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['W/"weak"', ""], ids=["weak", "none"])
async def test_it_does_not_go_on_without_a_name_for_the_bytes(
    opened: Callable[[Store], Store], tmp_path: Path, etag: str
) -> None:
    store = opened(Store([500_000], etags=[etag]))
    assert await fetch(store, tmp_path / "file") == len(CONTENT)
    assert store.asked == [None, None]


async def test_a_store_without_ranges_sends_it_anew(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([500_000], etags=['"one"'], ranges=False))
    assert await fetch(store, tmp_path / "file") == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_the_whole_is_verified_after_it_was_put_together(
    opened: Callable[[Store], Store], tmp_path: Path
) -> None:
    store = opened(Store([500_000], etags=['"one"']))
    with pytest.raises(ChecksumMismatch):
        await fetch(store, tmp_path / "file", sha256="0" * 64)


async def test_given_up_it_leaves_nothing(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([500_000] * 100, etags=['"one"', '"two"'] * 100))
    with pytest.raises(ServerUnreachable):
        await fetch(store, tmp_path / "file", patience=0)
    assert list(tmp_path.iterdir()) == []


async def take_up(store: Store, folder: Path, sha256: str = SHA256, patience: float = 0) -> bool:
    """Whether the file came, with its beginning kept in between."""
    async with AsyncClient(store.url.partition("/object")[0]) as client:
        try:
            await client.with_patience(patience).download(
                store.url, folder / "file", sha256=sha256, beginning=folder / "beginning"
            )
        except ServerUnreachable:
            return False
        assert not (folder / "beginning").exists()
        return (folder / "file").read_bytes() == CONTENT


async def test_a_later_call_goes_on_from_what_is_kept(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([1_200_000], etags=['"one"']))
    assert not await take_up(store, tmp_path)
    kept = (tmp_path / "beginning").stat().st_size
    assert kept > 900_000
    assert await take_up(store, tmp_path)
    assert store.asked == [None, f"bytes={kept}-"]


@pytest.mark.parametrize("kept", [b"something else", CONTENT + b"more"])
async def test_what_is_kept_of_something_else_is_thrown_away(
    opened: Callable[[Store], Store], tmp_path: Path, kept: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    store = opened(Store([], etags=['"one"']))
    (tmp_path / "beginning").write_bytes(kept)
    assert await take_up(store, tmp_path, patience=60)
    assert store.asked == [f"bytes={len(kept)}-", None]


async def test_what_is_not_what_was_promised_is_not_kept(opened: Callable[[Store], Store], tmp_path: Path) -> None:
    store = opened(Store([], etags=['"one"']))
    with pytest.raises(ChecksumMismatch):
        await take_up(store, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
