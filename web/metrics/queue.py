"""The database's numbers at each request for metrics: kept counters and a few look-ups, and no scan. Runs in a
reader's thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from prometheus_client.core import Metric

from blobforge.breaker import is_open
from blobforge.store.errors import DatabaseError
from blobforge.store.figures import Space
from blobforge.store.reading import MOST_QUARANTINED, Reader
from web.metrics.families import gauge


def families(reader: Reader, *, now: int) -> Iterable[Metric]:
    """`now` is in ms. A database that cannot be read is told, and spoils nothing else."""
    with suppress(DatabaseError):
        yield from _space(reader.space())
    try:
        census = reader.census()
        paused = [settings for settings in reader.types.settings().values() if settings.paused]
        quarantined = len(reader.insights.quarantined_workers())
    except DatabaseError:
        yield gauge("blobforge_database_readable", "1 if the database could be read just now", 0)
        return
    yield gauge("blobforge_database_readable", "1 if the database could be read just now", 1)
    yield gauge(
        "blobforge_jobs",
        "Jobs by type, status and priority (1 is the most urgent). `uploading` are those whose source is awaited",
        {(type_, status, str(priority)): n for status, type_, priority, n in census.jobs},
        ("type", "status", "priority"),
    )
    yield gauge(
        "blobforge_kept_bytes",
        "Bytes of sources and of results (`what`) by type and status; a source of several jobs counts for each",
        {
            (type_, status, what): n
            for status, type_, source, output in census.bytes
            for what, n in (("sources", source), ("outputs", output))
        },
        ("type", "status", "what"),
    )
    oldest: defaultdict[str, float] = defaultdict(float)
    for _, type_, _, _ in census.jobs:
        at = census.oldest_pending.get(type_)
        oldest[type_] = max(0.0, (now - at) / 1000) if at is not None else 0.0
    yield gauge(
        "blobforge_oldest_pending_age_seconds",
        "How long ago the oldest pending job of a type was submitted; 0 if none is pending, or only for later",
        {(type_,): age for type_, age in oldest.items()},
        ("type",),
    )
    deferred = dict.fromkeys(oldest, 0)
    for (type_, _), n in census.deferred.items():
        deferred[type_] = deferred.get(type_, 0) + n
    yield gauge(
        "blobforge_deferred_jobs",
        "Pending jobs that are not to be started yet, by the time that their submission said",
        {(type_,): n for type_, n in deferred.items()},
        ("type",),
    )
    yield gauge(
        "blobforge_workers",
        "Workers by status",
        {(status,): n for status, n in census.workers.items()},
        ("status",),
    )
    by_itself = sum(map(is_open, paused))
    yield gauge(
        "blobforge_types_paused",
        "Types of which no job is given out: paused by their breaker (`itself`), or by a caller",
        {("itself",): by_itself, ("caller",): len(paused) - by_itself},
        ("by",),
    )
    yield gauge(
        "blobforge_workers_quarantined",
        f"Workers that are given trials only, because they fail what others complete; {MOST_QUARANTINED} at most",
        quarantined,
    )


def _space(space: Space) -> Iterable[Metric]:
    sizes: dict[tuple[str, ...], float] = {(name,): size for name, size in space.parts.items()}
    yield gauge("blobforge_database_size_bytes", "Size of the database's files", sizes, ("file",))
    if space.disk is not None:
        free, size = space.disk
        yield gauge("blobforge_database_disk_free_bytes", "Free on the disk of the database", free)
        yield gauge("blobforge_database_disk_size_bytes", "Size of the disk of the database", size)
