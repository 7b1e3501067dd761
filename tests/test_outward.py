"""Calls to servers of others: what a URL may lead to, and what becomes of a call, however the other side behaves."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import httpcore
import pytest
import trio

from blobforge.outward.addresses import Allowed, Target, allowed, refused, target
from blobforge.outward.calling import CallAnswer, CallError, Outward

INTERNET = Target(https=True, host="hook.example", port=443, path="/")


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_called(address: str) -> None:
    assert refused(INTERNET, ip_address(address), Allowed()) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "192.0.0.8", "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:1::1", "fe80::1", "fc00::1", "fec0::1", "ff02::1",
        "2001:db8::1",
    ],
)  # fmt: skip
def test_no_other_address_is(address: str) -> None:
    assert "no public address" in (refused(INTERNET, ip_address(address), Allowed()) or "")


def test_what_the_operator_names_is_called() -> None:
    def may(setting: str, address: str, host: str = "hook.example", port: int = 9000) -> bool:
        to = Target(https=False, host=host, port=port, path="/")
        return refused(to, ip_address(address), allowed(setting)) is None

    assert may("loopback", "127.0.0.1")
    assert may("loopback", "::ffff:127.0.0.1")
    assert not may("loopback", "10.0.0.1")
    assert not may("loopback", "64:ff9b::7f00:1")
    assert may("private", "10.0.0.1")
    assert may("private", "fd00::1")
    assert not may("private", "127.0.0.1")
    assert not may("private", "169.254.169.254")
    assert may("192.0.2.0/24", "192.0.2.7")
    assert may("10.0.0.1", "10.0.0.1")
    assert may(" Hooks.internal , loopback", "10.0.0.1", host="hooks.INTERNAL")
    assert not may("hooks.internal", "10.0.0.1", host="other.internal")
    for wrong in ("https://x", "10.0.0.0/99", "a b", "*"):
        with pytest.raises(ValueError, match=r".+"):
            allowed(wrong)


def test_over_the_internet_only_usual_ports_and_https() -> None:
    address = ip_address("8.8.8.8")
    assert "port 22" in (refused(Target(True, "x", 22, "/"), address, Allowed()) or "")
    assert "https" in (refused(Target(False, "x", 80, "/"), address, Allowed()) or "")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/", "//x/", "x", "https://", "https://u:p@x/", "https://u@x/", "https://x/#a", "https://x:0/",
        "https://x:99999/", "https://a b/", "https://x\\@y/", "https://ü.example/", "https://x/\r\nHost: y",
        "https://x/" + "a" * 2000, "https://.", "https://a..b/", f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}example/",
    ],
)  # fmt: skip
def test_what_is_no_url_to_call(url: str) -> None:
    assert isinstance(target(url), str)


def test_what_a_url_leads_to() -> None:
    assert target("https://X.example:8443/a/b?c=d") == Target(True, "x.example", 8443, "/a/b?c=d")
    assert target("http://[::1]/") == Target(False, "::1", 80, "/")


# --- the other side

Behave = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def other_side(behave: Behave) -> AsyncIterator[str]:
    """Its URL. It reads the request, and then behaves."""

    async def serve(stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            async with stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive_some()
                requests.append(head)
                await behave(stream)

    requests: list[bytes] = []
    scopes: list[trio.CancelScope] = []
    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(trio.serve_tcp, serve, 0)
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/hook"
        nursery.cancel_scope.cancel()


async def called(behave: Behave, *, seconds: float = 5.0) -> CallAnswer:
    """Raises CallError."""
    async with other_side(behave) as url:
        try:
            return await Outward(Allowed(loopback=True), seconds=seconds).post(url, b"{}", {})
        except CallError as error:
            failed = error
    raise failed


def saying(text: bytes) -> Behave:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(text)

    return behave


async def test_an_answer() -> None:
    assert await called(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")) == CallAnswer(200, "fine")


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    assert await called(saying(moved)) == CallAnswer(307, "")


async def test_a_huge_answer_is_cut() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"x" * 65536)
        except trio.BrokenResourceError:
            pass

    assert await called(behave) == CallAnswer(200, "x" * 1024)


async def test_one_that_hangs_is_given_up() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    with pytest.raises(CallError, match=r"did not answer within 0\.2 s"):
        await called(behave, seconds=0.2)


async def test_one_that_drips_is_given_up() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.01)

    with pytest.raises(CallError, match=r"did not answer within 0\.2 s"):
        await called(behave, seconds=0.2)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",  # it lies
        b"",  # it closes early
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_none(text: bytes) -> None:
    with pytest.raises(CallError, match=r".+"):
        await called(saying(text))


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged() -> None:
    """However its answer changes between the check and the call; and the server is told, and shows, the name."""
    asked: list[str] = []
    opened: list[tuple[str, int]] = []
    said: dict[str, Any] = {}

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14"] if len(asked) == 1 else ["127.0.0.1"]

    class Stream(httpcore.AsyncMockStream):
        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            said["request"] = said.get("request", b"") + buffer

        async def start_tls(
            self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
        ) -> httpcore.AsyncNetworkStream:
            said["name"] = server_hostname
            said["checked"] = ssl_context.check_hostname and ssl_context.verify_mode is ssl.CERT_REQUIRED
            return self

    class Connect:
        async def connect_tcp(self, host: str, port: int, timeout: float | None = None) -> Stream:
            opened.append((host, port))
            return Stream([b"HTTP/1.1 204 No Content\r\n\r\n"])

    outward = Outward(Allowed(), resolve=resolve, connect=Connect())
    assert await outward.post("https://hook.example/a?b", b"{}", {"X-Own": "1"}) == CallAnswer(204, "")
    assert (asked, opened) == (["hook.example"], [("93.184.215.14", 443)])
    assert said["request"].startswith(b"POST /a?b HTTP/1.1\r\nHost: hook.example\r\n")
    assert (said["name"], said["checked"]) == ("hook.example", True)
    with pytest.raises(CallError, match="refused: its host is no public address"):
        await outward.post("https://hook.example/", b"{}", {})  # it leads to this machine by now
    assert len(opened) == 1


async def test_one_bad_address_of_several_is_enough() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "169.254.169.254"]

    with pytest.raises(CallError, match="refused"):
        await Outward(Allowed(), resolve=resolve).post("https://hook.example/", b"{}", {})


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await called(saying(b"HTTP/1.1 204 No Content\r\n\r\n"))).status == 204
