"""Who may not do all: on no page that they reach is a form, a button or a link that would be refused. And on no page
is a button of which it is not known how it is tried.

Pages are found by their links, and what each caller may do stands in docs/authority.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.authority.test_matrix import plain, table
from tests.dashboard.scene import Scene, furnish
from tests.dashboard.screenshots import pages
from tests.dashboard.trials import KNOWN, LOOSE
from tests.dashboard.walk import Led, actions_on, addresses, name_of, path_of, walk
from tests.fixtures.server import ServerProcess, serving
from web.app import routes

# Scopes of the caller's token, by its column in the document.
CALLERS = {"read": ["read"], "submit": ["submit"], "user": ["read", "submit"], "admin token": ["admin"]}
# To these no page of the scene leads: what a form has led to, a log and a former result that are not kept, and what a
# page's script asks for.
NOT_LED_TO = {
    "/do/<path:rest>", "/jobs/<id:job_id>/diff", "/jobs/<id:job_id>/log", "/jobs/suggestions", "/login", "/jobs/pdf",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, dict[str, int]]]:
    folder = tmp_path_factory.mktemp("rights") / "data"
    with serving(folder, worker_timeout=3600, retry_backoff=3600) as server, server.client() as client:
        ids = furnish(Scene(client))
        # Further states, in which pages have other forms.
        client.post("/api/types/svg/pause", json={"reason": "it loses layers"}).raise_for_status()
        client.post("/api/workers/asterix/quarantine", json={"reason": "its disk is full"}).raise_for_status()
        number = client.post("/api/batches", json={"name": "nothing"}).json()["id"]
        client.post(f"/api/batches/{number}/close").raise_for_status()
        yield server, ids


@pytest.mark.parametrize("kind", CALLERS)
def test_no_page_leads_to_what_is_refused(served: tuple[ServerProcess, dict[str, int]], kind: str) -> None:
    server, ids = served
    with server.client() as admin:
        made = admin.post("/api/admin/tokens", json={"name": f"{kind}s", "scopes": CALLERS[kind]}).json()
    rows, known, wrong = table(), addresses(), []
    begin = ["/types/svg", "/workers/asterix", "/batches/2", "/logout"]
    begin += [each for each in pages(ids).values() if each != "/login" and (kind != "submit" or each == "/submit")]
    begin = [each for each in begin if may(rows, known, kind, "GET", each)]
    seen = set()
    with server.client(made["token"]) as client:
        for address, answer, led in walk(client, known, begin, lambda to: may(rows, known, kind, "GET", to)):
            seen.add(address)
            if (
                answer.status_code in (401, 403)
                or answer.status_code >= 500
                or "/login" in answer.headers.get("Location", "")
            ):
                wrong.append(f"{address}: {answer.status_code}")
            if led is None:
                continue
            wrong += [f"{address} has a form for {to}" for to in led.sent if not may(rows, known, kind, "POST", to)]
            further = [path for to in led.asked if (path := path_of(address, to)) is not None]
            wrong += [f"{address} leads to {to}" for to in further if not may(rows, known, kind, "GET", to)]
            wrong += [f"{address} has {each}, which is not in tests/dashboard/trials: how is it tried?"
                      for each in sorted(actions_on(known, led) - KNOWN)]  # fmt: skip
            wrong += [f"{address} has the button {each}, which no reason is given for"
                      for each in sorted(led.loose - set(LOOSE))]  # fmt: skip
    assert sorted(set(wrong)) == []
    # All pages that this caller may see were looked at.
    named = {name_of(known, "GET", address) for address in seen}
    theirs = {
        route.path for route in routes()
        if route.page and route.method == "GET" and rows[plain(route.name)][kind] == "yes"
    }  # fmt: skip
    assert {path for path in theirs - NOT_LED_TO if f"GET {path}" not in named} == set()


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
