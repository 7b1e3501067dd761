"""What a form of a page says, and the page that it stood on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin
from urllib.parse import parse_qs

import msgspec

from blobforge.refusals import Refusal, RefusalCode
from web.api import wire_bulk, wire_jobs
from web.dashboard.webhookform import listed
from web.decode import invalid
from web.html import came_from, safe_next
from web.routing import Call

NOTHING = "nothing"  # what a person writes where many jobs are to require it
MOST_FIELDS = 2000  # of one form: a page of jobs with all of them selected, and room
LONGEST_FORM = 256 * 1024  # bytes
ActionAnswer = Callable[[Call, dict[str, list[str]], Any], Any]


def read_form(call: Call) -> dict[str, list[str]] | Refusal:
    """The fields of the form; empty ones count as absent."""
    if len(call.raw) > LONGEST_FORM:
        return Refusal(RefusalCode.TOO_LARGE, "That is more than a form of this page sends.")
    try:
        fields = parse_qs(call.raw.decode(), max_num_fields=MOST_FIELDS)
    except ValueError:
        return Refusal(RefusalCode.MALFORMED, "That is not what a form of this page sends.")
    if any("\0" in value for values in fields.values() for value in values):
        return Refusal(RefusalCode.INVALID, "The form holds a NUL character.")
    return fields


def fields_of(form: dict[str, list[str]], body: type[Any]) -> dict[str, list[str]]:
    """The fields of the API's body. Of an action on many jobs: those that were ticked, or with `everything` all that
    the list's filter holds, which comes as `filter_...`: a priority to look for is not the one to set."""
    if issubclass(body, wire_jobs.RequiresBody):
        return form | {"requires": _labels(form)}
    if not issubclass(body, wire_bulk.BulkBody):
        return form
    fields = {name: values for name, values in form.items() if not name.startswith("filter_")}
    if "to_priority" in form and issubclass(body, wire_bulk.BulkPriority):  # and nothing else takes it from the form
        fields["priority"] = form["to_priority"]
    if issubclass(body, wire_bulk.BulkRequires):
        fields["requires"] = _labels(form)
    if "everything" not in form:
        return fields | {"ids": form.get("ids", [])}
    fields.pop("ids", None)
    for name, values in form.items():
        if name.startswith("filter_"):
            wanted = name.removeprefix("filter_")
            fields["only_priority" if wanted == "priority" else wanted] = values
    return fields


def _labels(form: dict[str, list[str]]) -> list[str]:
    """What a person wrote as requirements; NOTHING, or an empty field, is none."""
    return [each for each in listed(form, "requires") if each != NOTHING]


def names_none(body: type[Any], form: dict[str, list[str]]) -> bool:
    """Whether this is a change of jobs, or workers, that were to be ticked, and none was."""
    if issubclass(body, wire_bulk.BulkWorkers | wire_bulk.BulkDrain):
        return not any(form.get(name) for name in ("ids", "q", "type", "status"))
    return issubclass(body, wire_bulk.BulkBody) and "everything" not in form and not form.get("ids")


def body_of(form: dict[str, list[str]], type_: type[Any]) -> Any | Refusal:
    """The form as the API's body: a list where that takes one, else the last value."""
    fields = {field.encode_name: _takes_list(field.type) for field in msgspec.structs.fields(type_)}
    # A form has fields of its own beside those of the API, and some bodies refuse what they do not know.
    given = {name: (values if fields[name] else values[-1]) for name, values in form.items() if name in fields}
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        return invalid(str(error))


def _takes_list(type_: Any) -> bool:
    if get_origin(type_) in (list, tuple, set, frozenset):
        return True
    return any(_takes_list(part) for part in get_args(type_))


def back(call: Call) -> str:
    """The page that the form stood on: named by the form, or by the browser (same origin only)."""
    named = parse_qs(call.raw.decode("utf-8", "replace")).get("return_to", [""])[0]
    if named:
        return safe_next(named)
    return came_from(call.request, call.services.site.base(call.request))
