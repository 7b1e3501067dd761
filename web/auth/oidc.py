"""The OpenID provider as we see it: discovery, the authorization request, the ID token, and asking again later.

State owned here: what discovery and the key set last said, and how the token endpoint knew us. It is asked when it is
first needed, under a deadline: a provider that is down neither stops a start nor hangs a request. Sources: OpenID
Connect Core 1.0, RFC 7636 (PKCE), RFC 8414 (discovery), RFC 9700 (best current practice).
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import msgspec
import structlog
import trio
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from web.auth.client_auth import NONE, Way, ways

with warnings.catch_warnings(record=True):
    # Authlib (1.9) says at import, through a filter of its own, that it prefers httpx's successor.
    from authlib.integrations.httpx_client import AsyncOAuth2Client

log = structlog.get_logger("blobforge.oidc")

DEADLINE_SECONDS = 8.0  # for everything that one request asks of the provider
METADATA_SECONDS = 3600.0  # how long discovery and the keys are believed: a key withdrawn is a key refused
KEYS_PAUSE_SECONDS = 5.0  # between two fetches of the keys: unknown key ids must not make us a hammer
LEEWAY_SECONDS = 60  # between the provider's clock and ours
# Asymmetric ones only: never `none`, and never an HMAC with a secret that others may share.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
SCOPES = "openid profile email"
PASSING = {"temporarily_unavailable", "server_error"}  # errors that say nothing about the person


class ProviderDown(Exception):
    """The provider could not be asked: unreachable, too slow, or it answered nonsense. Says so in a sentence."""


class SignInRefused(Exception):
    """The provider's answer is not one that we accept. The message holds nothing secret."""


class _UnknownClient(SignInRefused):
    """The token endpoint does not know us by what it was shown."""


