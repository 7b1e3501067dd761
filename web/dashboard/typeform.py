"""The form with all that can be set for a type: what stands in each field, and what a person has changed in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from blobforge.config import Settings
from blobforge.jobtype import TypeSettings
from blobforge.spans import seconds_of, written
from web.api.encode import steps_wire
from web.api.job_types import in_force
from web.api.wire_types import TypeBody
from web.decode import invalid

ON_OFF = ("on", "off")


class Unfit(Exception):
    """The text in a field is no value of the setting; the message says why."""


class SettingField(msgspec.Struct, frozen=True):
    """One setting. `text` is what stands in its field (empty: it is not set); `unless` what holds then."""

    name: str
    label: str
    hint: str
    text: str
    unless: str
    choices: tuple[str, ...] = ()
    lines: bool = False


def fields_of(settings: TypeSettings, all_: Settings) -> list[SettingField]:
    """The fields for what is set for a type."""
    other = in_force(TypeSettings(), all_)  # what holds where nothing is set
    rate = ""
    if settings.rate_count is not None and settings.rate_ms is not None:
        rate = f"{settings.rate_count}/{written(settings.rate_ms / 1000)}"
    weights = "\n".join(f"{group}={weight}" for group, weight in sorted(settings.weights.items()))
    quarantine = "on" if other.quarantine else "off"
    breaker = f"{other.breaker:,}" if other.breaker else "none do"
    return [
        SettingField(
            "max_running", "Run at once, at most", "A number; 0 is none", _number(settings.max_running), "no limit"
        ),
        SettingField("rate", "Started, at most", "A number and a time, as 100/1m", rate, "no limit"),
        SettingField(
            "max_attempts",
            "Tries",
            "Of jobs that are submitted without a number of their own",
            _number(settings.max_attempts),
            f"{other.max_attempts:,}",
        ),
        SettingField(
            "retry_backoff",
            "Wait before the second try",
            "A time, as 30s or 5m; it doubles with each one",
            _time(settings.retry_backoff),
            written(other.retry_backoff),
        ),
        SettingField(
            "worker_timeout",
            "Worker time-out",
            "A time, as 20h: how long a lease lasts without a heartbeat",
            _time(settings.worker_timeout),
            written(other.worker_timeout),
        ),
        SettingField(
            "urgent_after",
            "Urgent after",
            "A time, as 2h: what has been ready for longer gets priority 1",
            _time(settings.urgent_after),
            "never",
        ),
        SettingField(
            "breaker",
            "Failures in a row that pause it",
            "0 to 100, of one cause and on most workers; 0: none do",
            _number(settings.breaker),
            breaker,
        ),
        SettingField(
            "own_fault",
            "A document's own fault",
            "On: one that two sound workers have failed the same way is dead at once",
            _truth(settings.own_fault),
            "off",
            ON_OFF,
        ),
        SettingField(
            "quarantine",
            "Quarantine of machines",
            "Whether they are quarantined for what they fail of it",
            _truth(settings.quarantine),
            quarantine,
            ON_OFF,
        ),
        SettingField(
            "weights",
            "Weights of groups",
            "A line each, as acme=4; =4 is for jobs without a group",
            weights,
            "each has 1",
            lines=True,
        ),
        SettingField(
            "then",
            "What follows its jobs",
            'Steps as JSON, as [{"type": "summary", "outputs": "*.md"}], for submissions that say nothing of it',
            _chain(settings),
            "nothing",
            lines=True,
        ),
    ]


def changes_of(form: Mapping[str, list[str]], names: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The changes of a person, as members of the API's body; and by field, why a text is no value of its setting.

    Each field comes with what stood in it (`was_...`): what another administrator has set meanwhile stays.
    """
    changes: dict[str, Any] = {}
    unfit: dict[str, str] = {}
    for name in names:
        said, was = (_said(form, each) for each in (name, f"was_{name}"))
        if said == was:
            continue
        try:
            changes[name] = _weight_changes(said, was) if name == "weights" else _read(name, said)
            msgspec.convert({name: changes[name]}, TypeBody)
        except Unfit as error:
            unfit[name] = str(error)
        except msgspec.ValidationError as error:
            refusal = invalid(str(error))
            unfit[name] = refusal.detail.removeprefix(f"{refusal.field}: ")
    return {name: value for name, value in changes.items() if name not in unfit}, unfit


