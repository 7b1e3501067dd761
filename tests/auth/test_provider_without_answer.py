"""A provider that hangs, breaks off, or answers with something else: a sentence for the visitor within a deadline,
and no session made.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.auth.visitor import NOBODY_ELSE, Visitor, assert_refused
from tests.fixtures.evil_provider import (
    BROKEN,
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
)
from tests.fixtures.local import LocalServer
from web.auth.oidc import DEADLINE_SECONDS

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
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock, how: str
) -> None:
    evil.bent[DISCOVERY] = NO_ANSWER[how]
    visitor = Visitor(oidc_local)
    page = await _with_deadline(evil, mock_clock, lambda: visitor.get("/auth/login"))
    assert_refused(oidc_local, visitor, page, "Everything else goes on working", status=503)
    assert int(page.headers["Retry-After"]) >= 1
    assert visitor.leavings == 0
    assert trio.current_time() <= DEADLINE_SECONDS + 1


@pytest.mark.parametrize("how", NO_ANSWER)
@pytest.mark.parametrize("path", [TOKEN, KEYS, USERINFO])
async def test_the_way_back_without_answer(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock, path: str, how: str
) -> None:
    evil.groups, evil.info = None, {"groups": ["staff"]}
    visitor = Visitor(oidc_local)
    url = callback(evil.authorize(await visitor.leave()))
    evil.bent[path] = NO_ANSWER[how]
    page = await _with_deadline(evil, mock_clock, lambda: visitor.get(url))
    assert_refused(oidc_local, visitor, page, "Everything else goes on working", status=503)
    assert trio.current_time() <= DEADLINE_SECONDS + 1
    # And once it answers again, so do we.
    evil.bent.clear()
    assert (await visitor.sign_in(evil)).status == 303


async def test_one_deadline_for_all_answers_together(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: trio.testing.MockClock
) -> None:
    # Each answer alone is in time.
    evil.groups, evil.info = None, {"groups": ["staff"]}
    visitor = Visitor(oidc_local)
    url = callback(evil.authorize(await visitor.leave()))
    honest, here = evil.answer, trio.lowlevel.current_trio_token()

    def slow(seen: Any) -> Bent:
        trio.from_thread.run_sync(mock_clock.jump, DEADLINE_SECONDS * 0.6, trio_token=here)
        return honest(seen)

    evil.answer = slow  # type: ignore[method-assign]
    page = await visitor.get(url)
    assert_refused(oidc_local, visitor, page, "within", status=503)


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
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, answer: Bent
) -> None:
    evil.bent[DISCOVERY] = answer
    visitor = Visitor(oidc_local)
    page = await visitor.get("/auth/login")
    assert_refused(oidc_local, visitor, page, "Everything else goes on working", status=503)


async def test_discovery_of_another_issuer(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    evil.metadata["issuer"] = NOBODY_ELSE
    visitor = Visitor(oidc_local)
    page = await visitor.get("/auth/login")
    assert_refused(oidc_local, visitor, page, "calls itself", status=503)


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("address", ["", "x", "http://", "ftp://x/", "http://127.0.0.1:port/"])
async def test_discovery_of_addresses_that_are_none(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, name: str, address: str
) -> None:
    evil.metadata[name] = address
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_local, visitor, page, "Everything else goes on working", status=503)


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
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, answer: Bent
) -> None:
    evil.bent[TOKEN] = answer
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_local, visitor, page, "Everything else goes on working", status=503)


@pytest.mark.parametrize("error", ["invalid_client", ["x"], 7, None, "<b>x</b>"])
async def test_a_token_answer_that_refuses(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, error: Any
) -> None:
    evil.bent[TOKEN] = json_answer({"error": error}, 400)
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_local, visitor, page, "refused")
    assert "<b>x" not in page.text


@pytest.mark.parametrize("document", [{}, [], {"keys": None}, {"keys": []}, {"keys": [{}]}, {"keys": ["x"]}])
async def test_a_key_set_that_is_none(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, document: Any
) -> None:
    evil.bent[KEYS] = json_answer(document)
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil)
    assert_refused(oidc_local, visitor, page, "key set", status=503)
