"""One page: its caller, what stands around its content, and the notice that an action left for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from quart import Response, has_request_context, request

from blobforge.access import Scope
from blobforge.job import JobStatus
from blobforge.operation import Operation
from blobforge.refusals import Refusal
from blobforge.store.figures import StatusTotals
from blobforge.store.reading import Reader
from web import policy
from web.html import html, packed, places_of, redirect, rendered
from web.routing import Call

T = TypeVar("T")

NOTICE_SECONDS = 60
LONGEST_ID = 19  # digits, less than those of the largest number of a database
MOST_WATCHED = 5  # operations that are shown on each page
WATCHED_SECONDS = 7 * 86_400  # how long one is watched, seen or not
THEMES = ("system", "light", "dark")


class Notice(msgspec.Struct, frozen=True):
    """An action's result, or the reason why it was not done, for the next page. `undo` is a token for
    `/do/jobs/undo`. `readmitted` is a worker that may be quarantined again, for what spoke against it."""

    text: str
    bad: bool = False
    at: int = 0  # ms since the epoch
    undo: str = ""
    readmitted: str = ""
    evidence: str = ""


async def framed(call: Call, read: Callable[[Reader], T]) -> tuple[StatusTotals | None, T]:
    """The figures around a page, where the caller may see them, and what `read` finds: of one moment."""
    may_read = call.caller.may(Scope.READ)
    return await call.services.reads.moment(lambda reader: (reader.totals() if may_read else None, read(reader)))


def frame(text: str, policy: str = policy.FRAMES) -> Response:
    """A document for a frame of ours."""
    response = html(text)
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


async def page(
    call: Call,
    template: str,
    *,
    title: str,
    place: str,
    status: int = 200,
    totals: StatusTotals | None = None,
    **context: Any,
) -> Response:
    """Render a page of the dashboard for the request's caller. `place` is the address of its entry in the menu.

    `totals` comes from `framed`, where the page shows something else of the database."""
    services, caller, now = call.services, call.caller, call.services.now()
    if totals is None:
        totals, _ = await framed(call, lambda reader: None)
    notice, operations = _notice(call), await _watched(call)
    text = await rendered(
        template,
        title=title,
        place=place,
        places=places_of(caller),
        caller=caller,
        may_read=caller.may(Scope.READ),
        may_act=caller.may(Scope.SUBMIT),
        admin=caller.is_admin,
        totals=totals,
        state=_state(totals),
        dead=totals.jobs[JobStatus.DEAD] if totals is not None else 0,
        themes=THEMES,
        notice=notice,
        watched=operations,
        now=now,
        here=call.request.full_path.rstrip("?"),
        **context,
    )
    response = html(text, status)
    packed(response, text.encode(), call.request)
    if notice is not None:
        response.delete_cookie(_cookie(call), path="/", httponly=True, secure=services.site.is_https(call.request))
    return response


def _state(totals: StatusTotals | None) -> str:
    """The state that title and icon show: a job is dead, a job runs, or neither."""
    if totals is None:
        return "idle"
    if totals.jobs[JobStatus.DEAD]:
        return "dead"
    return "busy" if totals.jobs[JobStatus.RUNNING] else "idle"


async def theme() -> dict[str, str]:
    """The variables of every template, that of a refusal and of the sign-in, too: the theme that was chosen."""
    chosen = request.cookies.get("theme", "") if has_request_context() else ""
    return {"theme": chosen if chosen in THEMES else "system"}


# ------------------------------------------------------------------ notices


def leave(call: Call, url: str, notice: Notice) -> Response:
    """Redirect to another page, which will show the notice once."""
    response = redirect(url)
    kept = msgspec.structs.replace(notice, text=notice.text[:500], at=call.services.now())
    response.set_cookie(
        _cookie(call),
        call.services.sealer.seal(kept).decode(),
        max_age=NOTICE_SECONDS,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=call.services.site.is_https(call.request),
    )
    return response


def refused_notice(refusal: Refusal) -> Notice:
    return Notice(refusal.detail, bad=True)


def _notice(call: Call) -> Notice | None:
    if "X-Live" in call.request.headers:
        # A page that refreshes itself, in this tab or another, may be given up before the notice was read.
        return None
    sealed = call.request.cookies.get(_cookie(call))
    if not sealed:
        return None
    notice = call.services.sealer.open(sealed.encode(), Notice)
    fresh = notice is not None and 0 <= call.services.now() - notice.at <= NOTICE_SECONDS * 1000
    return notice if fresh else None


# ------------------------------------------------------------------ operations that a person has begun


def watch(call: Call, response: Response, number: int) -> Response:
    """Show the progress of an operation on every page of this browser, until it has ended and was looked at."""
    return _set_watched(call, response, [*_watched_ids(call), number][-MOST_WATCHED:])


def seen(call: Call, response: Response, number: int) -> Response:
    """Its end was looked at."""
    left = [each for each in _watched_ids(call) if each != number]
    return _set_watched(call, response, left) if left != _watched_ids(call) else response


async def _watched(call: Call) -> list[Operation]:
    ids = _watched_ids(call)
    if not ids or not call.caller.may(Scope.READ):
        return []
    found = await call.services.reads.moment(lambda reader: [reader.operation(each) for each in ids])
    return [each for each in found if each is not None]


def _watched_ids(call: Call) -> list[int]:
    """Of the cookie: it says nothing that is not open to each caller that may read, so that it needs no seal."""
    said = call.request.cookies.get("operations", "").split(".")
    return [int(each) for each in said if each.isascii() and each.isdigit() and len(each) < LONGEST_ID][:MOST_WATCHED]


def _set_watched(call: Call, response: Response, ids: list[int]) -> Response:
    response.set_cookie(
        "operations", ".".join(map(str, dict.fromkeys(ids))), max_age=WATCHED_SECONDS if ids else 0, path="/",
        httponly=True, samesite="Strict", secure=call.services.site.is_https(call.request),
    )  # fmt: skip
    return response


def _cookie(call: Call) -> str:
    return "__Secure-blobforge-notice" if call.services.site.is_https(call.request) else "blobforge-notice"
