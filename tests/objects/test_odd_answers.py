"""Whatever a store, or what stands before it, answers: an object is present, absent, or nobody knows."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest

from blobforge.objects import NotOfferedError, ObjectInfo, ObjectStoreError, ObjectTooLargeError
from blobforge.objects.keys import mark_key, output_key, source_key
from blobforge.objects.s3 import S3Store

KEY = source_key("ab" * 32)
OTHER = output_key("binstallation", 1, 1)
ETAG = b'ETag: "5d41402abc4b2a76b9719d911017c592"\r\n'
MODIFIED = b"Last-Modified: Sat, 28 Nov 2026 03:00:00 GMT\r\n"
ID = b"x-amz-request-id: 1\r\n"
OBJECT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + ETAG + MODIFIED + ID
HTML = b"<html><body>Please sign in</body></html>"
PAGE = b"Content-Type: text/html\r\nContent-Length: %d\r\n" % len(HTML)
LIST = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
    b"<IsTruncated>%s</IsTruncated>%s</ListBucketResult>"
)
ENTRY = (
    b"<Contents><Key>%s</Key><LastModified>2026-11-28T03:00:00.000Z</LastModified>"
    b"<ETag>1</ETag><Size>5</Size></Contents>"
)


def xml(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n" % (status, len(body))
    return head + ID + b"\r\n" + body


def error(status: bytes, code: bytes) -> bytes:
    return xml(status, b"<Error><Code>%s</Code><Message>m</Message></Error>" % code)


NONE = xml(b"200 OK", LIST % (b"false", b""))
ONE = xml(b"200 OK", LIST % (b"false", ENTRY % KEY.encode()))
ABSENT_HEAD = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n" + ID + b"\r\n"
UNKNOWN = "unknown"


class Odd(NamedTuple):
    """One request to a server that answers in its own way: what it `asked`, `where` the server is, its end."""

    connection: socket.socket
    asked: bytes
    where: bytes
    ended: threading.Event


Answer = bytes | Callable[[Odd], None]


def silent(odd: Odd) -> None:
    odd.ended.wait(10)


def slow(odd: Odd) -> None:
    """Byte by byte: no pause between two of them is as long as the deadline, and all together is."""
    for byte in OBJECT + b"\r\nhello":
        odd.connection.sendall(bytes([byte]))
        if odd.ended.wait(0.1):
            return


def reset(odd: Odd) -> None:
    odd.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_in_the_middle(odd: Odd) -> None:
    odd.connection.sendall(OBJECT + b"\r\nhe")
    reset(odd)


def loops(odd: Odd) -> None:
    """To itself, for ever: by its place, and by the region that botocore goes to by itself."""
    path = odd.asked.split(b" ")[1]
    head = b"HTTP/1.1 301 Moved Permanently\r\nLocation: %s%s\r\nx-amz-bucket-region: us-east-1\r\n"
    odd.connection.sendall(head % (odd.where, path) + ID + b"Content-Length: 0\r\n\r\n")


COMMON: list[tuple[str, Answer]] = [
    ("301 without a place", b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n"),
    ("302 to a sign-in", b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"),
    ("307", b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n"),
    ("308", b"HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\n\r\n"),
    ("304", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ("401", b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
    ("403", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    ("404 of a proxy", b"HTTP/1.1 404 Not Found\r\n" + PAGE + b"\r\n" + HTML),
    ("404 without the store's hand", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ("429", b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n"),
    ("500", b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
    ("502 page", b"HTTP/1.1 502 Bad Gateway\r\n" + PAGE + b"\r\n" + HTML),
    ("503", error(b"503 Slow Down", b"SlowDown")),
    ("captive portal", b"HTTP/1.1 200 OK\r\n" + PAGE + b"\r\n" + HTML),
    ("nothing", b""),
    ("half a status line", b"HTTP/1.1 2"),
    ("garbage", b"\x00\xff\x00garbage\r\n\r\n"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("nothing, and no end", silent),
    ("byte by byte", slow),
    ("reset", reset),
    ("301 to itself", loops),
    ("301 of another region", error(b"301 Moved Permanently", b"PermanentRedirect")),
]
ROWS: list[tuple[str, str, Answer, Any]] = [
    *[(verb, name, answer, UNKNOWN) for verb in ("head", "get", "list", "put") for name, answer in COMMON],
    ("head", "an object", OBJECT + b"\r\n", "present"),
    ("head", "no such object", ABSENT_HEAD, "absent"),
    ("head", "no ETag", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + MODIFIED + ID + b"\r\n", UNKNOWN),
    ("head", "no length", b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + ETAG + MODIFIED + ID + b"\r\n", UNKNOWN),
    ("head", "a negative length", (OBJECT + b"\r\n").replace(b": 5", b": -5"), UNKNOWN),
    ("head", "a page with an ETag", b"HTTP/1.1 200 OK\r\n" + PAGE + ETAG + MODIFIED + b"\r\n", UNKNOWN),
    ("get", "an object", OBJECT + b"\r\nhello", "present"),
    ("get", "no such object", error(b"404 Not Found", b"NoSuchKey"), "absent"),
    ("get", "no such bucket", error(b"404 Not Found", b"NoSuchBucket"), UNKNOWN),
    ("get", "reset in the middle", reset_in_the_middle, UNKNOWN),
    ("get", "truncated", OBJECT + b"\r\nhel", UNKNOWN),
    ("list", "nothing", NONE, "absent"),
    ("list", "an object", ONE, "present"),
    ("list", "truncated XML", xml(b"200 OK", b"<?xml version='1.0'?><ListBucketResult><Na"), UNKNOWN),
    ("list", "empty", xml(b"200 OK", b""), UNKNOWN),
    ("list", "an XML of others", xml(b"200 OK", b"<html><body>hello</body></html>"), UNKNOWN),
    ("list", "there is more, and nothing", xml(b"200 OK", LIST % (b"true", b"")), UNKNOWN),
    ("list", "other objects", xml(b"200 OK", LIST % (b"false", ENTRY % b"secrets/x")), UNKNOWN),
    ("put", "stored", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + ETAG + ID + b"\r\n", "present"),
    ("put", "without ETag", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + ID + b"\r\n", UNKNOWN),
]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server on loopback that says NONE to the first list, so that it is known, and `answer` to all else."""
    listener = socket.create_server(("127.0.0.1", 0))
    where = b"http://127.0.0.1:%d" % listener.getsockname()[1]
    known, ended = threading.Event(), threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                with suppress(OSError):
                    asked = connection.recv(65536)
                    if not known.is_set():
                        connection.sendall(NONE)
                    elif isinstance(answer, bytes):
                        connection.sendall(answer)
                    else:
                        answer(Odd(connection, asked, where, ended))
                known.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


