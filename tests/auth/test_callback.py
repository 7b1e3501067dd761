"""What comes back from a sign-in that was not begun here, not by this browser, or not just now: refused, each with
its reason, and no session made. The provider follows a script; our side is the real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
import trio.testing

from tests.auth.visitor import NOBODY_ELSE, SESSION, Visitor, assert_refused, open_oidc_local, rows, sessions
from tests.fixtures.evil_provider import (
    TOKEN,
    EvilProvider,
    callback,
    s256,
)
from tests.fixtures.local import LocalServer
from web.auth.login import MOST_LEAVINGS, SIGN_IN_SECONDS


async def test_a_wrong_state(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    page = await visitor.get(callback(answer | {"state": "x" * 43}))
    assert_refused(oidc_local, visitor, page, "another sign-in")
    assert evil.count(TOKEN) == 0
    # The sign-in that is under way is not spoilt by it.
    assert (await visitor.get(callback(answer))).status == 303


async def test_each_tab_has_a_sign_in_of_its_own(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    """Two tabs and a third: they come back in any order, to where each began."""
    visitor = Visitor(oidc_local)
    answers = [(evil.authorize(await visitor.leave(path)), path) for path in ("/jobs", "/workers", "/failures")]
    assert visitor.leavings == 3
    for answer, path in (answers[0], answers[2], answers[1]):
        page = await visitor.get(callback(answer))
        assert (page.status, page.location) == (303, path)
    assert visitor.leavings == 0
    assert len(sessions(oidc_local)) == 1
    assert rows(oidc_local, "audit", "id", action="sign-in.refused") == []


async def test_sign_ins_under_way_are_bounded(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock
) -> None:
    visitor = Visitor(oidc_local)
    answers = []
    for _ in range(MOST_LEAVINGS + 4):
        answers.append(evil.authorize(await visitor.leave()))
        mock_clock.jump(1)
        assert visitor.leavings <= MOST_LEAVINGS
    assert (await visitor.get(callback(answers[0]))).status == 403, "the oldest are given up"
    for answer in answers[-MOST_LEAVINGS:]:
        assert (await visitor.get(callback(answer))).status == 303


async def test_no_state(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    del answer["state"]
    assert_refused(oidc_local, visitor, await visitor.get(callback(answer)), "another sign-in")
    assert evil.count(TOKEN) == 0


async def test_a_state_that_is_not_ascii(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    page = await visitor.get(callback(answer | {"state": "ü☃"}))
    assert_refused(oidc_local, visitor, page, "another sign-in")


async def test_no_code(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    del answer["code"]
    assert_refused(oidc_local, visitor, await visitor.get(callback(answer)), "no code")


async def test_the_answer_of_another_browser(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    # An attacker sends somebody the URL of the attacker's own sign-in.
    attacker, victim = Visitor(oidc_local), Visitor(oidc_local)
    url = callback(evil.authorize(await attacker.leave()))
    assert_refused(oidc_local, victim, await victim.get(url), "too long")
    await victim.leave()
    assert_refused(oidc_local, victim, await victim.get(url), "another sign-in")
    assert evil.count(TOKEN) == 0


async def test_a_leaving_cookie_that_was_tampered_with(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    sealed = visitor.cookies[visitor.leaving]
    middle = len(sealed) // 2
    visitor.cookies[visitor.leaving] = (
        sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    )
    assert_refused(oidc_local, visitor, await visitor.get(callback(answer)), "too long")
    assert evil.count(TOKEN) == 0


@pytest.mark.parametrize("sealed", ["", "x", "ü", "gAAAAA", "A" * 5000, "=" * 100])
async def test_a_leaving_cookie_that_is_nonsense(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, sealed: str
) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    visitor.cookies[visitor.leaving] = sealed
    assert_refused(oidc_local, visitor, await visitor.get(callback(answer)), "too long")


async def test_a_leaving_cookie_of_another_server(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, tmp_path: Path
) -> None:
    visitor = Visitor(oidc_local)
    async with open_oidc_local(tmp_path / "other", evil) as other:
        elsewhere = Visitor(other)
        answer = evil.authorize(await elsewhere.leave())
    visitor.cookies[elsewhere.leaving] = elsewhere.cookies[elsewhere.leaving]
    assert_refused(oidc_local, visitor, await visitor.get(callback(answer)), "too long")
    assert evil.count(TOKEN) == 0


async def test_a_session_cookie_is_no_leaving_cookie(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    # What rests in the database under the same seal does not open as a sign-in.
    visitor = await Visitor(oidc_local).signed_in(evil)
    store = oidc_local.parts.reads
    [(hash_, _, _)] = sessions(oidc_local)
    found = await store.run(lambda reader: reader.session(hash_))
    assert found is not None
    assert found[0].sealed is not None
    other = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    other.cookies[visitor.leaving] = found[0].sealed.decode()
    page = await other.get(callback(answer))
    assert page.status == 403
    assert "too long" in page.text
    assert len(sessions(oidc_local)) == 1


async def test_coming_back_too_late(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock
) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    mock_clock.jump(SIGN_IN_SECONDS + 1)
    assert_refused(oidc_local, visitor, await visitor.get(callback(answer)), "too long")
    assert evil.count(TOKEN) == 0


async def test_a_replayed_callback(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    url = callback(evil.authorize(await visitor.leave()))
    assert (await visitor.get(url)).status == 303
    assert visitor.leavings == 0
    before = visitor.cookies[SESSION]
    page = await visitor.get(url)
    assert (page.status, page.location) == (303, "/"), 'by "back": it is signed in, and nothing is wrong'
    assert rows(oidc_local, "audit", "id", action="sign-in.refused") == []
    assert visitor.cookies[SESSION] == before
    assert len(sessions(oidc_local)) == 1
    assert evil.count(TOKEN) == 1


async def test_a_replayed_code(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    # Somebody has stolen the cookie and the URL, both: the provider takes a code once.
    visitor, thief = Visitor(oidc_local), Visitor(oidc_local)
    url = callback(evil.authorize(await visitor.leave()))
    thief.cookies |= visitor.cookies
    assert (await visitor.get(url)).status == 303
    page = await thief.get(url)
    assert page.status == 403
    assert "invalid_grant" in page.text
    assert SESSION not in thief.cookies
    assert len(sessions(oidc_local)) == 1


async def test_the_provider_got_a_challenge_and_then_its_verifier(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_local)
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
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    # Code injection: a stolen code is put into the attacker's own sign-in.
    victim, attacker = Visitor(oidc_local), Visitor(oidc_local)
    stolen = evil.authorize(await victim.leave())
    own = evil.authorize(await attacker.leave())
    page = await attacker.get(callback(own | {"code": stolen["code"]}))
    assert_refused(oidc_local, attacker, page, "invalid_grant")


async def test_an_answer_of_another_provider(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    page = await visitor.get(callback(answer | {"iss": NOBODY_ELSE}))
    assert_refused(oidc_local, visitor, page, "another identity provider")
    assert evil.count(TOKEN) == 0  # the code was not given away


async def test_an_answer_without_issuer_of_a_provider_that_names_it(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    evil.metadata["authorization_response_iss_parameter_supported"] = True
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    del answer["iss"]
    page = await visitor.get(callback(answer))
    assert_refused(oidc_local, visitor, page, "does not say which identity provider")
    assert evil.count(TOKEN) == 0


async def test_an_answer_without_issuer_of_one_that_does_not(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    del answer["iss"]
    assert (await visitor.get(callback(answer))).status == 303


async def test_an_issuer_with_a_slash_is_the_same_one(evil: EvilProvider, mock_clock: Any, tmp_path: Path) -> None:
    async with open_oidc_local(tmp_path / "data", evil, oidc_issuer=evil.issuer + "/") as local:
        assert (await Visitor(local).sign_in(evil)).status == 303


async def test_an_error_is_shown_as_text(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    answer = evil.authorize(await visitor.leave())
    mark = "<script>alert(1)</script>"
    bad = {"error": "access_denied" + mark, "error_description": mark, "state": answer["state"]}
    page = await visitor.get(callback(bad))
    assert_refused(oidc_local, visitor, page, "access_denied")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_an_error_of_another_sign_in_is_not_believed(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_local)
    await visitor.leave()
    page = await visitor.get(callback({"error": "access_denied", "state": "x" * 43}))
    assert_refused(oidc_local, visitor, page, "another sign-in")


async def test_a_callback_that_nobody_started_fills_no_audit_log(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = Visitor(oidc_local, peer="203.0.113.9")
    statuses = [(await visitor.get(callback({"code": "x", "state": "y"}))).status for _ in range(60)]
    assert statuses[0] == 403
    assert statuses[-1] == 429
    page = await visitor.get(callback({"code": "x", "state": "y"}))
    assert int(page.headers["Retry-After"]) >= 1
    _, listed = await oidc_local.call("GET", "/api/admin/audit")
    assert str(listed).count("sign-in.refused") < 30
    # Somebody who really signs in is not held up, not even from there.
    assert (await visitor.sign_in(evil)).status == 303
