"""Multipart uploads against SeaweedFS: what a part's URL opens, and what becomes of an upload."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time

import httpx
import pytest

from blobforge.objects import ObjectInfo, ObjectTooLargeError, bucket, reading
from blobforge.objects.multipart import LARGEST_PART, MIB, MOST_PARTS, PART, Upload, part_size
from blobforge.objects.s3 import S3Store
from tests.fixtures.seaweed import Seaweed

HOUR = 3600
FIVE = 5 * MIB  # S3's smallest part but for the last


@pytest.fixture
def store(seaweed: Seaweed) -> S3Store:
    return S3Store(
        endpoint=seaweed.endpoint,
        bucket=seaweed.bucket,
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        prefix=f"parts-{secrets.token_hex(4)}",
    )


@pytest.fixture
def key() -> str:
    return f"sources/{secrets.token_hex(32)}"


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def put(
    store: S3Store, key: str, upload: Upload, number: int, data: bytes, bound: bytes | None = None
) -> httpx.Response:
    signed = store.multipart.sign_part(key, upload.id, number, expires_in=HOUR, md5=md5(bound or data))
    return httpx.put(signed.url, content=data, headers=signed.headers, trust_env=False, timeout=30)


def opened(url: str, content: bytes = b"x") -> int:
    return httpx.put(url, content=content, trust_env=False, timeout=30).status_code


async def test_parts_become_an_object_and_an_interrupted_upload_is_taken_up(store: S3Store, key: str) -> None:
    begun = await store.multipart.begin(key, FIVE + 3)
    assert (begun.part_size, begun.parts) == (PART, [])
    first = put(store, key, begun, 1, b"a" * FIVE)
    assert first.status_code == 200
    again = await store.multipart.begin(key, FIVE + 3)
    assert again.id == begun.id
    (part,) = again.parts
    assert (part.number, part.size, part.etag) == (1, FIVE, hashlib.md5(b"a" * FIVE).hexdigest())
    second = put(store, key, begun, 2, b"end")
    etags = [(1, part.etag), (2, second.headers["ETag"].strip('"'))]
    assert await store.head(key) is None, "nothing is there before it is whole"
    assert await store.multipart.complete(key, begun.id, etags)
    info = await store.head(key)
    assert info is not None
    assert info.size == FIVE + 3
    assert info.sha256 is None, "a checksum of checksums is not taken for one of the bytes"
    assert await store.digest(key) == hashlib.sha256(b"a" * FIVE + b"end").hexdigest()
    # Repeated, because the answer got lost, stores say yes or that it is gone; the object is there either way.
    await store.multipart.complete(key, begun.id, etags)
    assert await store.head(key) == info


async def test_a_part_is_bound_to_its_bytes_and_its_url_to_the_part(store: S3Store, key: str) -> None:
    upload = await store.multipart.begin(key, 10)
    assert put(store, key, upload, 1, b"evil", bound=b"good").status_code == 400
    signed = store.multipart.sign_part(key, upload.id, 1, expires_in=HOUR, md5=None)
    for url in (
        signed.url.replace("partNumber=1", "partNumber=2"),
        signed.url.replace(key, f"sources/{'0' * 64}"),
        signed.url.replace(upload.id, "another"),
    ):
        assert url != signed.url
        assert opened(url) == 403
    with pytest.raises(ValueError, match="not a key"):
        store.multipart.sign_part("litestream/x", upload.id, 1, expires_in=HOUR, md5=None)
    await store.multipart.abort(key, upload.id)


async def test_what_is_aborted_is_gone(store: S3Store, key: str) -> None:
    upload = await store.multipart.begin(key, 10)
    assert put(store, key, upload, 1, b"bytes").status_code == 200
    await store.multipart.abort(key, upload.id)
    await store.multipart.abort(key, upload.id)
    assert not await store.multipart.complete(key, upload.id, [(1, hashlib.md5(b"bytes").hexdigest())])
    assert await store.head(key) is None
    assert (await store.multipart.begin(key, 10)).parts == []


async def test_parts_that_are_not_these_make_no_object(store: S3Store, key: str) -> None:
    upload = await store.multipart.begin(key, 10)
    assert put(store, key, upload, 1, b"bytes").status_code == 200
    assert not await store.multipart.complete(key, upload.id, [(1, "0" * 32)])
    assert await store.head(key) is None
    await store.multipart.abort(key, upload.id)


async def test_nothing_is_written_over_that_is_to_be_written_once(store: S3Store) -> None:
    """An output that was accepted is final, whatever comes by an upload that had begun before."""
    output = f"outputs/binstallation/{secrets.randbelow(10**9) + 1}/1/output"
    for content, wanted in ((b"good", True), (b"evil", False)):
        upload = await store.multipart.begin(output, 10)
        etag = put(store, output, upload, 1, content).headers["ETag"].strip('"')
        assert await store.multipart.complete(output, upload.id, [(1, etag)], write_once=True) is wanted
    assert await store.digest(output) == hashlib.sha256(b"good").hexdigest()
    await store.multipart.abort(output, upload.id)


async def test_outputs_that_broke_off_are_found_and_cleared_as_sources_are(store: S3Store) -> None:
    output = "outputs/binstallation/1/1/output"
    upload = await store.multipart.begin(output, 10)
    assert put(store, output, upload, 1, b"half of it").status_code == 200
    soon = time.time() + HOUR
    assert await store.clear_unfinished(before=soon - 2 * HOUR, dry_run=False) == 0
    assert await store.clear_unfinished(before=soon, dry_run=False) == 1
    assert (await store.multipart.begin(output, 10)).parts == []


async def test_what_no_store_can_take_is_said_before_anything_is_sent(store: S3Store) -> None:
    with pytest.raises(ObjectTooLargeError, match="parts"):
        await store.multipart.begin("outputs/binstallation/1/2/output", MOST_PARTS * LARGEST_PART + 1)
    assert part_size(MOST_PARTS * LARGEST_PART) == LARGEST_PART


async def test_what_is_too_large_for_one_copy_is_copied_in_parts(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 copies 5 GiB by one request; an accepted output above that was tried again for ever."""
    monkeypatch.setattr(bucket, "COPIED_WHOLE", FIVE)
    monkeypatch.setattr(bucket, "COPIED_PART", FIVE)
    output, kept = "outputs/binstallation/2/1/output", "accepted/binstallation/2/1/output"
    assert opened(store.sign_upload(output, expires_in=HOUR).url, b"a" * FIVE + b"end") == 200
    like = await store.head(output)
    assert like is not None
    another = ObjectInfo(output, like.size, etag='"another"')
    assert await store.copy(output, kept, like=another) == "changed"
    copied = await store.copy(output, kept, like=like)
    assert isinstance(copied, ObjectInfo)
    assert (copied.size, copied.etag[-3:] if copied.etag else "") == (FIVE + 3, '-2"')
    assert await store.digest(kept) == await store.digest(output)
    assert await store.copy("outputs/binstallation/2/9/output", "accepted/binstallation/2/9/output", like=None) == (
        "absent"
    )
    # And has as long as so many bytes need, whatever the deadline of others is.
    await store.delete(kept)
    store._digest_timeout = 0.0
    monkeypatch.setattr(reading, "COPIED_A_SECOND", FIVE // 20)
    assert isinstance(await store.copy(output, kept, like=like), ObjectInfo)


async def test_more_unfinished_uploads_than_one_answer_holds(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "UPLOADS_PAGE", 2)
    for number in range(5):
        await store.multipart.begin(f"sources/{number:064x}", 10)
    soon = time.time() + HOUR
    assert await store.clear_unfinished(before=soon - 2 * HOUR, dry_run=False) == 0
    assert await store.clear_unfinished(before=soon, dry_run=True) == 5
    assert await store.clear_unfinished(before=soon, dry_run=False) == 5
    assert await store.clear_unfinished(before=soon, dry_run=True) == 0


@pytest.mark.parametrize(
    ("size", "part"),
    [(0, PART), (100 * MIB, PART), (PART * MOST_PARTS, PART), (PART * MOST_PARTS + 1, PART + MIB)],
)
def test_never_more_than_ten_thousand_parts(size: int, part: int) -> None:
    assert part_size(size) == part
    assert size <= part_size(size) * MOST_PARTS
