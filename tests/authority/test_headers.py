"""What every answer says to browsers, whatever kind of answer it is; and that no page needs more than that."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.authority.callers import OIDC, SAME_ORIGIN, oidc_local
from tests.authority.test_matrix import time_standing_still
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import HEX, token

TEMPLATES = sorted((Path(__file__).parents[2] / "web" / "dashboard" / "templates").glob("*.html"))

assert len(TEMPLATES) > 10, "the templates have moved"

# (method, path, the administrator's token?, status): one of each kind of answer.
ANSWERS = [
    ("GET", "/", False, 303),
    ("GET", "/login", False, 200),
    ("GET", "/api/docs", False, 200),
    ("GET", "/api/openapi.json", False, 200),
    ("GET", "/static/site.css", False, 200),
    ("GET", "/static/no-such.css", False, 404),
    ("GET", "/metrics", True, 200),
    ("GET", "/api/stats", True, 200),
    ("GET", "/api/stats", False, 401),
    ("GET", "/api/jobs/99", True, 404),
    ("GET", "/no/such/page", False, 404),
    ("GET", "/api/jobs/x", True, 404),
    ("PUT", "/api/stats", True, 405),
    ("POST", "/api/jobs", True, 422),
    ("POST", "/login", False, 403),
    ("GET", "/auth/callback", False, 403),
    ("GET", "/auth/first", False, 401),
    ("OPTIONS", "/api/jobs", False, 200),
    ("HEAD", "/api/docs", False, 200),
    ("GET", f"/objects/sources/{HEX}", False, 403),
]


def directives(policy: str) -> dict[str, list[str]]:
    parts = [part.split() for part in policy.split(";") if part.strip()]
    return {part[0]: part[1:] for part in parts}


def assert_safe(headers: Any, *, objects: bool = False) -> None:
    policy = directives(headers["Content-Security-Policy"])
    assert len(headers.getlist("Content-Security-Policy")) == 1
    assert policy["default-src"] == ["'none'"]
    sources = [source for values in policy.values() for source in values]
    assert not [source for source in sources if "unsafe" in source or ":" in source or "*" in source], policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == ("no-referrer" if objects else "same-origin")
    if objects:
        assert "sandbox" in policy
        assert headers["Content-Disposition"].startswith("attachment")
    else:
        assert policy["frame-ancestors"] == ["'none'"]
        assert policy["base-uri"] == ["'none'"]
        assert policy["form-action"] == ["'self'"]
    assert headers["X-Frame-Options"] == "DENY"
    assert "Server" not in headers


@pytest.mark.parametrize("url", ["", "https://blobforge.test"], ids=["http", "https"])
async def test_every_kind_of_answer(tmp_path: Path, autojump_clock: Any, url: str) -> None:
    async with oidc_local(tmp_path, public_url=url) as local:
        admin = {"Authorization": f"Bearer {local.parts.admin_token}"}
        for method, path, signed, status in ANSWERS:
            headers = admin if signed else {}
            with time_standing_still():
                answer = await local.http.open(path, method=method, headers=headers)
                await answer.get_data()
            assert answer.status_code == status, path
            assert_safe(answer.headers, objects=path.startswith("/objects/"))
            assert ("Strict-Transport-Security" in answer.headers) is bool(url), path


async def test_a_bug_of_ours(local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody thought of has the headers, too, and says nothing of its cause."""

    async def broken(*_: object) -> object:
        raise RuntimeError("the database said: bf_" + "A" * 43)

    monkeypatch.setattr(local.parts.services.reads, "run", broken)
    answer = await local.http.get("/api/stats", headers={"Authorization": "Bearer bf_" + "B" * 43})
    assert answer.status_code == 500
    assert_safe(answer.headers)
    assert b"database" not in await answer.get_data(as_text=False)


