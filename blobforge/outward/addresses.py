"""Which servers a URL that was given to us may lead to: none of our own network, unless the operator has named it.

Pure. An address is judged by each IPv4 address that it stands for, too: a gateway may take it there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import msgspec

HostAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

USUAL_PORTS: Final = frozenset({80, 443, 8080, 8443})
LONGEST_URL: Final = 2000
_NAT64: Final = IPv6Network("64:ff9b::/96")
# Of protocols, and of relays that are no more: releases of Python differ about them.
_SPECIAL: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48")))
_PRIVATE: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


class Allowed(msgspec.Struct, frozen=True):
    """What the operator has named, beside all that is reached over the internet."""

    loopback: bool = False
    private: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


def callback_hosts(text: str) -> frozenset[str]:
    """From the setting: host names and addresses, comma-separated. Raises ValueError."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    return frozenset(_host(name) for name in names)


def _host(name: str) -> str:
    """As `Target.host` has it."""
    try:
        return str(ip_address(name))
    except ValueError:
        pass
    if not _is_name(name):
        raise ValueError(f"{name!r} is neither a host name nor an address (of a URL, the host alone is named)")
    return name


def _is_name(name: str) -> bool:
    return all(part and part.replace("-", "").replace("_", "").isalnum() for part in name.split("."))


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads: `path` is all behind the host, as it is sent."""

    https: bool
    host: str
    port: int
    path: str


def allowed(text: str) -> Allowed:
    """From the setting: `loopback`, `private`, host names and networks, comma-separated. Raises ValueError."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    hosts: set[str] = set()
    networks: list[Network] = []
    for name in names:
        if name in ("loopback", "private"):
            continue
        if "/" in name or ":" in name or name.replace(".", "").isdigit():
            networks.append(ip_network(name, strict=False))
        elif _is_name(name):
            hosts.add(name)
        else:
            raise ValueError(f"{name!r} is neither loopback, private, a host name nor a network")
    return Allowed("loopback" in names, "private" in names, frozenset(hosts), tuple(networks))


def target(url: str) -> Target | str:
    """Where the URL leads, or what is wrong with it, in words."""
    if len(url) > LONGEST_URL:
        return f"it has more than {LONGEST_URL} characters"
    if not url.isascii() or any(character <= " " or character in '\\"<>^`{|}\x7f' for character in url):
        return "it has characters that no URL has (a host with others is spelled xn--...)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is no URL"
    if parts.scheme not in ("http", "https"):
        return "it begins neither with https:// nor with http://"
    if parts.username is not None or parts.password is not None:
        return "it has a user or a password in it"
    if parts.fragment or url.endswith("#"):
        return "it has a fragment (#), which is never sent"
    host = (parts.hostname or "").rstrip(".")
    if not host or port == 0:
        return "it has no host, or no port that can be called"
    if literal(host) is None and (len(host) > 253 or not all(0 < len(part) < 64 for part in host.split("."))):
        return "its host is no name that can be looked up"
    https = parts.scheme == "https"
    query = f"?{parts.query}" if parts.query else ""
    return Target(https, host, port or (443 if https else 80), (parts.path or "/") + query)


def host_of(url: str) -> str:
    """What a URL is called where not all of it may be known; empty where it leads nowhere."""
    to = target(url)
    return to.host if isinstance(to, Target) else ""


def refused(target: Target, address: HostAddress, allowed: Allowed) -> str | None:
    """Why this address of the target may not be called; None: it may."""
    if target.host.lower() in allowed.hosts or _is_named(address, allowed):
        return None
    for each in _stands_for(address):
        if not _is_public(each):
            return "its host is no public address, and BLOBFORGE_WEBHOOK_ALLOW does not name it"
    if target.port not in USUAL_PORTS:
        return f"port {target.port} is none that webhooks are called at ({', '.join(map(str, sorted(USUAL_PORTS)))})"
    if not target.https:
        return "over the internet only https is called"
    return None


def literal(host: str) -> HostAddress | None:
    """The address that the host is itself, where it is no name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_named(address: HostAddress, allowed: Allowed) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # which is where the connection goes
    return (
        (allowed.loopback and address.is_loopback)
        or (allowed.private and any(address in network for network in _PRIVATE))
        or any(address in network for network in allowed.networks)
    )


def _stands_for(address: HostAddress) -> list[HostAddress]:
    """The addresses that a connection to this one may come to."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    found: list[HostAddress] = [address]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    return found


def _is_public(address: HostAddress) -> bool:
    if any(address in network for network in _SPECIAL) or getattr(address, "is_site_local", False):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
