"""Telling a service manager how we are: systemd's notification protocol (sd_notify(3)), one datagram a message.

Without NOTIFY_SOCKET in the environment nobody asked to be told, and nothing happens.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"


def tell(state: str) -> None:
    """Send `state` to whoever asked to be told. One who cannot be reached waits in vain, and says so."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a socket in Linux's abstract namespace
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)
