"""Who is believed about where a request comes from, and how addresses are written."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.datastructures import Headers

from blobforge.config import Settings
from web.connection.head import Head
from web.request import Request
from web.site import Site

PROXIES = "10.0.0.0/8, 192.0.2.7, 2001:db8:ffff::/48"


def asked(peer: str, **headers: str) -> Request:
    given = Headers(
        [(name.replace("_", "-"), value) for name, value in headers.items()] + [("Host", "forge.example")]
    )
    return Request("GET", "/", b"", given, remote_addr=peer)


def site(tmp_path: Any, proxies: str = PROXIES) -> Site:
    return Site(Settings(data_dir=str(tmp_path), trusted_proxies=proxies), lambda: "http://127.0.0.1:1")


@pytest.mark.parametrize(
    "peer", ["10.1.2.3", "::ffff:10.1.2.3", "::FFFF:10.1.2.3", "::ffff:c000:207", "2001:db8:ffff::5"]
)
@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:443", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:51234", "2001:db8::1"),
        ('"[2001:db8::1]:51234"', "2001:db8::1"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("203.0.113.9:1, 10.0.0.1:2, ::ffff:10.0.0.3", "203.0.113.9"),
        ("203.0.113.9, [2001:db8:ffff::9]:80", "203.0.113.9"),
    ],
)
def test_a_trusted_proxy_says_who_asks(tmp_path: Any, peer: str, forwarded: str, address: str) -> None:
    assert site(tmp_path).address(asked(peer, X_Forwarded_For=forwarded)) == address


def test_a_proxy_may_add_a_line_of_its_own(tmp_path: Any) -> None:
    """The client's own line comes first, and is not believed."""
    lines = b"X-Forwarded-For: 198.51.100.66\r\nX-Forwarded-For: 203.0.113.9\r\n"
    head = Head(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    both = [head.headers, Headers([("X-Forwarded-For", "198.51.100.66"), ("X-Forwarded-For", "203.0.113.9")])]
    for headers in both:
        request = Request("GET", "/", b"", headers, remote_addr="10.1.2.3")
        assert site(tmp_path).address(request) == "203.0.113.9"


@pytest.mark.parametrize("forwarded", ["", "unknown", "_hidden", "a name, unknown", "[", "[::1", "1.2.3.4.5"])
def test_what_is_no_address_leaves_the_proxys_own(tmp_path: Any, forwarded: str) -> None:
    assert site(tmp_path).address(asked("::ffff:10.1.2.3", X_Forwarded_For=forwarded)) == "10.1.2.3"


@pytest.mark.parametrize("peer", ["203.0.113.1", "::ffff:203.0.113.1", "::1", "2001:db8::1"])
def test_nobody_else_is_believed(tmp_path: Any, peer: str) -> None:
    found = site(tmp_path)
    request = asked(peer, X_Forwarded_For="198.51.100.1", X_Forwarded_Proto="https")
    assert found.address(request) in (peer, "203.0.113.1")
    assert not found.is_https(request)


@pytest.mark.parametrize("proxies", ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "10.1.2.3"])
@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_mapped_addresses_in_the_setting(tmp_path: Any, proxies: str, peer: str) -> None:
    assert site(tmp_path, proxies).address(asked(peer, X_Forwarded_For="203.0.113.9")) == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "https"),
    [
        ("https", True), ("HTTPS", True), (" Https ", True), ("https,http", True), ("https, http", True),
        ("HTTPS , https", True), ("http", False), ("http,https", False), ("", False), ("wss", False),
        (",https", False),
    ],
)  # fmt: skip
def test_the_scheme_that_the_client_spoke(tmp_path: Any, forwarded: str, https: bool) -> None:
    for peer in ("10.1.2.3", "::ffff:10.1.2.3"):
        found = site(tmp_path)
        request = asked(peer, X_Forwarded_Proto=forwarded)
        assert found.is_https(request) is https
        assert found.base(request) == ("https" if https else "http") + "://forge.example"
