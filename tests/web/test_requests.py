"""Malformed requests over all routes: never a 5xx, always a problem that says what is wrong, and no state changed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.fixtures.server import ServerProcess
from tests.web.calls import HEX, JSON, assert_problem, raw, state
from web import events
from web.api import ROUTES, openapi
from web.api.wire_attempts import CompleteBody, CompleteMany, FailBody
from web.decode import SLICE, json_body, large_json_body
from web.routing import Route

PARAMETER = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
API = [*ROUTES, *events.ROUTES, *openapi.ROUTES]
WITH_BODY = [route for route in API if route.body is not None]
NAMES = [route.name for route in WITH_BODY]


def path_of(route: Route) -> str:
    return PARAMETER.sub(lambda match: "w1" if match[1] == "worker_id" else "1", route.path)


def wrong_values(route: Route) -> Iterator[tuple[str, Any]]:
    """For each field of the body a value that it cannot take."""
    decoder = msgspec.json.Decoder(route.body)
    for field in msgspec.structs.fields(route.body):
        for value in ([[]], "\x00", 1.5, {"x": 1}, True):
            try:
                decoder.decode(msgspec.json.encode({field.name: value}))
            except msgspec.ValidationError as error:
                if f"$.{field.name}" in str(error):
                    yield field.name, value


async def some_state(local: LocalServer) -> str:
    """A job and a worker, for the requests to spoil; the state before they try."""
    await local.register()
    await local.submit()
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    return state(local)


UNREADABLE: list[tuple[str, bytes, str, int, str]] = [
    ("not JSON", b"{", JSON, 400, "malformed"),
    ("two of them", b"[][]", JSON, 422, "invalid"),
    ("a comment", b'{"a":"x",//y\n}', JSON, 400, "malformed"),
    ("invalid UTF-8", b'{"a":"\xff\xfe"}', JSON, 400, "malformed"),
    ("UTF-16", '{"a":1}'.encode("utf-16"), JSON, 400, "malformed"),
    ("NUL bytes", b"\0\0\0", JSON, 400, "malformed"),
    ("too deep", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400, "malformed"),
    ("too deep, unclosed", b"[" * 500_000, JSON, 400, "malformed"),
    ("deep objects", b'{"a":' * 70 + b"1" + b"}" * 70, JSON, 400, "malformed"),
    ("not a number", b'{"a":NaN}', JSON, 400, "malformed"),
    ("a list", b"[]", JSON, 422, "invalid"),
    ("a string", b'"x"', JSON, 422, "invalid"),
    ("a form", b"a=1", "application/x-www-form-urlencoded", 415, "not-json"),
    ("plain text", b"{}", "text/plain", 415, "not-json"),
    ("no type", b'{"a":1}', "", 415, "not-json"),
    ("too large", b" " * (1 << 20) + b"{}", JSON, 413, "too-large"),
]


@pytest.mark.parametrize("route", WITH_BODY, ids=NAMES)
async def test_bodies_that_cannot_be_read(local: LocalServer, autojump_clock: Any, route: Route) -> None:
    before = await some_state(local)
    # Where a member that is not known is refused, it is so before the rest is read.
    known = route.body.__struct_fields__ if route.body.__struct_config__.forbid_unknown_fields else ("a",)
    member = f'"{"q" if "q" in known else known[0]}"'.encode()
    for what, body, content_type, status, kind in UNREADABLE:
        sent = body.replace(b'"a"', member)
        if status == 413 and route.large:
            sent += b" " * local.parts.services.settings.max_result
        answer = await raw(local, route.method, path_of(route), sent, Content_Type=content_type)
        assert answer.content_type == "application/problem+json", what
        assert_problem((answer.status_code, await answer.get_json(force=True)), status, kind)
    assert state(local) == before


async def test_fields_of_the_wrong_type_are_named(local: LocalServer, autojump_clock: Any) -> None:
    before = await some_state(local)
    for route in WITH_BODY:
        tried = 0
        for field, value in wrong_values(route):
            answer = await local.call(route.method, path_of(route), {field: value})
            problem = assert_problem(answer, 422, "invalid")
            assert problem["field"].startswith(field), (route.name, field, value)
            assert field in problem["detail"], (route.name, field, value)
            tried += 1
        assert tried >= len(msgspec.structs.fields(route.body)), route.name
        assert state(local) == before, route.name


NUMBERS = ["1e400", "-1e400", "1" * 4000, "-" + "9" * 40, "18446744073709551616", "9223372036854775808", "0", "-1",
           "1.0000001", "1e-400", "01", "0x10", "1_000", "+1", ".5", "1.", "--1"]  # fmt: skip


@pytest.mark.parametrize("route", WITH_BODY, ids=NAMES)
async def test_numbers(local: LocalServer, autojump_clock: Any, route: Route) -> None:
    """In every field, and in the parts that are kept as they come: never a 5xx."""
    await some_state(local)
    for field in msgspec.structs.fields(route.body):
        for number in NUMBERS:
            body = f'{{"{field.name}":{number},"metadata":{{"n":{number}}},"result":{{"n":{number}}}}}'.encode()
            status, answer = await local.call(route.method, path_of(route), body)
            if status >= 400:
                assert_problem((status, answer), status, answer["type"].rpartition(":")[2])
            assert status < 500, (field.name, number, answer)


async def test_what_is_kept_as_it_comes_comes_back(local: LocalServer, autojump_clock: Any) -> None:
    kept = (
        b'{"a\\u0000":"\\u0000\xc3\xbc","big":18446744073709551615,"small":-9223372036854775808,"f":1e308,"n":null}'
    )
    body = b'{"type":"pdf","source_hash":"%s","metadata":%s}' % (HEX.encode(), kept)
    status, made = await local.call("POST", "/api/jobs", body)
    assert status == 201
    assert (await local.job(made["job_id"]))["metadata"] == msgspec.json.decode(kept)


async def test_of_two_members_with_one_name_the_last_counts(local: LocalServer, autojump_clock: Any) -> None:
    body = b'{"type":"png","source_hash":"%s","type":"pdf","priority":"x","priority":2}' % HEX.encode()
    assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid", field="priority")
    status, made = await local.call("POST", "/api/jobs", body.replace(b'"x"', b"1"))
    assert status == 201
    job = await local.job(made["job_id"])
    assert (job["type"], job["priority"]) == ("pdf", 2)


def members_that_may_lack(route: Route) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(route.body) if not field.required]


@pytest.mark.parametrize("route", WITH_BODY, ids=NAMES)
async def test_null_is_nothing(local: LocalServer, autojump_clock: Any, route: Route) -> None:
    """What a client has nothing to say about it may leave out, or say null of: the whole body, or any member."""
    nothing = dict.fromkeys(members_that_may_lack(route))
    lacking = [field.encode_name for field in msgspec.structs.fields(route.body) if field.required]
    heard = []
    await some_state(local)
    for body in (
        b"{}",
        b"null",
        b" null\n",
        msgspec.json.encode(nothing),
        msgspec.json.encode(dict.fromkeys(lacking)),
    ):
        status, answer = await local.call(route.method, path_of(route), body)
        assert status not in (400, 415)
        heard.append((status == 422, answer.get("detail") if status == 422 else None))
    assert len(set(heard)) == 1, heard


async def test_null_in_the_members_of_lists_and_not_in_what_is_kept(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    jobs = [{"type": "pdf", "source_hash": HEX, "priority": None, "tags": None, "metadata": {"a": None, "b": [None]}}]
    status, made = await local.call("POST", "/api/jobs/batch", {"jobs": jobs})
    assert status == 200
    job = await local.job(made["items"][0]["job_id"])
    assert job["priority"] == 3
    assert job["metadata"] == {"a": None, "b": [None]}


async def test_a_body_may_give_null_a_meaning() -> None:
    """A member whose type takes None keeps its null, whatever else of the body has to be left out for being null."""

    class Changes(msgspec.Struct):
        removed: int | msgspec.UnsetType | None = msgspec.UNSET
        other: int = 3

    decoder = msgspec.json.Decoder(Changes)
    assert json_body(b'{"removed":null,"other":null}', JSON, decoder) == Changes(None, 3)
    assert json_body(b'{"other":null}', JSON, decoder) == Changes(msgspec.UNSET, 3)


async def test_what_is_kept_is_not_looked_into_for_nulls() -> None:
    """A result goes through byte for byte beside a null that counts as absent; no number in it is too large."""
    result = b'{"a": null, "big": 1e999, "twice": 1, "twice": 2}'
    decoder = msgspec.json.Decoder(CompleteMany)
    found = json_body(b'{"jobs":[{"job_id":1,"claim_next":null,"result":' + result + b"}]}", JSON, decoder)
    assert bytes(found.jobs[0].result) == result


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb"caf\udce9.pdf", "caf\ufffd.pdf"),
        (rb"\ud83d\ude00 \ud83d \ude00 \uD83D\uD83D\uDE00", "\U0001f600 \ufffd \ufffd \ufffd\U0001f600"),
        (rb"\\ud800 \\\ud800 \\\\udc00\n", "\\ud800 \\\ufffd \\\\udc00\n"),
    ],
)
async def test_half_a_character_is_no_reason_to_refuse(sent: bytes, kept: str) -> None:
    """Python's json writes the bytes of a file's name so; a failure that names it must be told, nulls or not."""
    body = b'{"error":"' + sent + b'","kind":null,"retryable":null,"log_tail":"' + sent + b'"}'
    found = json_body(body, JSON, msgspec.json.Decoder(FailBody))
    assert (found.error, found.log_tail) == (kept, kept)
    result = json_body(b'{"result":{"a":"' + sent + b'"}}', JSON, msgspec.json.Decoder(CompleteBody)).result
    assert msgspec.json.decode(result) == {"a": kept}


@pytest.mark.parametrize("large", [b"1e999", b"-2.5E+400", b"9" * 400, b'[0, {"a": 1e309}]'])
async def test_a_number_beyond_any_float_breaks_no_list(
    local: LocalServer, autojump_clock: Any, large: bytes
) -> None:
    """It is kept as text: a reader of JSON that cannot take the one result would refuse the list of all jobs."""
    await local.register()
    job_id = await local.submit()
    await local.claim()
    text = b'{"pages": 123456789012345678901234567890, "like 1e999": 1e3, "n": %s}' % large
    body = b'{"worker_id":"w1","result":' + text + b"}"
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200
    for path in ("/api/jobs", f"/api/jobs/{job_id}", f"/api/jobs/{job_id}/result"):
        answer = await raw(local, "GET", path)
        given = (await answer.get_data()).decode()
        msgspec.json.decode(given)
        assert "123456789012345678901234567890" in given, "all else is as it came"
        assert '"like 1e999":1e3' in given


async def test_progress_beyond_any_float_costs_no_heartbeat(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    job_id = await local.submit()
    await local.claim()
    body = b'{"job_id":%d,"progress":{"percent":50,"left":1e999}}' % job_id
    assert (await local.call("POST", "/api/workers/w1/heartbeat", body))[0] == 200
    assert (await local.job(job_id))["progress"] == {"percent": 50, "left": "1e999"}


async def test_others_have_their_turns_beside_a_large_body(autojump_clock: Any) -> None:
    """16 MiB of brackets took more than half a second of everybody's time; now no more than a slice at once."""
    body = b'{"result":[' + b'"[",[],' * (2 << 20) + b'1],"claim_next":null}'
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        found = await large_json_body(body, JSON, msgspec.json.Decoder(CompleteBody))
        nursery.cancel_scope.cancel()
    assert isinstance(found, CompleteBody)
    assert turns >= len(body) // SLICE


