"""How the janitor and the replicator are doing, for handlers: asked in this process here, and across a process
boundary in `web/fronts/remote.py`. No state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from actors.janitor import Janitor
from actors.mailbox import Envelope, Inbox
from actors.messages import OrphanSearch, Outcome
from actors.replicator import Replicator
from blobforge.store.recovery import Drill


class BackupState(Outcome, frozen=True):
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


class Backups(Protocol):
    """The backup, if there is one."""

    @property
    def mailbox(self) -> Inbox[Envelope[Any]]:
        """Where drills are asked for, while `state` is not None."""
        ...

    async def state(self) -> BackupState | None:
        """None: nothing is backed up."""
        ...


class Housekeeping(Protocol):
    """What is deleted, and the search for what nobody needs."""

    @property
    def mailbox(self) -> Inbox[Envelope[Any]]: ...

    @property
    def deletions(self) -> int:
        """Rounds of deletions that have ended (or fewer: then what one sees now is doubted without need)."""
        ...

    async def searched(self) -> OrphanSearch:
        """How the search goes, or what the last one found."""
        ...


class LocalBackups:
    """`replicator` gives None where nothing is backed up."""

    def __init__(self, replicator: Callable[[], Replicator | None]) -> None:
        self._replicator = replicator

    @property
    def mailbox(self) -> Inbox[Envelope[Any]]:
        """See Backups."""
        replicator = self._replicator()
        assert replicator is not None, "ask for the state first"
        return replicator.mailbox

    async def state(self) -> BackupState | None:
        """See Backups."""
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


class LocalHousekeeping:
    def __init__(self, janitor: Janitor) -> None:
        self._janitor = janitor

    @property
    def mailbox(self) -> Inbox[Envelope[Any]]:
        """See Housekeeping."""
        return self._janitor.mailbox

    @property
    def deletions(self) -> int:
        """See Housekeeping."""
        return self._janitor.deletions

    async def searched(self) -> OrphanSearch:
        """See Housekeeping."""
        return self._janitor.search
