"""Signed-in browsers: their cookie, their caller, and asking the provider again from time to time.

State owned here: a cache of sessions. The cache is emptied by any commit that
changes rights, before that commit is answered; the cookie's value is kept nowhere, only its hash.
"""

from __future__ import annotations

import base64
import hmac
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
import structlog
import trio
from cryptography.fernet import Fernet, InvalidToken
from quart import Response

from actors.mailbox import Envelope, Mailbox, Reply, ask
from actors.messages import EndSession, Person, RenewSession, TouchSession
from blobforge.access import SESSION_ENDED, Caller, Token
from blobforge.config import Settings
from blobforge.events import AccessChanged, CredentialsRevoked, Fact
from blobforge.people import GroupRules, Session, User, group_rules, session_hash
from blobforge.refusals import Refusal, RefusalCode
from blobforge.spans import SET_BACK_MS
from web.auth.oidc import DEADLINE_SECONDS, Identity, Provider, ProviderDown, SignInRefused, Tokens
from web.auth.turns import Turns
from web.reads import ReadPool
from web.request import Request
from web.shared import Shared
from web.site import Site

log = structlog.get_logger("blobforge.sessions")

CACHED = 10_000
TOUCH_MS = 60_000  # the last use is written at most once in this time
ASKING_SECONDS = DEADLINE_SECONDS + 2  # for the provider, and for the writer to keep what it said
# A provider that is down ends no session at once: this many re-checks may fail for want of an answer.
MISSED_CHECKS = 4
DOWN_PAUSE_MS = 30_000  # after an answer that did not come, so that not every request waits for the next one

CROSS_SITE = Refusal(
    RefusalCode.CROSS_SITE, "This request rides on a session cookie and comes from another site: refused."
)


class Sealer:
    """Encrypts what must travel through, or rest in, places that others can read (Fernet: AES-CBC and HMAC)."""

    def __init__(self, secret: bytes) -> None:
        key = hmac.digest(secret, b"blobforge: sealing", "sha256")
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, value: msgspec.Struct) -> bytes:
        return self._fernet.encrypt(msgspec.msgpack.encode(value))

    def open(self, sealed: bytes, type_: type[Any]) -> Any | None:
        """The value, or None when it is not ours or was tampered with."""
        try:
            return msgspec.msgpack.decode(self._fernet.decrypt(sealed), type=type_)
        except (InvalidToken, msgspec.MsgspecError):
            return None