async def test_empty_bodies(local: LocalServer, autojump_clock: Any) -> None:
    """Whoever has nothing to say may say nothing, in any type; where something has to be said, that is what lacks."""
    await some_state(local)
    for content_type in ("", "text/plain", JSON):
        for path in ("/api/workers/w1/heartbeat", "/api/jobs/1/cancel", "/api/jobs/1/retry"):
            assert (await raw(local, "POST", path, b"", Content_Type=content_type)).status_code == 200
        answer = await raw(local, "POST", "/api/jobs", b"", Content_Type=content_type)
        assert_problem((answer.status_code, await answer.get_json(force=True)), 422, "invalid")


# ------------------------------------------------------------------ addresses and methods

STRANGE = [
    "/api", "/api/", "/api/nope", "/api/jobs/", "/api//jobs", "/api/jobs/abc", "/api/jobs/0", "/api/jobs/-1",
    "/api/jobs/01", "/api/jobs/1.0", "/api/jobs/9999999999999999999", "/api/jobs/%31%00", "/api/jobs/1%2F2",
    "/api/jobs/%D9%A3", "/api/jobs/../../etc/passwd", "/api/workers/a%20b", "/api/workers/a%00", "/api/workers/a%0Ab",
    "/api/workers/" + "w" * 201, "/api/files/1/both/url", "/api/files/../jobs", "/objects/", "/objects/../data",
    "/static/../app.py", "/static/%2e%2e/app.py", "/%ff%fe", "/api/jobs/1/", "/API/JOBS", "/api/jobs;x=1", "/livez/",
]  # fmt: skip


