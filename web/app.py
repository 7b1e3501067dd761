"""The HTTP front as one Quart-Trio app: routes, limits, and the last word on errors."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from quart import Response, request
from quart.routing import QuartRule
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from actors.arrival import tell_waiting
from actors.messages import SourceArrived
from blobforge.objects import ObjectInfo, ObjectStoreError
from blobforge.objects.keys import is_source_key
from blobforge.objects.local import LocalStore
from web import events, policy
from web.api import ROUTES as API_ROUTES
from web.api import openapi
from web.asgi import Application, QuartRequest, request_of
from web.auth import login
from web.connection.hot import HotRoutes
from web.dashboard import words
from web.dashboard.assets import Assets
from web.dashboard.page import theme
from web.dashboard.pages import page_routes
from web.dispatch import TOO_MUCH_UNREAD, Endpoint, http_problem, refusal_of, view
from web.html import Templates, refused_page
from web.limits import asking, downloads
from web.metrics.requests import UNMATCHED, Requests
from web.objects import OBJECTS, object_routes
from web.problems import internal_error, refused
from web.request import Request
from web.routing import Route
from web.services import Services
from web.site import Site
from web.uploads import permit_upload

log = structlog.get_logger("blobforge.http")

# What the pages need and no more. The frame is for previews.
SECURITY_HEADERS = {
    "Content-Security-Policy": policy.PAGES,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    # What clients know the server by: an answer without it may be a proxy's (`blobforge/client/recognise.py`).
    "BlobForge": "1",
}
HTTPS_HEADERS = SECURITY_HEADERS | {"Strict-Transport-Security": "max-age=31536000"}
# The same as they go over the wire.
LINES, HTTPS_LINES = (
    "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items()).encode()
    for headers in (SECURITY_HEADERS, HTTPS_HEADERS)
)


class IdConverter(BaseConverter):
    """An id: digits, few enough to fit into the database's integers."""

    regex = r"[1-9][0-9]{0,17}"

    def to_python(self, value: str) -> int:
        return int(value)


class WorkerConverter(BaseConverter):
    """A worker's id, as its wire type allows it."""

    regex = r"[^/\x00-\x1f\x7f]{1,200}"


class TypeConverter(BaseConverter):
    """A type of jobs; what its wire type forbids beside is refused by the handler."""

    regex = r"[^/\x00-\x1f\x7f]{1,200}"


def routes() -> list[Route]:
    """Every route of the API, the event stream and the documentation."""
    return [*API_ROUTES, *events.ROUTES, *openapi.ROUTES, *login.ROUTES, *page_routes(API_ROUTES)]


class MatchedRule(QuartRule):
    """A rule whose addresses are matched, and never built: pages spell the paths that they lead to."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        # Werkzeug generates two functions for each rule, which takes ten times as long as the rest of an app's start.
        # Should a later version call this otherwise, it takes that long again, and nothing else changes.
        def build(rule: MatchedRule, **_: Any) -> tuple[str, str]:
            raise NotImplementedError(f"the address of {rule.rule} is not built from its rule: spell it")

        return build


class App(Application):
    """The whole of it; `hot` are the routes that need nothing of Quart."""

    url_rule_class = MatchedRule  # type: ignore[assignment]
    jinja_environment = Templates  # type: ignore[assignment]
    hot: HotRoutes


def make_app(services: Services) -> App:
    """The app. It holds no state of its own: all of it is in `services`."""
    app = App("web", static_folder=None, template_folder="dashboard/templates")
    words.install(app.jinja_env)
    Assets().install(app)
    app.context_processor(theme)
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_body
    app.config["BODY_TIMEOUT"] = services.settings.request_timeout
    app.url_map.converters["id"] = IdConverter
    app.url_map.converters["worker"] = WorkerConverter
    app.url_map.converters["type"] = TypeConverter
    app.url_map.merge_slashes = False
    endpoints = [Endpoint(route, services) for route in routes()]
    for endpoint in endpoints:
        route = endpoint.route
        app.add_url_rule(route.path, route.name, view(endpoint), methods=[route.method])
    if isinstance(services.objects, LocalStore):
        received = partial(_received, services)
        permit = partial(permit_upload, services)
        size = services.settings.max_object_size
        app.register_blueprint(object_routes(services.objects, max_size=size, on_received=received, permit=permit))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)
    ours = frozenset(each.route.name for each in endpoints)
    app.before_request(partial(_owned, services, ours))
    app.after_request(partial(_count, services.metrics.requests, ours))
    app.after_request(partial(_secure, services.site))
    app.hot = HotRoutes(
        [endpoint for endpoint in endpoints if endpoint.route.hot],
        app.url_map,
        headers=lambda asked: HTTPS_LINES if services.site.is_https(asked) else LINES,
        largest=services.settings.max_body,
        patience=services.settings.request_timeout,
    )
    return app


async def _received(services: Services, key: str, info: ObjectInfo) -> None:
    """The embedded store has an object: a job may wait for it, and need not wait for the intake to look."""
    if not is_source_key(key):
        return
    digest = key.removeprefix("sources/")
    epoch = services.janitor.epoch
    # It may have been on the list of what is deleted, and be gone again: believed is what is seen now.
    with suppress(ObjectStoreError):
        seen = await services.objects.head(key)
        if seen is not None:
            arrived = SourceArrived(digest, seen.size, verified=seen.sha256 == digest, epoch=epoch)
            await tell_waiting(services.writer, arrived)


async def _http_error(error: HTTPException) -> Response:
    """The answer where there is no route: a page for a browser that goes there, a problem for a program."""
    asked = _asked()
    if asked.method == "GET" and "text/html" in (asked.headers.get("Accept") or ""):
        return await refused_page(refusal_of(error, asked), secrets.token_hex(8))
    return http_problem(error, asked, secrets.token_hex(8)).response()


async def _bug(error: Exception) -> Response:
    request_id = secrets.token_hex(8)
    log.error("unhandled error", request_id=request_id, exc_info=error)
    return internal_error(instance=request.path, request_id=request_id).response()


async def _owned(services: Services, ours: frozenset[str]) -> Response | None:
    """Whose answer it is, where the dispatcher does not say so: of the dashboard's files, of objects, and of what is
    not there. None: go on."""
    if request.url_rule is not None and request.url_rule.endpoint in ours:
        return None
    asked = _asked()
    address = services.site.address(asked)
    if request.blueprint == OBJECTS:
        asking.set((downloads(address),))
        return None
    asking.set((address,))
    if not services.unread.full(address):
        return None
    return refused(TOO_MUCH_UNREAD, instance=asked.path, request_id=secrets.token_hex(8)).response()


async def _count(requests: Requests, ours: frozenset[str], response: Response) -> Response:
    """Count requests that go past the dispatcher: the embedded store's objects, and those without a route. Never by
    their path."""
    rule = request.url_rule
    if rule is None:
        requests.answered(UNMATCHED, response.status_code)
    elif rule.endpoint not in ours:
        requests.answered(f"{request.method} {rule.rule}", response.status_code)
    return response


async def _secure(site: Site, response: Response) -> Response:
    for name, value in (HTTPS_HEADERS if site.is_https(_asked()) else SECURITY_HEADERS).items():
        response.headers.setdefault(name, value)
    return response


def _asked() -> Request:
    """The request under way, for functions that Quart does not tell it to."""
    here: QuartRequest = request._get_current_object()  # type: ignore[attr-defined]
    return request_of(here)
