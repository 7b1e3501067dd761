"""Actions of types, from the tables of all and from the page of one."""

from __future__ import annotations

from tests.dashboard.trials.case import Case, Props, filled, none, trial


def paused(props: Props, reason: str = "") -> str:
    name = props.name("type")
    props.job(type=name)
    props.call("POST", f"/api/types/{name}/pause", {"reason": reason} if reason else {})
    return name


@trial("/do/types/<type:type>/pause", "Pause")
def pause(props: Props, script: bool) -> Case:
    name = props.name("type")
    props.job(type=name)
    at, before = (f"/types?q={name}", none) if script else (f"/types/{name}", filled(reason="it loses tables"))
    return Case(at=at, before=before, stored=props.count("type_settings", type=name), to=1, shown=f"/types?q={name}",
                sign="tbody .pill", text="paused", said=f"Type {name} is paused")  # fmt: skip


@trial("/do/types/<type:type>/pause", "Give another reason")
def another_reason(props: Props, script: bool) -> Case:
    name, reason = paused(props, "one reason"), props.name("reason")
    return Case(at=f"/types/{name}", before=filled(reason=reason), to=reason, said=f"Type {name} is paused",
                stored=props.value("type_settings", "reason", type=name), shown=f"/types/{name}", sign=".notice bdi",
                text=reason)  # fmt: skip


@trial("/do/types/<type:type>/resume", "Resume")
def resume(props: Props, script: bool) -> Case:
    """From where attention is drawn to it."""
    name = paused(props)
    at, within = ("/", f".attention li:has-text('{name}')") if script else (f"/types/{name}", "main")
    return Case(at=at, within=within, stored=props.count("type_settings", type=name), to=0, shown=f"/types?q={name}",
                sign="tbody .pill", gone=True, said=f"Jobs of type {name} are given out again.")  # fmt: skip


@trial("/do/types/<type:type>/resume", "Resume type …")
def resume_for_a_job(props: Props, script: bool) -> Case:
    """From the page of a job that waits for it; and that page follows, although nothing has happened to the job."""
    name = paused(props)
    job = props.job(type=name)
    return Case(at=f"/jobs/{job}", stored=props.count("type_settings", type=name), to=0, shown=f"/jobs/{job}",
                sign="#waiting button:has-text('Resume')", gone=True,
                said=f"Jobs of type {name} are given out again.")  # fmt: skip


@trial("/do/types/<type:type>", "Set")
def settings_of_a_type(props: Props, script: bool) -> Case:
    name = props.name("type")
    props.job(type=name)
    at = f"/types/{name}"
    return Case(
        at=at,
        before=filled(**{"set-max_attempts": "7"}),
        within=".settings-form",
        said=f"Type {name}: 1 setting is changed.",
        stored=props.setting(name, "max_attempts"),
        to=[7],
        shown=at,
        sign="input[name=was_max_attempts][value='7']",
    )
