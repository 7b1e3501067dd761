"""Actions of workers: from the page of one, and (without a script) from the table of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from tests.dashboard.trials.case import Case, Props, filled, none, opened, press, trial

WORKER, KNOWN_WORKER = "/do/workers/<worker:worker_id>", "/do/admin/workers/<worker:worker_id>"


ALL = "/workers?type=working"  # one page for all trials: it need not be loaded for each


def worker(props: Props) -> str:
    name = props.name("worker")
    props.scene.worker(name, "working")
    return name


def of_worker(name: str, script: bool, **fields: Any) -> Case:
    """The buttons are behind "Actions"."""
    at = f"/workers/{name}" if script else f"/workers?q={name}"
    given = {"at": at, "before": opened("Actions"), "shown": ALL, "sign": f"#worker-{name} .pill"}
    return Case(**(given | fields))


@trial(f"{WORKER}/drain", "Drain")
def drain(props: Props, script: bool) -> Case:
    name = worker(props)
    return of_worker(name, script, stored=props.value("workers", "drain", id=name), to=1, text="draining",
                     said=f"{name} drains")  # fmt: skip


@trial(f"{KNOWN_WORKER}/enable", "Enable")
def enable(props: Props, script: bool) -> Case:
    """One that drains, and one that is disabled."""
    name = worker(props)
    props.call("POST", f"/api/workers/{name}/drain" if script else f"/api/admin/workers/{name}/disable")

    def stored() -> object:
        return props.stage.value("workers", "drain", id=name), props.stage.value("workers", "enabled", id=name)

    return of_worker(name, script, stored=stored, to=(0, 1), text="draining" if script else "disabled", gone=True,
                     said=f"{name} may work again")  # fmt: skip


@trial(f"{KNOWN_WORKER}/disable", "Disable", asks=True)
def disable(props: Props, script: bool) -> Case:
    name = worker(props)
    return of_worker(name, script, stored=props.value("workers", "enabled", id=name), to=0, text="disabled",
                     said=f"{name} is disabled")  # fmt: skip


@trial(f"{KNOWN_WORKER}/regenerate", "New secret", asks=True)
def new_secret(props: Props, script: bool) -> Case:
    """Where another browser sees it: in the audit log."""
    name = props.name("worker")
    before = props.call("POST", "/api/admin/workers", {"id": name, "type": "working"})["secret"]

    def stored() -> object:
        headers = {"X-Worker-ID": name, "X-Worker-Secret": before}
        with props.stage.server.client(**headers) as client:
            return client.post(f"/api/workers/{name}/heartbeat", json={}).status_code

    assert stored() != 401
    return of_worker(
        name,
        script,
        stored=stored,
        to=401,
        said="Shown this once",
        sign="tbody td",
        text="worker.rotate",
        shown=f"/admin/audit?subject={name}",
    )


@trial(f"{WORKER}/delete", "Remove", asks=True)
def remove(props: Props, script: bool) -> Case:
    name = worker(props)
    return of_worker(name, script, stored=props.count("workers", id=name), to=0, sign=f"#worker-{name}", gone=True,
                     said=f"{name} is removed")  # fmt: skip


@trial(f"{WORKER}/quarantine", "Quarantine")
def put_in_quarantine(props: Props, script: bool) -> Case:
    name = worker(props)
    return of_worker(name, script, stored=props.there("workers", "quarantine", id=name), to=True, text="quarantined",
                     said=f"{name} gets no jobs until it is readmitted.")  # fmt: skip


@trial(f"{WORKER}/readmit", "Readmit")
def readmit(props: Props, script: bool) -> Case:
    name = worker(props)
    props.call("POST", f"/api/workers/{name}/quarantine", {"reason": "its 'disk' is <full>"})
    return of_worker(name, script, before=none, stored=props.there("workers", "quarantine", id=name), to=False,
                     text="quarantined", gone=True, said=f"{name} gets jobs again.")  # fmt: skip


@trial(f"{WORKER}/quarantine", "Quarantine it again")
def quarantine_again(props: Props, script: bool) -> Case:
    """For what spoke against it before."""
    name, reason = worker(props), "its 'disk' is <full>"
    props.call("POST", f"/api/workers/{name}/quarantine", {"reason": reason})
    return of_worker(
        name,
        script,
        before=press("Readmit", f"{name} gets jobs again."),
        within="body",
        sign=f"#worker-{name} td .small",
        text=reason,
        stored=lambda: reason in str(props.stage.value("workers", "quarantine", id=name)),
        to=True,
        said=f"{name} gets no jobs until it is readmitted.",
    )


def ticked(props: Props, **fields: Any) -> tuple[Case, list[str]]:
    """Two of three workers whose names begin alike."""
    start = props.name("rack")
    names = [f"{start}-{each}" for each in "abc"]
    for name in names:
        props.scene.worker(name, "working")

    def tick(page: Page) -> None:
        for name in names[:2]:
            page.get_by_label(f"Select worker {name}").check()

    given = {"at": f"/workers?q={start}", "shown": ALL, "before": tick, "within": "#bulk"}
    return Case(**(given | {"sign": f"#worker-{names[0]} .pill"} | fields)), names


def drains(props: Props, names: list[str]) -> Callable[[], object]:
    return lambda: [props.stage.value("workers", "drain", id=each) for each in names]


@trial("/do/workers/drain", "Drain…", then="Drain N workers")
def drain_many(props: Props, script: bool) -> Case:
    case, names = ticked(props, to=[1, 1, 0], text="draining", said="2 of 2 workers end what they run")
    return Case(**(vars(case) | {"stored": drains(props, names)}))


@trial("/do/workers/drain", "End their drain…", then="Let N workers work again")
def end_drain_of_many(props: Props, script: bool) -> Case:
    case, names = ticked(props, to=[0, 0, 0], text="draining", gone=True,
                         said="2 of 2 workers get jobs again.")  # fmt: skip
    for name in names[:2]:
        props.call("POST", f"/api/workers/{name}/drain")
    return Case(**(vars(case) | {"stored": drains(props, names)}))


@trial("/do/workers/remove", "Remove…", then="Remove N workers")
def remove_many(props: Props, script: bool) -> Case:
    case, names = ticked(props, to=[0, 0, 1], said="2 of 2 workers are removed.")
    return Case(**(vars(case) | {
        "stored": lambda: [props.stage.count("workers", id=each) for each in names],
        "sign": f"#worker-{names[0]}", "gone": True,
    }))  # fmt: skip


@trial("/do/workers/remove", "Remove all offline ones that match…", then="Remove N workers")
def remove_offline(props: Props, script: bool) -> Case:
    name = props.name("worker")
    props.call("POST", "/api/admin/workers", {"id": name, "type": "working"})
    at = f"/workers?q={name}&status=offline"
    return Case(at=at, stored=props.count("workers", id=name), to=0, said="1 of 1 workers are removed.", shown=ALL,
                sign=f"#worker-{name}", gone=True)  # fmt: skip


@trial("/do/admin/workers", "Create")
def create_worker(props: Props, script: bool) -> Case:
    name = props.name("worker")
    fields = {"new-id": name, "new-type": "working"}
    return Case(at="/workers", before=filled(**fields), within="#create", said="Shown this once", shown=ALL,
                stored=props.count("workers", id=name), to=1, sign=f"#worker-{name}")  # fmt: skip
