"""What changes that a job waits, as buttons and links beside the reason: the ones that its caller may use."""

from __future__ import annotations

from typing import assert_never
from urllib.parse import quote, urlencode

import msgspec

from blobforge.canary import canary_of
from blobforge.job import PRIORITIES, Job, JobStatus
from blobforge.waiting import Reason, Waiting


class Remedy(msgspec.Struct, frozen=True):
    """`url` is the address of a form with these `fields`, where `acts`, and of a page otherwise."""

    label: str
    url: str
    acts: bool = False
    fields: dict[str, str] = {}


def remedies(job: Job, waiting: Waiting, *, may_act: bool, admin: bool) -> list[Remedy]:
    """`may_act`: the caller may change jobs; `admin`: and types. What a page leads to is the page's to allow."""
    type_ = quote(job.type, safe="")
    match waiting.reason:
        case Reason.SOURCE:
            return [Remedy("Submit the file", "/submit")] if may_act and waiting.change else []
        case Reason.BACK_OFF:
            again = Remedy("Try again now", f"/do/jobs/{job.id}/retry", acts=True, fields={"undo": "true"})
            return [again] if may_act and job.status is JobStatus.FAILED else []
        case Reason.PAUSED:
            resume = Remedy(f"Resume type {job.type}", f"/do/types/{type_}/resume", acts=True)
            return [resume] if admin else [Remedy(f"Type {job.type}", f"/types/{type_}")]
        case Reason.LIMIT | Reason.RATE:
            label = f"Change the limits of type {job.type}" if admin else f"Type {job.type} with its limits"
            return [Remedy(label, f"/types/{type_}#settings-title")]
        case Reason.LABELS:
            change = [Remedy("Change what it requires", "#requires")] if may_act else []
            return [*change, _workers(job), _machine(job)]
        case Reason.NO_WORKER | Reason.NOT_ACCEPTED:
            return [_machine(job)]
        case Reason.ALL_OFFLINE | Reason.ALL_DISABLED | Reason.ALL_DRAINING | Reason.ALL_QUARANTINED:
            return [_workers(job), _machine(job)]
        case Reason.TURN | Reason.QUEUED:
            first = {"priority": str(PRIORITIES[0]), "undo": "true"}
            urgent = Remedy("Make it urgent", f"/do/jobs/{job.id}/priority", acts=True, fields=first)
            return [urgent] if may_act and job.priority > PRIORITIES[0] else []
        case Reason.CANARY:
            return [Remedy(f"Canary {canary_of(job.type)}", f"/canaries/{canary_of(job.type)}")]
        case Reason.NOT_BEFORE | Reason.KEPT | Reason.NEXT:
            return []
        case other:
            assert_never(other)


def _workers(job: Job) -> Remedy:
    return Remedy(f"Workers of type {job.type}", f"/workers?{urlencode({'type': job.type})}")


def _machine(job: Job) -> Remedy:
    return Remedy("Add a machine", f"/add-machine?{urlencode({'type': job.type})}")
