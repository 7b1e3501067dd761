"""What happens before the database is opened: the backup's parts are found, and a database that is not there is
fetched from it. Nothing in here lets a start go on with an empty database because something did not answer.
"""

from __future__ import annotations

from functools import partial

import structlog
import trio

from blobforge.backup import BackupError, keys_of, place_of
from blobforge.backup.age import check_pair
from blobforge.backup.binary import find_writer
from blobforge.backup.child import LOCK, sole_parent
from blobforge.backup.epochs import begin, forget, set_aside
from blobforge.backup.restore import NoBackup, Restored, Source, look, newest
from blobforge.backup.sidecar import Plan
from blobforge.config import Settings
from blobforge.machinery.clock import wall_ms
from blobforge.store.keeping import Keeper

log = structlog.get_logger("blobforge.backup")


async def opened(settings: Settings, keeper: Keeper) -> Plan | None:
    """How the database will be copied, after it was restored if need be. None: backups are off.

    Raises BackupError, within 30 seconds of the last progress.
    """
    if not settings.backs_up:
        if settings.backup_s3("endpoint"):
            log.warning("BACKUPS ARE OFF (BLOBFORGE_LITESTREAM_DISABLED): what this disk loses is lost")
        return None
    source = source_of(settings, keeper)
    find = partial(find_writer, settings.litestream_bin, encrypted=source.keys is not None)
    litestream, kind = await trio.to_thread.run_sync(find)
    plan = Plan(
        source=source,
        litestream=litestream,
        kind=kind,
        database=settings.database.absolute(),
        data=settings.data_path.absolute(),
        sync_interval=settings.backup_sync_interval,
        retention=settings.backup_retention,
    )
    with sole_parent(plan.data / LOCK):  # none of a killed run is still about to write into the backup
        await _put_database(plan, skip=settings.litestream_skip_restore)
    return plan


def source_of(settings: Settings, keeper: Keeper) -> Source:
    """The source that the settings name, to read backups from. Raises BackupError for keys that are none, or no
    pair."""
    keys = keys_of(settings)
    if keys is not None:
        check_pair(keys)
    return Source(place_of(settings), keys, keeper, settings.litestream_bin)


async def _put_database(plan: Plan, *, skip: bool) -> None:
    database = plan.database
    if database.exists() and database.stat().st_size:
        return
    # An empty file is what a start leaves that was killed at once: as good as none.
    database.unlink(missing_ok=True)
    aside = set_aside(database, now_ms=wall_ms())
    if aside is not None:
        log.warning("the database is gone, and its WAL is not: it was moved aside", now=str(aside))
    forget(plan.data, database)
    if skip:
        await _warn_of_backup(plan)
        return
    began = trio.current_time()
    match await newest(plan.source, database):
        case Restored(epoch=epoch):
            fixed = (plan.data, database, plan.kind, plan.source.place, plan.source.keys)
            begin(*fixed, now_ms=wall_ms(), after=epoch)
            seconds = round(trio.current_time() - began, 1)
            log.warning("the database was restored from the backup", epoch=epoch.name, seconds=seconds)
        case NoBackup():
            log.info("there is no backup: beginning with an empty database", place=str(plan.source.place))


async def _warn_of_backup(plan: Plan) -> None:
    """The operator wants an empty database: log which backup is left where it is, and not restored."""
    try:
        found = await look(plan.source)
    except BackupError as error:
        log.warning(
            "BEGINNING WITH AN EMPTY DATABASE (BLOBFORGE_LITESTREAM_SKIP_RESTORE); whether there is a backup cannot "
            "be seen",
            reason=str(error),
        )
        return
    if found.epochs:
        log.warning(
            "BEGINNING WITH AN EMPTY DATABASE ALTHOUGH THERE IS A BACKUP (BLOBFORGE_LITESTREAM_SKIP_RESTORE); it "
            "stays untouched, and from now on the new database is the newest backup",
            newest=found.epochs[0].name,
            place=str(plan.source.place),
        )
