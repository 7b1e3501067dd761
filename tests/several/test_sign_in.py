"""Signing in where there are several servers: what begins at one ends at another, and nothing is possible twice."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock as Clock

from blobforge.store.commons import BURST
from tests.auth.visitor import SAME_ORIGIN, Visitor
from tests.fixtures.evil_provider import CLIENT_ID, EvilProvider, callback
from tests.fixtures.local import LocalServer
from tests.several.house import House


def oidc(evil: EvilProvider) -> dict[str, Any]:
    return {
        "oidc_issuer": evil.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": evil.client_secret,
        "oidc_redirect_url": "http://localhost/auth/callback",
        "oidc_allowed_groups": "staff",
    }


def sent_to(visitor: Visitor, server: LocalServer) -> Visitor:
    """The load balancer sends the browser to another server."""
    visitor.client = server.app.test_client(use_cookies=False)
    return visitor


async def token_works(server: LocalServer, token: str) -> bool:
    status, _ = await server.call("GET", "/api/jobs", token=token)
    return status == 200


# ------------------------------------------------------------------ sign-ins


async def test_a_sign_in_begun_at_one_server_ends_at_another(
    house: House, evil: EvilProvider, mock_clock: Clock
) -> None:
    async with house.server("a", **oidc(evil)) as a, house.server("b", **oidc(evil)) as b:
        visitor = Visitor(a)
        away = await visitor.leave("/workers")
        page = await sent_to(visitor, b).get(callback(evil.authorize(away)))
        assert (page.status, page.location) == (303, "/workers")
        for server in (b, a):
            assert (await sent_to(visitor, server).me())["name"], "the session is good at both"
        page = await sent_to(visitor, b).go("POST", "/auth/logout", **SAME_ORIGIN)
        assert page.status in (200, 303)


async def test_a_person_is_confirmed_by_one_server_at_a_time(
    house: House, evil: EvilProvider, mock_clock: Clock
) -> None:
    """A refresh token that comes twice ends its family: that is how this provider, and many, find a thief."""
    given = oidc(evil) | {"session_recheck": 600}
    async with house.server("a", **given) as a, house.server("b", **given) as b:
        visitor = await Visitor(a).signed_in(evil)
        for _ in range(3):
            mock_clock.jump(601)
            found: list[Any] = []

            async def look(server: LocalServer) -> None:
                found.append(await sent_to(_as(visitor, server), server).me())  # noqa: B023 - ends with its turn

            async with trio.open_nursery() as nursery:
                for server in (a, b, a, b):
                    nursery.start_soon(look, server)
                nursery.start_soon(_turning, mock_clock, found)
            assert len(found) == 4
            assert None not in found


def _as(visitor: Visitor, server: LocalServer) -> Visitor:
    """The same browser, in another tab."""
    other = Visitor(server)
    other.cookies = dict(visitor.cookies)
    return other


async def _turning(clock: Clock, found: list[Any]) -> None:
    """Those that wait for the other server look again after a moment of virtual time."""
    while len(found) < 4:
        await trio.testing.wait_all_tasks_blocked(0.01)
        clock.jump(0.1)


# ------------------------------------------------------------------ the first administrator


async def test_all_servers_have_one_first_token_and_no_start_revokes_it(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        token = a.parts.admin_token
        assert b.parts.admin_token == token
        async with house.server("c") as c:
            assert c.parts.admin_token == token
        for server in (a, b):
            assert await token_works(server, token)
            assert (server.folder / "admin-token").read_text().strip() == token, "for the command line beside it"
    async with house.server("a") as a:
        assert a.parts.admin_token == token


async def test_a_token_of_the_configuration_is_changed_server_by_server(house: House, autojump_clock: Any) -> None:
    old, new = "bf_" + "o" * 30, "bf_" + "n" * 30
    async with house.server("a", admin_token=old) as a:
        async with house.server("b", admin_token=old) as b:
            pass
        async with house.server("b", admin_token=new) as b:
            for server in (a, b):
                assert await token_works(server, new)
            assert await token_works(b, old), "a server lives by it"
    async with house.server("a", admin_token=new) as a:
        assert not await token_works(a, old)
        assert await token_works(a, new)


async def test_a_made_token_outlives_a_configured_one_beside_it(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a:
        made = a.parts.admin_token
        async with house.server("b", admin_token="bf_" + "c" * 30) as b:
            assert await token_works(b, made)
        async with house.server("c") as c:
            assert c.parts.admin_token == made


async def test_the_first_link_works_once_at_any_server(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        assert a.parts.first_code == b.parts.first_code
        path = f"/auth/first?code={a.parts.first_code}"
        assert (await Visitor(b).get(path)).status == 303
        for server in (a, b):
            page = await Visitor(server).get(path)
            assert page.status == 401
            assert "used already" in page.text
        async with house.server("c") as c:
            assert c.parts.first_code != a.parts.first_code
            assert (await Visitor(a).get(f"/auth/first?code={c.parts.first_code}")).status == 303


# ------------------------------------------------------------------ guesses


async def guess(server: LocalServer, address: str = "192.0.2.1") -> int:
    headers = {"Authorization": "Bearer bf_" + "A" * 43}
    answer = await server.http.open(
        "/api/jobs", method="GET", headers=headers, scope_base={"client": (address, 4000)}
    )
    return int(answer.status_code)


async def test_guesses_are_slowed_over_all_servers(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b, house.server("c") as c:
        servers = (a, b, c)
        answers = [await guess(servers[n % 3]) for n in range(BURST * 2)]
        assert answers[:BURST] == [401] * BURST
        assert set(answers[BURST:]) == {429}
        assert await guess(b, "192.0.2.2") == 401
        assert await token_works(a, a.parts.admin_token)


async def test_while_the_database_is_away_each_server_judges_by_itself(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a:
        await guess(a)
        house.execute("ALTER TABLE guesses RENAME TO gone")
        answers = [await guess(a, "192.0.2.7") for _ in range(BURST + 1)]
        assert answers == [401] * BURST + [429]
