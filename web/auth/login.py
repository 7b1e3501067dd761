"""Signing in and out: with the identity provider, with an API token, or once with the first-start link."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs

import structlog
from quart import Response

from actors.mailbox import ask
from actors.messages import Audit, EndSession, NewSession, Note, Person, SignIn
from blobforge.access import Caller
from blobforge.people import new_session_id, session_hash
from blobforge.refusals import Refusal, RefusalCode
from web.auth.oidc import Leaving, ProviderDown, SignInRefused, Tokens
from web.auth.sessions import CROSS_SITE
from web.html import html, message, places_of, quoted, redirect, rendered, safe_next
from web.routing import Access, Call, Route

log = structlog.get_logger("blobforge.login")

SIGN_IN_SECONDS = 600  # from leaving for the provider to coming back
MOST_LEAVINGS = 8  # sign-ins under way in one browser; each is a cookie of half a kilobyte
LONGEST_FORM = 4096  # bytes


# ------------------------------------------------------------------ with the identity provider


async def leave(call: Call) -> Response:
    """Off to the provider, with what must be remembered sealed in a cookie."""
    next_path = safe_next(call.request.args.get("next"))
    provider = call.services.provider
    if provider is None:
        return redirect(f"/login?next={quoted(next_path)}")
    if not call.services.site.may_hold_session(call.request):
        return await _login_page(call, next_path, 400)
    try:
        url, leaving = await provider.begin(next_path, now=call.services.now())
    except ProviderDown as error:
        return await _provider_down(error)
    response = redirect(url)
    for name in _leavings(call)[MOST_LEAVINGS - 1 :]:
        _forget(call, response, name)
    response.set_cookie(
        _leaving_cookie(call, leaving.state),
        call.services.sealer.seal(leaving).decode(),
        max_age=SIGN_IN_SECONDS,
        path="/auth",
        httponly=True,
        samesite="Lax",  # not Strict: the way back begins at the provider's site
        secure=call.services.site.is_https(call.request),
    )
    return response


async def come_back(call: Call) -> Response:
    """The provider sends a browser back: check everything, and start a session under a new id."""
    provider = call.services.provider
    if provider is None:
        return redirect("/login")
    arguments = call.request.args
    cookie = call.request.cookies.get(_leaving_cookie(call, arguments.get("state", "")))
    leaving = _leaving(call, cookie)
    if leaving is None or not hmac.compare_digest(arguments.get("state", "").encode(), leaving.state.encode()):
        if cookie is None and isinstance(await call.services.sessions.caller(call.request), Caller):
            return redirect("/")  # by "back", or by a reload: that sign-in has ended well
        # Those that are under way, in other tabs perhaps, are not spoilt by this.
        return await _refused(
            call,
            "This took too long, or the answer belongs to another sign-in, or cookies are blocked. "
            "Please sign in again.",
        )
    if "error" in arguments:
        return await _refused(call, f"The identity provider said: {arguments['error'][:100]}.")
    if not arguments.get("code"):
        return await _refused(call, "The identity provider sent no code. Please sign in again.")
    try:
        identity = await provider.finish(arguments["code"], leaving, iss=arguments.get("iss"))
    except ProviderDown as error:
        return await _provider_down(error)
    except SignInRefused as error:
        return await _refused(call, f"The sign-in was refused: {error}.")
    if not call.services.sessions.rules.lets_in(identity.groups):
        return await _refused(
            call, "You are not in a group that may use this server. Ask its administrator.", who=identity.subject
        )
    person = call.services.sessions.person(identity)
    sealed_tokens = call.services.sealer.seal(identity.tokens)
    return await _start_session(call, leaving.next, person=person, sealed=sealed_tokens)


async def _provider_down(error: ProviderDown) -> Response:
    log.warning("identity provider", reason=str(error))
    return await message(
        503,
        "Signing in is not possible now",
        f"{str(error)[0].upper()}{str(error)[1:]}. Everything else goes on working; try again in a while.",
        link="/login",
        label="Try again",
    )


async def _refused(call: Call, text: str, *, who: str = "") -> Response:
    log.info("sign-in refused", reason=text)
    address = call.services.site.address(call.request)
    slow = await call.services.throttle.failed(f"address {address}")
    if slow is not None:
        # Nothing on record: strangers must not be able to fill the audit log.
        return await message(429, "Signing in failed", slow.detail, link="/login", label="Sign in again", wait=slow)
    audit = Audit("nobody", who, address, "sign-in.refused", who, text)
    await ask(call.services.writer, Note(), audit=audit)
    response = await message(403, "Signing in failed", text, link="/login", label="Sign in again")
    _forget_leaving(call, response)
    return response


# ------------------------------------------------------------------ with an API token, or the first-start link


async def page(call: Call) -> Response:
    problem = (
        "You were signed out, so nothing was done. Sign in, and do it again." if "undone" in call.request.args else ""
    )
    return await _login_page(call, safe_next(call.request.args.get("next")), 200, problem)


async def with_token(call: Call) -> Response | Refusal:
    """The sign-in form: the session is the token's, and ends with it."""
    if not call.services.sessions.same_site(call.request):
        return CROSS_SITE
    if len(call.raw) > LONGEST_FORM:
        return await _login_page(call, "/", 413, "That is more than a token.")
    try:
        form = parse_qs(call.raw.decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        return await _login_page(call, "/", 400, "That is not what the form sends.")
    next_path = safe_next(form.get("next", [""])[0])
    if not call.services.site.may_hold_session(call.request):
        return await _login_page(call, next_path, 400)
    caller = await call.services.keyring.token(form.get("token", [""])[0].strip())
    if isinstance(caller, Refusal):
        return await _wrong(call, next_path, caller)
    return await _start_session(call, next_path, token=caller)


async def first_start(call: Call) -> Response:
    """The link that the server shows on its terminal: signs in once, as the first administrator."""
    if not call.services.site.may_hold_session(call.request):
        return await _login_page(call, "/", 400)  # and the link is not used up
    caller = await call.services.first_link.use(call.request.args.get("code", ""))
    if isinstance(caller, Refusal):
        return await _wrong(call, "/", caller)
    return await _start_session(call, "/", token=caller)


async def _wrong(call: Call, next_path: str, refusal: Refusal) -> Response:
    """The credential is not one; said more slowly to an address that tries many."""
    slow = await call.services.throttle.failed(f"address {call.services.site.address(call.request)}")
    return await _login_page(call, next_path, 429 if slow else 401, (slow or refusal).detail, wait=slow)


# ------------------------------------------------------------------ both, and out again


async def _start_session(
    call: Call,
    next_path: str,
    *,
    person: Person | None = None,
    sealed: bytes | None = None,
    token: Caller | None = None,
) -> Response:
    """A new session under a new id; the one that the browser had before ends, so that none can be planted."""
    services, request = call.services, call.request
    session_id = new_session_id()
    address = services.site.address(request)
    expires = services.now() + round(services.settings.session_lifetime * 1000)
    agent = request.headers.get("User-Agent", "")[:200]
    session = NewSession(session_hash(session_id), expires, sealed, address, agent)
    token_id = token.token_id if token is not None else None
    if person is not None:
        actor, name = f"{person.issuer} {person.subject}", person.name or person.email or person.subject
    else:
        assert token is not None
        actor, name = token.subject, token.name
    audit = Audit(actor, name, address, "sign-in")
    outcome = await ask(
        services.writer,
        SignIn(session, person, token_id, replaces=services.sessions.hash_of(request)),
        audit=audit,
    )
    if isinstance(outcome, Refusal) and outcome.code is RefusalCode.UNAUTHENTICATED:
        return await _login_page(call, next_path, 401, outcome.detail)  # the token was deleted in this moment
    if isinstance(outcome, Refusal):
        return await message(503, "Signing in is not possible now", outcome.detail, link="/login", label="Try again")
    response = redirect(next_path)
    services.sessions.set_cookie(request, response, session_id)
    _forget_leaving(call, response)
    return response


async def logout(call: Call) -> Response | Refusal:
    """End the session here, and at the provider where it has a place for that.

    A program that has no session has none to end. Another site's page is refused without a cookie, too: a browser
    holds a `SameSite` cookie back from it, and the session goes on.
    """
    services = call.services
    hash_ = services.sessions.hash_of(call.request)
    ours = services.sessions.same_site(call.request)
    if not ours and (hash_ is not None or services.sessions.of_a_page(call.request)):
        return CROSS_SITE
    url = None
    if hash_ is not None:
        found = await services.reads.run(lambda reader: reader.session(hash_))
        # Its caller, without asking the provider first: one that is down must not keep a user signed in.
        caller = found[1].caller() if found is not None and found[1] is not None else None
        actor, name = (caller.subject, caller.name) if caller is not None else ("nobody", "")
        audit = Audit(actor, name, services.site.address(call.request), "sign-out")
        outcome = await ask(services.writer, EndSession(hash_), audit=audit)
        if isinstance(outcome, Refusal):
            return outcome
        if found is not None and found[0].sealed is not None and services.provider is not None:
            tokens = services.sealer.open(found[0].sealed, Tokens) or Tokens()
            back = services.site.base(call.request) + "/login"
            url = await services.provider.end_session_url(tokens, back_to=back)
    response = await message(200, "Signed out", "Your session here has ended.", link="/login", label="Sign in again")
    if ours:
        services.sessions.clear_cookie(call.request, response)
    if url is not None:
        # Not a redirect: browsers hold the target of a form's redirect against our own `form-action`.
        response.headers["Refresh"] = f"0; url={url}"
    return response


async def logout_page(call: Call) -> Response:
    """Asks by POST: a link that signs people out could stand on any site's page."""
    caller = await call.services.sessions.caller(call.request)
    places = places_of(caller) if isinstance(caller, Caller) else []
    return Response(await rendered("logout.html", places=places), content_type="text/html; charset=utf-8")


async def info(call: Call) -> dict[str, Any]:
    """The user that is signed in, if one is, and the ways to sign in here."""
    caller = await call.services.sessions.caller(call.request)
    user = None
    if isinstance(caller, Caller):
        user = {"name": caller.name, "is_admin": caller.is_admin, "scopes": sorted(caller.scopes)}
    return {
        "authenticated": user is not None,
        "user": user,
        "oidc": call.services.provider is not None,
        "oidc_enabled": call.services.provider is not None,  # as existing clients read it
        "login_url": "/auth/login" if call.services.provider is not None else "/login",
    }


async def _login_page(
    call: Call, next_path: str, status: int, problem: str = "", *, wait: Refusal | None = None
) -> Response:
    text = await rendered(
        "login.html",
        next=next_path,
        problem=problem,
        oidc=call.services.provider is not None,
        provider=call.services.settings.oidc_issuer.partition("://")[2],
        allowed=call.services.site.may_hold_session(call.request),
    )
    return html(text, status, wait=wait)


def _leaving_cookie(call: Call, state: str) -> str:
    """Each sign-in has a cookie of its own: two tabs know nothing of each other."""
    prefix = "__Secure-blobforge-leaving" if call.services.site.is_https(call.request) else "blobforge-leaving"
    return f"{prefix}-{hashlib.sha256(state.encode()).hexdigest()[:16]}"


def _leaving(call: Call, sealed: str | None) -> Leaving | None:
    """The memory of a sign-in under way, from its cookie; None for one that is too old, or not ours."""
    leaving: Leaving | None = call.services.sealer.open((sealed or "").encode(), Leaving)
    if leaving is None or not 0 <= call.services.now() - leaving.started_at <= SIGN_IN_SECONDS * 1000:
        return None
    return leaving


def _leavings(call: Call) -> list[str]:
    """The cookies of all sign-ins that this browser has under way, the latest first."""
    prefix = _leaving_cookie(call, "").rpartition("-")[0]
    found = {name: _leaving(call, value) for name, value in call.request.cookies.items() if name.startswith(prefix)}

    def began(name: str) -> int:
        leaving = found[name]
        return leaving.started_at if leaving is not None else 0

    return sorted(found, key=began, reverse=True)


def _forget_leaving(call: Call, response: Response) -> None:
    """The sign-in that the request is about is over."""
    _forget(call, response, _leaving_cookie(call, call.request.args.get("state", "")))


def _forget(call: Call, response: Response, name: str) -> None:
    response.delete_cookie(name, path="/auth", httponly=True, secure=call.services.site.is_https(call.request))


ROUTES = [
    Route("GET", "/login", Access.PUBLIC, page, "The sign-in page", gives=str),
    Route("POST", "/login", Access.PUBLIC, with_token, "Sign in with an API token (a form)", gives=str),
    Route("GET", "/auth/login", Access.PUBLIC, leave, "Sign in with the identity provider", gives=str),
    Route("GET", "/auth/callback", Access.PUBLIC, come_back, "Where the identity provider sends people back to",
          gives=str),
    Route("GET", "/auth/first", Access.PUBLIC, first_start, "The first-start link: signs in once", gives=str),
    Route("POST", "/auth/logout", Access.PUBLIC, logout, "Sign out", gives=str),
    Route("GET", "/logout", Access.PUBLIC, logout_page, "The page that signs one out", gives=str),
    Route("GET", "/api/auth/info", Access.PUBLIC, info, "Who is signed in", gives=dict[str, Any]),
]  # fmt: skip
