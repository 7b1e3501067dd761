"""Where a request comes from, and which address of ours it was sent to.

Headers that proxies add are believed from proxies that the operator named, and from nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from blobforge.config import Settings
from web.request import Request

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Site:
    """`own_url` is the address that the server listens on, for when a request names none."""

    def __init__(self, settings: Settings, own_url: Callable[[], str]) -> None:
        self._public = settings.public_url.rstrip("/")
        self._own_url = own_url
        self._proxies: list[IPv4Network | IPv6Network] = [
            ip_network(name.strip(), strict=False) for name in settings.trusted_proxies.split(",") if name.strip()
        ]

    def address(self, request: Request) -> str:
        """The client's address: the peer's, or the last one in X-Forwarded-For that no trusted proxy has."""
        peer = request.remote_addr or ""
        if not self._trusted(peer):
            return peer
        for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            name = hop.strip()
            if name and not self._trusted(name):
                return name if _is_address(name) else peer
        return peer

    def base(self, request: Request) -> str:
        """What stands before our paths in URLs for this client: `https://host`, without a slash at the end.

        Without BLOBFORGE_PUBLIC_URL it is what the client itself called us, and goes into answers to it only.
        """
        if self._public:
            return self._public
        host = request.headers.get("Host", "")
        if not host or not all(character.isalnum() or character in "-._:[]" for character in host):
            return self._own_url()
        return f"{self._scheme(request)}://{host}"

    def is_https(self, request: Request) -> bool:
        return self.base(request).startswith("https://")

    def may_hold_session(self, request: Request) -> bool:
        """Whether a session cookie may travel: over https, on this machine, or where the operator said http."""
        if self._public or self.is_https(request):
            return True
        host = self.base(request).partition("://")[2]
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        return name in _LOOPBACK

    def _scheme(self, request: Request) -> str:
        if self._trusted(request.remote_addr or ""):
            forwarded = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip()
            if forwarded in ("http", "https"):
                return forwarded
        return request.scheme

    def _trusted(self, name: str) -> bool:
        return bool(self._proxies) and _is_address(name) and any(ip_address(name) in net for net in self._proxies)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
