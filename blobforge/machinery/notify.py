"""Telling a service manager how we are: systemd's notification protocol (sd_notify(3)), one datagram a message.

Without NOTIFY_SOCKET in the environment there is no service manager that listens, and nothing happens.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"


def tell(state: str) -> None:
    """Send `state` to the service manager. A failure is silent: a manager that waits for the message says so
    itself."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a socket in Linux's abstract namespace
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)
