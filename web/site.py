"""Where a request comes from, and which address of ours it was sent to.

Headers that proxies add are believed from proxies that the operator named, and from no other peer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from blobforge.config import Settings
from web.request import Request

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Site:
    """`own_url` is the address that the server listens on, for when a request names none."""

    def __init__(self, settings: Settings, own_url: Callable[[], str]) -> None:
        self._public = settings.public_url.rstrip("/")
        self._own_url = own_url
        self._proxies: list[IPv4Network | IPv6Network] = [
            _network(name.strip()) for name in settings.trusted_proxies.split(",") if name.strip()
        ]

    def address(self, request: Request) -> str:
        """The client's address: the peer's, or the last one in X-Forwarded-For that no trusted proxy has."""
        peer = _address(request.remote_addr or "")
        if not self._proxies or peer is None or not self._trusted(peer):
            return str(peer or request.remote_addr or "")
        for hop in reversed(",".join(request.headers.getlist("X-Forwarded-For")).split(",")):
            if not hop.strip():
                continue
            named = _address(hop)
            if named is None or not self._trusted(named):
                return str(named or peer)
        return str(peer)

    def base(self, request: Request) -> str:
        """The base of our URLs for this client: `https://host`, without a slash at the end.

        Without BLOBFORGE_PUBLIC_URL it is what the client itself called us, and goes into answers to it only.
        """
        if self._public:
            return self._public
        host = request.headers.get("Host", "")
        if not _is_host(host):
            return self._own_url()
        return f"{self._scheme(request)}://{host}"

    def is_https(self, request: Request) -> bool:
        if self._public or self._proxies:
            return self.base(request).startswith("https://")
        return request.scheme == "https"  # nearly all: a host need not be put together to be thrown away

    def may_hold_session(self, request: Request) -> bool:
        """Whether a session cookie may travel: over https, on this machine, or where the operator said http."""
        if self._public or self.is_https(request):
            return True
        host = self.base(request).partition("://")[2]
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        return name in _LOOPBACK

    def _scheme(self, request: Request) -> str:
        peer = _address(request.remote_addr or "") if self._proxies else None
        if peer is not None and self._trusted(peer):
            # Of several proxies each adds how it was spoken to: the first one met the client. A client that makes
            # one up, and passes a proxy that only adds, misleads itself alone.
            forwarded = ",".join(request.headers.getlist("X-Forwarded-Proto")).partition(",")[0].strip().lower()
            if forwarded in ("http", "https"):
                return forwarded
        return request.scheme

    def _trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


def _network(text: str) -> IPv4Network | IPv6Network:
    """A network as the operator wrote it; one of mapped addresses is the IPv4 network that they are."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


@lru_cache(maxsize=4096)  # asked for each request; the same few thousand again and again
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a socket or a proxy names: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.

    One name for each: a socket that listens on `::` calls an IPv4 client `::ffff:192.0.2.1`.
    """
    text = text.strip().strip('"')
    address = None
    with suppress(ValueError):
        address = ip_address(text)
    if address is None:
        with suppress(ValueError):
            address = ip_address(urlsplit(f"//{text}").hostname or "")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=256)
def _is_host(name: str) -> bool:
    return bool(name) and all(character.isalnum() or character in "-._:[]" for character in name)
