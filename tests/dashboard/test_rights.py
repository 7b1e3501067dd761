"""Who may not do all: on no page that they reach is a form, a button or a link that would be refused.

Pages are found by their links, and what each caller may do stands in docs/authority.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from werkzeug.routing import Map, Rule

from tests.authority.test_matrix import plain, table
from tests.dashboard.scene import Scene, furnish
from tests.dashboard.screenshots import pages
from tests.fixtures.server import ServerProcess, serving
from web.app import IdConverter, TypeConverter, WorkerConverter, routes

MOST_ALIKE = 4  # addresses of one route that are looked at
# Scopes of the caller's token, by its column in the document.
CALLERS = {"read": ["read"], "submit": ["submit"], "user": ["read", "submit"]}
# What a page has a browser ask for, beside its links and forms.
ASKED = ("href", "src", "data-pdf", "data-frame", "data-chart", "data-log")
# To these no page of the scene leads: what a form has led to, a log and a former result that are not kept, and what a
# page's script asks for.
NOT_LED_TO = {
    "/do/<path:rest>", "/jobs/<id:job_id>/diff", "/jobs/<id:job_id>/log", "/jobs/suggestions", "/login", "/jobs/pdf",
}  # fmt: skip


class Led(HTMLParser):
    """What a page leads to: addresses that are asked for, and forms that are sent."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.sent: set[str] = set()
        self._form: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.asked |= {value for name in ASKED if (value := found.get(name))}
        if tag == "form":
            self._form = found
            self._send(found.get("action"), found.get("method"))
        if tag in ("button", "input") and "formaction" in found:
            self._send(found["formaction"], found.get("formmethod") or self._form.get("method"))

    def _send(self, action: str | None, method: str | None) -> None:
        if (method or "get").lower() == "post":
            self.sent.add(action or "")
        elif action and method != "dialog":
            self.asked.add(action)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, dict[str, int]]]:
    folder = tmp_path_factory.mktemp("rights") / "data"
    with serving(folder, worker_timeout=3600, retry_backoff=3600) as server, server.client() as client:
        yield server, furnish(Scene(client))


def addresses() -> Any:
    found = Map(
        [Rule(route.path, methods=[route.method], endpoint=route) for route in routes()],
        converters={"id": IdConverter, "worker": WorkerConverter, "type": TypeConverter},
        merge_slashes=False,
    )
    return found.bind("a.test")


@pytest.mark.parametrize("kind", CALLERS)
def test_no_page_leads_to_what_is_refused(served: tuple[ServerProcess, dict[str, int]], kind: str) -> None:
    server, ids = served
    with server.client() as admin:
        made = admin.post("/api/admin/tokens", json={"name": f"{kind}s", "scopes": CALLERS[kind]}).json()
    rows, known, wrong = table(), addresses(), []
    begin = [each for each in pages(ids).values() if each != "/login" and (kind != "submit" or each == "/submit")]
    left = [each for each in begin if may(rows, known, kind, "GET", each)]
    seen, times = set(left), Counter[str]()
    with server.client(made["token"]) as client:
        while left:
            address = left.pop(0)
            answer = client.get(address)
            if (
                answer.status_code in (401, 403)
                or answer.status_code >= 500
                or "/login" in answer.headers.get("Location", "")
            ):
                wrong.append(f"{address}: {answer.status_code}")
            if "text/html" not in answer.headers.get("Content-Type", "") or answer.status_code != 200:
                continue
            led = Led(answer.text)
            wrong += [f"{address} has a form for {to}" for to in led.sent if not may(rows, known, kind, "POST", to)]
            for to in sorted(led.asked):
                further = urlsplit(urljoin(address, to))
                path = f"{further.path}?{further.query}".rstrip("?")
                if further.netloc or further.path.startswith(("/static/", "/events")) or path in seen:
                    continue
                if not may(rows, known, kind, "GET", path):
                    wrong.append(f"{address} leads to {path}")
                elif times[name_of(known, "GET", path)] < MOST_ALIKE:
                    times[name_of(known, "GET", path)] += 1
                    seen.add(path)
                    left.append(path)
    assert sorted(set(wrong)) == []
    # All pages that this caller may see were looked at.
    named = {name_of(known, "GET", address) for address in seen}
    theirs = {
        route.path for route in routes()
        if route.page and route.method == "GET" and rows[plain(route.name)][kind] == "yes"
    }  # fmt: skip
    assert {path for path in theirs - NOT_LED_TO if f"GET {path}" not in named} == set()


def name_of(known: Any, method: str, address: str) -> str:
    route, _ = known.match(urlsplit(address).path, method=method)
    return str(route.name)


def may(rows: dict[str, dict[str, str]], known: Any, kind: str, method: str, address: str) -> bool:
    return rows[plain(name_of(known, method, address))][kind] == "yes"


def test_what_a_page_leads_to_is_found() -> None:
    led = Led('<a href="/a">a</a><form method="post" action="/do/x"><button formaction="/do/y">y</button></form>'
              '<form action="/find"></form><svg><a href="/b"></a></svg><div data-chart="/c"></div>')  # fmt: skip
    assert led.asked == {"/a", "/find", "/b", "/c"}
    assert led.sent == {"/do/x", "/do/y"}
    assert re.fullmatch("/[abc]|/find", min(led.asked))


def test_who_may_only_submit_is_led_back_to_the_form(served: tuple[ServerProcess, dict[str, int]]) -> None:
    server, _ = served
    with server.client() as admin:
        made = admin.post("/api/admin/tokens", json={"name": "sender", "scopes": ["submit"]}).json()
        batch = admin.post("/api/batches", json={"name": "from the form"}).json()["id"]
    with server.client(made["token"]) as client:
        fields = {"type": "sent", "batch": str(batch), "tags": "", "options": ""}
        sent = client.post("/do/jobs", data=fields, files={"file": ("a.pdf", b"%PDF-")})
        assert (sent.status_code, sent.headers["Location"]) == (303, "/submit")
        page = client.get("/submit").text
        assert re.search(r"<p>Submitted: job \d+\.</p>", page)
        sent = client.post("/do/jobs", data=fields | {"batch": "999999"}, files={"file": ("b.pdf", b"%PDF-2")})
        assert sent.headers["Location"] == "/submit"
        assert 'class="notice bad"' in client.get("/submit").text
    with server.client() as admin:
        assert admin.get(f"/api/jobs?batch={batch}").json()["total"] == 1
        assert admin.get("/api/jobs?type=sent").json()["total"] == 1
