"""What an attacker, or a provider that is not what it should be, sends: refused, each with its reason, and no
session made. The provider follows a script; our side is the real one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import trio
import trio.testing

from tests.auth.visitor import LEAVING, SAME_ORIGIN, SESSION, Visitor, assert_refused, open_oidc_house, sessions
from tests.fixtures.evil_provider import (
    BROKEN,
    CLIENT_ID,
    DISCOVERY,
    HANGS,
    HTML,
    KEYS,
    TOKEN,
    USERINFO,
    Bent,
    EvilProvider,
    callback,
    json_answer,
    s256,
    unsigned,
)
from tests.fixtures.house import House
from web.auth.login import SIGN_IN_SECONDS
from web.auth.oidc import DEADLINE_SECONDS, KEYS_PAUSE_SECONDS, METADATA_SECONDS

NOBODY_ELSE = "https://evil.example"


async def test_an_honest_sign_in(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    # What all the refusals below are measured against.
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil)
    assert (page.status, page.location) == (303, "/")
    assert len(sessions(oidc_house)) == 1
    assert await visitor.me() == {"name": "Ada", "is_admin": False, "scopes": ["read", "submit"]}


# ------------------------------------------------------------------ the way back


async def test_a_wrong_state(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    page = await visitor.get(callback(answer | {"state": "x" * 43}))
    assert_refused(oidc_house, visitor, page, "another sign-in")
    assert evil.count(TOKEN) == 0
    # The sign-in that is under way is not spoilt by it.
    assert (await visitor.get(callback(answer))).status == 303


async def test_no_state(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    del answer["state"]
    assert_refused(oidc_house, visitor, await visitor.get(callback(answer)), "another sign-in")
    assert evil.count(TOKEN) == 0


async def test_a_state_that_is_not_ascii(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    page = await visitor.get(callback(answer | {"state": "ü☃"}))
    assert_refused(oidc_house, visitor, page, "another sign-in")


async def test_no_code(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    del answer["code"]
    assert_refused(oidc_house, visitor, await visitor.get(callback(answer)), "no code")


async def test_the_answer_of_another_browser(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    # An attacker sends somebody the URL of the attacker's own sign-in.
    attacker, victim = Visitor(oidc_house), Visitor(oidc_house)
    url = callback(evil.authorize(await attacker.leave()))
    assert_refused(oidc_house, victim, await victim.get(url), "too long")
    await victim.leave()
    assert_refused(oidc_house, victim, await victim.get(url), "another sign-in")
    assert evil.count(TOKEN) == 0


async def test_a_leaving_cookie_that_was_tampered_with(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    sealed = visitor.cookies[LEAVING]
    middle = len(sealed) // 2
    visitor.cookies[LEAVING] = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    assert_refused(oidc_house, visitor, await visitor.get(callback(answer)), "too long")
    assert evil.count(TOKEN) == 0


@pytest.mark.parametrize("sealed", ["", "x", "ü", "gAAAAA", "A" * 5000, "=" * 100])
async def test_a_leaving_cookie_that_is_nonsense(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, sealed: str
) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    visitor.cookies[LEAVING] = sealed
    assert_refused(oidc_house, visitor, await visitor.get(callback(answer)), "too long")


async def test_a_leaving_cookie_of_another_server(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, tmp_path: Path
) -> None:
    visitor = Visitor(oidc_house)
    async with open_oidc_house(tmp_path / "other", evil) as other:
        elsewhere = Visitor(other)
        answer = evil.authorize(await elsewhere.leave())
    visitor.cookies[LEAVING] = elsewhere.cookies[LEAVING]
    assert_refused(oidc_house, visitor, await visitor.get(callback(answer)), "too long")
    assert evil.count(TOKEN) == 0


async def test_a_session_cookie_is_no_leaving_cookie(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    # What rests in the database under the same seal does not open as a sign-in.
    visitor = await Visitor(oidc_house).signed_in(evil)
    store = oidc_house.parts.reads
    [(hash_, _, _)] = sessions(oidc_house)
    found = await store.run(lambda reader: reader.session(hash_))
    assert found is not None
    assert found[0].sealed is not None
    other = Visitor(oidc_house)
    other.cookies[LEAVING] = found[0].sealed.decode()
    answer = evil.authorize(await visitor.leave())
    page = await other.get(callback(answer))
    assert page.status == 403
    assert "too long" in page.text
    assert len(sessions(oidc_house)) == 1


async def test_coming_back_too_late(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock
) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    mock_clock.jump(SIGN_IN_SECONDS + 1)
    assert_refused(oidc_house, visitor, await visitor.get(callback(answer)), "too long")
    assert evil.count(TOKEN) == 0


async def test_a_replayed_callback(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    url = callback(evil.authorize(await visitor.leave()))
    assert (await visitor.get(url)).status == 303
    assert LEAVING not in visitor.cookies
    before = visitor.cookies[SESSION]
    page = await visitor.get(url)
    assert page.status == 403
    assert "too long" in page.text
    assert visitor.cookies[SESSION] == before
    assert len(sessions(oidc_house)) == 1
    assert evil.count(TOKEN) == 1


async def test_a_replayed_code(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    # Somebody has stolen the cookie and the URL, both: the provider takes a code once.
    visitor, thief = Visitor(oidc_house), Visitor(oidc_house)
    url = callback(evil.authorize(await visitor.leave()))
    thief.cookies[LEAVING] = visitor.cookies[LEAVING]
    assert (await visitor.get(url)).status == 303
    page = await thief.get(url)
    assert page.status == 403
    assert "invalid_grant" in page.text
    assert SESSION not in thief.cookies
    assert len(sessions(oidc_house)) == 1


async def test_the_provider_got_a_challenge_and_then_its_verifier(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_house)
    url = await visitor.leave()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert (await visitor.get(callback(evil.authorize(url)))).status == 303
    [form] = [seen.form for seen in evil.seen if seen.path == TOKEN]
    assert len(form["code_verifier"]) >= 43
    assert s256(form["code_verifier"]) == asked["code_challenge"]
    assert form["code_verifier"] not in url
    assert form["grant_type"] == "authorization_code"
    again = parse_qs(urlsplit(await visitor.leave()).query)
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) >= 43  # 256 bits
        assert again[name] != [asked[name]], f"{name} is the same twice"


async def test_a_code_of_another_sign_in_has_another_verifier(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    # Code injection: a stolen code is put into the attacker's own sign-in.
    victim, attacker = Visitor(oidc_house), Visitor(oidc_house)
    stolen = evil.authorize(await victim.leave())
    own = evil.authorize(await attacker.leave())
    page = await attacker.get(callback(own | {"code": stolen["code"]}))
    assert_refused(oidc_house, attacker, page, "invalid_grant")


async def test_an_answer_of_another_provider(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    page = await visitor.get(callback(answer | {"iss": NOBODY_ELSE}))
    assert_refused(oidc_house, visitor, page, "another identity provider")
    assert evil.count(TOKEN) == 0  # the code was not given away


async def test_an_answer_without_issuer_of_a_provider_that_names_it(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    evil.metadata["authorization_response_iss_parameter_supported"] = True
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    del answer["iss"]
    page = await visitor.get(callback(answer))
    assert_refused(oidc_house, visitor, page, "does not say which identity provider")
    assert evil.count(TOKEN) == 0


async def test_an_answer_without_issuer_of_one_that_does_not(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    del answer["iss"]
    assert (await visitor.get(callback(answer))).status == 303


async def test_an_issuer_with_a_slash_is_the_same_one(evil: EvilProvider, mock_clock: Any, tmp_path: Path) -> None:
    async with open_oidc_house(tmp_path / "data", evil, oidc_issuer=evil.issuer + "/") as house:
        assert (await Visitor(house).sign_in(evil)).status == 303


async def test_an_error_is_shown_as_text(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    answer = evil.authorize(await visitor.leave())
    mark = "<script>alert(1)</script>"
    bad = {"error": "access_denied" + mark, "error_description": mark, "state": answer["state"]}
    page = await visitor.get(callback(bad))
    assert_refused(oidc_house, visitor, page, "access_denied")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_an_error_of_another_sign_in_is_not_believed(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_house)
    await visitor.leave()
    page = await visitor.get(callback({"error": "access_denied", "state": "x" * 43}))
    assert_refused(oidc_house, visitor, page, "another sign-in")


async def test_a_callback_that_nobody_started_fills_no_audit_log(
    oidc_house: House, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_house, peer="203.0.113.9")
    statuses = [(await visitor.get(callback({"code": "x", "state": "y"}))).status for _ in range(60)]
    assert statuses[0] == 403
    assert statuses[-1] == 429
    page = await visitor.get(callback({"code": "x", "state": "y"}))
    assert int(page.headers["Retry-After"]) >= 1
    _, listed = await oidc_house.call("GET", "/api/admin/audit")
    assert str(listed).count("sign-in.refused") < 30
    # Somebody who really signs in is not held up, not even from there.
    assert (await visitor.sign_in(evil)).status == 303


# ------------------------------------------------------------------ the ID token

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
async def test_claims_that_are_wrong(oidc_house: House, evil: EvilProvider, mock_clock: Any, case: str) -> None:
    bent, reason = CLAIMS[case]
    evil.claims = dict(bent)
    visitor = Visitor(oidc_house)
    assert_refused(oidc_house, visitor, await visitor.sign_in(evil), reason)


async def test_several_audiences_made_out_to_us(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.claims = {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID}
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303


async def test_clocks_that_differ_a_little(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.claims = {"iat": int(time.time()) + 20}
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303


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
    oidc_house: House, evil: EvilProvider, mock_clock: Any, evil_keys: tuple[Any, Any], case: str
) -> None:
    visitor = Visitor(oidc_house)
    url = await visitor.leave()
    nonce = parse_qs(urlsplit(url).query)["nonce"][0]
    evil.id_token = FORGERIES[case](evil, evil.true_claims(nonce), evil_keys[1])
    page = await visitor.get(callback(evil.authorize(url)))
    assert_refused(oidc_house, visitor, page, "signature is not valid")


async def test_an_hmac_with_a_key_that_is_published(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    # Were HMACs taken at all, whoever reads the key set could sign.
    shared = {"kty": "oct", "kid": "shared", "k": "c2hhcmVkLXdpdGgtZXZlcnlib2R5LXdoby1hc2tz"}
    evil.bent[KEYS] = json_answer({"keys": [evil.key.as_dict(private=False), shared]})
    visitor = Visitor(oidc_house)
    url = await visitor.leave()
    claims = evil.true_claims(parse_qs(urlsplit(url).query)["nonce"][0])
    evil.id_token = unsigned(claims, "HS256", mac=b"shared-with-everybody-who-asks", kid="shared")
    page = await visitor.get(callback(evil.authorize(url)))
    assert_refused(oidc_house, visitor, page, "signature is not valid")


async def test_no_id_token(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.id_token = ""
    visitor = Visitor(oidc_house)
    assert_refused(oidc_house, visitor, await visitor.sign_in(evil), "no ID token")


async def test_an_id_token_that_is_no_text(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.bent[TOKEN] = json_answer({"access_token": "x", "token_type": "Bearer", "id_token": {"sub": "x"}})
    visitor = Visitor(oidc_house)
    assert_refused(oidc_house, visitor, await visitor.sign_in(evil), "no ID token")


# ------------------------------------------------------------------ the keys


async def test_a_rotated_key_is_fetched(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock, evil_keys: tuple[Any, Any]
) -> None:
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303
    mock_clock.jump(KEYS_PAUSE_SECONDS + 1)
    evil.key, evil.published = evil_keys[1], [evil_keys[1]]
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303
    assert evil.count(KEYS) == 2


async def test_unknown_keys_make_us_no_hammer(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock, evil_keys: tuple[Any, Any]
) -> None:
    evil.key = evil_keys[1]  # signs, and is never published
    for _ in range(5):
        visitor = Visitor(oidc_house)
        assert_refused(oidc_house, visitor, await visitor.sign_in(evil), "signature is not valid")
    assert evil.count(KEYS) == 1
    mock_clock.jump(KEYS_PAUSE_SECONDS + 1)
    for _ in range(5):
        await Visitor(oidc_house).sign_in(evil)
    assert evil.count(KEYS) == 2


async def test_a_withdrawn_key_is_believed_no_longer(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock, evil_keys: tuple[Any, Any]
) -> None:
    visitor = Visitor(oidc_house)
    evil.claims = {"sub": "somebody-else"}
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303
    evil.published = [evil_keys[1]]  # the first was stolen; whoever has it goes on signing
    mock_clock.jump(METADATA_SECONDS + 1)
    page = await visitor.sign_in(evil)
    assert page.status == 403
    assert "signature is not valid" in page.text
    assert len(sessions(oidc_house)) == 1


async def test_a_key_set_with_a_key_from_the_future(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    strange = {"kty": "ML-DSA", "kid": "new", "pub": "AAAA"}
    evil.bent[KEYS] = json_answer({"keys": [strange, evil.key.as_dict(private=False)]})
    assert (await Visitor(oidc_house).sign_in(evil)).status == 303


# ------------------------------------------------------------------ userinfo


async def test_userinfo_about_another_person(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.groups, evil.info = None, {"sub": "subject-2", "groups": ["staff", "admins"]}
    visitor = Visitor(oidc_house)
    assert_refused(oidc_house, visitor, await visitor.sign_in(evil), "another person")


@pytest.mark.parametrize("answer", [[], "x", None, {}, {"groups": ["staff"]}, {"sub": None, "groups": ["staff"]}])
async def test_userinfo_about_nobody(oidc_house: House, evil: EvilProvider, mock_clock: Any, answer: Any) -> None:
    evil.groups, evil.bent[USERINFO] = None, json_answer(answer)
    visitor = Visitor(oidc_house)
    assert_refused(oidc_house, visitor, await visitor.sign_in(evil), "another person")


async def test_userinfo_does_not_outvote_the_id_token(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.info = {"groups": ["admins"], "name": "Mallory", "iss": NOBODY_ELSE}
    assert (await (await Visitor(oidc_house).signed_in(evil)).me())["is_admin"] is False
    evil.groups, evil.info["groups"] = None, ["staff"]
    assert (await (await Visitor(oidc_house).signed_in(evil)).me())["name"] == "Ada"


# ------------------------------------------------------------------ a provider that does not answer

NO_ANSWER = {"hangs": HANGS, "answers 500": BROKEN, "answers HTML": HTML}


async def _with_deadline(evil: EvilProvider, clock: trio.testing.MockClock, what: Any) -> Any:
    """The outcome of `what`; when the provider hangs, our deadline passes at once."""
    outcome: list[Any] = []

    async def ask() -> None:
        outcome.append(await what())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while not outcome:
            if evil.hanging.is_set():
                evil.hanging.clear()
                clock.jump(DEADLINE_SECONDS + 0.1)
            await trio.lowlevel.checkpoint()
    return outcome[0]


@pytest.mark.parametrize("how", NO_ANSWER)
async def test_discovery_without_answer(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock, how: str
) -> None:
    evil.bent[DISCOVERY] = NO_ANSWER[how]
    visitor = Visitor(oidc_house)
    page = await _with_deadline(evil, mock_clock, lambda: visitor.get("/auth/login"))
    assert_refused(oidc_house, visitor, page, "Everything else goes on working", status=503)
    assert int(page.headers["Retry-After"]) >= 1
    assert LEAVING not in visitor.cookies
    assert trio.current_time() <= DEADLINE_SECONDS + 1


@pytest.mark.parametrize("how", NO_ANSWER)
@pytest.mark.parametrize("path", [TOKEN, KEYS, USERINFO])
async def test_the_way_back_without_answer(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock, path: str, how: str
) -> None:
    evil.groups, evil.info = None, {"groups": ["staff"]}
    visitor = Visitor(oidc_house)
    url = callback(evil.authorize(await visitor.leave()))
    evil.bent[path] = NO_ANSWER[how]
    page = await _with_deadline(evil, mock_clock, lambda: visitor.get(url))
    assert_refused(oidc_house, visitor, page, "Everything else goes on working", status=503)
    assert trio.current_time() <= DEADLINE_SECONDS + 1
    # And once it answers again, so do we.
    evil.bent.clear()
    assert (await visitor.sign_in(evil)).status == 303


async def test_one_deadline_for_all_answers_together(
    oidc_house: House, evil: EvilProvider, mock_clock: trio.testing.MockClock
) -> None:
    # Each answer alone is in time.
    evil.groups, evil.info = None, {"groups": ["staff"]}
    visitor = Visitor(oidc_house)
    url = callback(evil.authorize(await visitor.leave()))
    honest, here = evil.answer, trio.lowlevel.current_trio_token()

    def slow(seen: Any) -> Bent:
        trio.from_thread.run_sync(mock_clock.jump, DEADLINE_SECONDS * 0.6, trio_token=here)
        return honest(seen)

    evil.answer = slow  # type: ignore[method-assign]
    page = await visitor.get(url)
    assert_refused(oidc_house, visitor, page, "within", status=503)


@pytest.mark.parametrize(
    "answer",
    [
        json_answer([]),
        json_answer({}),
        json_answer({"issuer": 7}),
        json_answer("x"),
        Bent(404, b"{}"),
        Bent(302, b""),
        Bent(200, b"\xff\xfe"),
    ],
)
async def test_a_discovery_document_that_is_none(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, answer: Bent
) -> None:
    evil.bent[DISCOVERY] = answer
    visitor = Visitor(oidc_house)
    page = await visitor.get("/auth/login")
    assert_refused(oidc_house, visitor, page, "Everything else goes on working", status=503)


async def test_discovery_of_another_issuer(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    evil.metadata["issuer"] = NOBODY_ELSE
    visitor = Visitor(oidc_house)
    page = await visitor.get("/auth/login")
    assert_refused(oidc_house, visitor, page, "calls itself", status=503)


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("address", ["", "x", "http://", "ftp://x/", "http://127.0.0.1:port/"])
async def test_discovery_of_addresses_that_are_none(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, name: str, address: str
) -> None:
    evil.metadata[name] = address
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_house, visitor, page, "Everything else goes on working", status=503)


@pytest.mark.parametrize(
    "answer",
    [
        json_answer([]),
        json_answer({}),
        json_answer({"message": "slow down"}, 429),
        json_answer({"access_token": 7, "id_token": "x"}),
        json_answer({"access_token": "x", "expires_in": "soon"}),
        json_answer({"access_token": "x", "expires_in": [1]}),
        json_answer({"error": "temporarily_unavailable"}, 400),
        json_answer({"error": "server_error"}, 400),
    ],
)
async def test_a_token_answer_that_is_none(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, answer: Bent
) -> None:
    evil.bent[TOKEN] = answer
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_house, visitor, page, "Everything else goes on working", status=503)


@pytest.mark.parametrize("error", ["invalid_client", ["x"], 7, None, "<b>x</b>"])
async def test_a_token_answer_that_refuses(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, error: Any
) -> None:
    evil.bent[TOKEN] = json_answer({"error": error}, 400)
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_house, visitor, page, "refused")
    assert "<b>x" not in page.text


@pytest.mark.parametrize("document", [{}, [], {"keys": None}, {"keys": []}, {"keys": [{}]}, {"keys": ["x"]}])
async def test_a_key_set_that_is_none(oidc_house: House, evil: EvilProvider, mock_clock: Any, document: Any) -> None:
    evil.bent[KEYS] = json_answer(document)
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_house, visitor, page, "key set", status=503)


# ------------------------------------------------------------------ where to afterwards

ELSEWHERE = [
    "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example",
    "https:evil.example", "javascript:alert(1)", "evil.example", "", "/\t/evil.example", "/\r\nX: y", "/\x00",
    "/" + "a" * 2000, " //evil.example", "/\u2028x",
]  # fmt: skip


@pytest.mark.parametrize("next_path", ELSEWHERE, ids=lambda text: ascii(text)[:20])
async def test_next_leads_nowhere_else(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, next_path: str
) -> None:
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil, quote(next_path, safe=""))
    assert (page.status, page.location) == (303, "/")
    form = f"token={oidc_house.parts.admin_token}&next={quote(next_path, safe='')}".encode()
    page = await visitor.go("POST", "/login", form, **SAME_ORIGIN)
    assert (page.status, page.location) == (303, "/")


@pytest.mark.parametrize("next_path", ["/", "/jobs", "/jobs?status=dead&q=a%20b", "/a//b", "/%0d%0aX: y", "/ü☃"])
async def test_next_is_a_path_of_ours(oidc_house: House, evil: EvilProvider, mock_clock: Any, next_path: str) -> None:
    visitor = Visitor(oidc_house)
    page = await visitor.sign_in(evil, quote(next_path, safe=""))
    assert page.status == 303
    assert page.location.startswith("/")
    assert not page.location.startswith("//")
    assert page.location.isascii()
    assert "\r" not in page.location
    assert "X" not in page.headers
    if next_path.isascii() and " " not in next_path:
        assert page.location == next_path


# ------------------------------------------------------------------ sessions


async def test_a_session_that_was_there_before_ends(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = await Visitor(oidc_house).signed_in(evil)
    old = visitor.cookies[SESSION]
    await visitor.sign_in(evil)
    assert visitor.cookies[SESSION] != old
    assert len(sessions(oidc_house)) == 1
    left_behind = Visitor(oidc_house)
    left_behind.cookies[SESSION] = old
    assert await left_behind.me() is None


async def test_a_planted_session_id_is_not_taken(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    # Session fixation: the attacker knows the id that the victim brings along.
    attacker, victim = await Visitor(oidc_house).signed_in(evil), Visitor(oidc_house)
    victim.cookies[SESSION] = planted = attacker.cookies[SESSION]
    await victim.sign_in(evil)
    assert victim.cookies[SESSION] != planted
    assert await attacker.me() is None
    assert await victim.me() is not None
    victim.cookies[SESSION] = "of-my-own-making"
    await victim.sign_in(evil)
    assert victim.cookies[SESSION] != "of-my-own-making"


async def test_the_database_is_no_key(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = await Visitor(oidc_house).signed_in(evil)
    [(hash_, _, _)] = sessions(oidc_house)
    thief = Visitor(oidc_house)
    thief.cookies[SESSION] = hash_
    assert await thief.me() is None
    raw = b"".join(path.read_bytes() for path in oidc_house.folder.glob("blobforge.db*"))
    assert visitor.cookies[SESSION].encode() not in raw
    for secret in evil.secrets_given:
        assert secret.encode() not in raw, "the provider's tokens rest unsealed"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": NOBODY_ELSE},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
async def test_requests_from_other_sites(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, headers: dict[str, str]
) -> None:
    visitor = await Visitor(oidc_house).signed_in(evil)
    for path in ("/auth/logout", "/login", "/api/jobs", "/api/jobs/1/cancel"):
        page = await visitor.go("POST", path, b"{}", **headers)
        assert page.status == 403, path
        assert "urn:blobforge:problem:cross-site" in page.text
    assert await visitor.me() is not None
    assert len(sessions(oidc_house)) == 1


@pytest.mark.parametrize("headers", [SAME_ORIGIN, {"Origin": "http://localhost"}])
async def test_requests_from_our_own_pages(
    oidc_house: House, evil: EvilProvider, mock_clock: Any, headers: dict[str, str]
) -> None:
    visitor = await Visitor(oidc_house).signed_in(evil)
    page = await visitor.go("POST", "/auth/logout", **headers)
    assert page.status == 200
    assert SESSION not in visitor.cookies
    assert sessions(oidc_house) == []


async def test_a_form_with_too_many_fields(oidc_house: House, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house)
    page = await visitor.go("POST", "/login", b"&".join(b"a=1" for _ in range(50)), **SAME_ORIGIN)
    assert_refused(oidc_house, visitor, page, "not what the form sends", status=400)


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 401), (b"token=", 401), (b"token=%ff%fe", 401), (b"\xff", 401), (b"x" * 5000, 413)]
)
async def test_a_form_that_holds_no_token(oidc_house: House, mock_clock: Any, body: bytes, status: int) -> None:
    visitor = Visitor(oidc_house)
    page = await visitor.go("POST", "/login", body, **SAME_ORIGIN)
    assert_refused(oidc_house, visitor, page, "", status=status)


async def test_guessing_tokens_at_the_form(oidc_house: House, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house, peer="203.0.113.9")
    for _ in range(30):
        page = await visitor.go("POST", "/login", b"token=bf_guess", **SAME_ORIGIN)
    assert_refused(oidc_house, visitor, page, "Too many", status=429)
    assert int(page.headers["Retry-After"]) >= 1
    form = f"token={oidc_house.parts.admin_token}".encode()
    assert (await visitor.go("POST", "/login", form, **SAME_ORIGIN)).status == 303


async def test_guessing_the_first_link(oidc_house: House, mock_clock: Any) -> None:
    visitor = Visitor(oidc_house, peer="203.0.113.9")
    for _ in range(30):
        page = await visitor.get("/auth/first?code=guess")
    assert_refused(oidc_house, visitor, page, "Too many", status=429)
    assert int(page.headers["Retry-After"]) >= 1
