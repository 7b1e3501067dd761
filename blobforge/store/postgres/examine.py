"""What can be wrong with a cluster: settings that lose what was committed, copies that are behind, transactions that
hold everything up. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from blobforge.store.commons import Examination, Remark
from blobforge.store.postgres.pipeline import SqlValue


class Run(Protocol):
    """The rows that answer a statement."""

    def __call__(self, statement: str, /, *values: SqlValue) -> list[tuple[Any, ...]]: ...


LONG_SECONDS: Final = 300  # for which a transaction, or a slot without a reader, may hold up the removal of dead rows
FAR_BEHIND: Final = 64 << 20  # bytes of log that a copy has not got yet
OLD_XIDS: Final = 1_000_000_000  # of the two thousand million after which no transaction begins any more

_SETTINGS: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY(string_to_array($1, ' '))"
_ASKED: Final = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "synchronous_standby_names", "autovacuum",
    "track_counts", "wal_level", "archive_mode", "max_connections",
)  # fmt: skip
_MAY_LOOK: Final = "SELECT pg_has_role(current_user, 'pg_monitor', 'USAGE')"
_REPLICAS: Final = """
    SELECT coalesce(application_name, ''), coalesce(state, ''), coalesce(sync_state, ''),
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn), 0)::bigint
    FROM pg_stat_replication ORDER BY 1"""
_SLOTS: Final = """
    SELECT slot_name, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
    FROM pg_replication_slots WHERE NOT active ORDER BY 1"""
_OLDEST: Final = """
    SELECT pid, coalesce(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::float8
    FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()
        AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1"""
_XIDS: Final = "SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"

_LOSES: Final = {
    "fsync": (
        "what was acknowledged is lost, and the database may be damaged, when the machine stops",
        "Set fsync = on, restart PostgreSQL, and check the database with pg_amcheck.",
    ),
    "full_page_writes": (
        "a page that was half written when the machine stopped cannot be mended",
        "Set full_page_writes = on and reload PostgreSQL.",
    ),
}


def examine(run: Run, *, clock_ms: int) -> Examination:
    """`run` answers a statement; `clock_ms`: how far this server's clock is ahead of the database's."""
    settings = {str(name): str(value) for name, value in run(_SETTINGS, " ".join(_ASKED))}
    remarks = [*_durability(settings), *_replication(settings, run), *_upkeep(settings, run), *_clock(clock_ms)]
    return Examination(engine="postgresql", version=settings["server_version"].split()[0], remarks=remarks)


def _durability(settings: dict[str, str]) -> Iterator[Remark]:
    lost = [name for name in _LOSES if settings[name] == "off"]
    for name in lost:
        text, advice = _LOSES[name]
        yield Remark("durability", "failure", f"{name} is off: {text}", advice)
    commit, standbys = settings["synchronous_commit"], settings["synchronous_standby_names"]
    if commit == "off":
        yield Remark(
            "durability",
            "failure",
            "synchronous_commit is off: what was acknowledged within the last second is lost with the server",
            "Set synchronous_commit = on and reload PostgreSQL.",
        )
    elif commit == "local" and standbys:
        yield Remark(
            "durability",
            "warning",
            "synchronous_commit is local: nothing waits for the synchronous standby, and a failover loses what it "
            "had not got",
            "Set synchronous_commit = on and reload PostgreSQL.",
        )
    elif not lost:
        yield Remark("durability", "ok", f"fsync and full_page_writes are on, synchronous_commit is {commit}")


def _replication(settings: dict[str, str], run: Run) -> Iterator[Remark]:
    [[may_look]] = run(_MAY_LOOK)
    if not may_look:
        advice = "As a superuser: GRANT pg_monitor TO the role of BLOBFORGE_DATABASE_URL."
        yield Remark("replication", "skipped", "the role may not look at standbys and at other sessions", advice)
        return
    replicas = run(_REPLICAS)
    synchronous = [name for name, state, sync, _ in replicas if sync in ("sync", "quorum") and state == "streaming"]
    if not replicas and not settings["synchronous_standby_names"]:
        yield Remark(
            "replication",
            "warning",
            "there is no standby: with this machine goes the database, but for its backups",
            "docs/high-availability.md says what a standby costs and what it gives.",
        )
    elif settings["synchronous_standby_names"] and not synchronous:
        yield Remark(
            "replication",
            "failure",
            f"synchronous_standby_names is {settings['synchronous_standby_names']!r}, and none of these streams: "
            "commits wait for it",
            "Start the standby, or, with Patroni, let it lower the mode (synchronous_mode without _strict).",
        )
    elif not synchronous:
        names = ", ".join(str(name) for name, *_ in replicas)
        yield Remark(
            "replication",
            "warning",
            f"{names}: asynchronous. A failover loses what it had not got yet, and every server says so loudly",
            "With Patroni: synchronous_mode: true. By hand: synchronous_standby_names.",
        )
    else:
        yield Remark("replication", "ok", f"synchronous with {', '.join(synchronous)}")
    for name, state, _, behind in replicas:
        if state != "streaming" or behind > FAR_BEHIND:
            text = f"standby {name} is {state}, {behind >> 20} MiB behind"
            yield Remark("replication", "warning", text, "Its own log says why.")
    for name, behind in run(_SLOTS):
        if behind > FAR_BEHIND:
            yield Remark(
                "replication",
                "warning",
                f"nobody reads from replication slot {name}, and it keeps {behind >> 20} MiB of the write-ahead log",
                f"Start its standby, or give it up: SELECT pg_drop_replication_slot('{name}').",
            )


def _upkeep(settings: dict[str, str], run: Run) -> Iterator[Remark]:
    found = False
    for name in ("autovacuum", "track_counts"):
        if settings[name] == "off":
            found = True
            text = f"{name} is off: dead rows stay, and claims take longer and longer"
            yield Remark("upkeep", "failure", text, f"Set {name} = on and reload PostgreSQL.")
    for pid, program, seconds in run(_OLDEST):
        if seconds > LONG_SECONDS:
            found = True
            yield Remark(
                "upkeep",
                "warning",
                f"{program or 'a program'} (process {pid}) holds a transaction open, for {seconds / 60:.0f} minutes: "
                "no dead row goes",
                f"If nobody needs it: SELECT pg_terminate_backend({pid}).",
            )
    [[age]] = run(_XIDS)
    if age > OLD_XIDS:
        found = True
        text = f"{age} transaction numbers are in use, and at 2,000 million PostgreSQL stops"
        yield Remark("upkeep", "failure", text, "Run VACUUM FREEZE, and find out what keeps autovacuum from it.")
    if not found:
        yield Remark("upkeep", "ok", "autovacuum is on, and no transaction stands in its way")


def _clock(ahead_ms: int) -> Iterator[Remark]:
    seconds = abs(ahead_ms) / 1000
    if seconds < 2:
        yield Remark("clock", "ok", "this server and the database agree")
        return
    text = f"this server's clock is {seconds:.0f} s {'ahead of' if ahead_ms > 0 else 'behind'} the database's"
    advice = "Let NTP set both: signed URLs and sessions live by the server's clock."
    yield Remark("clock", "failure" if seconds > 60 else "warning", text, advice)