async def test_strange_addresses(local: LocalServer, autojump_clock: Any) -> None:
    for path in STRANGE:
        for method in ("GET", "POST", "DELETE", "PUT"):
            status, answer = await local.call(method, path)
            assert status in (403, 404, 405), (method, path, answer)
            assert_problem((status, answer), status, answer["type"].rpartition(":")[2])


async def test_wrong_methods(local: LocalServer, autojump_clock: Any) -> None:
    before = await some_state(local)
    for path in sorted({route.path for route in API}):
        taken = {route.method for route in API if route.path == path}
        address = PARAMETER.sub(lambda match: {"worker_id": "w1", "kind": "source"}.get(match[1], "1"), path)
        # `/api/jobs/claim` and its like also look like no other route: an id is digits.
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - taken:
            answer = await raw(local, method, address)
            if answer.status_code == 405:
                assert taken <= set(answer.headers["Allow"].split(", ")), (method, path)
            problem = await answer.get_json(force=True)
            assert_problem((answer.status_code, problem), answer.status_code, problem["type"].rpartition(":")[2])
            assert answer.status_code in (404, 405), (method, path)
        assert state(local) == before, path


async def test_strange_queries(local: LocalServer, autojump_clock: Any) -> None:
    for query in ("%00", "limit=%00", "job=%00", "limit=1&limit=x", "=&=&&", "%ff=%ff", "limit[]=1",
                  "last_event_id=" + "x" * 101, "types=,,,x"):  # fmt: skip
        for method, path in (("GET", "/api/jobs"), ("HEAD", "/events")):
            status, answer = await local.call(method, f"{path}?{query}")
            assert status in (200, 422), (path, query, answer)


