"""How many workers there should be: for what scales a fleet, and for people."""

from __future__ import annotations

from blobforge.refusals import Refusal
from blobforge.scaling import desired_workers
from blobforge.store.reading import Reader
from web.api import wire_status
from web.decode import query
from web.routing import Access, Call, Route


def read_scale(reader: Reader, wanted: wire_status.ScaleQuery, *, now: int) -> wire_status.ScaleWire:
    insights = reader.insights
    loads = insights.loads()
    if wanted.type is not None:
        loads = {type_: load for type_, load in loads.items() if type_ == wanted.type}
    staff = insights.staff(wanted.type)
    desired = desired_workers(loads, insights.durations(now=now), staff, drain_seconds=wanted.drain_seconds)
    return wire_status.ScaleWire(
        sum(load.waiting for load in loads.values()),
        sum(load.running for load in loads.values()),
        staff.online,
        staff.busy,
        desired,
        staff.idle,
    )


async def scale(call: Call) -> wire_status.ScaleWire | Refusal:
    wanted = query(call.request.args, wire_status.ScaleQuery)
    if isinstance(wanted, Refusal):
        return wanted
    now = call.services.now()
    return await call.services.reads.moment(lambda reader: read_scale(reader, wanted, now=now))


ROUTES = [
    Route("GET", "/api/scale", Access.READ, scale, "How many workers should there be, and who is idle?",
          gives=wire_status.ScaleWire, query=wire_status.ScaleQuery),
]  # fmt: skip
