"""`/api/openapi.json` describes all of it, from the same rows and types that serve it; `/api/docs` shows it."""

from __future__ import annotations

import html
import re
from typing import Any

from tests.fixtures.local import LocalServer
from tests.fixtures.server import ServerProcess
from web import events
from web.api import ROUTES
from web.api import openapi as description
from web.app import routes
from web.routing import Access

API = [route for route in (*ROUTES, *events.ROUTES, *description.ROUTES) if not route.hidden]

PARAMETER = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")


async def document(local: LocalServer) -> Any:
    status, found = await local.call("GET", "/api/openapi.json", headers={})
    assert status == 200
    return found


async def test_every_route_is_described(local: LocalServer, autojump_clock: Any) -> None:
    described = await document(local)
    assert described["openapi"].startswith("3.1")
    operations = {(method.upper(), path) for path, row in described["paths"].items() for method in row}
    assert operations >= {(route.method, PARAMETER.sub(r"{\1}", route.path)) for route in API}


async def test_everything_below_api_is_a_row(local: LocalServer, autojump_clock: Any) -> None:
    """Nothing is served beside the table, for it is the table that says who may call."""
    known = {(route.path, route.method) for route in routes()}
    for rule in local.app.url_map.iter_rules():
        if rule.rule.startswith("/api/") or rule.rule == "/events":
            assert {
                (rule.rule, method) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")
            } <= known


async def test_every_body_and_answer_has_a_schema(local: LocalServer, autojump_clock: Any) -> None:
    described = await document(local)
    schemas = described["components"]["schemas"]
    for route in API:
        operation = described["paths"][PARAMETER.sub(r"{\1}", route.path)][route.method.lower()]
        assert ("requestBody" in operation) is (route.body is not None)
        assert operation["responses"][str(route.status)]["description"]
        assert (operation["security"] == []) is (route.access is Access.PUBLIC)
        names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert names == set(PARAMETER.findall(route.path))
    text = str(described)
    for reference in re.findall(r"'#/components/schemas/(\w+)'", text):
        assert reference in schemas
    assert schemas["SubmitBody"]["properties"]["source_hash"]["pattern"].startswith("^[0-9a-f]{64}")
    assert schemas["Problem"]["required"] == [
        "type", "title", "status", "detail", "error", "instance", "request_id",
    ]  # fmt: skip


async def test_a_text_is_of_the_kind_that_is_described(local: LocalServer, autojump_clock: Any) -> None:
    digest = await local.source(b"a document")
    await local.call("POST", "/api/batches", {"name": "scans"})
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest, "batch": 1})
    described = await document(local)
    sent = {"Authorization": f"Bearer {local.parts.admin_token}"}
    texts = [route for route in API if route.gives is str]
    assert len(texts) > 5
    for route in texts:
        answer = await local.http.open(PARAMETER.sub("1", route.path), method="HEAD", headers=sent)
        assert answer.status_code == 200
        content = described["paths"][PARAMETER.sub(r"{\1}", route.path)]["get"]["responses"]["200"]["content"]
        kind = (answer.content_type or "").partition(";")[0]
        assert kind in content, route.path
        # Of a stream it would be the schema of each event, which is no text.
        assert ("schema" in content[kind]) is (kind != "text/event-stream")


async def test_operation_ids_are_unique(local: LocalServer, autojump_clock: Any) -> None:
    described = await document(local)
    found = [operation["operationId"] for row in described["paths"].values() for operation in row.values()]
    assert len(found) == len(set(found))


async def test_a_text_is_shown_by_its_kinds(local: LocalServer, autojump_clock: Any) -> None:
    shown = html.unescape(await (await local.http.get("/api/docs")).get_data(as_text=True))
    for route in API:
        if route.gives is str:
            kinds = " or ".join(f"<code>{kind}</code>" for kind in route.kinds)
            assert f"<li><b>200</b> Done {kinds}</li>" in shown, route.path


def test_the_documentation_loads_nothing_from_another_host(server: ServerProcess) -> None:
    """On a real server: files are served from threads, which virtual time does not wait for."""
    with server.client() as http:
        answer = http.get("/api/docs", headers={"Authorization": ""})
        assert answer.status_code == 200
        assert "/api/jobs/claim" in answer.text
        loaded = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", answer.text)
        assert loaded
        for url in loaded:
            assert url.startswith(("/", "#")), url
            assert not url.startswith("//"), url
            if url.startswith("/static"):
                assert http.get(url).status_code == 200
    assert not re.search(r"<script|\son\w+=|@import|url\(", answer.text)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
