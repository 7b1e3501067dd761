"""Each method of the client is held to the server's description of its API: the route is there, takes what the
client sends, and gives what the client reads."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from blobforge.client import AsyncClient
from blobforge.client.types import JobFilters, PartsDestination
from tests.fixtures.local import LocalServer
from tests.generated_client import CLIENT, PARTS, methods

# Made of several endpoints, or of none: bytes to and from signed URLs, any URL.
NO_ENDPOINT = {
    *(method.name for method in methods(CLIENT / "scripting.py", "AsyncClient")),
    "download", "read", "upload", "upload_part", "glance", "preflight", "clock",
}  # fmt: skip
NAMES = {
    method.name
    for module, name in PARTS.items()
    for method in methods(module, name)
} | {"register", "unregister", "heartbeat", "claim", "complete", "fail", "release", "fresh_source_url",
     "fresh_upload_url", "begin_multipart", "complete_multipart", "abort_multipart"}  # fmt: skip
SENT = {
    "named_upload_urls": {"outputs": [{"name": "a.md", "checksum": "ab" * 32}]},
    "complete": {"outputs": "all"},
    "output_urls": {"outputs": [(1, "a.md")]},
    "change_webhook": {"unset": ["group"]},
    "change_type": {"unset": ["max_attempts"], "rate": (10, 60.0)},
    "submit_jobs": {"jobs": [{"type": "pdf", "source_hash": "ab" * 32}]},
}
SENT_BY_ALL = {
    "jobs": [{"job_id": 1, "lease": "x"}], "sources": [("ab" * 32, b"x")], "parts": [(1, "etag")], "verb": "retry",
    "filters": {"tag": "x"}, "cause": "trouble", "to": PartsDestination(job_id=1, lease="x"),
    "then": [{"type": "ocr", "outputs": "*", "then": []}],
    "not_before": datetime(2026, 12, 1, 22, tzinfo=UTC), "expires_at": datetime(2026, 12, 2, 22, tzinfo=UTC),
}  # fmt: skip


# Of a grant, which is one type with and without a job: a list of them holds those with one.
# So is what an upload gets a URL for: one object, or several by their names.
THERE = {f"claim.jobs[].{name}" for name in ("source_url", "upload_url", "output_key", "lease", "job")}
THERE |= {f"{name}_upload_url.{member}" for name in ("fresh", "source") for member in ("url", "key", "headers")}
THERE |= {"named_upload_urls.urls", "named_upload_urls.urls[].url"}


class Asked(Exception):
    """What would have been sent."""

    def __init__(self, method: str, path: str, answer: Any, body: Any, params: Any) -> None:
        self.method, self.path, self.answer, self.body, self.params = method, path, answer, body, params


class Recorder:
    """In the place of the transport."""

    base_url = "http://described"

    async def call(self, method: str, path: str, answer: Any, **how: Any) -> Any:
        raise Asked(method, path, answer, how.get("body"), how.get("params"))

    async def every_page(self, path: str, item: Any, **how: Any) -> Any:
        raise Asked("GET", path, list[item], None, how.get("params"))


def sample(name: str, type_: Any) -> Any:
    """A value for a parameter, never None: each member that a method can send is sent."""
    if name in SENT_BY_ALL:
        return SENT_BY_ALL[name]
    origin, inner = get_origin(type_), [each for each in get_args(type_) if each is not type(None)]
    if origin in (typing.Union, types.UnionType):
        return sample(name, inner[0])
    if origin is Literal:
        return inner[0]
    if origin is not None and issubclass(origin, Mapping):
        return {"a": "b"}
    if origin is not None and issubclass(origin, Sequence):
        return [sample("", inner[0])]
    return {int: 1, str: "x", float: 1.0, bool: True, datetime: datetime(2026, 12, 1, tzinfo=UTC)}[type_]


async def asked_by(name: str) -> Asked:
    client = AsyncClient("http://described", token="bf_x").with_instance("i")
    client._transport = Recorder()  # type: ignore[assignment]
    method = getattr(client, name)
    hints = get_type_hints(getattr(AsyncClient, name), include_extras=True)
    given: dict[str, Any] = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            if parameter.annotation.startswith("Unpack"):
                filters = get_type_hints(JobFilters)
                given |= {key: sample(key, type_) for key, type_ in filters.items()}
        else:
            given[parameter.name] = sample(parameter.name, hints[parameter.name])
    given |= SENT.get(name, {})
    with pytest.raises(Asked) as asked:
        await method(**given)
    return asked.value


def operation_of(described: Any, asked: Asked) -> Any:
    """The operation of the description that the request is for; a path without parameters goes before one with."""
    matching = [
        (path.count("{"), row[asked.method.lower()])
        for path, row in described["paths"].items()
        if asked.method.lower() in row and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), asked.path)
    ]
    assert matching, f"no {asked.method} {asked.path}"
    return min(matching, key=lambda each: each[0])[1]


class Schemas:
    def __init__(self, described: Any) -> None:
        self._all = described["components"]["schemas"]
        self.read: set[str] = set()  # Type.member that is described where the client reads it
        self.unknown: set[str] = set()  # that is not: one type may stand for two answers that differ

    def leaves(self, schema: Any) -> list[Any]:
        """The schemas that one stands for: of a union, each."""
        if "$ref" in schema:
            return self.leaves(self._all[schema["$ref"].rpartition("/")[2]])
        for many in ("anyOf", "oneOf"):
            if many in schema:
                return [leaf for each in schema[many] for leaf in self.leaves(each)]
        return [schema]

    def check_sent(self, value: Any, schema: Any, where: str) -> None:
        """Each member that is sent is one of those that are described."""
        leaves = self.leaves(schema)
        if any(not {"type", "properties", "enum"} & leaf.keys() for leaf in leaves):
            return  # any JSON
        if isinstance(value, Mapping):
            objects = [leaf for leaf in leaves if leaf.get("type") == "object" or "properties" in leaf]
            assert objects, f"{where} is an object, which is not described"
            open_ = any("properties" not in leaf for leaf in objects)
            for name, member in value.items():
                members = [leaf["properties"][name] for leaf in objects if name in leaf.get("properties", {})]
                assert members or open_, f"{where}.{name} is sent, and not described"
                if members:
                    self.check_sent(member, {"anyOf": members}, f"{where}.{name}")
        elif isinstance(value, list):
            items = [leaf["items"] for leaf in leaves if leaf.get("type") == "array" and "items" in leaf]
            for each in value if items else ():
                self.check_sent(each, {"anyOf": items}, f"{where}[]")
        else:
            kinds = {leaf.get("type") for leaf in leaves}
            mine = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}[type(value)]
            assert {mine, None} & kinds or (mine == "integer" and "number" in kinds), f"{where}: {mine}, not {kinds}"

    def check_read(self, type_: Any, schema: Any, where: str) -> None:
        """Each field that is read is described, of a kind that the client takes; what it must have is required."""
        leaves = self.leaves(schema)
        origin, inner = get_origin(type_), get_args(type_)
        if origin in (typing.Union, types.UnionType):
            inner = tuple(each for each in inner if each is not type(None))
            if len(inner) == 1:
                self.check_read(inner[0], {"anyOf": [leaf for leaf in leaves if leaf.get("type") != "null"]}, where)
            return
        if origin in (list, tuple):
            for leaf in leaves:
                assert leaf.get("type") == "array", f"{where} is {leaf.get('type')}, not an array"
                if "items" in leaf:
                    self.check_read(inner[0], leaf["items"], f"{where}[]")
            return
        if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
            kinds = {str: "string", int: "integer", bool: "boolean", float: "number"}
            if type_ in kinds:
                wrong = {leaf.get("type") for leaf in leaves} - {kinds[type_], None, "null"}
                assert wrong <= ({"integer"} if type_ is float else set()), f"{where} is {wrong}, not {type_}"
            return
        objects = [leaf for leaf in leaves if "properties" in leaf]
        for field in msgspec.structs.fields(type_) if objects else ():
            members = [
                leaf["properties"][field.encode_name] for leaf in objects if field.encode_name in leaf["properties"]
            ]
            named = f"{type_.__name__}.{field.encode_name}"
            (self.read if members else self.unknown).add(named)
            if not members:
                assert not field.required, f"{where}.{field.encode_name} is read, and not described"
                continue
            if field.required and f"{where}.{field.encode_name}" not in THERE:
                required = all(field.encode_name in leaf.get("required", ()) for leaf in objects)
                assert required, f"{where}.{field.encode_name} may be missing"
            self.check_read(field.type, {"anyOf": members}, f"{where}.{field.name}")


async def test_the_client_sends_and_reads_what_is_described(local: LocalServer, autojump_clock: Any) -> None:
    _, described = await local.call("GET", "/api/openapi.json", headers={})
    schemas = Schemas(described)
    seen = 0
    for name in sorted(NAMES - NO_ENDPOINT):
        asked = await asked_by(name)
        if not asked.path.startswith("/api/"):  # probes, which are no part of the API
            continue
        operation = operation_of(described, asked)
        if asked.body:
            assert "requestBody" in operation, f"{name} sends a body, and none is described"
            sent = msgspec.json.decode(msgspec.json.encode(asked.body))
            schemas.check_sent(sent, operation["requestBody"]["content"]["application/json"]["schema"], name)
        known = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
        assert {key for key, value in (asked.params or {}).items() if value is not None} <= known, name
        answers = {code: answer for code, answer in operation["responses"].items() if code.startswith("2")}
        if {"200", "202"} <= answers.keys():  # the second to what asks for the background
            answers = {code: answers[code] for code in [("200", "202")["background" in asked.body]]}
        for answer in answers.values():
            content = answer.get("content", {}).get("application/json")
            if content is not None:
                schemas.check_read(asked.answer, content["schema"], name)
        seen += 1
    assert seen > 50
    assert schemas.unknown - schemas.read == set(), "no answer has them"
