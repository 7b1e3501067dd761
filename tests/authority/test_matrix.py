"""Every address as every caller, held to the table in docs/authority.md: the document is the expectation."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

import web
from tests.authority.callers import KINDS, SAME_ORIGIN, Caller, Door, caller, door, oidc_local
from tests.fixtures.local import LocalServer
from tests.web.calls import HEX
from web.app import routes
from web.auth.oidc import Leaving

DOCUMENT = Path(__file__).parents[2] / "docs" / "authority.md"
PARAMETER = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
CELLS = {"yes", "401", "403", "own", "submitted", "page", "begun", "code", "url"}

Table = dict[str, dict[str, str]]

# Bodies that get past the decoder: whether a request is for its caller to make, some handlers see in the body only.
# `{me}` is the worker that is named.
BODIES: dict[str, str] = {
    "POST /api/jobs/claim": '{"worker_id":"{me}","job_type":"pdf"}',
    "POST /api/jobs/{job_id}/complete": '{"worker_id":"{me}"}',
    "POST /api/jobs/{job_id}/outputs": '{"worker_id":"{me}","outputs":[{"name":"a"}]}',
    "POST /api/jobs/{job_id}/log": '{"worker_id":"{me}","lease":"x","start":0,"text":"a"}',
    "POST /api/jobs/{job_id}/fail": '{"worker_id":"{me}","error":"no"}',
    "POST /api/jobs/{job_id}/release": '{"worker_id":"{me}"}',
    "POST /api/jobs/complete": '{"jobs":[{"job_id":1,"worker_id":"{me}"}]}',
    "POST /api/jobs/fail": '{"jobs":[{"job_id":1,"worker_id":"{me}","error":"no"}]}',
    "POST /api/workers/register": '{"id":"{me}","type":"pdf"}',
    "POST /api/jobs": f'{{"type":"pdf","source_hash":"{HEX}"}}',
    "POST /api/batches": '{"name":"scans"}',
    "POST /api/files/urls": '{"items":[{"job_id":1,"kind":"source"}]}',
    "POST /api/files/source-url": '{"job_id":1,"worker_id":"{me}"}',
    "POST /api/files/upload-url": f'{{"source_hash":"{HEX}"}}',
    "POST /api/files/sources": f'{{"sources":[{{"source_hash":"{HEX}","data":""}}]}}',
    "POST /api/files/multipart": f'{{"source_hash":"{HEX}","size":1}}',
    "POST /api/files/multipart/part": f'{{"source_hash":"{HEX}","upload_id":"x","number":1}}',
    "POST /api/files/multipart/complete": (
        f'{{"source_hash":"{HEX}","upload_id":"x","parts":[{{"number":1,"etag":"x"}}]}}'
    ),
    "POST /api/files/multipart/abort": f'{{"source_hash":"{HEX}","upload_id":"x"}}',
    "POST /api/admin/workers": '{"id":"new","type":"pdf"}',
    "POST /api/admin/tokens": '{"name":"new"}',
    "POST /api/tokens": '{"name":"new"}',
}
# Where a worker asks for something else than a submitter does.
OWN: dict[str, str] = {
    "POST /api/files/upload-url": '{"job_id":1,"worker_id":"{me}"}',
    "POST /api/files/multipart": '{"job_id":1,"worker_id":"{me}","size":1}',
    "POST /api/files/multipart/part": '{"job_id":1,"worker_id":"{me}","upload_id":"x","number":1}',
    "POST /api/files/multipart/complete": (
        '{"job_id":1,"worker_id":"{me}","upload_id":"x","parts":[{"number":1,"etag":"x"}]}'
    ),
    "POST /api/files/multipart/abort": '{"job_id":1,"worker_id":"{me}","upload_id":"x"}',
}


def plain(pattern: str) -> str:
    """A path as a person writes it: `{job_id}` for `<id:job_id>`."""
    return PARAMETER.sub(r"{\1}", pattern)


def table() -> Table:
    """What the document says: route -> caller -> cell."""
    found: Table = {}
    header: list[str] = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "route":
            header = cells[1:]
            assert header == KINDS, f"docs/authority.md: the columns are {KINDS}"
        elif header and cells[0].startswith("`"):
            name = cells[0].strip("`")
            assert name not in found, f"docs/authority.md has two rows for {name}"
            assert len(cells) == len(header) + 1, f"docs/authority.md, {name}: {len(header)} cells, please"
            assert set(cells[1:]) <= CELLS, f"docs/authority.md, {name}: a cell is one of {sorted(CELLS)}"
            found[name] = dict(zip(header, cells[1:], strict=True))
    return found


def addresses(app: QuartTrio) -> Iterator[str]:
    """Everything that the application answers: what was registered, not what we believe was."""
    uploads = {"GET", "HEAD", "PUT"}
    for rule in app.url_map.iter_rules():
        # HEAD comes with every GET and OPTIONS with everything, from Quart; neither does anything by itself.
        methods = set(rule.methods or ()) & uploads if rule.endpoint == "objects.object" else set(rule.methods or ())
        for method in methods - ({"OPTIONS"} if "PUT" in methods else {"OPTIONS", "HEAD"}):
            yield f"{method} {plain(rule.rule)}"


async def test_every_route_has_a_row_and_every_row_a_route(local: LocalServer, autojump_clock: Any) -> None:
    there, written = set(addresses(local.app)), set(table())
    assert {f"{route.method} {plain(route.path)}" for route in routes()} <= there
    missing = "\n".join(f"| `{name}` | {' | '.join('?' * len(KINDS))} |" for name in sorted(there - written))
    assert missing == "", f"say in docs/authority.md who may call these; add the rows\n{missing}"
    assert sorted(written - there) == [], "docs/authority.md has rows for what is not there; remove them"


def test_every_row_of_a_module_is_served() -> None:
    """A module of the API or of the dashboard whose `ROUTES` are not put together with the others answers nothing."""
    served = {route.name for route in routes()}
    modules = [path for name in ("api", "dashboard") for path in (Path(web.__file__).parent / name).glob("*.py")]
    rows = {
        path.stem: getattr(import_module(f"web.{path.parent.name}.{path.stem}"), "ROUTES", []) for path in modules
    }
    assert [(stem, route.name) for stem, its in rows.items() for route in its if route.name not in served] == []


LOOKS = ("/do/theme", "/do/jobs/view")  # what a browser remembers, and nothing else


def test_a_form_is_open_to_whom_its_route_of_the_api_is() -> None:
    """And leaves the same record: it is that route, with a form for a body and a page for an answer."""
    by_name, rows = {route.name: route for route in routes()}, table()
    forms = [route for route in routes() if route.name.startswith("POST /do/") and route.path not in LOOKS]
    assert len(forms) > 15
    for form in forms:
        path = form.path.replace("/do/", "/api/", 1)
        twin = by_name.get(f"POST {path}") or by_name.get(f"PATCH {path}")
        twin = twin or by_name[f"DELETE {path.removesuffix('/delete')}"]
        assert (form.access, form.audit) == (twin.access, twin.audit), form.name
        cells = {who: "page" if cell == "401" else cell for who, cell in rows[plain(twin.name)].items()}
        assert rows[plain(form.name)] == cells, form.name


@pytest.mark.parametrize("kind", KINDS)
async def test_every_address(tmp_path: Path, autojump_clock: Any, kind: str) -> None:
    wrong = []
    async with oidc_local(tmp_path, session_recheck=86_400, worker_timeout=86_400) as local:
        who = await caller(local, kind)
        # What takes a worker away comes last, so that it is there for the others.
        for name, cells in sorted(table().items(), key=_harm):
            for what, wanted, got in await _tried(local, who, name, cells[kind]):
                if got != wanted:
                    wrong.append(f"{name} as {kind}: docs/authority.md says {what}, so {wanted}; it was {got}")
    assert not wrong, "\n".join(wrong)


def _harm(row: tuple[str, object]) -> int:
    """What the calls before must not spoil: the job and the workers, and last of all the caller's own session."""
    name = row[0]
    if name.endswith(("/auth/first", "POST /login", "/auth/logout")):
        return 3
    ends = ("unregister", "release", "fail", "complete", "disable", "regenerate")
    return 2 if name.startswith("DELETE") or name.endswith("/delete") else int(name.endswith(ends))


