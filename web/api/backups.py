"""The backup: how it is, and drills on demand."""

from __future__ import annotations

from actors.messages import Done, Note, Ping, RunDrill
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import Drill
from web.api import encode, wire_common, wire_status
from web.backups import BackupState
from web.decode import query
from web.routing import Access, Call, Route
from web.services import Services

SHOWN = 10  # drills
TURNED_OFF = "backups are turned off (BLOBFORGE_LITESTREAM_DISABLED): what the server's disk loses is lost"
IN_POSTGRESQL = (
    "Litestream copies SQLite, and the database is PostgreSQL: pg_basebackup and an archive of its log are its "
    "backup (docs/high-availability.md)"
)
NO_PLACE = "no object store is configured to hold backups; `blobforge db backup` copies the database to a file"


async def part(services: Services) -> wire_status.BackupPart:
    """The backup as `/health` shows it to all callers. It degrades at most: jobs do not wait for backups."""
    state = services.backups.state()
    if state is None:
        return wire_status.BackupPart("disabled", detail=_why_off(services))
    last = state.last_drill
    return wire_status.BackupPart(
        status=_status(state),
        detail=_detail(state),
        lag_seconds=_lag(state),
        proven_until=encode.time_or_none(state.proven_until_ms),
        last_drill=_drill(last, whole=False) if last is not None else None,
    )


async def report(call: Call) -> wire_status.BackupReport:
    """All of it, the records of drills too."""
    services = call.services
    drills = await services.reads.run(lambda reader: reader.drills(limit=SHOWN))
    shown = [_drill(drill, whole=True) for drill in drills]
    state = services.backups.state()
    if state is None:
        return wire_status.BackupReport("disabled", detail=_why_off(services), drills=shown)
    return wire_status.BackupReport(
        status=_status(state),
        detail=_detail(state),
        lag_seconds=_lag(state),
        proven_until=encode.time_or_none(state.proven_until_ms),
        place=state.place,
        epoch=state.epoch,
        encrypted=state.encrypted,
        litestream=state.litestream,
        running=state.running,
        restarts=state.restarts,
        sync_interval=state.sync_interval,
        retention=state.retention,
        drill_interval=services.settings.backup_drill_interval,
        drill_running=state.drilling,
        drills=shown,
    )


async def read_drills(services: Services, wanted: wire_status.DrillsQuery) -> wire_status.DrillsWire:
    found = await services.reads.run(
        lambda reader: reader.drills(before=wanted.cursor, ok=wanted.ok, limit=wanted.limit + 1)
    )
    page = found[: wanted.limit]
    following = page[-1].id if len(found) > len(page) else None
    return wire_status.DrillsWire([_drill(each, whole=True) for each in page], following)


async def drills(call: Call) -> wire_status.DrillsWire | Refusal:
    wanted = query(call.request.args, wire_status.DrillsQuery)
    return wanted if isinstance(wanted, Refusal) else await read_drills(call.services, wanted)


async def drill(call: Call) -> tuple[int, wire_common.Status] | Refusal:
    """Begin a drill, or join the one under way. Its outcome stands in the report when `drill_running` is false."""
    backups = call.services.backups
    if backups.state() is None:
        # The key is good for this request only, whatever the answer; no audit record is left of a refusal.
        kept = await call.tell(Ping(), call.repeat)
        if isinstance(kept, Refusal):
            return kept
        return Refusal(RefusalCode.BACKUP_OFF, f"There is nothing to drill: {_why_off(call.services)}.")
    asked = await call.earlier(Done)
    if asked is None:
        asked = await call.ask(Note())
        if not isinstance(asked, Refusal):
            asked = await call.ask_via(backups.mailbox, RunDrill())
    return asked if isinstance(asked, Refusal) else (202, wire_common.Status("running"))


def _status(state: BackupState) -> str:
    return "degraded" if state.troubles else "healthy"


def _detail(state: BackupState) -> str | None:
    return "; ".join(state.troubles) or None


def _lag(state: BackupState) -> float | None:
    return round(state.lag_seconds, 1) if state.lag_seconds is not None else None


def _why_off(services: Services) -> str:
    if services.settings.database_url:
        return IN_POSTGRESQL
    return TURNED_OFF if services.settings.backup_s3("endpoint") else NO_PLACE


def _drill(drill: Drill, *, whole: bool) -> wire_status.DrillWire:
    return wire_status.DrillWire(
        started_at=encode.rfc3339(drill.started_at),
        ended_at=encode.rfc3339(drill.ended_at),
        ok=drill.ok,
        proven_until=encode.time_or_none(drill.proven_until),
        detail=drill.detail if whole else None,
    )


ROUTES = [
    Route("GET", "/api/admin/backup", Access.ADMIN, report, "The backup, and the last drills",
          gives=wire_status.BackupReport),
    Route("GET", "/api/admin/backup/drills", Access.ADMIN, drills, "The drills that are on record, newest first",
          gives=wire_status.DrillsWire, query=wire_status.DrillsQuery),
    Route("POST", "/api/admin/backup/drill", Access.ADMIN, drill, "Restore the backup to the side and compare it",
          gives=wire_common.Status, status=202, audit="backup.drill"),
]  # fmt: skip
