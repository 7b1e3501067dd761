"""Which server is meant, and with which credential, where neither is given: the login's, else this machine's.

`blobforge` commands and `Worker` look in the same places. What was kept for one server is never sent to another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from blobforge.login.login_file import Login

DEFAULT_URL = "http://localhost:8080"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Credential:
    """An API token, and where it was found, for the message when it is refused."""

    token: str
    source: str


def server(given: str | None, login: Login | None) -> str:
    """The server's URL, without a slash at its end."""
    return (given or (login.server if login else DEFAULT_URL)).rstrip("/")


def token(url: str, login: Login | None) -> Credential | None:
    """The API token that is kept for the server at `url`. Raises LoginError."""
    if login is not None and login.server == url:
        from blobforge.login import login_file

        kept = login_file.token_of(login)
        if kept:
            return Credential(kept, "`blobforge login`")
    made = _local_admin_token(url)
    return Credential(made, str(admin_token_file())) if made else None


def admin_token_file() -> Path:
    """Where a server started from here keeps the admin token that it made."""
    return Path(os.environ.get("BLOBFORGE_DATA_DIR") or "data") / "admin-token"


def _local_admin_token(url: str) -> str | None:
    """The token that a server on this machine made at its first start. It never leaves this machine."""
    try:
        if urlsplit(url).hostname not in LOOPBACK:
            return None
        return admin_token_file().read_text().strip() or None
    except (OSError, ValueError):  # no such file, no text in it; a URL that is none, which the client will tell
        return None
