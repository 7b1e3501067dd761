"""One request from its headers to its handler and back: authenticate, authorize, decode, ask, encode, log.

Every route of the API goes through here, whether Quart brought it or the lean reader did, and only here are a
route's row, its caller and its body brought together.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog
import trio
from quart import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from actors.messages import Audit, Done, Ping, Repeatable
from blobforge.access import Caller, Scope
from blobforge.machinery.logs import Answered, answered
from blobforge.machinery.redaction import redact
from blobforge.machinery.tracing import Tracer
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import DatabaseError
from web.answer import GoneError, PlainAnswer
from web.asgi import QuartRequest, request_of
from web.auth.credentials import authenticate, claimed
from web.bodies import Body
from web.decode import SLICE, UnfitMember, json_body, large_json_body
from web.html import broken_page, came_from, quoted, redirect, refused_page, safe_next
from web.limits import asking
from web.metrics.requests import GONE, HYPERCORN, Requests
from web.problems import internal_error, refused
from web.request import Request
from web.routing import Access, Call, HandlerResult, Route
from web.services import Services

log = structlog.get_logger("blobforge.http")

ANYBODY = Caller(scopes=frozenset())
MOST_ID = (1 << 64) - 1
# Each of which is enough for a route: an administrator may do everything. Not in it: any credential is enough.
ENOUGH = {
    Access.READ: frozenset({Scope.READ, Scope.ADMIN}),
    Access.SUBMIT: frozenset({Scope.SUBMIT, Scope.ADMIN}),
    Access.WORK: frozenset({Scope.WORK, Scope.ADMIN}),
    Access.UPLOAD: frozenset({Scope.SUBMIT, Scope.WORK, Scope.ADMIN}),
    Access.ADMIN: frozenset({Scope.ADMIN}),
}
TOO_MUCH_UNREAD = Refusal(
    RefusalCode.SLOW_DOWN,
    "You have left too many bytes of earlier answers unread. Read them, or close their connections; then come again.",
    retry_after=5,
)
CANNOT_READ = Refusal(
    RefusalCode.UNAVAILABLE, "The server cannot read its database now. Try again later.", retry_after=5
)
LONGEST_KEY = 255  # characters of an Idempotency-Key
_encode = msgspec.json.Encoder().encode


def view(endpoint: Endpoint) -> Callable[..., Awaitable[Response]]:
    """The function that Quart calls for this endpoint."""

    async def answer(**params: Any) -> Response:
        # The request itself, not Quart's stand-in for "the one under way": a stream outlives that.
        here: QuartRequest = request._get_current_object()  # type: ignore[attr-defined]
        endpoint.metrics.read(endpoint.route.path, HYPERCORN)
        found = await endpoint.answer(request_of(here), here.rest, params)
        return found.response() if isinstance(found, PlainAnswer) else found

    return answer


class Endpoint:
    """A route with all that is needed to answer it."""

    def __init__(self, route: Route, services: Services) -> None:
        self.route = route
        self._services = services
        # Unlike those of any other route or process. They are no secrets: to ask the system for each would hand the
        # interpreter's lock to the writer's thread, once a request.
        self._ids = itertools.count(secrets.randbits(64))
        self.metrics: Requests = services.metrics.requests
        # What a list of the API may be asked with; a misspelt filter is named in the answer, which holds everything.
        self._params: set[str] | None = None
        if route.method == "GET" and route.path.startswith("/api/"):
            self._params = {*route.query.__struct_fields__} if route.query is not None else set()
        self._decoder = msgspec.json.Decoder(route.body) if route.body is not None else None

    def answer(
        self, asked: Request, body: Body, params: dict[str, Any]
    ) -> Coroutine[Any, Any, PlainAnswer | Response]:
        """Never raises for anything that a client sends."""
        request_id = f"{next(self._ids) & MOST_ID:016x}"
        if self._services.tracer is None:
            return self._answer(asked, body, params, request_id)
        return self._traced(self._services.tracer, asked, body, params, request_id)

    async def _traced(
        self, tracer: Tracer, asked: Request, body: Body, params: dict[str, Any], request_id: str
    ) -> PlainAnswer | Response:
        about = {
            "http.request.method": asked.method,
            "http.route": self.route.path,
            "url.path": redact(asked.path),
            "blobforge.request_id": request_id,
        }
        with tracer.request(self.route.name, asked.headers.get, about) as span:
            trace_id = tracer.trace_id(span)
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                answer = await self._answer(asked, body, params, request_id, trace_id)
            tracer.answered(span, answer.status_code)
            return answer

    async def _answer(
        self, asked: Request, body: Body, params: dict[str, Any], request_id: str, trace_id: str = ""
    ) -> PlainAnswer | Response:
        route, metrics = self.route, self._services.metrics.requests
        started = trio.current_time()
        caller = ANYBODY
        answer: PlainAnswer | Response
        try:
            found = await _authorize(route, self._services, asked, params)
            if isinstance(found, Refusal):
                metrics.refused(found.code)
                answer = await _refuse(found, route, self._services, asked, request_id)
            else:
                caller = found
                large = route.large and (body.length is None or body.length > self._services.settings.max_body)
                handle = self._handle_large if large else self._handle
                outcome = await handle(asked, body, caller, request_id, params)
                if asked.method == "GET" and caller.as_of != self._services.keyring.revocations:
                    # A credential was revoked while this was read. A change is judged where it is made.
                    still = await _authorize(route, self._services, asked, params)
                    outcome = still if isinstance(still, Refusal) else outcome
                if isinstance(outcome, Refusal):
                    metrics.refused(outcome.code)
                    answer = await _refuse(outcome, route, self._services, asked, request_id)
                else:
                    answer = _respond(outcome, route)
        except HTTPException as error:
            metrics.refused(refusal_of(error, asked).code)
            answer = await _refuse_for_quart(error, route, self._services, asked, request_id)
        except (UnfitMember, DatabaseError) as error:
            refusal = _refusal_for(error)
            metrics.refused(refusal.code)
            answer = await _refuse(refusal, route, self._services, asked, request_id)
        except GoneError:
            metrics.answered(route.name, GONE, trio.current_time() - started)
            raise
        except Exception:
            log.exception("unhandled error", route=route.name, request_id=request_id)
            answer = await _broken(route, asked, request_id)
        except BaseException:  # cancelled, alone or in a nursery's group: the client has gone
            metrics.answered(route.name, GONE, trio.current_time() - started)
            raise
        answer.headers["X-Request-ID"] = request_id
        if asked.query_string and self._params is not None and (odd := sorted({*asked.args} - self._params)):
            answer.headers["X-Ignored-Parameters"] = ", ".join(quoted(name[:100]) for name in odd[:20])
        seconds = trio.current_time() - started
        if route.page:
            answer.headers["Server-Timing"] = f"page;dur={seconds * 1000:.2f}"
        metrics.answered(route.name, answer.status_code, seconds)
        subject = caller.subject if caller is not ANYBODY else None
        ms = round(seconds * 1000, 1)
        answered(Answered(asked.method, asked.path, answer.status_code, ms, subject, request_id, trace_id))
        return answer

    async def _handle_large(
        self, asked: Request, body: Body, caller: Caller, request_id: str, params: dict[str, Any]
    ) -> HandlerResult:
        settings = self._services.settings
        body.allow(max(settings.max_result, settings.max_body), "BLOBFORGE_MAX_RESULT")
        async with self._services.large_bodies:
            return await self._handle(asked, body, caller, request_id, params)

    async def _handle(
        self, asked: Request, body: Body, caller: Caller, request_id: str, params: dict[str, Any]
    ) -> HandlerResult:
        route, services = self.route, self._services
        raw = await body.whole() if route.method != "GET" else b""
        repeat: Repeatable | None = None
        if route.method == "POST" and (key := asked.headers.get("Idempotency-Key")) is not None:
            found = _repeatable(key, asked, caller, raw)
            if isinstance(found, Refusal):
                return found
            repeat = found
        # The record that this request leaves, if it is of the kind that does.
        audit = _audit(route.audit, services, asked, caller, params) if route.audit is not None else None
        call = Call(services, asked, request_id, caller, params, repeat, audit, raw, body.peer)
        if self._decoder is None:
            arguments: tuple[Any, ...] = ()
        else:
            kind = asked.headers.get("Content-Type")
            if len(raw) <= SLICE:
                decoded = json_body(raw, kind, self._decoder)
            else:
                decoded = await large_json_body(raw, kind, self._decoder)
            if isinstance(decoded, Refusal):
                return decoded
            arguments = (decoded,)
        if repeat is not None and not route.writes:
            # The handler writes nothing that could carry the record; the key must still be good for one body only.
            kept = await call.ask(Ping())
            if not isinstance(kept, Done):
                return kept
        revocations = services.keyring.revocations
        outcome = await route.handler(call, *arguments)
        if route.method != "GET" and (call.takes_rights or revocations != services.keyring.revocations):
            await _known_everywhere(services, caller)
        return outcome


def http_problem(error: HTTPException, asked: Request, request_id: str) -> PlainAnswer:
    """A refusal that Quart or Werkzeug made by itself, in our form."""
    refusal = refusal_of(error, asked)
    answer = refused(refusal, instance=asked.path, request_id=request_id)
    if refusal.code is RefusalCode.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or [])
    return answer


def refusal_of(error: HTTPException, asked: Request) -> Refusal:
    """The same as one of our own."""
    match error:
        case RequestEntityTooLarge():
            return Refusal(RefusalCode.TOO_LARGE, error.description)
        case RequestTimeout():
            return Refusal(RefusalCode.TOO_SLOW, "The body did not arrive in time.")
        case _ if error.code == 404:
            return Refusal(RefusalCode.NO_SUCH_ROUTE, f"There is nothing at {asked.path}. See /api/docs.")
        case _ if error.code == 405:
            return Refusal(RefusalCode.METHOD_NOT_ALLOWED, f"{asked.method} is not for {asked.path}.")
        case _:
            return Refusal(RefusalCode.MALFORMED, error.description or "The request is malformed.")


async def _known_everywhere(services: Services, caller: Caller) -> None:
    """Something was revoked, perhaps by this caller, or before, when the answer was lost: that is answered once it is
    so at every server."""
    if caller.worker_id is None and not services.presence.alone:
        await services.presence.all_have_read(services.place())


async def _authorize(route: Route, services: Services, asked: Request, params: dict[str, Any]) -> Caller | Refusal:
    address = services.site.address(asked)
    asking.set((address,))
    if route.access is Access.PUBLIC:
        return ANYBODY
    caller = await authenticate(asked, services.keyring, services.sessions)
    if isinstance(caller, Refusal):
        return await _slowed(services, asked, caller)
    owners = (address, caller.subject)
    asking.set(owners)
    if services.unread.full(*owners):
        return TOO_MUCH_UNREAD
    if asked.remote_addr is not None:
        services.known.note(asked.remote_addr, trio.current_time())
    enough = ENOUGH.get(route.access)
    if enough is not None and caller.scopes.isdisjoint(enough):
        return Refusal(
            RefusalCode.SCOPE_MISSING,
            f"{asked.method} {asked.path} takes the scope {route.access}; your credential does not have it. "
            "Ask an administrator for a token that has.",
        )
    named = params.get("worker_id")
    if route.access is Access.WORK and caller.worker_id is not None and named not in (None, caller.worker_id):
        return Refusal(RefusalCode.NOT_YOURS, f"You are worker {caller.worker_id!r}, not {named!r}.")
    return caller


async def _slowed(services: Services, asked: Request, refusal: Refusal) -> Refusal:
    """A failed authentication, or the news that there have been too many. A valid credential never comes here."""
    who = claimed(asked)
    if who is None or refusal.code is not RefusalCode.UNAUTHENTICATED:
        return refusal
    names = [f"address {services.site.address(asked)}"]
    if who != "token":
        names.append(who)
    return await services.throttle.failed(*names) or refusal


def _audit(action: str, services: Services, asked: Request, caller: Caller, params: dict[str, Any]) -> Audit:
    subject = " ".join(str(value) for value in params.values())
    return Audit(caller.subject, caller.name, services.site.address(asked), action, subject)


def _repeatable(key: str, asked: Request, caller: Caller, body: bytes) -> Repeatable | Refusal:
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        return Refusal(
            RefusalCode.INVALID,
            f"An Idempotency-Key has 1 to {LONGEST_KEY} printable characters.",
            field="Idempotency-Key",
        )
    digest = hashlib.sha256(f"{asked.method} {asked.path}\n".encode() + body).digest()
    return Repeatable(caller.subject, key, digest)


def _refusal_for(error: UnfitMember | DatabaseError) -> Refusal:
    if isinstance(error, UnfitMember):
        return Refusal(RefusalCode.INVALID, f"{error}.", field=error.field)
    return CANNOT_READ


async def _refuse(
    refusal: Refusal, route: Route, services: Services, asked: Request, request_id: str
) -> PlainAnswer | Response:
    """A refusal in the form that the client reads: a problem, or a page."""
    if not route.page:
        return refused(refusal, instance=asked.path, request_id=request_id)
    if refusal.code is RefusalCode.UNAUTHENTICATED:
        # A browser comes back to the page where its button stood, with the notice that it was not done.
        read = route.method == "GET"
        here = safe_next(asked.full_path.rstrip("?")) if read else came_from(asked, services.site.base(asked))
        return redirect(f"/login?next={quoted(here)}" + ("" if read else "&undone=1"))
    return await refused_page(refusal, request_id)


async def _refuse_for_quart(
    error: HTTPException, route: Route, services: Services, asked: Request, request_id: str
) -> PlainAnswer | Response:
    if route.page:
        return await _refuse(refusal_of(error, asked), route, services, asked, request_id)
    return http_problem(error, asked, request_id)


async def _broken(route: Route, asked: Request, request_id: str) -> PlainAnswer | Response:
    if route.page:
        return await broken_page(request_id)
    return internal_error(instance=asked.path, request_id=request_id)


def _respond(outcome: HandlerResult, route: Route) -> PlainAnswer | Response:
    match outcome:
        case msgspec.Struct():  # nearly all
            return PlainAnswer(route.status, _encode(outcome))
        case Response():
            return outcome
        case (int(status), body):
            return PlainAnswer(status, _encode(body))
        case _:
            return PlainAnswer(route.status, _encode(outcome))
