"""Statistics, health and metrics."""

from __future__ import annotations

from functools import partial

import structlog
import trio
from quart import Response

from actors.mailbox import ask
from actors.messages import Ping
from blobforge.job import JobStatus
from blobforge.objects import ObjectStoreError
from blobforge.refusals import Refusal
from blobforge.store.errors import DatabaseError
from blobforge.store.figures import KeptSum, Stats
from blobforge.worker import WorkerStatus
from web.api import backups, wire_common, wire_status
from web.decode import query
from web.metrics.exposition import CONTENT_TYPE
from web.routing import Access, Call, Route
from web.services import Services

log = structlog.get_logger("blobforge.health")

WRITER_PATIENCE = 5.0  # seconds that `/readyz` waits for the writer to come round


def stats_wire(stats: Stats, *, now: int) -> wire_status.StatsWire:
    jobs, workers = stats.jobs, stats.workers
    left = {type_: round(each, 1) if each is not None else None for type_, each in stats.seconds_left.items()}
    known = [each for each in left.values() if each is not None]
    per_minute = stats.completed_per_minute
    oldest = stats.oldest_pending_at
    return wire_status.StatsWire(
        total_jobs=sum(jobs.values()),
        pending_jobs=jobs[JobStatus.PENDING],
        running_jobs=jobs[JobStatus.RUNNING],
        completed_jobs=jobs[JobStatus.COMPLETED],
        failed_jobs=jobs[JobStatus.FAILED],
        dead_jobs=jobs[JobStatus.DEAD],
        uploading_jobs=jobs[JobStatus.UPLOADING],
        cancelled_jobs=jobs[JobStatus.CANCELLED],
        total_workers=sum(workers.values()),
        online_workers=workers[WorkerStatus.ONLINE],
        offline_workers=workers[WorkerStatus.OFFLINE],
        draining_workers=workers[WorkerStatus.DRAINING],
        by_type=stats.by_type,
        by_priority={str(priority): counts for priority, counts in stats.by_priority.items()},
        oldest_pending_seconds=max(0.0, (now - oldest) / 1000) if oldest is not None else None,
        jobs_per_minute=round(per_minute, 3),
        # Types go on side by side, and the whole is known only where each is.
        eta_seconds=max(known) if known and len(known) == len(left) else None,
        eta_by_type=left,
        bytes=_kept_wire(stats),
        deferred_jobs=stats.deferred,
    )


def _kept_wire(stats: Stats) -> wire_status.KeptWire:
    def shown(kept: dict[str, KeptSum]) -> dict[str, wire_status.KeptBytes]:
        return {name: wire_status.KeptBytes(each.source_bytes, each.output_bytes) for name, each in kept.items()}

    every = stats.bytes_by_status.values()
    return wire_status.KeptWire(
        sum(each.source_bytes for each in every),
        sum(each.output_bytes for each in every),
        shown(stats.bytes_by_type),
        shown(stats.bytes_by_status),
    )


async def tags(call: Call) -> wire_status.TagsWire | Refusal:
    """The tags by what their jobs have."""
    wanted = query(call.request.args, wire_status.TagsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    after = (-(2**63 - 1), "")
    if wanted.cursor is not None:
        weight, _, tag = wanted.cursor.partition(":")
        after = (-min(int(weight), 2**63 - 1), tag)
    found = await call.services.reads.run(lambda reader: reader.tag_weights(after=after, limit=wanted.limit + 1))
    shown = found[: wanted.limit]
    place = shown[-1].place if len(found) > len(shown) else None
    return wire_status.TagsWire(
        tags=[wire_status.TagWire(each.tag, each.jobs, each.source_bytes, each.output_bytes) for each in shown],
        next_cursor=f"{-place[0]}:{place[1]}" if place is not None else None,
    )


async def read_stats(services: Services) -> wire_status.StatsWire:
    now = services.now()
    return stats_wire(await services.reads.run(lambda reader: reader.stats(now=now)), now=now)


async def stats(call: Call) -> wire_status.StatsWire:
    return await read_stats(call.services)


async def health(call: Call) -> tuple[int, wire_status.Health]:
    """The parts one by one. A store or a backup that is away degrades; only the database makes it unhealthy."""
    database = await _database(call.services)
    store = await _object_store(call.services)
    healthy = database.status == "healthy"
    copied = await backup(call.services)
    well = store.status == "healthy" and copied.status != "degraded"
    overall = "unhealthy" if not healthy else "healthy" if well else "degraded"
    return (200 if healthy else 503), wire_status.Health(overall, database, store, copied)


async def backup(services: Services) -> wire_status.BackupPart:
    """How the backup is."""
    return await backups.part(services)


async def _database(services: Services) -> wire_status.Part:
    part: wire_status.Part = await services.checkup.part("database", partial(_look_at_database, services))
    return part


async def _look_at_database(services: Services) -> wire_status.Part:
    with trio.move_on_after(WRITER_PATIENCE):
        try:
            await services.reads.run(lambda reader: reader.sanity())
        except DatabaseError:
            return wire_status.Part("unhealthy", detail="the database cannot be read; the server's log says why")
        outcome = await ask(services.writer, Ping())
        if isinstance(outcome, Refusal):
            return wire_status.Part("unhealthy", detail=outcome.detail)
        return wire_status.Part("healthy")
    return wire_status.Part("unhealthy", detail=f"the writer has not answered for {WRITER_PATIENCE:g} seconds")


async def _object_store(services: Services) -> wire_status.Part:
    part: wire_status.Part = await services.checkup.part("object store", partial(_look_at_object_store, services))
    return part


async def _look_at_object_store(services: Services) -> wire_status.Part:
    try:
        await services.objects.check()
    except ObjectStoreError as error:
        # The health is open to all callers: what the store is called, and what it said, stands in the log.
        log.warning("object store", reason=str(error))
        said = "the object store does not answer; the server's log says why"
        return wire_status.Part("unhealthy", name=services.objects.name, detail=said)
    return wire_status.Part("healthy", name=services.objects.name)


async def live(call: Call) -> wire_common.Status:
    """The process answers. Touches nothing."""
    return wire_common.Status("alive")


async def ready(call: Call) -> tuple[int, wire_status.Part]:
    """Whether the writer can commit now."""
    part = await _database(call.services)
    return (200, wire_status.Part("ready")) if part.status == "healthy" else (503, part)


async def metrics(call: Call) -> Response:
    return Response(await call.services.metrics.text(), content_type=CONTENT_TYPE)


ROUTES = [
    Route("GET", "/api/stats", Access.READ, stats, "Queue statistics, in constant time", gives=wire_status.StatsWire,
          hot=True),
    Route("GET", "/api/stats/tags", Access.READ, tags, "Tags, with how many bytes their jobs have: most first",
          gives=wire_status.TagsWire, query=wire_status.TagsQuery),
    Route("GET", "/api/health", Access.PUBLIC, health, "Health of the parts", gives=wire_status.Health),
    Route("GET", "/health", Access.PUBLIC, health, "Health of the parts", gives=wire_status.Health, hidden=True),
    Route("GET", "/livez", Access.PUBLIC, live, "Whether the process answers", gives=wire_common.Status,
          hot=True),
    Route("GET", "/readyz", Access.PUBLIC, ready, "Whether the server can commit", gives=wire_status.Part),
    Route("GET", "/metrics", Access.READ, metrics, "Metrics for Prometheus", gives=str,
          kinds=("text/plain",)),
]  # fmt: skip