class ProviderSettings(msgspec.Struct, frozen=True):
    """`redirect_url` is where the provider sends people back to; `groups_claim` may be a dotted path; `client_auth`
    is how the secret is sent (empty: as discovery says)."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_url: str
    client_auth: str = ""
    groups_claim: str = "groups"
    scopes: str = SCOPES


class Leaving(msgspec.Struct, frozen=True):
    """The memory of one sign-in between leaving and coming back. Kept in the browser, sealed."""

    state: str
    nonce: str
    verifier: str
    next: str
    started_at: int


class Identity(msgspec.Struct, frozen=True):
    """The person, as the provider says. `tokens` are for asking again, and are never shown."""

    issuer: str
    subject: str
    email: str | None
    name: str | None
    groups: tuple[str, ...]
    tokens: Tokens


class Tokens(msgspec.Struct, frozen=True):
    access: str | None = None
    refresh: str | None = None
    id: str | None = None  # the hint that ends the provider's own session


class Metadata(msgspec.Struct, frozen=True):
    """The part of the discovery document that we use."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._metadata: Metadata | None = None
        self._metadata_until = 0.0
        self._keys: KeySet | None = None
        self._keys_at = float("-inf")
        self._way_known: Way | None = None  # how the token endpoint knew us last time
        self._tls = httpx.create_ssl_context()  # once: reading the certificates takes tens of milliseconds

    async def begin(self, next_path: str, *, now: int) -> tuple[str, Leaving]:
        """The URL to send the browser to, and what to remember. Raises ProviderDown."""
        with _deadline():
            metadata = await self._discover()
        leaving = Leaving(secrets.token_urlsafe(32), secrets.token_urlsafe(32), generate_token(64), next_path, now)
        async with self._client(metadata) as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=leaving.state,
                nonce=leaving.nonce,
                code_verifier=leaving.verifier,
            )
        return url, leaving

    async def finish(self, code: str, leaving: Leaving, *, iss: str | None) -> Identity:
        """Exchange the code for an identity; `iss` is the provider that sent it (RFC 9207). Raises ProviderDown,
        SignInRefused."""
        with _deadline():
            metadata = await self._discover()
            if iss is None and metadata.authorization_response_iss_parameter_supported:
                raise SignInRefused("the answer does not say which identity provider it is from")
            if iss not in (None, metadata.issuer):
                raise SignInRefused("another identity provider answered")
            token = await self._token(metadata, "fetch_token", code=code, code_verifier=leaving.verifier)
            claims = await self._claims(metadata, token.get("id_token"), nonce=leaving.nonce)
            return await self._identity(metadata, claims, token, Tokens())

    async def ask_again(self, issuer: str, subject: str, tokens: Tokens) -> Identity:
        """The same person as the provider sees them now. Raises as `finish` does."""
        with _deadline():
            metadata = await self._discover()
            if metadata.issuer != issuer:
                # The operator has changed providers: the new one is not shown what the old one gave.
                raise SignInRefused("this server has another identity provider now; sign in anew")
            return await self._same_person(metadata, subject, tokens)

    async def _same_person(self, metadata: Metadata, subject: str, tokens: Tokens) -> Identity:
        if tokens.refresh is None:
            if tokens.access is None or metadata.userinfo_endpoint is None:
                raise SignInRefused("the provider gave nothing to ask again with; sign in anew")
            claims: Mapping[str, Any] = {"sub": subject}
            token: Mapping[str, Any] = {"access_token": tokens.access}
            return await self._identity(metadata, claims, token, tokens)
        token = await self._token(metadata, "refresh_token", refresh_token=tokens.refresh)
        claims = {"sub": subject}
        if token.get("id_token"):
            claims = await self._claims(metadata, token["id_token"], nonce=None)
            if claims["sub"] != subject:
                raise SignInRefused("the provider answered for another person")
        return await self._identity(metadata, claims, token, tokens)

    async def end_session_url(self, tokens: Tokens, *, back_to: str) -> str | None:
        """Where to send the browser to end the provider's own session; None where there is no such place."""
        try:
            with _deadline():
                metadata = await self._discover()
        except ProviderDown:
            return None
        if metadata.end_session_endpoint is None:
            return None
        query = {"client_id": self._settings.client_id, "post_logout_redirect_uri": back_to}
        if tokens.id is not None:
            query["id_token_hint"] = tokens.id
        return str(httpx.URL(metadata.end_session_endpoint).copy_merge_params(query))

    # --- asking the provider

    def _client(self, metadata: Metadata, way: Way = NONE) -> AsyncOAuth2Client:
        wanted = self._settings.scopes
        # Groups are a scope of their own with some providers, and unknown to others, which then refuse the request.
        extra = [name for name in ("groups", "offline_access") if name in metadata.scopes_supported]
        wanted = " ".join([wanted, *extra])
        return AsyncOAuth2Client(
            client_id=self._settings.client_id,
            client_secret=self._settings.client_secret or None,
            token_endpoint_auth_method=way,
            scope=wanted,
            redirect_uri=self._settings.redirect_url,
            code_challenge_method="S256",
            timeout=DEADLINE_SECONDS,
            follow_redirects=False,
            verify=self._tls,
        )

    async def _discover(self) -> Metadata:
        if self._metadata is not None and trio.current_time() < self._metadata_until:
            return self._metadata
        url = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = await self._get(url)
        try:
            metadata = msgspec.convert(document, Metadata, strict=False)
        except msgspec.ValidationError as error:
            raise ProviderDown(f"the provider's discovery document is not one: {error}") from None
        if metadata.issuer.rstrip("/") != self._settings.issuer.rstrip("/"):
            raise ProviderDown(
                f"the provider calls itself {metadata.issuer!r}, not {self._settings.issuer!r} (OIDC_ISSUER)"
            )
        self._metadata = metadata
        self._metadata_until = trio.current_time() + METADATA_SECONDS
        return metadata

    async def _get(self, url: str, *, bearer: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        try:
            async with httpx.AsyncClient(timeout=DEADLINE_SECONDS, verify=self._tls) as client:
                response = await client.get(url, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderDown(f"the identity provider does not answer ({type(error).__name__})") from None
        if bearer and response.status_code in (401, 403):
            raise SignInRefused("the provider no longer accepts this sign-in")
        if response.status_code != 200:
            raise ProviderDown(f"the identity provider answered {response.status_code} at {url}")
        try:
            return response.json()
        except ValueError:
            raise ProviderDown(f"the identity provider did not answer JSON at {url}") from None

    async def _token(self, metadata: Metadata, verb: str, **arguments: str) -> Mapping[str, Any]:
        """Ask the token endpoint. A client that it does not know it may know in another way."""
        supported = metadata.token_endpoint_auth_methods_supported
        to_try = ways(self._settings.client_id, self._settings.client_secret, self._settings.client_auth, supported)
        if self._way_known in to_try:
            to_try = [self._way_known, *(way for way in to_try if way != self._way_known)]
        for way in to_try[:-1]:
            with suppress(_UnknownClient):
                return await self._token_by(way, metadata, verb, arguments)
        return await self._token_by(to_try[-1], metadata, verb, arguments)

    async def _token_by(
        self, way: Way, metadata: Metadata, verb: str, arguments: dict[str, str]
    ) -> Mapping[str, Any]:
        try:
            async with self._client(metadata, way) as client:
                token: Mapping[str, Any] = await getattr(client, verb)(metadata.token_endpoint, **arguments)
        except AuthlibBaseError as error:
            said = str(error.error)[:100]
            if said in PASSING:
                raise ProviderDown(f"the identity provider says {said}") from None
            if said == "invalid_client":
                raise _UnknownClient(
                    "the provider does not know this server (invalid_client): its administrator looks at "
                    "OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and OIDC_CLIENT_AUTH"
                ) from None
            raise SignInRefused(f"the provider refused: {said}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderDown(f"the identity provider does not answer ({type(error).__name__})") from None
        except (ValueError, TypeError):
            raise ProviderDown("the identity provider's token endpoint did not answer as one does") from None
        if not isinstance(token.get("access_token"), str):
            # A gateway's "429, slow down" in JSON, for one. It must not pass for a person without groups.
            raise ProviderDown("the identity provider's token endpoint sent no token")
        self._way_known = way
        return token

    # --- the ID token

    async def _claims(self, metadata: Metadata, id_token: Any, *, nonce: str | None) -> Mapping[str, Any]:
        """Check signature, issuer, audience, times and nonce. Raises SignInRefused."""
        if not isinstance(id_token, str):
            raise SignInRefused("the provider sent no ID token")
        token = await self._decode(metadata, id_token)
        client_id = self._settings.client_id
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": metadata.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            registry.validate(token.claims)
        except JoseError as error:
            raise SignInRefused(f"the ID token is not valid: {error.description or error.error}") from None
        claims: Mapping[str, Any] = token.claims
        audience, party = claims["aud"], claims.get("azp")
        several = isinstance(audience, list) and len(audience) > 1
        if party != client_id and (several or party is not None):
            raise SignInRefused("the ID token is not made out to us (azp)")
        if nonce is not None and not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise SignInRefused("the ID token belongs to another sign-in (nonce)")
        return claims

    async def _decode(self, metadata: Metadata, id_token: str) -> jwt.Token:
        """Decode with the keys that we know, and once more with fresh ones: providers change keys."""
        keys = self._keys
        if keys is None or trio.current_time() - self._keys_at > METADATA_SECONDS:
            keys = await self._fetch_keys(metadata)
        try:
            return jwt.decode(id_token, keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError) as error:
            if trio.current_time() - self._keys_at < KEYS_PAUSE_SECONDS:
                raise SignInRefused(f"the ID token's signature is not valid ({type(error).__name__})") from None
        keys = await self._fetch_keys(metadata)
        try:
            return jwt.decode(id_token, keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError) as error:
            raise SignInRefused(f"the ID token's signature is not valid ({type(error).__name__})") from None

    async def _fetch_keys(self, metadata: Metadata) -> KeySet:
        document = await self._get(metadata.jwks_uri)
        members = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(members, list):
            raise ProviderDown("the identity provider's key set is not one")
        keys = [key for member in members if (key := _key(member)) is not None]
        if not keys:
            raise ProviderDown("the identity provider's key set holds no key that this server can read")
        self._keys, self._keys_at = KeySet(keys), trio.current_time()
        return self._keys

    # --- the person

    async def _identity(
        self, metadata: Metadata, claims: Mapping[str, Any], token: Mapping[str, Any], before: Tokens
    ) -> Identity:
        """Put together what the ID token says, and the userinfo endpoint where that has no groups."""
        access = token.get("access_token")
        merged = dict(claims)
        if groups_of(merged, self._settings.groups_claim) is None and access and metadata.userinfo_endpoint:
            info = await self._get(metadata.userinfo_endpoint, bearer=access)
            if not isinstance(info, dict) or info.get("sub") != claims["sub"]:
                raise SignInRefused("the userinfo endpoint answered for another person")
            merged = info | merged
        return Identity(
            issuer=metadata.issuer,
            subject=str(claims["sub"]),
            email=_text(merged.get("email")),
            name=_text(merged.get("name")) or _text(merged.get("preferred_username")),
            groups=groups_of(merged, self._settings.groups_claim) or (),
            tokens=Tokens(
                access=access or before.access,
                refresh=token.get("refresh_token") or before.refresh,
                id=token.get("id_token") or before.id,
            ),
        )


def _key(member: Any) -> Key | None:
    """One member of a key set, or None for one that we cannot read: those of other kinds and uses stand beside ours,
    and are no reason to refuse a sign-in (RFC 7517, section 5)."""
    try:
        return JWKRegistry.import_key(member)
    except Exception as error:
        # Whatever a stranger's JSON makes of a parser: an unknown curve is a KeyError, a number a TypeError.
        log.info("a key of the identity provider cannot be read", reason=type(error).__name__)
        return None


@contextmanager
def _deadline() -> Iterator[None]:
    """All that one request asks of the provider fits into this, however many answers it takes."""
    with trio.move_on_after(DEADLINE_SECONDS) as scope:
        yield
    if scope.cancelled_caught:
        raise ProviderDown(f"the identity provider did not answer within {DEADLINE_SECONDS:g} seconds")


def groups_of(claims: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """The groups in a claim that is a list, one string, or a comma-separated one; None where there is no such claim.

    `name` is the claim's, or a path with dots (`realm_access.roles`).
    """
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return tuple(filter(None, (part.strip() for part in found.split(","))))
    if isinstance(found, list):
        return tuple(str(group) for group in found)
    return None


def _text(value: Any) -> str | None:
    return value[:320] if isinstance(value, str) and value else None
