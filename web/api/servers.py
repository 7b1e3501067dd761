"""The servers that share this one's database."""

from __future__ import annotations

from blobforge.store.commons import ServerState
from web.api import encode, wire_status
from web.routing import Access, Call, Route


def read_servers(call: Call) -> wire_status.Servers:
    """All that were heard of late; this one is the first."""
    own, *others = call.services.presence.servers()
    now = call.services.now()
    return wire_status.Servers([_server(own, now, own=True), *(_server(each, now, own=False) for each in others)])


async def servers(call: Call) -> wire_status.Servers:
    return read_servers(call)


def _server(state: ServerState, now: int, *, own: bool) -> wire_status.ServerWire:
    return wire_status.ServerWire(
        id=state.id,
        name=state.name,
        status="online" if state.is_live else "silent",
        this=own,
        version=state.version,
        since=encode.rfc3339(state.started_at),
        seen_at=encode.rfc3339(now - round(state.silent * 1000)),
        long_polls=state.long_polls,
        streams=state.streams,
        url=state.url or None,
        last_turn=state.turn,
        last_turn_at=encode.time_or_none(state.turn_at),
        turns_behind=state.behind,
        clock_ahead_seconds=round(state.clock / 1000, 3) if state.clock is not None else None,
    )


async def database(call: Call) -> wire_status.DatabaseWire:
    """The database itself, as this server finds it now."""
    found = await call.services.shared.ask(lambda commons: commons.examine())
    remarks = [
        wire_status.RemarkWire(each.subject, each.level, each.text, each.advice or None) for each in found.remarks
    ]
    return wire_status.DatabaseWire(found.engine, found.version, remarks)


ROUTES = [
    Route("GET", "/api/servers", Access.READ, servers, "The servers that share the database, and how each is",
          gives=wire_status.Servers),
    Route("GET", "/api/admin/database", Access.ADMIN, database, "The database itself: what should be known about it",
          gives=wire_status.DatabaseWire),
]  # fmt: skip
