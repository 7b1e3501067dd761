"""The description of the API, generated from the same rows and types that serve it."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

import msgspec
from jinja2 import Environment
from markupsafe import Markup
from quart import Response, current_app

from blobforge.machinery.release import version
from web import events
from web.api import ROUTES as API_ROUTES
from web.api.links import LINKS, Link
from web.api.wire_bulk import OperationBegun
from web.api.wire_common import JobType
from web.decode import lenient
from web.html import packed, rendered
from web.problems import Problem
from web.routing import Access, Call, Route

_PARAMETER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
# One or more printable characters, as a header may have them: Latin-1, and no space at either end.
_PRINTABLE = "^[!-~¡-¬®-ÿ]([ -~¡-¬®-ÿ]*[!-~¡-¬®-ÿ])?$"
_JSON = "application/json"
_REF = "#/components/schemas/{name}"
_PARAMETERS: dict[str | None, dict[str, Any]] = {
    "id": {"type": "integer", "minimum": 1},
    "worker": {"type": "string", "maxLength": 200},
    "type": msgspec.json.schema(JobType),
    "any": {"type": "string", "enum": ["source", "output"]},
}
_ACCESS = {
    Access.PUBLIC: "Anybody may call this.",
    Access.READ: "Takes the scope `read`.",
    Access.SUBMIT: "Takes the scope `submit`.",
    Access.WORK: "Takes a worker's credential, or the scope `work`.",
    Access.UPLOAD: "Takes the scope `submit` or `work`, or a worker's credential.",
    Access.ADMIN: "Takes the scope `admin`.",
    Access.ANYONE_KNOWN: "Takes any valid credential.",
}


@cache
def document() -> dict[str, Any]:
    """The whole OpenAPI 3.1 document."""
    routes = [route for route in (*API_ROUTES, *events.ROUTES, *ROUTES) if not route.hidden]
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    known = dict(zip(map(str, types), schemas, strict=True))
    for route in routes:
        if route.body is not None:
            _take_null(known[str(route.body)], components, set())
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\2}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, known, components)
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "BlobForge Server",
            "version": version(),
            "description": "The coordinator of a distributed job queue over files.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token, `bf_...`"},
                "worker_id": {"type": "apiKey", "in": "header", "name": "X-Worker-ID"},
                "worker_secret": {"type": "apiKey", "in": "header", "name": "X-Worker-Secret"},
            },
        },
    }
    return _ecma(whole)  # type: ignore[no-any-return]


def _ecma(value: Any) -> Any:
    """The same, with patterns as JSON Schema has them: there is no `\\Z` in ECMA-262, and `$` is only the end."""
    match value:
        case dict():
            return {name: _ecma(each) for name, each in value.items()}
        case list():
            return [_ecma(each) for each in value]
        case str() if value.endswith(r"\Z"):
            return value.removesuffix(r"\Z") + "$"
        case _:
            return value


def _take_null(shape: dict[str, Any], components: dict[str, Any], seen: set[str]) -> None:
    """Say of a body that a member which may be absent may be null, which is the same to us (`web/decode.py`)."""
    if "$ref" in shape:
        name = shape["$ref"].rsplit("/", 1)[1]
        if name not in seen:
            seen.add(name)
            _take_null(components[name], components, seen)
        return
    required = set(shape.get("required", ()))
    for name, member in shape.get("properties", {}).items():
        _take_null(member, components, seen)
        options = member.get("anyOf", [member])
        if name not in required and member != {} and not _takes_null(options):
            default = {"default": member.pop("default")} if "default" in member else {}
            shape["properties"][name] = {"anyOf": [*options, {"type": "null"}]} | default
    for option in shape.get("anyOf", ()):
        _take_null(option, components, seen)
    if isinstance(shape.get("items"), dict):
        _take_null(shape["items"], components, seen)


def _takes_null(options: list[dict[str, Any]]) -> bool:
    return any(option.get("type", "null") == "null" and "$ref" not in option and "enum" not in option
               for option in options)  # fmt: skip


def _types(routes: list[Route]) -> list[Any]:
    types: dict[str, Any] = {str(Problem): Problem}
    for route in routes:
        for type_ in (route.body, *_alternatives(route)):
            if type_ is not None:
                types[str(type_)] = type_
    return list(types.values())


def _operation(route: Route, known: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route.name),
        "summary": route.summary,
        "description": _ACCESS[route.access],
        "tags": [_tag(route)],
        "security": _security(route),
        "parameters": _parameters(route),
        "responses": _responses(route, known),
    }
    if route.body is not None:
        required = any(field.required for field in msgspec.structs.fields(route.body))
        schema = known[str(route.body)]
        content = {"application/json": {"schema": schema if required else {"anyOf": [schema, {"type": "null"}]}}}
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _alternatives(route: Route) -> tuple[Any, ...]:
    """The types of the answer: none, one, or several of which it is one."""
    if isinstance(route.gives, tuple):
        return route.gives
    return (route.gives,) if route.gives is not None else ()


def _operation_id(name: str) -> str:
    """`name` is a route's."""
    method, path = name.split(" ", 1)
    return re.sub(r"\W+", "_", method.lower() + _PARAMETER.sub(r"\2", path))


