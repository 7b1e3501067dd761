"""What the provider's word changes in the middle of a session: it is asked again, in virtual time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.auth.visitor import Visitor, open_oidc_local, sessions, until, users
from tests.fixtures.evil_provider import BROKEN, TOKEN, USERINFO, Bent, EvilProvider, json_answer
from tests.fixtures.local import EPOCH_MS, LocalServer
from web.auth.sessions import DOWN_PAUSE_MS, MISSED_CHECKS

Clock = trio.testing.MockClock
RECHECK = 600


async def test_whoever_left_the_group_is_out(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.groups = ["elsewhere"]
    mock_clock.jump(RECHECK - 1)
    assert await visitor.me() is not None
    mock_clock.jump(2)
    assert (await visitor.get("/api/jobs")).status == 401
    assert sessions(oidc_local) == []


async def test_whoever_is_no_administrator_any_more_is_none(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    evil.groups = ["staff", "admins"]
    visitor = await Visitor(oidc_local).signed_in(evil)
    assert (await visitor.get("/api/admin/tokens")).status == 200
    evil.groups = ["staff"]
    mock_clock.jump(RECHECK + 1)
    assert (await visitor.get("/api/admin/tokens")).status == 403
    assert (await visitor.me())["is_admin"] is False
    assert [user["is_admin"] for user in await users(oidc_local)] == [False]


async def test_whoever_becomes_an_administrator_is_one(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.groups = ["admins"]
    mock_clock.jump(RECHECK + 1)
    assert (await visitor.get("/api/admin/tokens")).status == 200


async def test_a_demotion_seen_by_one_session_counts_for_all(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    evil.groups = ["staff", "admins"]
    first = await Visitor(oidc_local).signed_in(evil)
    mock_clock.jump(RECHECK - 10)
    evil.groups = ["staff"]
    second = await Visitor(oidc_local).signed_in(evil)
    assert (await second.me())["is_admin"] is False
    assert (await first.me())["is_admin"] is False


async def test_whoever_is_gone_at_the_provider_is_out(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.forgotten = True
    mock_clock.jump(RECHECK + 1)
    assert await visitor.me() is None
    assert sessions(oidc_local) == []


async def test_refresh_tokens_are_rotated(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    for _ in range(4):
        mock_clock.jump(RECHECK + 1)
        assert await visitor.me() is not None
        assert await visitor.me() is not None
    used = [seen.form["refresh_token"] for seen in evil.seen if "refresh_token" in seen.form]
    assert len(used) == len(set(used)) == 4


async def test_requests_at_once_ask_once(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    # A page loads ten things at once. The provider takes a refresh token that comes twice for a stolen one.
    visitor = await Visitor(oidc_local).signed_in(evil)
    mock_clock.jump(RECHECK + 1)
    gate = threading.Event()
    _hold(evil, gate)
    found: list[Any] = []

    async def ask() -> None:
        found.append(await visitor.me())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await until(evil.hanging.is_set)
        for _ in range(9):  # the first is asking already
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert len(found) == 10
    assert None not in found
    assert sum("refresh_token" in seen.form for seen in evil.seen) == 1


async def test_a_browser_that_goes_away_loses_no_refresh_token(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    mock_clock.jump(RECHECK + 1)
    gate = threading.Event()
    _hold(evil, gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visitor.me)
        await until(evil.hanging.is_set)
        nursery.cancel_scope.cancel()
        gate.set()
    mock_clock.jump(RECHECK + 1)
    assert await visitor.me() is not None


def _hold(evil: EvilProvider, gate: threading.Event) -> None:
    """Hold up the token endpoint until the gate opens."""
    honest = evil.answer

    def slow(seen: Any) -> Bent:
        if seen.path == TOKEN:
            evil.hanging.set()
            gate.wait(60)
        return honest(seen)

    evil.answer = slow  # type: ignore[method-assign]


async def test_without_refresh_tokens_userinfo_is_asked(
    evil: EvilProvider, mock_clock: Clock, tmp_path: Path
) -> None:
    evil.refreshes, evil.info = False, {"groups": ["staff"]}
    async with open_oidc_local(tmp_path / "data", evil) as local:
        visitor = await Visitor(local).signed_in(evil)
        mock_clock.jump(RECHECK + 1)
        assert await visitor.me() is not None
        assert evil.count(USERINFO) == 1
        evil.info = {"groups": []}
        mock_clock.jump(RECHECK + 1)
        assert await visitor.me() is None
        assert sessions(local) == []


@pytest.mark.parametrize("refreshes", [True, False])
async def test_the_same_person_must_be_confirmed(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock, refreshes: bool
) -> None:
    evil.refreshes = refreshes
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.claims = evil.info = {"sub": "subject-2", "groups": ["admins", "staff"]}
    mock_clock.jump(RECHECK + 1)
    assert await visitor.me() is None
    assert sessions(oidc_local) == []


async def test_a_refresh_without_id_token_asks_userinfo(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.signed_in_before, evil.info = True, {"groups": ["staff", "admins"]}
    mock_clock.jump(RECHECK + 1)
    assert (await visitor.me())["is_admin"] is True
    evil.info = {"sub": "subject-2", "groups": ["staff", "admins"]}
    mock_clock.jump(RECHECK + 1)
    assert await visitor.me() is None


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (TOKEN, BROKEN),
        (TOKEN, json_answer({"message": "slow down"}, 429)),
        (TOKEN, json_answer({"error": "temporarily_unavailable"}, 400)),
    ],
)
async def test_a_provider_that_is_down_throws_nobody_out_at_once(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock, path: str, answer: Bent
) -> None:
    evil.groups = ["staff", "admins"]
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.bent[path] = answer
    for _ in range(MISSED_CHECKS):
        mock_clock.jump(RECHECK)
        assert (await visitor.me())["is_admin"] is True
    mock_clock.jump(RECHECK)
    assert await visitor.me() is None
    assert (await visitor.get("/api/jobs")).status == 401
    # The provider is back, and says that all is well.
    evil.bent.clear()
    mock_clock.jump(DOWN_PAUSE_MS / 1000 + 1)
    assert await visitor.me() is not None


async def test_not_every_request_waits_for_a_provider_that_is_down(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    before = evil.count(TOKEN)
    evil.bent[TOKEN] = BROKEN
    mock_clock.jump(RECHECK + 1)
    for _ in range(10):
        assert await visitor.me() is not None
    assert evil.count(TOKEN) == before + 1
    mock_clock.jump(DOWN_PAUSE_MS / 1000 + 1)
    await visitor.me()
    assert evil.count(TOKEN) == before + 2


async def test_a_clock_that_is_set_back_puts_off_no_question(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    monkeypatch.setattr("tests.fixtures.local.EPOCH_MS", EPOCH_MS - 3 * 3_600_000)
    before = evil.count(TOKEN)
    for _ in range(3):
        assert await visitor.me() is not None
    assert evil.count(TOKEN) == before + 1
    evil.groups = ["elsewhere"]
    mock_clock.jump(RECHECK - 1)
    assert await visitor.me() is not None
    mock_clock.jump(2)
    assert await visitor.me() is None


async def test_a_clock_that_is_set_back_while_the_provider_is_down_lets_nobody_stay(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.bent[TOKEN] = BROKEN
    mock_clock.jump(RECHECK + 1)
    assert await visitor.me() is not None
    monkeypatch.setattr("tests.fixtures.local.EPOCH_MS", EPOCH_MS - 3 * 3_600_000)
    before = evil.count(TOKEN)
    mock_clock.jump(DOWN_PAUSE_MS / 1000 + 1)
    assert await visitor.me() is not None
    assert evil.count(TOKEN) == before + 1, "the pause does not last until the clock has come to its end"
    mock_clock.jump(MISSED_CHECKS * RECHECK - 1)
    assert await visitor.me() is not None
    mock_clock.jump(2)
    assert await visitor.me() is None
    evil.bent.clear()
    mock_clock.jump(DOWN_PAUSE_MS / 1000 + 1)
    assert await visitor.me() is not None


async def test_the_provider_is_asked_as_often_where_the_time_of_turns_is_ahead(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    now, time = oidc_local.parts.now(), oidc_local.parts.writer._time
    time.taken(now + 3 * 3_600_000, proposed=now)  # by another server, whose clock is wrong
    before = evil.count(TOKEN)
    mock_clock.jump(RECHECK + 1)
    for n in (1, 2):
        for _ in range(3):
            assert await visitor.me() is not None
        mock_clock.jump(RECHECK - 1)
        assert await visitor.me() is not None
        assert evil.count(TOKEN) == before + n
        mock_clock.jump(2)


async def test_another_provider_is_not_shown_the_tokens(
    evil: EvilProvider, mock_clock: Clock, tmp_path: Path
) -> None:
    async with open_oidc_local(tmp_path / "data", evil) as local:
        visitor = await Visitor(local).signed_in(evil)
        cookies = visitor.cookies
    seen = evil.count(TOKEN)
    evil.issuer = evil.issuer.replace("127.0.0.1", "localhost")  # a new one, which calls somebody by the same name
    evil.info = {"groups": ["staff", "admins"]}
    mock_clock.jump(RECHECK + 1)
    async with open_oidc_local(tmp_path / "data", evil) as local:
        visitor = Visitor(local)
        visitor.cookies = cookies
        assert await visitor.me() is None
        assert evil.count(TOKEN) == seen
        assert evil.count(USERINFO) == 0
        assert sessions(local) == []
