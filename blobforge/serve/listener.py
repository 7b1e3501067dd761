"""The socket that the server listens on, and how Hypercorn is to use it."""

from __future__ import annotations

import ipaddress
import logging
import socket

from hypercorn.config import Config

from blobforge.config import Settings
from blobforge.machinery.datadir import StartError
from web.connection.head import LARGEST_HEAD

BACKLOG = 1024  # connections that wait to be accepted: a fleet that comes back all at once
UNREAD_MS = 30_000  # how long a client may leave what we sent unread before its connection is given up
LIFESPAN_SECONDS = 4.0  # for the application to say that it has ended, which takes it no time


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises StartError when the address cannot be had.

    Accepted connections inherit an option: the kernel gives up a client that does not take what was sent to it, also
    where it says nothing of it to us.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise StartError(f"cannot listen on {where} (BLOBFORGE_HOST, BLOBFORGE_PORT): {error}") from error
    return listener


def reachable(listener: socket.socket) -> str:
    """The URL to reach this server from this machine: a wildcard address cannot be called."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def http_settings(settings: Settings) -> Config:
    """How Hypercorn serves."""
    config = Config()
    config.graceful_timeout = settings.shutdown_grace
    config.shutdown_timeout = LIFESPAN_SECONDS
    # Heads are measured, and waited for, before Hypercorn sees them.
    config.h11_max_incomplete_size = 2 * LARGEST_HEAD
    config.keep_alive_max_requests = 10**9  # a worker keeps its connection for days
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = None
    return config
