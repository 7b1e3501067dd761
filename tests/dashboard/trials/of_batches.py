"""Actions of batches, operations and canaries."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page

from tests.dashboard.trials.case import Case, Props, filled, trial


def batch(props: Props) -> int:
    return int(props.call("POST", "/api/batches", {"name": props.name("batch")})["id"])


def of_batch(number: int, **fields: Any) -> Case:
    return Case(**({"at": f"/batches/{number}", "shown": f"/batches/{number}"} | fields))


@trial("/do/batches/<id:batch_id>/close", "Close it", asks=True)
def close_batch(props: Props, script: bool) -> Case:
    number = batch(props)
    props.job(batch=number)
    return of_batch(number, stored=props.there("batches", "closed_at", id=number), to=True, sign="dt", text="Closed",
                    said=f"Batch {number} takes no further jobs.")  # fmt: skip


@trial("/do/batches/<id:batch_id>/cancel", "Cancel all", asks=True)
def cancel_batch(props: Props, script: bool) -> Case:
    number = batch(props)
    jobs = [props.job(batch=number), props.job(batch=number)]
    return of_batch(number, stored=props.statuses(jobs), to={"cancelled"}, later=True, sign="p",
                    text="2 of 2 jobs ended.", said=f"Batch {number} is closed; operation ")  # fmt: skip


@trial("/do/batches/<id:batch_id>/retry", "Retry what is dead")
def retry_dead_of_batch(props: Props, script: bool) -> Case:
    number = batch(props)
    job, _ = props.dead(batch=number)
    return of_batch(number, stored=props.status(job), to="pending", later=True, sign="p", text="0 of 1 job ended.",
                    said=f"brings jobs of batch {number} back.")  # fmt: skip


@trial("/do/batches/<id:batch_id>/retry", "Retry what is dead or cancelled")
def retry_all_of_batch(props: Props, script: bool) -> Case:
    number = batch(props)
    jobs = [props.dead(batch=number)[0], props.job(batch=number)]
    props.call("POST", f"/api/jobs/{jobs[1]}/cancel")
    return of_batch(number, stored=props.statuses(jobs), to={"pending"}, later=True, sign="p",
                    text="0 of 2 jobs ended.", said=f"brings jobs of batch {number} back.")  # fmt: skip


def gone_batch(props: Props, jobs_left: int) -> Case:
    number = batch(props)
    job = props.job(batch=number)
    props.ended(props.call("POST", f"/api/batches/{number}/cancel")["operation"])

    def stored() -> object:
        return props.stage.count("batches", id=number), props.stage.count("jobs", id=job)

    return of_batch(number, stored=stored, to=(0, jobs_left), later=True, shown="/batches", sign=f"#batch-{number}",
                    gone=True, said=f"deletes batch {number}.")  # fmt: skip


@trial("/do/batches/<id:batch_id>/delete", "Delete it, and keep its jobs", asks=True)
def forget_batch(props: Props, script: bool) -> Case:
    return gone_batch(props, 1)


@trial("/do/batches/<id:batch_id>/delete", "Delete it with its jobs", asks=True)
def delete_batch(props: Props, script: bool) -> Case:
    return gone_batch(props, 0)


# --- operations


@trial("/do/operations/<id:operation_id>/cancel", "Stop it")
def stop_operation(props: Props, script: bool) -> Case:
    """One that a server of a newer release has begun: this one leaves it alone, however long it takes."""
    name, now = props.name("operation"), int(time.time() * 1000)
    props.add("operations", verb="retry", work='{"work":{"type":"Later"}}', state="selecting", subject="token:1",
              name=name, created_at=now, updated_at=now, told_at=now)  # fmt: skip
    number = props.stage.value("operations", "id", name=name)
    return Case(at=f"/operations/{number}", stored=props.value("operations", "state", id=number), to="cancelled",
                said=f"Operation {number} was stopped.", shown=f"/operations/{number}", sign="strong",
                text="cancelled")  # fmt: skip


@trial("/do/operations/<id:operation_id>/undo", "Take it back")
def take_back_operation(props: Props, script: bool) -> Case:
    job = props.job(priority=4)
    begun = props.call("POST", "/api/jobs/priority", {"ids": [job], "priority": 2, "background": True})
    number = begun["operation"]
    props.ended(number)
    return Case(at=f"/operations/{number}", stored=props.value("jobs", "priority", id=job), to=4, later=True,
                said=f"Operation {number} is taken back by", shown=f"/operations/{number}", sign="dt",
                text="Taken back by")  # fmt: skip


# --- canaries


@trial("/do/canaries", "Begin")
def begin_canary(props: Props, script: bool) -> Case:
    _, type_ = props.completed()
    converter = f"{props.name('marker')} 2.0"

    def fill(page: Page) -> None:
        filled(**{"canary-type": type_, "canary-by": converter, "canary-sample": "1"})(page)
        page.get_by_label("only if a worker of that converter is online").uncheck()

    return Case(at="/canaries", before=fill, within="#begin", stored=props.count("canaries", made_by=converter), to=1,
                said="Documents that are converted once more: 1.", shown="/canaries", sign="tbody a",
                text=converter)  # fmt: skip


@trial("/do/canaries/<id:canary_id>/cancel", "Stop it", asks=True)
def stop_canary(props: Props, script: bool) -> Case:
    _, type_ = props.completed()
    asked = {"types": [type_], "made_by": "marker 3.0", "sample": 1}
    number = props.call("POST", "/api/canaries", asked)["id"]
    return Case(at=f"/canaries/{number}", stored=props.there("canaries", "cancelled_at", id=number), to=True,
                said=f"Canary {number} is stopped", shown=f"/canaries/{number}", sign=".panel p",
                text="it was cancelled")  # fmt: skip
