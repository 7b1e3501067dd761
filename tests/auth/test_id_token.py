"""ID tokens, keys and userinfo that are not what they should be: refused, each with its reason, and no session."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
import trio.testing

from tests.auth.visitor import NOBODY_ELSE, Visitor, assert_refused, sessions
from tests.fixtures.evil_provider import (
    CLIENT_ID,
    KEYS,
    TOKEN,
    USERINFO,
    EvilProvider,
    callback,
    json_answer,
    unsigned,
)
from tests.fixtures.local import LocalServer
from web.auth.oidc import KEYS_PAUSE_SECONDS, METADATA_SECONDS

HOUR = 3600
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "wrong nonce": ({"nonce": "x" * 43}, "(nonce)"),
    "nonce that is not ASCII": ({"nonce": "ü"}, "(nonce)"),
    "nonce that is no text": ({"nonce": 7}, "(nonce)"),
    "no nonce": ({"nonce": None}, "(nonce)"),
    "wrong issuer": ({"iss": NOBODY_ELSE}, "iss"),
    "no issuer": ({"iss": None}, "iss"),
    "issuer in a list": ({"iss": ["x"]}, "iss"),
    "wrong audience": ({"aud": "another-client"}, "aud"),
    "wrong audiences": ({"aud": ["another-client", "third"]}, "aud"),
    "no audience": ({"aud": None}, "aud"),
    "several audiences without azp": ({"aud": [CLIENT_ID, "another-client"]}, "(azp)"),
    "several audiences, made out to another": (
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        "(azp)",
    ),
    "one audience, made out to another": ({"azp": "another-client"}, "(azp)"),
    "expired": ({"exp": time.time() - HOUR}, "exp"),
    "expires never": ({"exp": None}, "exp"),
    "expires at a text": ({"exp": "tomorrow"}, "exp"),
    "issued in the far future": ({"iat": time.time() + HOUR, "exp": time.time() + 2 * HOUR}, "in the future"),
    "issued at no time": ({"iat": None}, "iat"),
    "not valid yet": ({"nbf": time.time() + HOUR}, "not yet valid"),
    "nobody's": ({"sub": None}, "sub"),
    "an empty subject": ({"sub": ""}, "sub"),
    "a subject that is no text": ({"sub": 7}, "sub"),
}


@pytest.mark.parametrize("case", CLAIMS)
async def test_claims_that_are_wrong(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, case: str) -> None:
    bent, reason = CLAIMS[case]
    evil.claims = dict(bent)
    visitor = Visitor(oidc_local)
    assert_refused(oidc_local, visitor, await visitor.sign_in(evil), reason)


async def test_several_audiences_made_out_to_us(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    evil.claims = {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID}
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303


async def test_clocks_that_differ_a_little(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    evil.claims = {"iat": int(time.time()) + 20}
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303


def _flip(token: str) -> str:
    head, payload, signature = token.split(".")
    return f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def _admin(token: str, claims: dict[str, Any], evil: EvilProvider) -> str:
    """The payload of an administrator under the signature of somebody else."""
    head, _, signature = token.split(".")
    return f"{head}.{evil.sign(claims | {'groups': ['admins']}).split('.')[1]}.{signature}"


Forge = Callable[[EvilProvider, dict[str, Any], Any], str]
FORGERIES: dict[str, Forge] = {
    "a flipped signature": lambda evil, claims, other: _flip(evil.sign(claims)),
    "another payload": lambda evil, claims, other: _admin(evil.sign(claims), claims, evil),
    "another key under the same id": lambda evil, claims, other: evil.sign(claims, key=other, kid=evil.key.kid),
    "an unknown key": lambda evil, claims, other: evil.sign(claims, key=other),
    "an unknown key without an id": lambda evil, claims, other: evil.sign(claims, key=other, kid=None),
    "its own key in the header": lambda evil, claims, other: evil.sign(
        claims, key=other, kid=None, jwk=other.as_dict(private=False)
    ),
    "an address for its key": lambda evil, claims, other: evil.sign(claims, key=other, jku=f"{NOBODY_ELSE}/keys"),
    "no signature": lambda evil, claims, other: unsigned(claims),
    "no signature, written otherwise": lambda evil, claims, other: unsigned(claims, "nOnE"),
    "no signature under a known key id": lambda evil, claims, other: unsigned(claims, kid=evil.key.kid),
    "an HMAC with the client secret": lambda evil, claims, other: unsigned(
        claims, "HS256", mac=evil.client_secret.encode()
    ),
    "an HMAC with the public key": lambda evil, claims, other: unsigned(
        claims, "HS256", mac=evil.key.as_pem(private=False), kid=evil.key.kid
    ),
    "an HMAC with an empty key": lambda evil, claims, other: unsigned(claims, "HS256", mac=b""),
    "a signature cut off": lambda evil, claims, other: evil.sign(claims).rpartition(".")[0] + ".",
    "two parts": lambda evil, claims, other: evil.sign(claims).rpartition(".")[0],
    "nonsense": lambda evil, claims, other: "x.y.z",
    "not base64": lambda evil, claims, other: "ü.ü.ü",
    "a header that is a list": lambda evil, claims, other: "W10." + evil.sign(claims).partition(".")[2],
    "an extension that must be understood": lambda evil, claims, other: unsigned(
        claims, "RS256", mac=b"x", crit=["x"], x=1, kid=evil.key.kid
    ),
}


@pytest.mark.parametrize("case", FORGERIES)
async def test_forgeries(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, evil_keys: tuple[Any, Any], case: str
) -> None:
    visitor = Visitor(oidc_local)
    url = await visitor.leave()
    nonce = parse_qs(urlsplit(url).query)["nonce"][0]
    evil.id_token = FORGERIES[case](evil, evil.true_claims(nonce), evil_keys[1])
    page = await visitor.get(callback(evil.authorize(url)))
    assert_refused(oidc_local, visitor, page, "signature is not valid")


async def test_an_hmac_with_a_key_that_is_published(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    # Were HMACs taken at all, whoever reads the key set could sign.
    shared = {"kty": "oct", "kid": "shared", "k": "c2hhcmVkLXdpdGgtZXZlcnlib2R5LXdoby1hc2tz"}
    evil.bent[KEYS] = json_answer({"keys": [evil.key.as_dict(private=False), shared]})
    visitor = Visitor(oidc_local)
    url = await visitor.leave()
    claims = evil.true_claims(parse_qs(urlsplit(url).query)["nonce"][0])
    evil.id_token = unsigned(claims, "HS256", mac=b"shared-with-everybody-who-asks", kid="shared")
    page = await visitor.get(callback(evil.authorize(url)))
    assert_refused(oidc_local, visitor, page, "signature is not valid")


async def test_no_id_token(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    evil.id_token = ""
    visitor = Visitor(oidc_local)
    assert_refused(oidc_local, visitor, await visitor.sign_in(evil), "no ID token")


async def test_an_id_token_that_is_no_text(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    evil.bent[TOKEN] = json_answer({"access_token": "x", "token_type": "Bearer", "id_token": {"sub": "x"}})
    visitor = Visitor(oidc_local)
    assert_refused(oidc_local, visitor, await visitor.sign_in(evil), "no ID token")


# ------------------------------------------------------------------ the keys


async def test_a_rotated_key_is_fetched(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock, evil_keys: tuple[Any, Any]
) -> None:
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303
    mock_clock.jump(KEYS_PAUSE_SECONDS + 1)
    evil.key, evil.published = evil_keys[1], [evil_keys[1]]
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303
    assert evil.count(KEYS) == 2


async def test_unknown_keys_make_us_no_hammer(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock, evil_keys: tuple[Any, Any]
) -> None:
    evil.key = evil_keys[1]  # signs, and is never published
    for _ in range(5):
        visitor = Visitor(oidc_local)
        assert_refused(oidc_local, visitor, await visitor.sign_in(evil), "signature is not valid")
    assert evil.count(KEYS) == 1
    mock_clock.jump(KEYS_PAUSE_SECONDS + 1)
    for _ in range(5):
        await Visitor(oidc_local).sign_in(evil)
    assert evil.count(KEYS) == 2


async def test_a_withdrawn_key_is_believed_no_longer(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock, evil_keys: tuple[Any, Any]
) -> None:
    visitor = Visitor(oidc_local)
    evil.claims = {"sub": "somebody-else"}
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303
    evil.published = [evil_keys[1]]  # the first was stolen; whoever has it goes on signing
    mock_clock.jump(METADATA_SECONDS + 1)
    page = await visitor.sign_in(evil)
    assert page.status == 403
    assert "signature is not valid" in page.text
    assert len(sessions(oidc_local)) == 1


async def test_a_key_set_with_a_key_from_the_future(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    strange = {"kty": "ML-DSA", "kid": "new", "pub": "AAAA"}
    evil.bent[KEYS] = json_answer({"keys": [strange, evil.key.as_dict(private=False)]})
    assert (await Visitor(oidc_local).sign_in(evil)).status == 303


# ------------------------------------------------------------------ userinfo


async def test_userinfo_about_another_person(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    evil.groups, evil.info = None, {"sub": "subject-2", "groups": ["staff", "admins"]}
    visitor = Visitor(oidc_local)
    assert_refused(oidc_local, visitor, await visitor.sign_in(evil), "another person")


@pytest.mark.parametrize("answer", [[], "x", None, {}, {"groups": ["staff"]}, {"sub": None, "groups": ["staff"]}])
async def test_userinfo_about_nobody(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, answer: Any
) -> None:
    evil.groups, evil.bent[USERINFO] = None, json_answer(answer)
    visitor = Visitor(oidc_local)
    assert_refused(oidc_local, visitor, await visitor.sign_in(evil), "another person")


async def test_userinfo_does_not_outvote_the_id_token(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    evil.info = {"groups": ["admins"], "name": "Mallory", "iss": NOBODY_ELSE}
    assert (await (await Visitor(oidc_local).signed_in(evil)).me())["is_admin"] is False
    evil.groups, evil.info["groups"] = None, ["staff"]
    assert (await (await Visitor(oidc_local).signed_in(evil)).me())["name"] == "Ada"
