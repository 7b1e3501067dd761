"""URLs that the server signs itself: a generated attack on each part of one."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.objects.keys import output_key, source_key
from blobforge.objects.links import Denied, Grant, Links

KEY = output_key("binstallation", 12, 3)
NOW = 1_800_000_000.0
LINKS = Links(b"0123456789abcdef", lambda: NOW)


def taken_apart(url: str) -> tuple[str, dict[str, str]]:
    """Key and parameters as a web framework hands them on."""
    parts = urlsplit(url)
    return unquote(parts.path).removeprefix("/objects/"), dict(parse_qsl(parts.query, keep_blank_values=True))


def verdict(url: str, method: str = "GET", links: Links = LINKS) -> Grant | Denied:
    return links.verify(method, *taken_apart(url))


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.builds(Grant, st.sampled_from(["get", "put"]), st.just(KEY), texts, texts, texts))
def test_what_was_signed_comes_back(grant: Grant) -> None:
    url = LINKS.url(grant, expires_in=60)
    assert verdict(url, {"get": "GET", "put": "PUT"}[grant.op]) == grant


@pytest.mark.parametrize(("op", "allowed"), [("get", {"GET", "HEAD"}), ("put", {"PUT"})])
def test_the_verb_is_bound(op: str, allowed: set[str]) -> None:
    url = LINKS.url(Grant(op, KEY), expires_in=60)
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "put", ""):
        assert isinstance(verdict(url, method), Grant) == (method in allowed), method


@pytest.mark.parametrize(("later", "good"), [(0, True), (59.9, True), (60, False), (1e9, False)])
def test_the_lifetime_ends(later: float, good: bool) -> None:
    url = LINKS.url(Grant("get", KEY), expires_in=60)
    outcome = verdict(url, links=Links(b"0123456789abcdef", lambda: NOW + later))
    assert isinstance(outcome, Grant) == good
    assert good or "expired" in outcome.reason


def test_another_secret_refuses() -> None:
    assert isinstance(
        verdict(LINKS.url(Grant("get", KEY), expires_in=60), links=Links(b"x" * 16, lambda: NOW)), Denied
    )


FULL = taken_apart(LINKS.url(Grant("get", KEY, "f.pdf", "0" * 64, "a/b"), expires_in=60))[1]


@pytest.mark.parametrize("name", sorted(FULL))
def test_nothing_can_be_dropped_or_changed(name: str) -> None:
    assert isinstance(LINKS.verify("GET", KEY, FULL), Grant)
    assert isinstance(LINKS.verify("GET", KEY, {k: v for k, v in FULL.items() if k != name}), Denied)
    for value in ("", FULL[name] + "0", FULL[name][:-1], "é", "\ud800", "put", "9" * 400):
        assert isinstance(LINKS.verify("GET", KEY, {**FULL, name: value}), Denied)
        assert isinstance(LINKS.verify("PUT", KEY, {**FULL, name: value}), Denied)


def test_nothing_can_be_added_or_moved_between_parameters() -> None:
    plain = taken_apart(LINKS.url(Grant("get", KEY), expires_in=60))[1]
    for extra in ({"filename": "x.exe"}, {"filename": ""}, {"other": "1"}, {"\n": "\n"}):
        assert isinstance(LINKS.verify("GET", KEY, {**plain, **extra}), Denied)
    joined = {**plain, "op": f"get&expires={plain['expires']}"}
    del joined["expires"]
    assert isinstance(LINKS.verify("GET", KEY, joined), Denied)


def test_no_other_key() -> None:
    for key in (
        output_key("binstallation", 12, 4),
        source_key("0" * 64),
        f"{KEY}/../x",
        f"./{KEY}",
        "",
        "../../etc/passwd",
        "é",
    ):
        assert isinstance(LINKS.verify("GET", key, FULL), Denied), key


def test_a_short_secret_and_a_dead_url_are_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        Links(b"short", lambda: NOW)
    with pytest.raises(ValueError, match="expires_in"):
        LINKS.url(Grant("get", KEY), expires_in=0)
    with pytest.raises(ValueError, match="key"):
        LINKS.url(Grant("get", "sources/../x"), expires_in=60)


@pytest.mark.parametrize("key", ["sources/../x", "litestream/db", "/etc/passwd"])
def test_even_a_good_signature_opens_no_other_key(key: str) -> None:
    """The secret alone must not lead out of the store: the check of keys does not rest on the signature."""
    params = {"op": "get", "expires": str(int(NOW) + 60)}
    query = {**params, "sig": LINKS._signature(key, params)}
    assert isinstance(LINKS.verify("GET", key, query), Denied)
    query = {**params, "sig": LINKS._signature(KEY, params)}
    assert isinstance(LINKS.verify("GET", KEY, query), Grant)