async def _tried(local: LocalServer, who: Caller, name: str, cell: str) -> list[tuple[str, Door, Door]]:
    """What the cell promises, call by call: (what was tried, wanted, got)."""
    match cell:
        case "own":
            tries: list[tuple[str, str, Door]] = [
                ("own, as itself", who.worker, "yes"),
                ("own, as another", who.other, "403"),
            ]
            return [(what, wanted, await _as(local, who, name, me, own=True)) for what, me, wanted in tries]
        case "submitted":
            made = {"type": "pdf", "source_hash": hashlib.sha256(name.encode()).hexdigest()}
            mine = await local.http.post("/api/jobs", headers=who.headers | SAME_ORIGIN, json=made)
            job_id = str((await mine.get_json())["job_id"])
            # A form leads back to its page, which says that it was refused.
            refused: Door = "yes" if "/do/" in name else "403"
            return [
                ("another's", refused, await _as(local, who, name, who.worker)),
                ("submitted", "yes", await _as(local, who, name.replace("{job_id}", job_id), who.worker)),
            ]
        case "begun":
            sealed = local.parts.services.sealer.seal(
                Leaving("the-state", "nonce", "verifier", "/", local.parts.now())
            ).decode()
            own = hashlib.sha256(b"the-state").hexdigest()[:16]
            mine = {"Cookie": f"blobforge-leaving-{own}={sealed}"}
            path = "/auth/callback?code=x&state="
            without: Door = "yes" if "Cookie" in who.headers else "403"  # "back", after a good one
            return [
                ("begun", without, await _send(local, "GET", f"{path}the-state", who)),
                ("begun, of another sign-in", without, await _send(local, "GET", f"{path}another", who, more=mine)),
                ("begun, of this one", "yes", await _send(local, "GET", f"{path}the-state", who, more=mine)),
            ]
        case "code":
            code = local.parts.first_code
            codes: list[tuple[str, str, Door]] = [
                ("no code", "", "401"),
                ("wrong code", "x" * 43, "401"),
                ("the code", code, "yes"),
                ("again", code, "401"),
            ]
            path = "/auth/first?code="
            return [(what, wanted, await _send(local, "GET", path + each, who)) for what, each, wanted in codes]
        case "url":
            return await _signed(local, who, name.partition(" ")[0])
        case "yes" | "401" | "403" | "page":
            return [(cell, cell, await _as(local, who, name, who.worker))]
        case _:
            raise AssertionError(cell)


