"""How the replicator is doing, for handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.mailbox import Envelope, Mailbox
from actors.replicator import Replicator
from blobforge.store.figures import Drill


@dataclass(frozen=True)
class BackupState:
    """How the backup is now; times in ms since the epoch, durations in seconds. None is "not known yet"."""

    troubles: tuple[str, ...]
    lag_seconds: float | None
    proven_until_ms: int | None
    last_drill: Drill | None
    drilling: bool
    running: bool
    restarts: int
    place: str
    epoch: str | None
    encrypted: bool
    litestream: str
    sync_interval: float
    retention: float


class Backups:
    """`replicator` gives None where nothing is backed up."""

    def __init__(self, replicator: Callable[[], Replicator | None]) -> None:
        self._replicator = replicator

    @property
    def mailbox(self) -> Mailbox[Envelope[Any]]:
        """Where drills are asked for, while `state` is not None."""
        replicator = self._replicator()
        assert replicator is not None, "ask for the state first"
        return replicator.mailbox

    def state(self) -> BackupState | None:
        """None: nothing is backed up."""
        replicator = self._replicator()
        if replicator is None:
            return None
        plan = replicator.plan
        return BackupState(
            troubles=tuple(replicator.troubles),
            lag_seconds=replicator.lag_seconds,
            proven_until_ms=replicator.proven_until_ms,
            last_drill=replicator.last_drill,
            drilling=replicator.drilling,
            running=replicator.running,
            restarts=replicator.restarts,
            place=str(plan.source.place),
            epoch=replicator.epoch.name if replicator.epoch is not None else None,
            encrypted=plan.source.keys is not None,
            litestream=str(plan.litestream),
            sync_interval=plan.sync_interval,
            retention=plan.retention,
        )