async def test_objects_keep_their_own_policy(local: LocalServer, autojump_clock: Any) -> None:
    digest = await local.source(b"<script>alert(1)</script>")
    link = urlsplit(local.parts.services.objects.sign_download(f"sources/{digest}", expires_in=60, filename="a.html"))
    answer = await local.http.get(f"{link.path}?{link.query}")
    assert answer.status_code == 200
    assert_safe(answer.headers, objects=True)
    assert answer.content_type == "application/octet-stream"


async def test_https_is_believed_from_named_proxies_only(tmp_path: Path, autojump_clock: Any) -> None:
    sent = {"X-Forwarded-Proto": "https", "Host": "blobforge.test"}
    for proxies, https in {"": False, "192.0.2.1": False, "127.0.0.1": True}.items():
        async with open_local(tmp_path / (proxies or "none"), trusted_proxies=proxies) as local:
            answer = await local.http.get("/login", headers=sent, scope_base={"client": ("127.0.0.1", 4000)})
            assert ("Strict-Transport-Security" in answer.headers) is https, proxies


@pytest.mark.parametrize("page", TEMPLATES, ids=lambda page: page.name)
def test_pages_hold_no_script_and_no_style(page: Path) -> None:
    text = page.read_text()
    assert not (
        re.findall(
            # A frame runs nothing, whatever its own policy says; with an origin it may show a picture of ours.
            r"<script(?![^>]*\ssrc=)[^>]*>|<style|\sstyle\s*=|javascript:|<base|"
            r'<iframe(?![^>]*\ssandbox(="allow-same-origin")?[\s>])',
            text,
            re.I,
        )
    )
    assert re.findall(r"<[^>]*\son\w+\s*=", text, re.I) == []
    assert re.findall(r"(?:src|href|action)\s*=\s*[\"'](?:https?:)?//[^\"']*", text, re.I) == [], "another host"
    assert "|safe" not in text.replace(" ", "")


@pytest.mark.parametrize("page", TEMPLATES, ids=lambda page: page.name)
async def test_what_pages_load_is_there(page: Path, local: LocalServer, autojump_clock: Any) -> None:
    for path in re.findall(r"(?:src|href)\s*=\s*[\"'](/static/[^\"'?]+)", page.read_text()):
        with time_standing_still():
            assert (await local.http.get(path)).status_code == 200, path


@pytest.mark.parametrize("url", ["", "https://blobforge.test"], ids=["http", "https"])
async def test_the_cookie_of_a_session(tmp_path: Path, autojump_clock: Any, url: str) -> None:
    async with oidc_local(tmp_path, public_url=url) as local:
        form = f"token={await token(local, 'read')}"
        headers = SAME_ORIGIN | {"Content-Type": "application/x-www-form-urlencoded", "Host": "localhost"}
        answer = await local.http.post("/login", headers=headers, data=form)
        assert answer.status_code == 303
        name = "__Host-blobforge" if url else "blobforge"
        morsel = next(SimpleCookie(text)[name] for text in answer.headers.getlist("Set-Cookie") if name in text[:17])
        assert len(morsel.value) == 43, "256 random bits"
        assert morsel["httponly"]
        assert (morsel["samesite"], morsel["path"], morsel["domain"]) == ("Lax", "/", "")
        assert bool(morsel["secure"]) is bool(url)
        assert answer.headers["Cache-Control"] == "no-store"
        database = (local.folder / "blobforge.db").read_bytes() + (local.folder / "blobforge.db-wal").read_bytes()
        assert morsel.value.encode() not in database, "only its hash is kept"


async def test_no_session_over_plain_http_from_elsewhere(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        form = f"token={await token(local, 'read')}"
        headers = SAME_ORIGIN | {"Content-Type": "application/x-www-form-urlencoded", "Host": "blobforge.test"}
        answer = await local.http.post("/login", headers=headers, data=form)
        assert answer.status_code == 400
        assert "blobforge=" not in str(answer.headers.getlist("Set-Cookie"))
        assert OIDC["oidc_issuer"] not in await answer.get_data(as_text=True)
