"""What every object store does, asked of each of them over real HTTP. Only what is said here may be relied on."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from urllib.parse import unquote

import pytest

from blobforge.objects import ObjectStore
from blobforge.objects.keys import mark_key, name_in, named_output_key, output_key, prefix_of, source_key
from blobforge.objects.local import LocalStore
from blobforge.objects.s3 import S3Store
from tests.objects.places import APP_LIMIT, Place

HOUR = 3600
BYTES = b"%PDF-1.7 not really"
OUTPUT = output_key("binstallation", 7, 1)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SOURCE = source_key(sha256(BYTES))


async def upload(place: Place, key: str, data: bytes, **bound: str) -> None:
    signed = place.store.sign_upload(key, expires_in=HOUR, **bound)
    answer = await place.http.put(signed.url, content=data, headers=signed.headers)
    assert answer.status_code == 200, answer.text


async def refused(place: Place, verb: str, url: str, **request) -> bool:
    answer = await place.http.request(verb, url, **request)
    return 400 <= answer.status_code < 500


async def test_is_an_object_store(place: Place) -> None:
    store: ObjectStore = place.store
    assert store.name in ("local", "s3")


@pytest.mark.parametrize("data", [b"", b"x", BYTES, os.urandom(3 * APP_LIMIT + 17)], ids=["0", "1", "19", "3 MiB"])
@pytest.mark.parametrize("kind_of_key", ["source", "output"])
async def test_what_goes_in_comes_out(place: Place, data: bytes, kind_of_key: str) -> None:
    key = source_key(sha256(data)) if kind_of_key == "source" else OUTPUT
    await upload(place, key, data)
    answer = await place.http.get(place.store.sign_download(key, expires_in=HOUR))
    assert answer.status_code == 200
    assert answer.content == data
    info = await place.store.head(key)
    assert info is not None
    assert (info.key, info.size) == (key, len(data))
    assert info.sha256 in (None, sha256(data))
    assert await place.store.digest(key) == sha256(data)


async def test_absent_is_none_and_404_and_no_error(place: Place) -> None:
    assert await place.store.head(OUTPUT) is None
    assert await place.store.digest(OUTPUT) is None
    await place.store.delete(OUTPUT)
    assert (await place.http.get(place.store.sign_download(OUTPUT, expires_in=HOUR))).status_code == 404


@pytest.mark.parametrize(("size", "most"), [(0, 10), (3, 10), (10, 10), (5000, 10), (200_000, 65_536)])
async def test_the_beginning_of_an_object(place: Place, size: int, most: int) -> None:
    data = os.urandom(size)
    await upload(place, OUTPUT, data)
    assert await place.store.beginning(OUTPUT, most) == data[:most]
    assert await place.store.beginning(output_key("binstallation", 7, 2), most) is None


async def test_delete_removes_that_object_only(place: Place) -> None:
    neighbour = output_key("binstallation", 7, 2)
    await upload(place, OUTPUT, b"one")
    await upload(place, neighbour, b"two")
    await place.store.delete(OUTPUT)
    assert await place.store.head(OUTPUT) is None
    assert await place.store.digest(neighbour) == sha256(b"two")


async def listed(place: Place, prefix: str, *, limit: int = 1000) -> list[str]:
    """All keys, page by page."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await place.store.list_page(prefix, cursor=cursor, limit=limit)
        assert len(page.objects) <= limit
        found += [each.key for each in page.objects]
        cursor = page.cursor
    return found


async def test_objects_are_listed_page_by_page(place: Place) -> None:
    outputs = [
        output_key("binstallation", job, attempt)
        for job, attempt in ((1, 1), (1, 2), (10, 1), (2, 1), (2, 10), (99, 1))
    ]
    sources = sorted(source_key(sha256(bytes([number]))) for number in range(5))
    for key in outputs:
        await upload(place, key, b"x" * 7)
    for number in range(5):
        await upload(place, source_key(sha256(bytes([number]))), bytes([number]))
    for limit in (1, 2, 5, 6, 1000):
        assert await listed(place, "outputs/", limit=limit) == sorted(outputs)
        assert await listed(place, "sources/", limit=limit) == sources
    # What a cursor stands for need not be there any more.
    page = await place.store.list_page("outputs/", limit=1)
    assert page.cursor is not None
    await place.store.delete(page.objects[0].key)
    following = await place.store.list_page("outputs/", cursor=page.cursor, limit=1)
    assert [each.key for each in following.objects] == sorted(outputs)[1:2]


async def test_a_list_says_how_large_and_how_old(place: Place) -> None:
    await upload(place, OUTPUT, b"x" * 12345)
    (found,) = (await place.store.list_page("outputs/")).objects
    assert (found.key, found.size) == (OUTPUT, 12345)
    assert abs(found.modified - time.time()) < 300


async def test_an_empty_store_lists_nothing(place: Place) -> None:
    assert await listed(place, "sources/") == await listed(place, "outputs/") == []


