"""Actions of many jobs: from their list, and (without a script) from a cause of failures."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.dashboard.trials.case import BACKGROUND, Case, Props, chosen, every, filled, none, opened, press, trial


def of_jobs(props: Props, tag: str, **fields: Any) -> Case:
    return Case(**({"at": f"/jobs?tag={tag}", "before": every(), "shown": f"/jobs?tag={tag}"} | fields))


def by_cause(props: Props, script: bool, tag: str, jobs: list[int], **fields: Any) -> Case:
    """Jobs of a cause: at the list of causes, where there is no script."""
    if script:
        return of_jobs(props, tag, **fields)
    job, kind = props.dead(tag=tag)
    jobs[:] = [job]
    return of_jobs(props, tag, **(fields | {"at": f"/failures?q={kind}", "before": none}))


@trial("/do/jobs/retry", "Retry…", then="Bring N jobs back")
def retry_many(props: Props, script: bool) -> Case:
    """Their priority stays, although a field for another one stands in the same form."""
    tag = props.name("tag")
    jobs = [props.job(tag=tag, priority=1)] if script else []
    for job in jobs:
        props.call("POST", f"/api/jobs/{job}/cancel")
    case = by_cause(props, script, tag, jobs, stored=props.statuses(jobs), to={"pending"}, sign="tbody .pill-pending",
                    said="1 of 1 jobs go again.")  # fmt: skip
    first = {props.stage.value("jobs", "priority", id=job) for job in jobs}

    def kept() -> None:
        assert {props.stage.value("jobs", "priority", id=job) for job in jobs} == first

    return Case(**(vars(case) | {"after": kept}))


@trial("/do/jobs/cancel", "Cancel…", then="Cancel N jobs")
def cancel_many(props: Props, script: bool) -> Case:
    tag = props.name("tag")
    jobs = props.jobs(tag) if script else []
    if not script:  # the cause of one that will be tried again
        job, name, grant = props.taken(max_attempts=5, tag=tag)
        props.scene.fail(name, grant, f"torn {name}", kind=f"Kind{name}")
        return of_jobs(
            props,
            tag,
            at=f"/failures?q=Kind{name}",
            before=none,
            stored=props.status(job),
            to="cancelled",
            sign="tbody .pill-cancelled",
            said="1 of 1 jobs are cancelled.",
        )
    return of_jobs(props, tag, stored=props.statuses(jobs), to={"cancelled"}, sign="tbody .pill-cancelled",
                   said="2 of 2 jobs are cancelled.")  # fmt: skip


@trial("/do/jobs/cancel", BACKGROUND)
def in_the_background(props: Props, script: bool) -> Case:
    """The other answer to a question about many: the same button of one page, whatever is asked."""
    tag = props.name("tag")
    return of_jobs(props, tag, stored=props.statuses(props.jobs(tag)), to={"cancelled"}, later=True,
                   before=every(press("Cancel…", "This will cancel")), sign="tbody .pill-cancelled",
                   said="goes on by itself.")  # fmt: skip


@trial("/do/jobs/delete", "Delete…", then="Delete N jobs for good")
def delete_many(props: Props, script: bool) -> Case:
    tag = props.name("tag")
    jobs = props.jobs(tag) if script else []
    return by_cause(
        props, script, tag, jobs, stored=lambda: [props.stage.count("jobs", id=each) for each in jobs],
        to=[0, 0] if script else [0], sign="[data-row]", gone=True, said="jobs are deleted.",
    )  # fmt: skip


@trial("/do/jobs/priority", "Set…", then="Change the priority of N jobs")
def priority_of_many(props: Props, script: bool) -> Case:
    """Of two that were ticked."""
    tag = props.name("tag")
    jobs = [props.job(tag=tag, priority=4) for _ in range(3)]

    def tick(page: Page) -> None:
        for job in jobs[:2]:
            page.locator(f"#pick-{job}").check()
        page.locator("#new-priority").select_option("2")

    return of_jobs(
        props, tag, before=tick, stored=lambda: [props.stage.value("jobs", "priority", id=each) for each in jobs],
        to=[2, 2, 4], sign="tbody td[data-label=Priority]", text="2", said="2 of 2 jobs have the new priority.",
    )  # fmt: skip


@trial("/do/jobs/tags", "Change tags…", then="Change the tags of N jobs")
def tags_of_many(props: Props, script: bool) -> Case:
    tag, new = props.name("tag"), props.name("tag")
    jobs = props.jobs(tag)
    return of_jobs(
        props,
        tag,
        before=every(opened("Tags", filled(**{"add-tag": new}))),
        stored=lambda: props.stage.tags(jobs[0]),
        to={tag, new},
        sign="tbody a.tag",
        text=new,
        said="2 of 2 jobs have their tags changed.",
    )


@trial("/do/jobs/requires", "Change requirements…", then="Change the requirements of N jobs")
def requires_of_many(props: Props, script: bool) -> Case:
    tag, label = props.name("tag"), props.name("label")
    jobs = props.jobs(tag)
    return of_jobs(
        props, tag, before=every(opened("Requirements", filled(requires=label))), shown=f"/jobs/{jobs[0]}",
        stored=lambda: props.required(jobs[0]), to=[label], sign="main p code",
        text=label, said="2 of 2 jobs have the new requirements.",
    )  # fmt: skip


@trial("/do/jobs/retype", "Retype…", then="Give another type to N jobs")
def retype_many(props: Props, script: bool) -> Case:
    tag = props.name("tag")
    jobs = props.jobs(tag)
    return of_jobs(
        props, tag, before=every(chosen("#new-type", "pdf")),
        stored=lambda: {props.stage.value("jobs", "type", id=each) for each in jobs}, to={"pdf"},
        sign="tbody td[data-label=Type]", text="pdf", said="2 of 2 jobs have the new type.",
    )  # fmt: skip