# ------------------------------------------------------------------ on the wire


def exchange(server: ServerProcess, sent: bytes) -> bytes:
    """What the server says to these bytes, until it closes the connection."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has said no before we had said all
        said = b""
        try:
            while chunk := client.recv(65536):
                said += chunk
        except OSError:
            pass
        return said


def test_on_the_wire(server: ServerProcess) -> None:
    """What no well-behaved client library sends."""
    head = b"Host: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n" % server.token.encode()
    post = b"POST /api/jobs HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\n"
    requests = [
        b"\0\0\0\0\r\n\r\n",
        b"GET /api/jobs\r\n\r\n",
        b"GET /api/j\xffobs HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /api/stats HTTP/1.1\r\n" + head + b"X-Big: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /api/stats HTTP/1.1\r\nHost: x\r\nX-Worker-ID: \xff\xfe\r\nX-Worker-Secret: \xff\r\n\r\n",
        b"GET /api/stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\n" + head + b"Idempotency-Key: \xff\r\nContent-Length: 2\r\n\r\n{}",
        post + b"Content-Length: -1\r\n\r\n",
        post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        post + b"Content-Length: 999999999999\r\n\r\n{}",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b" " * 65536 + b"\r\n" * 1 + b"0\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\n" + (b"80000\r\n" + b" " * 0x80000 + b"\r\n") * 3 + b"0\r\n\r\n",
        post + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        b"GET /api/jobs HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"GET http://elsewhere/api/stats HTTP/1.1\r\n" + head + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + head + b"\r\n",
    ]
    for sent in requests:
        status = exchange(server, sent)[:12].partition(b" ")[2]
        assert not status.startswith(b"5"), (sent[:80], status)
    with server.client() as http:
        assert http.get("/api/stats").json()["total_jobs"] == 0
    assert "unhandled error" not in server.logged()
    assert "Traceback" not in server.logged(), server.logged()


def test_who_breaks_off_ends_only_its_own_connection(server: ServerProcess) -> None:
    """Hypercorn lets errors of one connection out; one such, and without any credential, ended the whole server."""
    broken = (
        b"POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n{}"
    )
    for _ in range(150):
        exchange(server, broken)
    with server.client() as http:
        assert http.get("/api/stats").status_code == 200
    assert "Traceback" not in server.logged()
