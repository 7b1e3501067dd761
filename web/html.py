"""Answers for people: pages, messages and redirects, beside the JSON of the API."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment
from quart import Quart, Response, current_app
from werkzeug.http import parse_accept_header

from blobforge.access import Caller, Scope
from blobforge.refusals import Refusal
from web.problems import STATUS
from web.request import Request

URL = "%/:?#[]@!$&'()*+,;=~"  # what stays as it is in a Location: everything else is encoded
# Name, address, and the scope that it takes: what stands at the top of every page.
PLACES = (
    ("Overview", "/", Scope.READ),
    ("Jobs", "/jobs", Scope.READ),
    ("Types", "/types", Scope.READ),
    ("Batches", "/batches", Scope.READ),
    ("Submit", "/submit", Scope.SUBMIT),
    ("Failures", "/failures", Scope.READ),
    ("Operations", "/operations", Scope.READ),
    ("Workers", "/workers", Scope.READ),
    ("Admin", "/admin", Scope.ADMIN),
)
# Where a person may go on that has come to nothing.
WAYS_ON = tuple((name, url) for name, url, scope in PLACES if scope is Scope.READ and url != "/")
WORTH_PACKING = 1400  # bytes: below this, one packet holds it anyway


class Templates(Environment):
    """Those of the pages. They wait for nothing, so each is a plain function: as Quart has it, every value that a
    template prints is awaited."""

    def __init__(self, app: Quart, **options: Any) -> None:
        super().__init__(loader=app.create_global_jinja_loader(), **options)


async def rendered(template: str, **context: Any) -> str:
    """What a template of the app says."""
    await current_app.update_template_context(context)
    return current_app.jinja_env.get_template(template).render(context)


def places_of(caller: Caller) -> list[tuple[str, str]]:
    """Name and address of those that the caller may look at."""
    return [(name, url) for name, url, scope in PLACES if caller.may(scope)]


def safe_next(path: str | None) -> str:
    """A path on this site, and nothing that a browser takes for another one; `/` otherwise."""
    if (
        not path
        or len(path) > 1000
        or not path.startswith("/")
        or path.startswith(("//", "/\\"))
        or "\\" in path
        or not path.isprintable()
    ):
        return "/"
    return path


def came_from(request: Request, base: str) -> str:
    """The page on this site (`base`) that the browser says the request came from; `/` where it is none of ours."""
    referrer, here = urlsplit(request.headers.get("Referer", "")), urlsplit(base)
    if referrer.netloc != here.netloc or referrer.path.startswith("/do/"):
        return "/"
    return safe_next(referrer.path + (f"?{referrer.query}" if referrer.query else ""))


def html(text: str, status: int = 200, *, wait: Refusal | None = None) -> Response:
    """A page that is not to be cached: it shows what one person may see. `wait` says when to come again."""
    headers = {"Cache-Control": "no-store"}
    if status in (429, 503):
        headers["Retry-After"] = str(wait.retry_after) if wait is not None and wait.retry_after else "10"
    return Response(text, status, content_type="text/html; charset=utf-8", headers=headers)


def takes_gzip(accepted: str | None) -> bool:
    """Whether a client that accepts these encodings takes gzip: it may name it to say that it does not (`q=0`)."""
    return parse_accept_header(accepted)["gzip"] > 0


def packed(response: Response, body: bytes, request: Request) -> Response:
    """The same page, compressed where that is worth it and the browser takes it."""
    if len(body) >= WORTH_PACKING and takes_gzip(request.headers.get("Accept-Encoding")):
        response.set_data(gzip.compress(body, 5, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response


async def message(
    status: int,
    title: str,
    text: str,
    *,
    link: str,
    label: str,
    wait: Refusal | None = None,
    places: Iterable[tuple[str, str]] = (),
) -> Response:
    """A page that says one thing, with one way to go on, or several."""
    page = await rendered(
        "message.html", title=title, text=text, link=link, label=label, problem=status >= 400, places=places
    )
    return html(page, status, wait=wait)


async def refused_page(refusal: Refusal, request_id: str) -> Response:
    """The page for a refusal, with the status that the API gives it."""
    status, title = STATUS[refusal.code]
    detail = refusal.detail if status < 500 else f"{refusal.detail} (request {request_id})"
    return await message(status, title, detail, link="/", label="To the overview", wait=refusal, places=WAYS_ON)


async def broken_page(request_id: str) -> Response:
    """The page for a bug of ours. Says nothing of its cause: that stands in the log, under the request id."""
    text = f"The server met an internal error. Its log has the cause under request id {request_id}."
    return await message(500, "Internal error", text, link="/", label="To the overview", places=WAYS_ON)


def redirect(url: str) -> Response:
    """303: fetch this with GET."""
    return Response(
        "", 303, headers={"Location": quote(url, safe=URL), "Cache-Control": "no-store"}, content_type="text/plain"
    )


def quoted(text: str) -> str:
    """A text as a value in a query."""
    return quote(text, safe="/")