async def _as(local: LocalServer, who: Caller, name: str, me: str, *, own: bool = False) -> Door:
    """One call of this route; whoever can be named, in the path or in the body, is worker `me`."""
    method, _, path = name.partition(" ")
    for parameter, value in {
        "job_id": "1", "operation_id": "999", "failure_id": "999", "canary_id": "999", "token_id": "999",
        "user_id": "999", "webhook_id": "999", "delivery_id": "999", "worker_id": me, "batch_id": "999",
        "type": "pdf", "kind": "source", "name": "site.css",
    }.items():  # fmt: skip
        path = path.replace(f"{{{parameter}}}", value)
    if path == "/login" and method == "POST":
        form = {"Content-Type": "application/x-www-form-urlencoded"} | SAME_ORIGIN
        return await _send(local, method, path, who, f"token={who.secret}", form)
    body = BODIES.get(name)
    body = (OWN if own else {}).get(name) or BODIES.get(name, "")
    return await _send(local, method, path, who, body.replace("{me}", me), {})


async def _signed(local: LocalServer, who: Caller, method: str) -> list[tuple[str, Door, Door]]:
    """An object's address, signed for this method, for another one, for another key, and not at all."""
    digest = await local.source(b"a document")
    objects = local.parts.services.objects
    read = urlsplit(objects.sign_download(f"sources/{digest}", expires_in=60, filename="a.pdf"))
    write = urlsplit(objects.sign_upload(f"sources/{digest}", expires_in=60).url)
    good, bad = (write, read) if method == "PUT" else (read, write)
    tries: list[tuple[str, str, Door]] = [
        ("not signed", good.path, "403"),
        ("signed for another method", f"{bad.path}?{bad.query}", "403"),
        ("signed for another key", f"/objects/sources/{HEX}?{good.query}", "403"),
        ("signed", f"{good.path}?{good.query}", "yes"),
    ]
    body = "a document" if method == "PUT" else ""
    return [(what, wanted, await _send(local, method, path, who, body)) for what, path, wanted in tries]


async def _send(
    local: LocalServer, method: str, path: str, who: Caller, body: str = "", more: dict[str, str] | None = None
) -> Door:
    """One request of this caller, and how the door stood. Fails on an answer that no client should ever get."""
    headers = dict(who.headers) | ({"Content-Type": "application/json"} if body else {})
    for name, value in (more or {}).items():
        headers[name] = f"{headers[name]}; {value}" if name == "Cookie" and name in headers else value
    # Who fails to say who it is, and does so too often, would be told to slow down.
    await trio.sleep(10)
    if path.startswith("/events"):
        return await _stream(local, path, headers)
    with time_standing_still():
        response = await local.http.open(path, method=method, headers=headers, data=body)
        raw = await response.get_data(as_text=False)
    assert response.status_code != 429

    assert response.status_code < 500 or path.startswith(("/auth/login", "/auth/callback")), (method, path, raw)
    status = response.status_code
    if status == 200 and path in ("/api/jobs/complete", "/api/jobs/fail"):
        status = msgspec.json.decode(raw)["items"][0].get("status_code", 200)  # answered item by item
    return door(status, response.headers.get("Location", ""))


@contextmanager
def time_standing_still() -> Iterator[None]:
    """Static files and the identity provider are real input and output: virtual time must not run away from them."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    before, clock.autojump_threshold = clock.autojump_threshold, math.inf
    try:
        yield
    finally:
        clock.autojump_threshold = before


async def _stream(local: LocalServer, path: str, headers: dict[str, str]) -> Door:
    """Read the first frame, if there is one, and go."""
    async with local.http.request(path, headers=headers) as connection:
        await connection.send_complete()
        first = await connection.receive()
        status = connection.status_code
        assert status != 200 or first.startswith((b"event: ping\ndata: connected", b"id: "))
        with trio.CancelScope(shield=True):
            await connection.disconnect()
            await trio.sleep(1)
            connection._client_send.close()
    return door(status)
