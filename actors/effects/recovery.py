"""The settlement of a restore: no worker holds a job any more that it held when the backup was taken.

What happened after the backup was taken is lost here, but not out there: clients hold ids of jobs, and zombies
signed URLs of attempts, that this database knows nothing of. So ids and attempt numbers go on above all of them. How
far above grows with the time since the backup, so that a second restore of the same one does not give out what
the first has given.
"""

from __future__ import annotations

import structlog

from actors.effects import searches
from actors.effects.returns import take_back
from actors.effects.transaction import Transaction
from actors.messages import Done
from blobforge.people import AuditEntry

log = structlog.get_logger("blobforge.effects")

REASON = "the database was restored from a backup"
FORKED = "the database has lost what it had acknowledged"
SERVER = "server"
DRILLS_KEPT = 100
RUNNING_AT_ONCE = 500
IDS_SKIPPED = 1_000_000
IDS_PER_SECOND = 35_000  # no server takes more submissions
ATTEMPTS_SKIPPED = 1_000
ATTEMPTS_PER_SECOND = 100  # of a single job, given back and claimed again without a pause


def settle_restore(tx: Transaction) -> int | None:
    """If the database is a restored copy: every running attempt's lease is void, its job goes back at no cost, and
    ids and attempt numbers go on above all that may be out there. Returns how many went back; None: it is no copy.
    """
    if tx.store.recovery.restored_at() is None:
        return None
    return _settle(tx, "backup.restored", REASON)


def settle_fork(tx: Transaction) -> Done:
    """The same where the database itself, without a restore, goes on from before what it had acknowledged. Each
    server notices that by what it has lost itself. The first one settles it for all: what was given out since stands.
    """
    if tx.store.losses_settled:
        log.warning("acknowledged work was lost, and another server has settled that: nothing is void any more")
        return Done()
    returned = _settle(tx, "history.forked", FORKED)
    log.error("acknowledged work was lost: every lease is void, running jobs went back", jobs=returned)
    return Done()


def _settle(tx: Transaction, action: str, reason: str) -> int:
    recovery = tx.store.recovery
    seconds = recovery.seconds_lost(now=tx.now)
    went_back = 0
    # They are written page by page: a server that says nothing for long within its turn is taken for a stopped one.
    while running := recovery.running(limit=RUNNING_AT_ONCE):
        for job in running:
            take_back(tx, job, reason)
        went_back += len(running)
    recovery.settle(
        ids=IDS_SKIPPED + IDS_PER_SECOND * seconds,
        attempts=ATTEMPTS_SKIPPED + ATTEMPTS_PER_SECOND * seconds,
        now=tx.now,
    )
    searches.fail(tx, reason)
    tx.store.settle_losses()
    detail = f"{went_back} running jobs went back"
    tx.audit(AuditEntry(0, tx.now, SERVER, SERVER, "", action, reason, detail))
    return went_back
