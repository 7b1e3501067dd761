"""Actions of the page of a job."""

from __future__ import annotations

from typing import Any

from tests.dashboard.trials.case import Case, Props, chosen, filled, opened, press, trial

JOB = "/do/jobs/<id:job_id>"


def of_job(props: Props, job: int, said: str, pill: str, **fields: Any) -> Case:
    """Its status changes, and shows on its page."""
    given = {"at": f"/jobs/{job}", "stored": props.status(job), "to": pill, "said": said, "shown": f"/jobs/{job}",
             "sign": "h1 .pill", "text": pill}  # fmt: skip
    return Case(**(given | fields))


@trial(f"{JOB}/retry", "Retry")
def retry(props: Props, script: bool) -> Case:
    """With the whole budget again."""
    job, _ = props.dead()

    def stored() -> object:
        return props.stage.value("jobs", "status", id=job), props.stage.value("jobs", "attempts", id=job)

    assert stored() == ("dead", 1)
    return of_job(props, job, f"Job {job} goes again.", "pending", stored=stored, to=("pending", 0))


@trial(f"{JOB}/retry", "Convert again")
def convert_again(props: Props, script: bool) -> Case:
    job, _ = props.completed()
    return of_job(props, job, f"Job {job} goes again.", "pending")


@trial(f"{JOB}/retry", "Convert and compare")
def convert_and_compare(props: Props, script: bool) -> Case:
    job, _ = props.completed()
    stored = props.value("jobs", "compare", id=job)
    return of_job(props, job, f"Job {job} goes again.", "pending", stored=stored, to=1)


@trial(f"{JOB}/retry", "Try again now")
def try_again_now(props: Props, script: bool) -> Case:
    job, name, grant = props.taken(max_attempts=5)
    props.scene.fail(name, grant)
    return of_job(props, job, f"Job {job} goes again.", "pending")


@trial(f"{JOB}/cancel", "Cancel", asks=True)
def cancel(props: Props, script: bool) -> Case:
    job, _, _ = props.taken()
    return of_job(props, job, f"Job {job} is cancelled.", "cancelled")


@trial(f"{JOB}/cancel", "Cancel what came of it", asks=True)
def cancel_what_came_of_it(props: Props, script: bool) -> Case:
    child = props.name("child")
    job, name, grant = props.taken(then=[{"type": child, "outputs": "pages/*"}])
    props.scene.complete_all(name, grant, {"pages/1.txt": b"page 1"})
    (came,) = props.until(lambda: [each["id"] for each in props.call("GET", f"/api/jobs?type={child}")["jobs"]])
    return of_job(props, came, "Cancelled of what came of it: 1.", "cancelled", at=f"/jobs/{job}")


@trial(f"{JOB}/priority", "Set")
def priority(props: Props, script: bool) -> Case:
    job = props.job(priority=4)
    return Case(
        at=f"/jobs/{job}", before=chosen("#priority", "1"),
        stored=props.value("jobs", "priority", id=job), to=1, said=f"The priority of job {job} is changed.",
        shown=f"/jobs/{job}", sign="dd", text="priority 1",
    )  # fmt: skip


@trial(f"{JOB}/priority", "Make it urgent")
def make_it_urgent(props: Props, script: bool) -> Case:
    name = props.name("urgent")
    props.scene.worker(name, name)
    props.job(type=name)
    job = props.job(type=name)
    return Case(
        at=f"/jobs/{job}", stored=props.value("jobs", "priority", id=job), to=1,
        said=f"The priority of job {job} is changed.", shown=f"/jobs/{job}", sign="dd", text="priority 1",
    )  # fmt: skip


@trial(f"{JOB}/delete", "Delete", asks=True)
def delete(props: Props, script: bool) -> Case:
    tag = props.name("tag")
    job = props.job(tag=tag)
    return Case(at=f"/jobs/{job}", stored=props.count("jobs", id=job), to=0, said=f"Job {job} is deleted.",
                shown=f"/jobs?tag={tag}", sign=f"#job-{job}", gone=True)  # fmt: skip


@trial(f"{JOB}/tags", "Change")
def tags(props: Props, script: bool) -> Case:
    job, tag = props.job(), props.name("tag")
    return Case(at=f"/jobs/{job}", before=filled(**{"add-tag": tag}), stored=lambda: props.stage.tags(job), to={tag},
                within="form[aria-label='Change the tags']", said=f"The tags of job {job} are changed.",
                shown=f"/jobs/{job}", sign="a.tag", text=tag)  # fmt: skip


@trial(f"{JOB}/requires", "Change")
def requires(props: Props, script: bool) -> Case:
    job, label = props.job(), props.name("label")
    return Case(
        at=f"/jobs/{job}",
        before=opened("Change what it requires", filled(requires=label)),
        within="#change-requirements",
        stored=lambda: props.required(job),
        to=[label],
        said=f"What job {job} requires of its worker is changed.",
        shown=f"/jobs/{job}",
        sign="main p code",
        text=label,
    )


@trial("/do/jobs/undo", "Undo")
def undo(props: Props, script: bool) -> Case:
    job = props.job()
    return of_job(
        props,
        job,
        "Undone: 1 of 1 jobs are as before.",
        "pending",
        before=press("Cancel", "is cancelled."),
        within="body",
    )
