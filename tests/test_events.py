"""The public names and fields of events: existing clients read them."""

from __future__ import annotations

import msgspec
import pytest

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
    "job_removed": {"job_id", "type"},
    "jobs_pruned": {"count"},
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
