"""Litestream's configuration, in its two dialects (litestream.io/reference/config). JSON is YAML, too.

It carries secrets: a caller that writes it to a file makes the file private, and removes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from blobforge.backup import Epoch, Keys, Place


class Copying(msgspec.Struct, frozen=True):
    """The database that is copied, where to and how. `sync_interval` and `retention` are in seconds."""

    database: Path
    place: Place
    epoch: Epoch
    keys: Keys | None = None
    sync_interval: float = 1.0
    retention: float = 86_400.0
    socket: Path | None = None


def configuration(copying: Copying, *, old: bool) -> str:
    """The text of the file, for a Litestream of the `old` (0.3) or of the new line."""
    return msgspec.json.encode(_old(copying) if old else _new(copying)).decode()


def _new(copying: Copying) -> dict[str, Any]:
    replica = _replica(copying)
    config: dict[str, Any] = {
        "logging": {"level": "info", "type": "json", "stderr": True},
        "snapshot": {"interval": _every(copying.retention), "retention": _seconds(copying.retention)},
        "dbs": [{"path": str(copying.database.absolute()), "replica": replica}],
    }
    if copying.socket is not None:
        config["socket"] = {"enabled": True, "path": str(copying.socket), "permissions": 0o600}
    return config


def _old(copying: Copying) -> dict[str, Any]:
    replica = _replica(copying)
    replica["retention"] = _seconds(copying.retention)
    replica["snapshot-interval"] = _every(copying.retention)
    if copying.keys is not None:
        replica["age"] = {"identities": [copying.keys.secret], "recipients": [copying.keys.public]}
    return {
        "logging": {"level": "info", "type": "json", "stderr": True},
        "dbs": [{"path": str(copying.database.absolute()), "replicas": [replica]}],
    }


def _replica(copying: Copying) -> dict[str, Any]:
    place = copying.place
    return {
        "type": "s3",
        "endpoint": place.endpoint,
        "bucket": place.bucket,
        "path": f"{place.prefix}{copying.epoch.name}",
        "region": place.region,
        "force-path-style": True,
        "access-key-id": place.access_key,
        "secret-access-key": place.secret_key,
        "sync-interval": _seconds(copying.sync_interval),
    }


def _every(retention: float) -> str:
    """A snapshot a day, and at least two within what is kept: a restore reads one, and what came after it."""
    return _seconds(min(86_400.0, retention / 2))


def _seconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