@pytest.mark.parametrize("prefix", ["", "/", "sources", "litestream/", "sources/../", "outputs/1/"])
async def test_no_other_prefix_is_listed(place: Place, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        await place.store.list_page(prefix)


async def test_unfinished_uploads_are_counted_and_cleared_once_they_are_old(place: Place) -> None:
    await begin_upload(place)
    now = time.time()
    assert await place.store.clear_unfinished(before=now - HOUR, dry_run=False) == 0
    assert await place.store.clear_unfinished(before=now + HOUR, dry_run=True) == 1
    assert await place.store.clear_unfinished(before=now + HOUR, dry_run=False) == 1
    assert await place.store.clear_unfinished(before=now + HOUR, dry_run=True) == 0


async def begin_upload(place: Place) -> None:
    """Something that an upload which broke off leaves behind."""
    match place.store:
        case LocalStore(root=root):
            (root / "incoming" / "broken off").write_bytes(b"half of it")
        case S3Store(multipart=multipart):
            await multipart.begin(SOURCE, 100 << 20)


async def test_check_passes_and_leaves_nothing_behind(place: Place) -> None:
    await place.store.check()
    assert await listed(place, "sources/") == []


async def test_the_plain_put_of_existing_clients_works(place: Place) -> None:
    url = place.store.sign_upload(SOURCE, expires_in=HOUR).url
    answer = await place.http.put(url, content=BYTES, headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 200, answer.text
    assert await place.store.digest(SOURCE) == sha256(BYTES)


async def test_a_second_upload_replaces_the_first_whole(place: Place) -> None:
    await upload(place, OUTPUT, b"first, and longer")
    await upload(place, OUTPUT, b"second")
    info = await place.store.head(OUTPUT)
    assert info is not None
    assert (info.size, await place.store.digest(OUTPUT)) == (6, sha256(b"second"))


async def test_a_source_may_come_twice(place: Place) -> None:
    await upload(place, SOURCE, BYTES)
    await upload(place, SOURCE, BYTES)
    assert await place.store.digest(SOURCE) == sha256(BYTES)


async def test_a_url_is_for_its_verb_only(place: Place) -> None:
    await upload(place, OUTPUT, b"kept")
    down = place.store.sign_download(OUTPUT, expires_in=HOUR)
    up = place.store.sign_upload(OUTPUT, expires_in=HOUR).url
    assert await refused(place, "PUT", down, content=b"evil")
    assert await refused(place, "DELETE", down)
    assert await refused(place, "POST", down, content=b"evil")
    assert await refused(place, "GET", up)
    assert await refused(place, "DELETE", up)
    assert await place.store.digest(OUTPUT) == sha256(b"kept")


async def test_an_expired_url_is_refused(place: Place) -> None:
    await upload(place, OUTPUT, b"kept")
    past = place.at(lambda: time.time() - HOUR)
    assert await refused(place, "GET", past.sign_download(OUTPUT, expires_in=60))
    assert await refused(place, "PUT", past.sign_upload(OUTPUT, expires_in=60).url, content=b"evil")
    assert await place.store.digest(OUTPUT) == sha256(b"kept")
    # and it is the lifetime that was refused, not the older date
    assert (await place.http.get(past.sign_download(OUTPUT, expires_in=2 * HOUR))).status_code == 200


async def test_a_changed_url_is_refused(place: Place) -> None:
    other = output_key("binstallation", 8, 1)
    await upload(place, OUTPUT, b"mine")
    await upload(place, other, b"theirs")
    down = place.store.sign_download(OUTPUT, expires_in=60, filename="a.pdf")
    assert await refused(place, "GET", down.replace(OUTPUT, other))
    assert await refused(place, "GET", down.replace("a.pdf", "b.exe"))
    for name in ("expires=", "X-Amz-Expires="):
        assert name not in down or await refused(place, "GET", down.replace(name, f"{name}9"))
    assert await refused(place, "GET", down[:-1] + ("0" if down[-1] != "0" else "1"))
    assert await refused(place, "GET", down.rsplit("&", 1)[0])
    up = place.store.sign_upload(OUTPUT, expires_in=60).url
    assert await refused(place, "PUT", up.replace(OUTPUT, other), content=b"evil")
    assert await refused(place, "PUT", up.replace(OUTPUT, SOURCE), content=BYTES)
    assert await place.store.digest(other) == sha256(b"theirs")


async def test_no_other_keys_are_signed_or_touched(place: Place) -> None:
    keys = ["", "/", "sources/../litestream/x", "sources/", f"/{SOURCE}", f"{SOURCE}/", f"{SOURCE}\n", "sources/AA"]
    keys += ["outputs/1/1/../x", "outputs/0/1/output", "outputs/1/1/.output.json", "litestream/db", f"{OUTPUT}/.."]
    keys += [SOURCE.upper(), f"{SOURCE}\0", "outputs/binstallation/1/1/a/../b", "outputs/binstallation/1/1/a//b"]
    keys += ["outputs/binstallation/1/1/.", "outputs/binstallation/1/1/a/", "outputs/binstallation/1/1/a\x01b"]
    keys += ["outputs/1/1/a b", "outputs/1/1/\u0661", "outputs/\u0661/1/output"]
    for key in keys:
        for sign in (place.store.sign_download, place.store.sign_upload):
            with pytest.raises(ValueError, match="key"):
                sign(key, expires_in=HOUR)
        for ask in (place.store.head, place.store.digest, place.store.delete):
            with pytest.raises(ValueError, match="key"):
                await ask(key)


NAMES = [
    "a.md", ".hidden", ".a.md.json", "img/.x/1.png", "img.d/1.png", "a b#c?d%2e&e=f+g.md",
    "\u0645\u062c\u0644\u062f/\u202efdp.exe",
    "\u00e9.md", "back\\slash", "%5C%255C%", "%\\", "back%5Cslash", "CON",
    "x" * 255, "." + "y" * 254, "\u00e4" * 127 + "/" + "z" * 250, "output", "output~", "A.md",
]  # fmt: skip


async def test_one_of_several_outputs_may_have_any_name(place: Place) -> None:
    prefix = prefix_of(OUTPUT)
    await upload(place, OUTPUT, b"the one of the claim")
    keys = {named_output_key(prefix, name): name for name in NAMES}
    assert OUTPUT not in keys
    for key, name in keys.items():
        assert name_in(key) == name
        await upload(place, key, name.encode())
    for key, name in keys.items():
        answer = await place.http.get(place.store.sign_download(key, expires_in=HOUR))
        assert answer.content == name.encode()
        info = await place.store.head(key)
        assert info is not None
        assert info.sha256 in (None, sha256(name.encode()))
    assert sorted(await listed(place, prefix, limit=3)) == sorted([*keys, OUTPUT])
    for key in keys:
        await place.store.delete(key)
        assert await place.store.head(key) is None
    assert await listed(place, prefix) == [OUTPUT]


async def test_one_of_several_outputs_is_written_once(place: Place) -> None:
    if isinstance(place.store, S3Store):
        await place.store.put_own(mark_key("binstallation"), b"here")
        await place.store.learn(mark_key("binstallation"))
        assert place.store.write_once
    key = named_output_key(prefix_of(OUTPUT), "a/b.md")
    signed = place.store.sign_upload(key, expires_in=HOUR, write_once=place.store.write_once)
    assert (await place.http.put(signed.url, content=b"first", headers=signed.headers)).status_code == 200
    assert (await place.http.put(signed.url, content=b"second", headers=signed.headers)).status_code == 412
    assert await place.store.digest(key) == sha256(b"first")


@pytest.mark.parametrize("filename", ["report.pdf", "Übergröße 日本.pdf", 'a"b\\c/d\r\nX-Evil: 1;.pdf'])
async def test_a_download_is_saved_under_its_name(place: Place, filename: str) -> None:
    await upload(place, OUTPUT, b"x")
    answer = await place.http.get(place.store.sign_download(OUTPUT, expires_in=HOUR, filename=filename))
    assert answer.status_code == 200, answer.text
    assert "X-Evil" not in answer.headers
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=")
    last = filename.replace("\\", "/").rsplit("/", 1)[-1].replace("\r\n", "")
    assert unquote(disposition.rsplit("UTF-8''", 1)[1]) == last


async def test_part_of_an_object_can_be_asked_for(place: Place) -> None:
    await upload(place, OUTPUT, b"0123456789")
    url = place.store.sign_download(OUTPUT, expires_in=HOUR)
    answer = await place.http.get(url, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["Content-Range"] == "bytes 2-4/10"


@pytest.mark.parametrize("key", [SOURCE, OUTPUT])
async def test_an_upload_bound_to_its_bytes_takes_no_others(place: Place, key: str) -> None:
    signed = place.store.sign_upload(key, expires_in=HOUR, sha256=sha256(BYTES))
    assert await refused(place, "PUT", signed.url, content=b"other bytes", headers=signed.headers)
    lie = {name: base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode() for name in signed.headers}
    assert await refused(place, "PUT", signed.url, content=b"other bytes", headers=lie)
    assert await place.store.head(key) is None
    await upload(place, key, BYTES, sha256=sha256(BYTES))
    info = await place.store.head(key)
    assert info is not None
    assert info.sha256 == sha256(BYTES)  # checked on the way in: the store vouches for it


async def test_an_upload_bound_to_a_type_takes_no_other(place: Place) -> None:
    signed = place.store.sign_upload(OUTPUT, expires_in=HOUR, content_type="application/pdf")
    assert await refused(place, "PUT", signed.url, content=b"x", headers={"Content-Type": "text/html"})
    assert await refused(place, "PUT", signed.url, content=b"x")
    assert await place.store.head(OUTPUT) is None
    await upload(place, OUTPUT, b"x", content_type="application/pdf")
    info = await place.store.head(OUTPUT)
    assert info is not None
    assert info.content_type == "application/pdf"


async def test_a_digest_that_cannot_be_is_not_signed(place: Place) -> None:
    for key, digest in ((SOURCE, sha256(b"other")), (OUTPUT, "abc"), (OUTPUT, sha256(b"").upper())):
        with pytest.raises(ValueError, match="SHA-256"):
            place.store.sign_upload(key, expires_in=HOUR, sha256=digest)
