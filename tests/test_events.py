"""The public names and fields of events: existing clients read them."""

from __future__ import annotations

import msgspec
import pytest

from actors.broadcaster import enveloped
from blobforge import events
from blobforge.events import EVENT_NAMES, Event

CONTRACT = {
    "job_created": {"job_id", "type", "status"},
    "job_updated": {"job_id", "type", "status", "worker_id"},
    "job_completed": {"job_id", "type", "status", "worker_id"},
    "job_failed": {"job_id", "type", "status", "error", "worker_id"},
    "job_progress": {"job_id", "type", "status", "worker_id", "progress"},
    "worker_online": {"worker_id", "type", "status"},
    "worker_offline": {"worker_id", "type", "status"},
    "worker_draining": {"worker_id", "type", "status"},
    "worker_removed": {"worker_id", "type"},
    "worker_quarantined": {"by", "worker_id", "type", "evidence"},
    "worker_readmitted": {"by", "worker_id", "type"},
    "job_removed": {"job_id", "type"},
    "jobs_pruned": {"count"},
    "type_paused": {"type", "reason", "by"},
    "type_resumed": {"type", "by"},
    "batch_ended": {"batch_id", "ending"},
    "operation_updated": {"operation_id", "verb", "state", "done", "total", "changed"},
}


def test_every_event_has_the_name_and_the_fields_that_clients_know() -> None:
    found = {kind.name: {field.name for field in msgspec.structs.fields(kind)} for kind in Event.__subclasses__()}
    assert found == CONTRACT
    assert set(EVENT_NAMES) == {*CONTRACT, "stats_updated"}


@pytest.mark.parametrize("kind", [events.WorkerOnline, events.WorkerOffline, events.WorkerDraining])
def test_a_workers_status_is_sent_although_it_never_varies(kind: type[events.Event]) -> None:
    """`omit_defaults` leaves out an absent worker_id; it must not leave out what a client switches on."""
    assert msgspec.json.decode(msgspec.json.encode(kind(worker_id="w", type="pdf")))["status"]


def test_what_is_absent_is_left_out() -> None:
    sent = msgspec.json.decode(msgspec.json.encode(events.JobUpdated(1, "pdf", "pending")))
    assert sent == {"job_id": 1, "type": "pdf", "status": "pending"}


@pytest.mark.parametrize("type_", ["pdf", 'p"d,f', "größe", "type"])
@pytest.mark.parametrize("kind", Event.__subclasses__(), ids=lambda kind: kind.name)
def test_what_stands_beside_the_envelope_is_what_is_in_it_but_the_type(kind: type[Event], type_: str) -> None:
    """Whatever is written in the members, be it the very bytes that are cut out."""
    odd = msgspec.json.encode({"x": 1, "type": type_}).decode()
    given = {"type": type_, "job_id": 7, "count": 3, "progress": msgspec.Raw(odd.encode())}
    members = {field.name: given.get(field.name, odd) for field in msgspec.structs.fields(kind)}
    event = kind(**members)
    data = msgspec.json.decode(msgspec.json.encode(event))
    beside = {name: value for name, value in data.items() if name != "type"}
    assert msgspec.json.decode(enveloped(kind.name, event)) == beside | {"type": kind.name, "data": data}


def test_an_event_without_members_is_an_envelope() -> None:
    assert enveloped("connected", {}) == b'{"type":"connected","data":{}}'