class Sessions:
    """`provider` is None without OIDC: then sessions come from API tokens and the first-start link only. `is_fresh`:
    whether what other servers have revoked is known here."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({AccessChanged, CredentialsRevoked})

    def __init__(
        self,
        settings: Settings,
        reads: ReadPool,
        writer: Mailbox[Envelope[Any]],
        *,
        provider: Provider | None,
        sealer: Sealer,
        site: Site,
        shared: Shared,
        now: Callable[[], int],
        is_fresh: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_fresh = is_fresh
        self._settings = settings
        self._reads = reads
        self._writer = writer
        self._provider = provider
        self._sealer = sealer
        self._site = site
        self._shared = shared
        self._now = now
        self.rules: GroupRules = group_rules(settings.oidc_allowed_groups, settings.oidc_admin_groups)
        self._cache: dict[str, tuple[Session, User | Token]] = {}
        self._changes = 0
        self._revocations = 0  # that were committed in this run
        self._touched: dict[str, int] = {}
        self._turns = Turns()
        self._down_until = -math.inf  # on trio's clock
        self._confirmed: dict[str, float] = {}  # when the provider confirmed it to this server, on trio's clock
        self._in_vain: dict[tuple[str, int], float] = {}  # since when one of the future cannot be confirmed, the same

    def post(self, facts: Sequence[Fact]) -> None:
        """Told by the commit, before its askers are."""
        self._changes += 1
        self._revocations += sum(isinstance(fact, CredentialsRevoked) for fact in facts)
        self._cache.clear()

    # --- the cookie

    def cookie_name(self, request: Request) -> str:
        """`__Host-` binds the cookie to this very host over https; browsers refuse it over http."""
        return "__Host-blobforge" if self._site.is_https(request) else "blobforge"

    def set_cookie(self, request: Request, response: Response, session_id: str) -> None:
        response.set_cookie(
            self.cookie_name(request),
            session_id,
            max_age=round(self._settings.session_lifetime),
            path="/",
            httponly=True,
            samesite="Lax",
            secure=self._site.is_https(request),
        )

    def clear_cookie(self, request: Request, response: Response) -> None:
        response.delete_cookie(
            self.cookie_name(request), path="/", httponly=True, samesite="Lax", secure=self._site.is_https(request)
        )

    def hash_of(self, request: Request) -> str | None:
        """The hash of the session that the request's cookie names, if it has one."""
        cookie = request.cookies.get(self.cookie_name(request))
        return session_hash(cookie) if cookie else None

    # --- the caller

    async def caller(self, request: Request) -> Caller | Refusal | None:
        """The caller that the request's session stands for; None without a cookie."""
        hash_ = self.hash_of(request)
        if hash_ is None:
            return None
        if request.method not in ("GET", "HEAD", "OPTIONS") and not self.same_site(request):
            return CROSS_SITE
        as_of = self._revocations
        found = await self._find(hash_)
        if found is None:
            return SESSION_ENDED
        session, holder = found
        if isinstance(holder, User):
            checked = await self._checked(session, holder)
            if checked is None:
                return SESSION_ENDED
            holder = checked
        self._note_use(session)
        known = holder.caller()
        return msgspec.structs.replace(
            known,
            session=hash_,
            secret_hash=hash_,
            as_of=as_of,
            expires_at=min(session.expires_at, known.expires_at or session.expires_at),
        )

    def same_site(self, request: Request) -> bool:
        """Whether a browser says that its own page of ours sent this. `Sec-Fetch-Site` cannot be forged by pages."""
        fetch_site = request.headers.get("Sec-Fetch-Site")
        if fetch_site is not None:
            return fetch_site == "same-origin"
        return request.headers.get("Origin") == self._site.base(request)

    def of_a_page(self, request: Request) -> bool:
        """Whether a browser sent this for a page, ours or another's: a program says neither where it is from."""
        return "Sec-Fetch-Site" in request.headers or "Origin" in request.headers

    async def _find(self, hash_: str) -> tuple[Session, User | Token] | None:
        found = self._cache.get(hash_) if self._is_fresh() else None
        if found is None or not self._alive(found[0]):  # it may have been used since it was kept
            changes = self._changes
            read = await self._reads.run(lambda reader: reader.session(hash_))
            if read is None or read[1] is None:
                return None
            found = (read[0], read[1])
            if changes == self._changes and len(self._cache) < CACHED:
                self._cache[hash_] = found
        session, holder = found
        if not self._alive(session) or (isinstance(holder, Token) and holder.expired(self._now())):
            return None
        return found

    def _alive(self, session: Session) -> bool:
        seen = max(session.seen_at, self._touched.get(session.hash, 0))
        used = msgspec.structs.replace(session, seen_at=seen)
        return used.alive(self._now(), idle=self._settings.session_idle)

    def _note_use(self, session: Session) -> None:
        now = self._now()
        if now - max(session.seen_at, self._touched.get(session.hash, 0)) < TOUCH_MS:
            return
        if self._writer.offer(Envelope(TouchSession(session.hash), Reply())):
            if len(self._touched) >= CACHED:
                self._touched.clear()
                self._cache.clear()  # it would take those sessions for idle since it read them
            self._touched[session.hash] = now

    # --- asking the provider again

    async def _checked(self, session: Session, user: User) -> User | None:
        """The user as the provider sees them, asked at most once in a while; None when the session is over."""
        if self._provider is None:
            return None  # OIDC was switched off: what it let in is let in no longer
        if not self._is_to_be_checked(session):
            return user
        # One at a time, over all servers: providers take a refresh token that is used twice for a stolen one.
        async with self._turns.turn(session.hash), self._shared.held(f"session {session.hash}", ASKING_SECONDS):
            self._cache.pop(session.hash, None)  # another server's renewal may not have been heard of yet
            found = await self._find(session.hash)  # another request may just have asked
            if found is None or not isinstance(found[1], User):
                return None
            session, user = found[0], found[1]
            if not self._is_to_be_checked(session):
                return user
            if trio.current_time() < self._down_until:
                return self._unconfirmed(session, user)
            # Shielded: when the browser goes away now, the new refresh token must still be kept.
            with trio.move_on_after(ASKING_SECONDS, shield=True):
                return await self._ask_again(session, user)
            return self._unconfirmed(session, user)

    def _is_to_be_checked(self, session: Session) -> bool:
        silent = (self._now() - session.checked_at) / 1000
        if silent < -SET_BACK_MS / 1000:  # confirmed by a clock that has been set back: what this server knows counts
            silent = trio.current_time() - self._confirmed.get(session.hash, -math.inf)
        return silent >= self._settings.session_recheck

    def _unconfirmed(self, session: Session, user: User) -> User | None:
        """The session's user while the provider cannot be asked: as it was, for a while."""
        silent, at = (self._now() - session.checked_at) / 1000, trio.current_time()
        if silent < -SET_BACK_MS / 1000:  # confirmed by a clock that has been set back: for as long from now on
            if len(self._in_vain) >= CACHED:
                self._in_vain.clear()
            silent = at - self._in_vain.setdefault((session.hash, session.checked_at), at)
        return None if silent > self._settings.session_recheck * MISSED_CHECKS else user

    async def _ask_again(self, session: Session, user: User) -> User | None:
        assert self._provider is not None
        tokens = self._sealer.open(session.sealed or b"", Tokens) or Tokens()
        try:
            identity = await self._provider.ask_again(user.issuer, user.subject, tokens)
        except ProviderDown as error:
            self._down_until = trio.current_time() + DOWN_PAUSE_MS / 1000
            log.warning("cannot ask the identity provider", reason=str(error))
            return self._unconfirmed(session, user)
        except SignInRefused as error:
            log.info("session ended by the provider", user=user.id, reason=str(error))
            await ask(self._writer, EndSession(session.hash))
            return None
        if not self.rules.lets_in(identity.groups):
            log.info("session ended: no longer in an allowed group", user=user.id)
            await ask(self._writer, EndSession(session.hash))
            return None
        renewed = await ask(
            self._writer, RenewSession(session.hash, self.person(identity), self._sealer.seal(identity.tokens))
        )
        if isinstance(renewed, Refusal):
            return user if renewed.code is RefusalCode.UNAVAILABLE else None
        if len(self._confirmed) >= CACHED:
            self._confirmed.clear()
        self._confirmed[session.hash] = trio.current_time()
        return await self._reads.run(lambda reader: reader.user(user.id))

    def person(self, identity: Identity) -> Person:
        return Person(
            identity.issuer,
            identity.subject,
            identity.email,
            identity.name,
            identity.groups,
            self.rules.makes_admin(identity.groups),
        )
