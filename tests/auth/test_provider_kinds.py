"""Providers that do it their own way: how the secret is sent, and what else stands in their key sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey

from tests.auth.visitor import Visitor, open_oidc_local
from tests.fixtures.evil_provider import KEYS, TOKEN, EvilProvider, json_answer
from tests.fixtures.local import LocalServer

ODD = "a+b%2Bc/d=e&f g:h~\u00fc"
METHODS = "token_endpoint_auth_methods_supported"
BASIC, POST = "client_secret_basic", "client_secret_post"


@pytest.mark.parametrize("secret", ["plain-secret", ODD, "100%", "+"])
@pytest.mark.parametrize(
    ("takes", "listed", "setting", "asked"),
    [
        ("basic", None, "", 1),
        ("basic", [BASIC], "", 1),
        ("basic", [POST, BASIC], "", 1),
        ("post", [POST], "", 1),
        ("post", [POST, "private_key_jwt"], "", 1),
        ("post", [BASIC], POST, 1),
        ("basic", [POST], BASIC, 1),
        ("plain basic", None, "", 2),
    ],
)
async def test_how_the_secret_is_sent(
    evil: EvilProvider,
    mock_clock: Any,
    tmp_path: Path,
    secret: str,
    takes: str,
    listed: Any,
    setting: str,
    asked: int,
) -> None:
    evil.client_secret, evil.takes = secret, takes
    if listed is not None:
        evil.metadata[METHODS] = listed
    async with open_oidc_local(tmp_path / "data", evil, oidc_client_auth=setting) as local:
        visitor = await Visitor(local).signed_in(evil)
        assert (await visitor.me())["name"] == "Ada"
        assert evil.count(TOKEN) == (asked if secret != "plain-secret" else 1)
        await Visitor(local).signed_in(evil)
        assert evil.count(TOKEN) <= 3, "the way that went is the first one from then on"


async def test_a_wrong_secret_says_what_to_look_at(evil: EvilProvider, mock_clock: Any, tmp_path: Path) -> None:
    evil.client_secret = "right+"
    async with open_oidc_local(tmp_path / "data", evil, oidc_client_secret="wrong+") as local:
        page = await Visitor(local).sign_in(evil)
        assert page.status == 403
        assert "invalid_client" in page.text
        assert "OIDC_CLIENT_SECRET" in page.text
        assert evil.count(TOKEN) == 2


UNREADABLE: list[Any] = [
    {"kty": "EC", "crv": "P-9999", "kid": "x", "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": "P-256", "kid": "x"},
    {"kty": "OKP", "crv": "Ed9", "x": "AA"},
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
    {"kid": "no kty"},
    {"kty": None},
    {"kty": 7},
    {"kty": "RSA", "n": 5, "e": "AQAB"},
    {"kty": "RSA", "n": "!!", "e": "AQAB"},
    {"kty": "RSA"},
    {},
    [],
    "a key",
    None,
    17,
]


@pytest.mark.parametrize("odd", range(len(UNREADABLE)))
@pytest.mark.parametrize("first", [True, False])
async def test_a_key_that_we_cannot_read_shuts_nobody_out(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, odd: int, first: bool
) -> None:
    ours = [key.as_dict(private=False) for key in evil.published]
    members = [UNREADABLE[odd], *ours] if first else [*ours, UNREADABLE[odd]]
    evil.bent[KEYS] = json_answer({"keys": members})
    await Visitor(oidc_local).signed_in(evil)


async def test_keys_of_other_kinds_beside_ours(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    others = [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519"), OctKey.generate_key(256)]
    ours = [key.as_dict(private=False) for key in evil.published]
    members = [*UNREADABLE, *(key.as_dict(private=False) for key in others[:2]), *ours]
    evil.bent[KEYS] = json_answer({"keys": members})
    await Visitor(oidc_local).signed_in(evil)


@pytest.mark.parametrize("members", [[], UNREADABLE, None, {"a": 1}])
async def test_a_key_set_without_a_key(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, members: Any
) -> None:
    evil.bent[KEYS] = json_answer({"keys": members})
    assert (await Visitor(oidc_local).sign_in(evil)).status == 503
