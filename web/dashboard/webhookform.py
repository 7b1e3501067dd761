"""The forms about webhooks: what a person has filled in, as the members of the API's bodies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from web.api import wire_webhooks

LOCAL = len("2026-11-23T10:00")  # what a browser's field for a time sends: no zone
LISTS = ("types", "tags")  # one in each line: a comma may be in any


def webhook_fields(form: Mapping[str, list[str]], body: type[msgspec.Struct], *, now: int) -> dict[str, Any]:
    """The form's fields for this body. A form that holds all of a webhook says so (`whole`): what is empty in it is
    taken away, and a box that is not ticked is no. Times without a zone are UTC; without an end it is `now` (ms)."""
    fields = dict(form)
    if issubclass(body, wire_webhooks.RangeBody):
        fields.setdefault("until", [datetime.fromtimestamp(now / 1000, UTC).isoformat()])
        times = {name: [_zoned(each) for each in form_values] for name, form_values in fields.items()
                 if name in ("since", "until")}  # fmt: skip
        return fields | times
    if issubclass(body, wire_webhooks.WebhookPatch) and "whole" not in form:
        return fields
    fields |= {name: listed(form, name, between="\n") for name in LISTS}
    if issubclass(body, wire_webhooks.WebhookPatch):
        fields |= {"events": form.get("events", []), "results": form.get("results", ["false"])}
        fields |= {name: form.get(name, [None]) for name in ("group", "batch")}  # type: ignore[list-item]
    return fields


def listed(form: Mapping[str, list[str]], name: str, *, between: str = ",") -> list[str]:
    """What a person wrote into a field, with commas between several, or one in each line."""
    said = [each.strip() for text in form.get(name, []) for each in text.split(between)]
    return [each for each in said if each]


def _zoned(moment: str) -> str:
    return f"{moment}:00Z" if len(moment) == LOCAL else moment
