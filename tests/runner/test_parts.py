"""One part of a large upload: repeated by itself, each time with a URL of its own."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from blobforge.client import AsyncClient, TransferRefused
from blobforge.client.types import PartsDestination
from tests.runner.scripted import LOSE, Answer, Scripted

TO = PartsDestination(source_hash="0" * 64)
BYTES = b"0123456789"
MD5 = base64.b64encode(hashlib.md5(BYTES[4:7]).digest()).decode()


async def send(scripted: Scripted, path: Path, sent: list[int]) -> str:
    path.write_bytes(BYTES)
    async with AsyncClient(scripted.url, token="bf_secret", patience=20) as client:
        return await client.upload_part(TO, "upload", 2, path, (4, 3), MD5, on_bytes=sent.append)


async def test_a_part_is_tried_again_with_a_fresh_url(scripted: Scripted, tmp_path: Path) -> None:
    urls = [Answer({"url": f"{scripted.url}/store/{n}", "headers": {"Content-MD5": MD5}}) for n in range(4)]
    scripted.on("POST", "/api/files/multipart/part", *urls)
    scripted.on("PUT", "/store/0", LOSE)
    scripted.on("PUT", "/store/1", Answer(b"<Error/>", 503))
    scripted.on("PUT", "/store/2", Answer(b"<Error/>", 500))
    scripted.on("PUT", "/store/3", Answer(b"", headers={"ETag": '"tag"'}))
    sent: list[int] = []
    assert await send(scripted, tmp_path / "file", sent) == "tag"
    puts = [request for request in scripted.requests if request.method == "PUT"]
    assert [request.path for request in puts] == [f"/store/{n}" for n in range(4)]
    assert {request.body for request in puts} == {b"456"}
    assert {request.headers["content-md5"] for request in puts} == {MD5}
    assert not any("authorization" in request.headers for request in puts)
    assert sum(sent) == 3, "what failed tries had told was taken back"


async def test_what_the_store_refuses_is_not_tried_again(scripted: Scripted, tmp_path: Path) -> None:
    scripted.on("POST", "/api/files/multipart/part", Answer({"url": f"{scripted.url}/store"}))
    scripted.on("PUT", "/store", Answer(b"<Error><Code>BadDigest</Code></Error>", 400))
    with pytest.raises(TransferRefused, match="BadDigest"):
        await send(scripted, tmp_path / "file", [])
    assert len(scripted.to("PUT", "/store")) == 1
