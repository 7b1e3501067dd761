"""What schemathesis should know of requests that the description cannot tell it. Loaded by schemathesis alone."""

from __future__ import annotations

import itertools
import secrets
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any

import schemathesis

_run = secrets.token_hex(4)  # a server may see several runs, which make up the same keys
_numbers = itertools.count()
_addresses = itertools.count(int(IPv4Address("10.0.0.1")))


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """What is linked to a body is all of it: with members by chance, hardly any would do what the link is for.

    A claim asks for a type of which there are jobs (test_description.py makes them), and no output was sent.
    """
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                for link in response.get("links", {}).values():
                    body = link.get("requestBody")
                    if body is None:
                        continue
                    link["x-schemathesis"] = {"merge_body": False}
                    body.pop("output_key", None)
                    if "job_type" in body:
                        body["job_type"] = "pdf"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Each comes from an address of its own, as a proxy says it: failed authentications are slowed by address. An
    idempotency key is good for one request; an empty value in a query is none; 4.0 is no integer to us, and is
    one to JSON Schema; integers in options are those that all languages write alike; a job does not
    expire before it may be started."""
    if "X-Forwarded-For" not in case.headers:
        case.headers["X-Forwarded-For"] = str(IPv4Address(next(_addresses)))
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) <= 255 and key.strip().isprintable():
        case.headers["Idempotency-Key"] = f"{key[:230]}-{_run}-{next(_numbers)}"
    if case.query and any(_none(value) for value in case.query.values()):
        case.query = {name: value for name, value in case.query.items() if not _none(value)}
    if isinstance(case.body, float | list | dict):
        case.body = _whole(case.body)


def _none(value: Any) -> bool:
    """Of a name that is repeated, the first value counts: of a list its first, of an object its first name."""
    while isinstance(value, list | dict) and value:
        value = next(iter(value))
    return value in ("", [], {}, None)


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(each) for each in value]
        case dict():
            whole = {name: _safe(_whole(each)) if name == "options" else _whole(each) for name, each in value.items()}
            return _in_order(whole)
        case _:
            return value


def _in_order(body: dict[str, Any]) -> dict[str, Any]:
    """A job that may be started must be so before it expires: the later of two times is the end."""
    times = [body.get("not_before"), body.get("expires_at")]
    try:
        begin, end = sorted(times, key=lambda time: datetime.fromisoformat(time).timestamp())
    except (TypeError, ValueError, OverflowError):
        return body  # not two times, or none that we could read
    return body | {"not_before": begin, "expires_at": end}


def _safe(value: Any) -> Any:
    match value:
        case int():
            return value if abs(value) < 2**53 else value % 2**53
        case list():
            return [_safe(each) for each in value]
        case dict():
            return {name: _safe(each) for name, each in value.items()}
        case _:
            return value
