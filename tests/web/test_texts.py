"""What errors say to people: our own texts unredacted, the address that was asked, and the next step."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from blobforge.machinery import redaction
from blobforge.refusals import RefusalCode
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, token, worker
from web.problems import STATUS

ROOT = Path(__file__).parents[2]


def our_texts() -> list[str]:
    """Every text of the server's code that is not a docstring."""
    found = []
    for path in [*ROOT.glob("web/**/*.py"), *ROOT.glob("actors/**/*.py"), *ROOT.glob("blobforge/*.py")]:
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
        ]
    return found


def test_redaction_leaves_our_own_texts_alone() -> None:
    texts = our_texts()
    assert len(texts) > 1000
    changed = {text for text in texts if redaction.redact(text) != text}
    assert changed <= {'Bearer realm="blobforge"'}, "which is a header"


def test_every_refusal_has_its_status() -> None:
    assert set(STATUS) == set(RefusalCode)


async def test_who_has_no_credential_is_told_how_one_is_sent(local: LocalServer, autojump_clock: Any) -> None:
    problem = assert_problem(await local.call("GET", "/api/jobs", headers={}), 401, "unauthenticated")
    assert "`Authorization: Bearer bf_...`" in problem["detail"]
    assert redaction.GONE not in problem["detail"]


@pytest.mark.parametrize("path", ["/api/workers/w-1/drain", "/api/jobs/7/retry", "/api/admin/workers/w/disable"])
async def test_a_missing_scope_names_what_was_asked(local: LocalServer, autojump_clock: Any, path: str) -> None:
    read = await token(local, "read")
    problem = assert_problem(await local.call("POST", path, {}, token=read), 403, "scope-missing")
    assert f"POST {path} takes the scope" in problem["detail"]
    assert "<" not in problem["detail"]
    assert "Ask an administrator" in problem["detail"]


async def test_no_refusal_shows_the_pattern_of_a_route(local: LocalServer, autojump_clock: Any) -> None:
    mine = await worker(local, "mine")
    for method, path in [("POST", "/api/workers/other/heartbeat"), ("GET", "/api/nothing"), ("PUT", "/api/jobs/1")]:
        _, problem = await local.call(method, path, {}, headers=mine)
        assert "<" not in problem["detail"], problem


@pytest.mark.parametrize(
    ("referrer", "back"),
    [
        ("http://localhost/jobs?status=dead", "/jobs%3Fstatus%3Ddead"),
        ("http://elsewhere.example/jobs", "/"),
        ("", "/"),
        ("http://localhost//elsewhere.example", "/"),
    ],
)
async def test_a_signed_out_click_leads_to_the_sign_in(
    local: LocalServer, autojump_clock: Any, referrer: str, back: str
) -> None:
    headers = {"Referer": referrer, "Cookie": "blobforge=ended", "Sec-Fetch-Site": "same-origin", "Host": "localhost"}
    response = await local.http.open("/do/jobs/1/retry", method="POST", headers=headers, data=b"")
    assert response.status_code == 303
    assert response.headers["Location"] == f"/login?next={back}&undone=1"
    page = await local.http.get(response.headers["Location"], headers={"Host": "localhost"})
    text = await page.get_data(as_text=True)
    assert "nothing was done" in text
    assert 'action="/login"' in text