def _tag(route: Route) -> str:
    parts = [part for part in route.path.split("/") if part and part not in ("api", "admin")]
    return parts[0] if route.path.startswith("/api/") and parts else "operations"


def _security(route: Route) -> list[dict[str, list[str]]]:
    worker: list[dict[str, list[str]]] = [{"worker_id": [], "worker_secret": []}]
    match route.access:
        case Access.PUBLIC:
            return []
        case Access.WORK | Access.UPLOAD | Access.ANYONE_KNOWN:
            return [{"token": []}, *worker]
        case _:
            return [{"token": []}]


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[converter or None]}
        for converter, name in _PARAMETER.findall(route.path)
    ]
    if route.query is not None:
        schema = msgspec.json.schema_components([route.query], ref_template=_REF)[1]
        for name, (least, most) in lenient(route.query).items():
            shape = schema[route.query.__name__]["properties"][name]
            if most is not None:
                words = (
                    f"{least} to {most}: what is less or more is taken as that, and what is no number as the default"
                )
            else:
                words = f"{shape['description']}; what is less than {least}, or no number, is taken as that"
            schema[route.query.__name__]["properties"][name] = {"default": shape["default"], "description": words}
        for name, shape in schema[route.query.__name__]["properties"].items():
            found.append({"name": name, "in": "query", "required": False, "schema": _plain(shape, schema)})
    if route.method == "POST" and route.access is not Access.PUBLIC:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Makes the request repeatable for 24 hours",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _PRINTABLE},
            }
        )
    return found


def _plain(shape: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """A query parameter's schema without null (absent is how a query says it) and without references."""
    options = [option for option in shape.get("anyOf", [shape]) if option.get("type") != "null"]
    option = dict(options[0])
    if "$ref" in option:
        option = dict(components[option["$ref"].rsplit("/", 1)[1]])
    if shape.get("default") is not None:
        option["default"] = shape["default"]
    return option


def _responses(route: Route, known: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done"}
    shapes = [known[str(type_)] for type_ in _alternatives(route) if type_ is not OperationBegun]
    if shapes:
        content = {"schema": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}
        # Of a stream a schema would be that of each event, and these are told in words.
        good["content"] = {kind: content if kind != events.STREAM else {} for kind in route.kinds or (_JSON,)}
    if route.name in LINKS:
        good["links"] = {_operation_id(link.to): _link(link) for link in LINKS[route.name]}
    problem = {"application/problem+json": {"schema": known[str(Problem)]}}
    answers = {str(route.status): good}
    if OperationBegun in _alternatives(route):
        begun = {_JSON: {"schema": known[str(OperationBegun)]}}
        answers["202"] = {"description": "It goes on in the background", "content": begun}
    if route.status == 201:
        answers["200"] = good  # what a repetition finds
    if route.path in ("/api/health", "/readyz"):
        answers["503"] = {"description": "Not healthy", "content": good["content"]}
    else:
        answers["default"] = {"description": "Refused (RFC 9457)", "content": problem}
    return answers


def _link(link: Link) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": _operation_id(link.to), "parameters": link.path}
    return described if link.body is None else described | {"requestBody": link.body}


async def openapi(call: Call) -> dict[str, Any]:
    return document()


async def docs(call: Call) -> Response:
    """The same for a person: one page, no script, no asset from anywhere else."""
    text = await rendered("docs.html", api=document(), contents=_contents(current_app.jinja_env))
    return packed(Response(text, content_type="text/html; charset=utf-8"), text.encode(), call.request)


@lru_cache(maxsize=1)
def _contents(templates: Environment) -> Markup:
    """Made once: half a megabyte, the same in each answer."""
    return Markup(templates.get_template("docs_contents.html").render(api=document()))  # noqa: S704 - a template's


ROUTES = [
    Route("GET", "/api/openapi.json", Access.PUBLIC, openapi, "This description", gives=dict[str, Any]),
    Route("GET", "/api/docs", Access.PUBLIC, docs, "This description, to read", gives=str, kinds=("text/html",)),
]
