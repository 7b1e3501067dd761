"""The servers that share a database, and that database in numbers. Nothing of it where one has it for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.core import Metric

from blobforge.machinery.tally import Spread
from blobforge.store.commons import Figures, ServerState
from web.metrics.families import gauge, histogram


def families(states: Sequence[ServerState], figures: Figures | None) -> Iterable[Metric]:
    """`states`: this server's own is the first."""
    if figures is None:
        return
    own = states[0]
    counted = Counter("online" if each.is_live else "silent" for each in states)
    yield gauge(
        "blobforge_servers",
        "Servers that share the database, as this one hears of them",
        {(status,): counted[status] for status in ("online", "silent")},
        ("status",),
    )
    if own.behind is not None:
        yield gauge(
            "blobforge_log_behind_turns",
            "Turns of all servers that this one had not read when it said last how it is",
            own.behind,
        )
    if own.clock is not None:
        yield gauge(
            "blobforge_clock_ahead_seconds",
            "How far this server's clock is ahead of the database's",
            own.clock / 1000,
        )
    yield from _tables(figures)
    yield from _standbys(figures)
    yield gauge(
        "blobforge_database_oldest_transaction_seconds",
        "For how long a transaction has been open: no row that died meanwhile can go",
        figures.oldest_transaction,
    )


def turns(seconds: Spread) -> Metric:
    return histogram(
        "blobforge_turn_wait_seconds",
        "What a transaction takes to begin: one round trip to the database, and the wait for those of other servers",
        [((), seconds)],
    )


def _tables(figures: Figures) -> Iterable[Metric]:
    yield gauge(
        "blobforge_database_live_rows",
        "Rows, as PostgreSQL estimates",
        {(each.name,): each.live for each in figures.tables},
        ("table",),
    )
    yield gauge(
        "blobforge_database_dead_rows",
        "Rows that are no more, and take room until vacuum has passed",
        {(each.name,): each.dead for each in figures.tables},
        ("table",),
    )


def _standbys(figures: Figures) -> Iterable[Metric]:
    synchronous = sum(each.synchronous for each in figures.standbys)
    yield gauge(
        "blobforge_database_standbys",
        "Standbys that stream, by whether commits wait for them",
        {("synchronous",): synchronous, ("asynchronous",): len(figures.standbys) - synchronous},
        ("mode",),
    )
    yield gauge(
        "blobforge_database_standby_behind_bytes",
        "Write-ahead log that a standby has not flushed yet",
        {(each.name,): each.behind for each in figures.standbys},
        ("standby",),
    )