async def asked(store: S3Store, verb: str) -> str:
    try:
        match verb:
            case "head":
                found: object = await store.head(KEY)
            case "get":
                found = await store.beginning(KEY, 5)
            case "list":
                found = (await store.list_page("sources/")).objects or None
            case _:
                await store.put_own("installations/binstallation", b"")
                found = True
    except ObjectStoreError:
        return UNKNOWN
    assert found is None or isinstance(found, (ObjectInfo, bytes, list, bool))
    return "absent" if found is None else "present"


@pytest.mark.parametrize(("verb", "name", "answer", "means"), ROWS, ids=[f"{row[0]}: {row[1]}" for row in ROWS])
async def test_an_odd_answer(verb: str, name: str, answer: Answer, means: str) -> None:
    with answering(answer) as endpoint:
        # Only what never ends has to be waited for; the others may take their time on a busy machine.
        patience = 1.0 if answer in (silent, slow) else 10.0
        store = S3Store(
            endpoint=endpoint,
            bucket="b",
            access_key="a",
            secret_key="s",
            region="us-east-1",
            timeout=patience,
            pause=0,
        )
        await store.list_page("sources/")
        assert await asked(store, verb) == means, name


@contextmanager
def saying(*answers: bytes, after: float = 0.0) -> Iterator[str]:
    """A server on loopback that gives `answers` in turn, each `after` so many seconds, the last one for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    left = list(answers)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                with suppress(OSError):
                    connection.recv(65536)
                    time.sleep(after)
                    connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


NOT_OFFERED = error(b"501 Not Implemented", b"NotImplemented")
MADE = xml(
    b"200 OK", b'<?xml version="1.0"?><CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>'
)


@pytest.mark.parametrize(
    ("answers", "made"),
    [
        ([error(b"400 Bad Request", b"EntityTooLarge")], ObjectTooLargeError),
        ([error(b"412 Precondition Failed", b"PreconditionFailed")], False),
        ([error(b"404 Not Found", b"NoSuchUpload")], False),
        ([error(b"503 Slow Down", b"SlowDown")], ObjectStoreError),
        # A store that has no such condition for parts is asked without, unless there is something to write over.
        ([NOT_OFFERED, ABSENT_HEAD, MADE], True),
        ([NOT_OFFERED, OBJECT + b"\r\n", MADE], False),
    ],
)
async def test_an_upload_that_is_completed(answers: list[bytes], made: Any) -> None:
    with saying(*answers) as endpoint:
        store = S3Store(endpoint=endpoint, bucket="b", access_key="a", secret_key="s", region="us-east-1", pause=0.0)
        if isinstance(made, bool):
            assert await store.multipart.complete(OTHER, "u", [(1, "e")], write_once=True) is made
        else:
            with pytest.raises(ObjectStoreError) as raised:
                await store.multipart.complete(OTHER, "u", [(1, "e")], write_once=True)
            assert type(raised.value) is made


async def test_a_store_may_take_its_time_to_make_an_object_of_parts() -> None:
    with saying(MADE, after=0.5) as endpoint:
        store = S3Store(
            endpoint=endpoint, bucket="b", access_key="a", secret_key="s", region="us-east-1", timeout=0.2
        )
        assert await store.multipart.complete(OTHER, "u", [(1, "e")])


PUT_REFUSED = error(b"412 Precondition Failed", b"PreconditionFailed")
BEGUN = xml(
    b"200 OK",
    b'<?xml version="1.0"?><InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>',
)
STORED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + ETAG + ID + b"\r\n"
GONE = b"HTTP/1.1 204 No Content\r\n" + ID + b"\r\n"


@pytest.mark.parametrize(
    ("answers", "once"),
    [
        ([STORED], False),
        ([NOT_OFFERED], False),
        ([PUT_REFUSED, BEGUN, STORED, PUT_REFUSED, GONE], True),
        # A PUT writes over nothing, and parts would: then what was accepted is copied, as elsewhere.
        ([PUT_REFUSED, BEGUN, STORED, MADE], False),
        ([PUT_REFUSED, BEGUN, STORED, NOT_OFFERED, GONE], False),
        ([PUT_REFUSED, BEGUN, STORED, error(b"400 Bad Request", b"InvalidArgument"), GONE], False),
        ([PUT_REFUSED, NOT_OFFERED], True),
        ([PUT_REFUSED, error(b"403 Forbidden", b"AccessDenied")], True),
        ([PUT_REFUSED, error(b"503 Slow Down", b"SlowDown")], None),
        ([PUT_REFUSED, BEGUN, STORED, error(b"503 Slow Down", b"SlowDown")], None),
    ],
)
async def test_whether_a_store_writes_over_nothing(answers: list[bytes], once: bool | None) -> None:
    with saying(*answers) as endpoint:
        store = S3Store(endpoint=endpoint, bucket="b", access_key="a", secret_key="s", region="us-east-1", pause=0.0)
        if once is None:
            with pytest.raises(ObjectStoreError):
                await store.learn(mark_key("binstallation"))
        else:
            await store.learn(mark_key("binstallation"))
        assert (store.write_once, store.learned) == (bool(once), once is not None)


async def test_a_store_without_parts_is_known_by_its_answer() -> None:
    none = xml(b"200 OK", b'<?xml version="1.0"?><ListMultipartUploadsResult></ListMultipartUploadsResult>')
    for answers in ((none, NOT_OFFERED), (NOT_OFFERED,)):
        with saying(*answers) as endpoint:
            store = S3Store(endpoint=endpoint, bucket="b", access_key="a", secret_key="s", region="us-east-1")
            with pytest.raises(NotOfferedError):
                await store.multipart.begin(OTHER, 10)
    with saying(NOT_OFFERED) as endpoint:
        store = S3Store(endpoint=endpoint, bucket="b", access_key="a", secret_key="s", region="us-east-1")
        assert await store.clear_unfinished(before=1e12, dry_run=False) == 0, "and none has broken off there"


def test_there_are_enough_of_them() -> None:
    assert len(ROWS) >= 40
