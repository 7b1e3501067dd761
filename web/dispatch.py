"""One request from the socket to its handler and back: authenticate, authorize, decode, ask, encode, log.

Every API route goes through here, and only here are a route's row, its caller and its body brought together.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
import trio
from quart import Request, Response, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from actors.messages import Audit, Done, Ping, Repeatable
from blobforge.access import Caller, Scope
from blobforge.logs import redact
from blobforge.refusals import Refusal, RefusalCode
from web.auth.credentials import authenticate, claimed
from web.decode import Oversized, json_body
from web.html import broken_page, quoted, redirect, refused_page, safe_next
from web.metrics.requests import GONE
from web.problems import internal_error, refused
from web.routing import Access, Answer, Call, Route
from web.services import Services

log = structlog.get_logger("blobforge.http")

ANYBODY = Caller(scopes=frozenset())
LONGEST_KEY = 255  # characters of an Idempotency-Key
_encode = msgspec.json.Encoder().encode


def view(route: Route, services: Services) -> Callable[..., Awaitable[Response]]:
    """The function that Quart calls for this route."""
    decoder = msgspec.json.Decoder(route.body) if route.body is not None else None

    async def answer(**params: Any) -> Response:
        request_id = secrets.token_hex(8)
        tracer = services.tracer
        if tracer is None:
            return await untraced(request_id, params)
        about = {
            "http.request.method": request.method,
            "http.route": route.path,
            "url.path": redact(request.path),
            "blobforge.request_id": request_id,
        }
        with (
            tracer.request(route.name, request.headers.get, about) as span,
            structlog.contextvars.bound_contextvars(trace_id=tracer.trace_id(span)),
        ):
            response = await untraced(request_id, params)
            tracer.answered(span, response.status_code)
            return response

    async def untraced(request_id: str, params: dict[str, Any]) -> Response:
        started = trio.current_time()
        caller = ANYBODY
        try:
            found = await _authorize(route, services, request, params)
            if isinstance(found, Refusal):
                services.metrics.requests.refused(found.code)
                response = await _refuse(found, route, request_id)
            else:
                caller = found
                outcome = await _handle(route, services, decoder, caller, request_id, params)
                if isinstance(outcome, Refusal):
                    services.metrics.requests.refused(outcome.code)
                    response = await _refuse(outcome, route, request_id)
                else:
                    response = _respond(outcome, route)
        except HTTPException as error:
            services.metrics.requests.refused(refusal_of(error).code)
            response = await _refuse_for_quart(error, route, request_id)
        except Oversized as error:
            refusal = Refusal(RefusalCode.INVALID, f"{error}.", field=error.field)
            services.metrics.requests.refused(refusal.code)
            response = refused(refusal, instance=request.path, request_id=request_id)
        except trio.Cancelled:
            services.metrics.requests.answered(route.name, GONE, trio.current_time() - started)
            raise
        except Exception:
            log.exception("unhandled error", route=route.name, request_id=request_id)
            response = await _broken(route, request_id)
        response.headers["X-Request-ID"] = request_id
        seconds = trio.current_time() - started
        if route.page:
            response.headers["Server-Timing"] = f"page;dur={seconds * 1000:.2f}"
        services.metrics.requests.answered(route.name, response.status_code, seconds)
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round(seconds * 1000, 1),
            caller=caller.subject if caller is not ANYBODY else None,
            request_id=request_id,
        )
        return response

    return answer


def http_problem(error: HTTPException, request_id: str) -> Response:
    """What Quart and Werkzeug refuse by themselves, in our form."""
    refusal = refusal_of(error)
    response = refused(refusal, instance=_asked().path, request_id=request_id)
    if refusal.code is RefusalCode.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or [])
    return response


def refusal_of(error: HTTPException) -> Refusal:
    """The same as one of our own."""
    asked = _asked()
    match error:
        case RequestEntityTooLarge():
            return Refusal(RefusalCode.TOO_LARGE, "The body is larger than this server takes (BLOBFORGE_MAX_BODY).")
        case RequestTimeout():
            return Refusal(RefusalCode.TOO_SLOW, "The body did not arrive in time.")
        case _ if error.code == 404:
            return Refusal(RefusalCode.NO_SUCH_ROUTE, f"There is nothing at {asked.path}. See /api/docs.")
        case _ if error.code == 405:
            return Refusal(RefusalCode.METHOD_NOT_ALLOWED, f"{asked.method} is not for {asked.path}.")
        case _:
            return Refusal(RefusalCode.MALFORMED, error.description or "The request is malformed.")


def _asked() -> Any:
    return request if has_request_context() else websocket  # there is no WebSocket here, and some ask for one


async def _authorize(route: Route, services: Services, request: Request, params: dict[str, Any]) -> Caller | Refusal:
    if route.access is Access.PUBLIC:
        return ANYBODY
    caller = await authenticate(request, services.keyring, services.sessions)
    if isinstance(caller, Refusal):
        return _slowed(services, request, caller)
    if not _may(caller, route.access):
        return Refusal(
            RefusalCode.SCOPE_MISSING,
            f"{route.name} takes the scope {route.access}; your credential does not have it.",
        )
    named = params.get("worker_id")
    if route.access is Access.WORK and caller.worker_id is not None and named not in (None, caller.worker_id):
        return Refusal(RefusalCode.NOT_YOURS, f"You are worker {caller.worker_id!r}, not {named!r}.")
    return caller


def _slowed(services: Services, request: Request, refusal: Refusal) -> Refusal:
    """A failed authentication, or the news that there have been too many. A valid credential never comes here."""
    who = claimed(request)
    if who is None or refusal.code is not RefusalCode.UNAUTHENTICATED:
        return refusal
    names = [f"address {services.site.address(request)}"]
    if who != "token":
        names.append(who)
    return services.throttle.failed(*names) or refusal


def _may(caller: Caller, access: Access) -> bool:
    match access:
        case Access.WORK:
            return caller.may(Scope.WORK)
        case Access.UPLOAD:
            return caller.may(Scope.SUBMIT) or caller.may(Scope.WORK)
        case Access.ANYONE_KNOWN:
            return True
        case _:
            return caller.may(Scope(access.value))


async def _handle(
    route: Route,
    services: Services,
    decoder: msgspec.json.Decoder[Any] | None,
    caller: Caller,
    request_id: str,
    params: dict[str, Any],
) -> Answer:
    raw: bytes = b""
    if route.method != "GET":
        raw = await request.get_data(cache=False, as_text=False)  # type: ignore[assignment]
    repeat = _repeatable(route, caller, raw)
    if isinstance(repeat, Refusal):
        return repeat
    # The request itself, not Quart's stand-in for "the one under way": a stream outlives that.
    here: Request = request._get_current_object()  # type: ignore[attr-defined]
    call = Call(services, here, request_id, caller, params, repeat, _audit(route, services, caller, params), raw)
    if decoder is None:
        arguments: tuple[Any, ...] = ()
    else:
        body = json_body(raw, request.headers.get("Content-Type"), decoder)
        if isinstance(body, Refusal):
            return body
        arguments = (body,)
    if repeat is not None and not route.writes:
        # The handler writes nothing that could carry the record; the key must still be good for one body only.
        kept = await call.ask(Ping())
        if not isinstance(kept, Done):
            return kept
    return await route.handler(call, *arguments)


def _audit(route: Route, services: Services, caller: Caller, params: dict[str, Any]) -> Audit | None:
    """The record that this request leaves, if it is of the kind that does."""
    if route.audit is None:
        return None
    subject = " ".join(str(value) for value in params.values())
    return Audit(caller.subject, caller.name, services.site.address(request), route.audit, subject)


def _repeatable(route: Route, caller: Caller, body: bytes) -> Repeatable | Refusal | None:
    key = request.headers.get("Idempotency-Key")
    if key is None or route.method != "POST":
        return None
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        return Refusal(
            RefusalCode.INVALID,
            f"An Idempotency-Key has 1 to {LONGEST_KEY} printable characters.",
            field="Idempotency-Key",
        )
    digest = hashlib.sha256(f"{request.method} {request.path}\n".encode() + body).digest()
    return Repeatable(caller.subject, key, digest)


async def _refuse(refusal: Refusal, route: Route, request_id: str) -> Response:
    """A refusal in the form that who asks can read."""
    if not route.page:
        return refused(refusal, instance=request.path, request_id=request_id)
    if refusal.code is RefusalCode.UNAUTHENTICATED and route.method == "GET":
        return redirect(f"/login?next={quoted(safe_next(request.full_path.rstrip('?')))}")
    return await refused_page(refusal, request_id)


async def _refuse_for_quart(error: HTTPException, route: Route, request_id: str) -> Response:
    return await _refuse(refusal_of(error), route, request_id) if route.page else http_problem(error, request_id)


async def _broken(route: Route, request_id: str) -> Response:
    if route.page:
        return await broken_page(request_id)
    return internal_error(instance=request.path, request_id=request_id)


def _respond(outcome: Answer, route: Route) -> Response:
    match outcome:
        case Response():
            return outcome
        case (int(status), body):
            return Response(_encode(body), status, content_type="application/json")
        case _:
            return Response(_encode(outcome), route.status, content_type="application/json")