def names_in(form: Mapping[str, list[str]]) -> list[str]:
    """The settings that the form has fields of."""
    return [name for name in (*_READERS, "weights") if f"was_{name}" in form or name in form]


def typed(form: Mapping[str, list[str]], names: list[str]) -> dict[str, str]:
    """The texts that a person has written into the fields."""
    return {name: _said(form, name) for name in names}


def _said(form: Mapping[str, list[str]], name: str) -> str:
    return form.get(name, [""])[-1].replace("\r\n", "\n").strip()


def _read(name: str, said: str) -> Any:
    return _READERS[name](said) if said else None


def _read_number(said: str) -> int:
    if not said.isascii() or not said.isdigit() or len(said) > 9:
        raise Unfit(f"{said[:40]!r} is no number.")
    return int(said)


def _read_time(said: str) -> float:
    seconds = seconds_of(said)
    if seconds is None:
        raise Unfit(f"{said[:40]!r} is no time; one is 90s, 10m or 2h.")
    return seconds


def _read_rate(said: str) -> dict[str, Any]:
    count, slash, time = said.partition("/")
    seconds = seconds_of(time)
    if not slash or seconds is None or not count.strip().isascii() or not count.strip().isdigit():
        raise Unfit(f"{said[:40]!r} is no rate: a number, a slash and a time, as 100/1m.")
    return {"count": _read_number(count.strip()), "seconds": seconds}


def _read_truth(said: str) -> bool:
    if said not in ON_OFF:
        raise Unfit("It is on or off.")
    return said == "on"


def _read_steps(said: str) -> list[Any]:
    try:
        found = msgspec.json.decode(said)
    except msgspec.DecodeError as error:
        raise Unfit(f"It is no JSON: {error}.") from error
    if not isinstance(found, list):
        raise Unfit('Steps are a JSON array, as [{"type": "summary", "outputs": "*.md"}].')
    return found


def _read_weights(said: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in said.splitlines():
        group, equals, weight = line.strip().rpartition("=")
        if not line.strip():
            continue
        if not equals or not weight.strip().isascii() or not weight.strip().isdigit():
            raise Unfit(f"{line[:40]!r} is no weight: a group, an equals sign and a number, as acme=4.")
        found[group.strip()] = _read_number(weight.strip())
    return found


def _weight_changes(said: str, was: str) -> dict[str, int]:
    """Those that were changed; a group whose line is gone has 1 again."""
    now, before = _read_weights(said), _read_weights(was)
    return {group: now.get(group, 1) for group in sorted({*now, *before}) if now.get(group) != before.get(group)}


_READERS: dict[str, Callable[[str], Any]] = {
    "max_running": _read_number, "rate": _read_rate, "max_attempts": _read_number, "retry_backoff": _read_time,
    "worker_timeout": _read_time, "urgent_after": _read_time, "breaker": _read_number, "own_fault": _read_truth,
    "quarantine": _read_truth, "then": _read_steps,
}  # fmt: skip


def _chain(settings: TypeSettings) -> str:
    steps = steps_wire(settings.then)
    return msgspec.json.format(msgspec.json.encode(steps), indent=0).decode() if steps else ""


def _number(n: int | None) -> str:
    return str(n) if n is not None else ""


def _time(ms: int | None) -> str:
    return written(ms / 1000) if ms is not None else ""


def _truth(on: bool | None) -> str:
    return "" if on is None else ON_OFF[0] if on else ON_OFF[1]
