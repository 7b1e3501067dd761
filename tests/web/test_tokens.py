"""API tokens: made once, shown once, revoked at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem, token

TOKENS = "/api/admin/tokens"
STATS = "/api/stats"


async def row(local: LocalServer, token_id: int) -> Any:
    _, rows = await local.call("GET", TOKENS)
    (found,) = [each for each in rows if each["id"] == token_id]
    return found


async def test_a_token_is_shown_once(local: LocalServer, autojump_clock: Any) -> None:
    status, made = await local.call("POST", TOKENS, {"name": "ci"})
    assert status == 201
    assert made.keys() == {"id", "token", "name"}
    assert made["token"].startswith("bf_")
    assert len(made["token"]) >= 40
    shown = await row(local, made["id"])
    assert (shown["name"], shown["scopes"], shown["is_admin"]) == ("ci", ["read", "submit"], False)
    assert made["token"].startswith(shown["prefix"])
    _, rows = await local.call("GET", TOKENS)
    assert made["token"] not in str(rows)
    assert local.parts.admin_token not in str(rows)
    assert not {"hash", "token", "secret"} & shown.keys()
    assert made["token"].encode() not in local.parts.services.settings.database.read_bytes()


@pytest.mark.parametrize(
    ("fields", "scopes"),
    [
        ({}, ["read", "submit"]),
        ({"scopes": []}, ["read", "submit"]),
        ({"scopes": ["work"]}, ["work"]),
        ({"scopes": ["work", "read", "work"]}, ["read", "work"]),
        ({"is_admin": True}, ["admin"]),
        ({"is_admin": True, "scopes": ["read"]}, ["admin"]),
        ({"is_admin": False, "scopes": ["admin"]}, ["admin"]),
    ],
)
async def test_scopes(local: LocalServer, autojump_clock: Any, fields: Any, scopes: list[str]) -> None:
    _, made = await local.call("POST", TOKENS, {"name": "t"} | fields)
    shown = await row(local, made["id"])
    assert shown["scopes"] == scopes
    assert shown["is_admin"] is ("admin" in scopes)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None), ({"name": ""}, "name"), ({"name": "a\u0000"}, "name"), ({"name": "x" * 201}, "name"),
        ({"name": "t", "scopes": ["root"]}, "scopes[0]"), ({"name": "t", "scopes": "read"}, "scopes"),
        ({"name": "t", "expires_in": -1}, "expires_in"),
        ({"name": "t", "expires_in": 1e300}, "expires_in"), ({"name": "t", "is_admin": "yes"}, "is_admin"),
    ],
)  # fmt: skip
async def test_bad_tokens(local: LocalServer, autojump_clock: Any, body: Any, field: str | None) -> None:
    assert_problem(await local.call("POST", TOKENS, body), 422, "invalid", field=field)


async def test_revocation_works_at_once(local: LocalServer, autojump_clock: Any) -> None:
    _, made = await local.call("POST", TOKENS, {"name": "t"})
    assert (await local.call("GET", STATS, token=made["token"]))[0] == 200
    assert await local.call("DELETE", f"{TOKENS}/{made['id']}") == (200, {"status": "deleted"})
    assert_problem(await local.call("GET", STATS, token=made["token"]), 401, "unauthenticated")
    assert_problem(await local.call("DELETE", f"{TOKENS}/{made['id']}"), 404, "no-such-token")


async def test_an_expires_in_of_0_is_never(local: LocalServer, autojump_clock: Any) -> None:
    for given in (0, 0.0, None):
        status, made = await local.call("POST", TOKENS, {"name": f"t{given}", "expires_in": given})
        assert status == 201
        (row,) = [row for row in (await local.call("GET", TOKENS))[1] if row["id"] == made["id"]]
        assert "expires_at" not in row


async def test_expires_in_is_in_days(local: LocalServer, autojump_clock: Any) -> None:
    short = await token(local, expires_in=1)
    assert (await local.call("GET", STATS, token=short))[0] == 200
    await trio.sleep(86_400 - 2)
    assert (await local.call("GET", STATS, token=short))[0] == 200
    await trio.sleep(3)
    problem = assert_problem(await local.call("GET", STATS, token=short), 401, "unauthenticated")
    assert "expired" in problem["detail"]


async def test_the_last_use_is_written_at_most_once_a_minute(local: LocalServer, autojump_clock: Any) -> None:
    _, made = await local.call("POST", TOKENS, {"name": "t"})
    assert "last_used_at" not in await row(local, made["id"])

    async def use() -> str:
        assert (await local.call("GET", STATS, token=made["token"]))[0] == 200
        await trio.sleep(0.1)  # it is written behind the answer
        return str((await row(local, made["id"]))["last_used_at"])

    first = await use()
    await trio.sleep(50)
    assert await use() == first
    await trio.sleep(11)
    assert await use() > first


async def test_older_addresses_are_the_same(local: LocalServer, autojump_clock: Any) -> None:
    _, made = await local.call("POST", "/api/tokens", {"name": "old"})
    assert await local.call("GET", "/api/tokens") == await local.call("GET", TOKENS)
    assert await local.call("DELETE", f"/api/tokens/{made['id']}") == (200, {"status": "deleted"})


async def test_a_configured_administrators_token_that_is_replaced_is_revoked(
    tmp_path: Path, autojump_clock: Any
) -> None:
    old, new = "bf_" + "o" * 43, "bf_" + "n" * 43
    async with open_local(tmp_path / "data") as local:
        made_at_first = local.parts.admin_token
    async with open_local(tmp_path / "data", admin_token=old) as local:
        assert (await local.call("GET", "/api/admin/tokens", token=old))[0] == 200
        assert (await local.call("GET", "/api/admin/tokens", token=made_at_first))[0] == 401
    async with open_local(tmp_path / "data", admin_token=new) as local:
        assert (await local.call("GET", "/api/admin/tokens", token=new))[0] == 200
        assert (await local.call("GET", "/api/admin/tokens", token=old))[0] == 401
