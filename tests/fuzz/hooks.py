"""What schemathesis should know of requests that the description cannot tell it. Loaded by schemathesis alone."""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis

_numbers = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """An idempotency key is good for one request; an empty value in a query is none; 4.0 is no integer to us, and is
    one to JSON Schema."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) <= 255 and key.strip().isprintable():
        case.headers["Idempotency-Key"] = f"{key[:240]}-{next(_numbers)}"
    if case.query:
        case.query = {name: value for name, value in case.query.items() if value != ""}
    case.body = _whole(case.body)


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(each) for each in value]
        case dict():
            return {name: _whole(each) for name, each in value.items()}
        case _:
            return value
